"""Compositions as columns of a Polars frame."""

from typing import TYPE_CHECKING

import numpy as np

from genome.primitives import KEYS

if TYPE_CHECKING:
    import polars as pl


def weight_columns(weights: np.ndarray) -> "dict[str, pl.Series]":
    """The columns leading (the weightiest primitive), weight (its) and weights (65) of compositions (n, 65)."""
    import polars as pl

    first = weights.argmax(1) if len(weights) else np.zeros(0, int)
    return {
        "leading": pl.Series([KEYS[best] for best in first], dtype=pl.String),
        "weight": pl.Series(weights[np.arange(len(weights)), first], dtype=pl.Float32),
        "weights": pl.Series(weights, dtype=pl.Array(pl.Float32, len(KEYS))),
    }
