"""Choosing the next token from scores."""

import numpy as np


def probabilities(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may come next, most probable first, and their probabilities (sum 1).

    Temperature first, then the `top_k` most probable (0: all), then of these the fewest that together have at
    least `top_p` (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751).

    Args:
        logits: float32, shape (V,).
        temperature: above 0.
        top_k: 0 or more.
        top_p: above 0, at most 1.

    Example:
        >>> tokens, shares = probabilities(np.log([0.1, 0.6, 0.3]), 1.0, 0, 0.8)
        >>> tokens.tolist(), shares.round(3).tolist()
        ([1, 2], [0.667, 0.333])
    """
    count = min(top_k, len(logits)) or len(logits)
    kept = np.argpartition(-logits, count - 1)[:count] if count < len(logits) else np.arange(len(logits))
    tokens = kept[np.lexsort((kept, -logits[kept]))]
    scaled = logits[tokens].astype(np.float64) / temperature
    shares = np.exp(scaled - scaled[0])
    shares /= shares.sum()
    needed = int(np.searchsorted(np.cumsum(shares), top_p - 1e-12)) + 1
    tokens, shares = tokens[:needed], shares[:needed]
    return tokens, shares / shares.sum()


def choose(tokens: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> int:
    """One of the tokens, drawn by its share."""
    place = int(np.searchsorted(np.cumsum(shares), random.random(), side="right"))
    return int(tokens[min(place, len(tokens) - 1)])
