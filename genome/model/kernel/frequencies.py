"""How fast the pairs of a head turn in the rotary embedding, with the ways to stretch it for long contexts."""

import math
from dataclasses import dataclass

import numpy as np

SCALINGS = ("none", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Rope:
    """A rotary embedding (Su et al. 2021, arXiv 2104.09864) and how it is scaled."""

    base: float
    scaling: str = "none"
    """`linear` (Chen et al. 2023, arXiv 2306.15595), `llama3` (Llama 3.1: fast pairs are kept, slow ones
    stretched), `yarn` (Peng et al. 2023, arXiv 2309.00071) or `none`."""
    factor: float = 1.0
    """How many times longer the context is than the trained one."""
    trained: int = 0
    """The context that it was trained for."""
    fast: float = 4.0
    """A pair that turns more often than this in the trained context is kept."""
    slow: float = 1.0
    """A pair that turns less often is stretched by the whole factor."""
    loudness: float = 1.0
    """What YaRN's scale of queries and keys is multiplied by."""


def frequencies(rope: Rope, pairs: int) -> tuple[np.ndarray, float]:
    """Radians that each pair turns from one token to the next, float32 (pairs,), and the scale of what is turned.

    Example:
        >>> frequencies(Rope(10000.0, "linear", factor=2.0), 2)
        (array([0.5  , 0.005], dtype=float32), 1.0)
        >>> frequencies(Rope(10000.0, "llama3", factor=8.0, trained=64), 2)[0]
        array([1.     , 0.00125], dtype=float32)
    """
    plain = rope.base ** (-np.arange(pairs) / pairs)
    scale = 1.0
    if rope.scaling == "linear":
        plain = plain / rope.factor
    elif rope.scaling == "llama3":
        turns = plain * rope.trained / (2 * math.pi)
        plain = _stretched(plain, rope.factor, np.clip((turns - rope.slow) / (rope.fast - rope.slow), 0, 1))
    elif rope.scaling == "yarn":
        # The ramp is linear in the number of the pair, from the last one that is kept to the first one stretched.
        first, last = (
            pairs * math.log(rope.trained / (turns * 2 * math.pi)) / math.log(rope.base)
            for turns in (rope.fast, rope.slow)
        )
        first, last = max(math.floor(first), 0), min(math.ceil(last), 2 * pairs - 1)
        ramp = np.clip((np.arange(pairs) - first) / max(last - first, 0.001), 0, 1)
        plain = _stretched(plain, rope.factor, 1 - ramp)
        scale = rope.loudness * (0.1 * math.log(max(rope.factor, 1.0)) + 1)
    return plain.astype(np.float32), scale


def _stretched(plain: np.ndarray, factor: float, kept: np.ndarray) -> np.ndarray:
    """Frequencies between the plain ones (kept 1) and those divided by the factor (kept 0)."""
    return plain * (kept + (1 - kept) / factor)
