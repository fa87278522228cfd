"""A composition as a small bar chart: 65 columns in the order of the chart of primes, gaps between categories.

Drawn without altair, whose import alone takes longer than a display may.
"""

from dataclasses import dataclass

import numpy as np

from genome.lab.palette import colour
from genome.lab.words import percent
from genome.primitives import PRIMITIVES

PITCH, GAP = 12, 6
BARS_HEIGHT, LABELS_HEIGHT, HEAD_HEIGHT = 84, 78, 14
LEADING, LEAST = 5, 0.01


@dataclass(frozen=True)
class Bar:
    """One column; places and sizes in the drawing's own units."""

    key: str
    prime: str
    category: str
    percent: str
    colour: str
    x: float
    y: float
    height: float
    leading: bool
    labelled: bool


@dataclass(frozen=True)
class Spectrum:
    """What the template draws; `spoken` is the same in words."""

    bars: tuple[Bar, ...]
    width: float
    spoken: str
    pitch: int = PITCH
    base: int = HEAD_HEIGHT + BARS_HEIGHT
    height: int = HEAD_HEIGHT + BARS_HEIGHT + LABELS_HEIGHT


def spectrum(unit: str, weights: np.ndarray) -> Spectrum:
    """The columns of 65 weights, the highest as high as the drawing allows; the leading five stand out.

    Args:
        unit: what the weights belong to, for the text.
        weights: (65,), non-negative, sum 1.
    """
    top, order = float(weights.max()), np.argsort(-weights, kind="stable")
    leading = {int(i) for i in order[:LEADING] if weights[i] >= LEAST}
    bars, x = [], 0.0
    for i, primitive in enumerate(PRIMITIVES):
        if i and primitive.category != PRIMITIVES[i - 1].category:
            x += GAP
        height = round(BARS_HEIGHT * float(weights[i]) / top, 2) if top > 0 else 0.0
        # A number is wider than its column: beside a higher one it would stand inside that.
        labelled = i in leading and weights[i] >= max(weights[max(0, i - 1) : i + 2])
        bars.append(
            Bar(
                primitive.key, primitive.prime, primitive.category, percent(weights[i]), colour(primitive.key),
                x, HEAD_HEIGHT + BARS_HEIGHT - height, height, i in leading, bool(labelled),
            )
        )  # fmt: skip
        x += PITCH
    told = ", ".join(f"{bars[i].prime} {bars[i].percent}" for i in order[:LEADING] if i in leading)
    return Spectrum(tuple(bars), x, f"Composition of {unit}: {told}")
