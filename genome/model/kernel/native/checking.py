"""The self-test of a compiled kernel: `python -m genome.model.kernel.native.checking FILE` before it is ever used.

Compilers have made wrong code of such loops (g++ 12.2 dropped stores at -O2), so every kind of matrix is computed
and compared with pure JAX.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genome.errors import Error
from genome.model.kernel.attention import attend as plain_attend
from genome.model.kernel.cache import Cache
from genome.model.kernel.forms import pack
from genome.model.kernel.frequencies import Rope
from genome.model.kernel.linear import dense
from genome.model.kernel.native.attention import attend
from genome.model.kernel.native.library import loaded
from genome.model.kernel.native.product import Native, product
from genome.model.kernel.shape import Shape

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_BLOCKS = {"Q8_0": (32, 34), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24),
           "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210)}  # fmt: skip
_SHAPES = ((37, 1280), (3, 256), (301, 768))
"""Rows and columns: 40 blocks are two groups of sixteen and half of a third, 8 are less than one; the last matrix
is large enough for several threads."""
_ERROR = 2e-6
"""What sums of float32 in another order may differ by, relative to the sum of the terms' sizes."""
_TOKENS = ((0, None), (5, None), (64, 9), (201, None), (201, 100), (256, None))
"""Tokens in the cache, and how many a token sees."""
_UNCAPPED = Shape(
    architecture="", layers=2, width=384, heads=6, kv_heads=2, head_width=64, hidden=0, tokens=0, context=256,
    rope=Rope(10_000.0), norm_epsilon=0.0, attention_scale=1.0, tied=True,
)  # fmt: skip


def check(library: str) -> None:
    """Compares what a loaded kernel computes with pure JAX.

    Raises:
        Error: they differ: the type is named.
    """
    for dtype in TYPES:
        for rows, columns in _SHAPES:
            matrix = jax.tree.map(jnp.asarray, pack(drawn(dtype, 2, rows, columns), dtype))
            x = np.random.default_rng(1).normal(size=columns).astype(np.float32)
            weights = np.asarray(dense(matrix), np.float64)[1]
            found = np.asarray(product(jnp.asarray(x), Native(matrix, library), jnp.int32(1)))
            off = np.abs(found - weights @ x) / (np.abs(weights) @ np.abs(x))
            if not (off < _ERROR).all():
                raise Error(f"{dtype}, {rows} x {columns}: an error of {off.max():.1e}; wanted under {_ERROR}")
    for start, window in _TOKENS:
        off = _attention_error(library, start, window)
        if not off < _ERROR:
            raise Error(f"attention over {start} tokens: an error of {off:.1e}; wanted under {_ERROR}")


def _attention_error(library: str, start: int, window: int | None) -> float:
    """How far the attention of one token is from that in pure JAX, relative to the largest value."""
    draw = np.random.default_rng(1)
    q, k, v = (draw.normal(size=size).astype(np.float32) for size in ((2, 3, 1, 64), (2, 64, 1), (2, 64, 1)))
    cache = Cache(*(jnp.asarray(draw.normal(size=(2, 2, 64, 256)), jnp.float32) for _ in range(2)))
    sees = None if window is None else jnp.int32(window)
    given = (jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), jnp.int32(start), cache, jnp.int32(1), sees)
    found, wanted = attend(library, *given), plain_attend(_UNCAPPED, *given)
    return float(jnp.abs(found - wanted).max() / jnp.abs(wanted).max())


def drawn(dtype: str, *shape: int) -> np.ndarray:
    """Random rows as stored, uint8 (..., row_bytes): any bits for the numbers, scales of usual size."""
    draw = np.random.default_rng(65)
    if size := _BYTES.get(dtype):
        values = draw.normal(size=shape).astype(np.float32 if dtype == "F32" else np.float16)
        if dtype == "BF16":
            values = (draw.normal(size=shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return values.view(np.uint8).reshape(*shape[:-1], shape[-1] * size)
    weights, size = _BLOCKS[dtype]
    blocks = draw.integers(0, 256, (*shape[:-1], shape[-1] // weights, size), dtype=np.uint8)
    scales = draw.normal(size=(*blocks.shape[:-1], 2)).astype("<f2").view(np.uint8)
    if dtype == "Q6_K":
        blocks[..., 208:] = scales[..., :2]
    else:
        count = 4 if dtype in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 2
        blocks[..., :count] = scales[..., :count]
    return blocks.reshape(*shape[:-1], -1)


if __name__ == "__main__":
    try:
        check(loaded(Path(sys.argv[1]))[1])
    except Error as error:
        sys.exit(f"error: {error}")
