"""Points of a vowel chart: F1 and F2 of a recording's voiced frames, or of the intervals that a TextGrid labels."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from genome.errors import Error, NotFoundError, quoted
from genome.speech.analysis.track import Track
from genome.speech.scales import bark, erb, lobanov, nearey
from genome.speech.textgrid import IntervalTier, TextGrid

MOST_FRAMES = 1000
"""How many frames of a recording without labels are kept, at equal distances: more cannot be told apart."""

_EACH: dict[str, Callable[[np.ndarray], np.ndarray]] = {"hz": lambda f_hz: f_hz, "bark": bark, "erb": erb}
_SPEAKER: dict[str, Callable[[np.ndarray], np.ndarray]] = {"lobanov": lobanov, "nearey": nearey}
SCALES = (*_EACH, *_SPEAKER)


class Vowels(NamedTuple):
    """What one speaker said.

    Attributes:
        labels: (points,).
        f_hz: (points, 2) F1 and F2.
    """

    labels: tuple[str, ...]
    f_hz: np.ndarray


def vowels(track: Track, named: str, grid: TextGrid | None = None, tier: str | None = None) -> Vowels:
    """The vowels of a recording.

    Args:
        track: of the recording.
        named: the label of its frames where there is no grid, and what the errors call it.
        grid: its labels; a point is then the median over an interval's voiced frames, without its first and last
            quarter, which lead from sound to sound. Intervals without label or voice are left out.
        tier: the name of an interval tier; None takes the first.

    Raises:
        NotFoundError: no interval tier, or none of that name.
        Error: nothing is voiced, or nothing that is labelled.
    """
    heard = track.voiced & np.isfinite(track.f_hz[:, :2]).all(1)
    if grid is None:
        (places,) = np.nonzero(heard)
        if not len(places):
            raise Error(f"{quoted(named)} has no voice; wanted a recording of vowels")
        kept = places[:: -(-len(places) // MOST_FRAMES)]
        return Vowels((named,) * len(kept), track.f_hz[kept, :2].astype(float))
    labels, points = [], []
    for interval in _tier(grid, named, tier).intervals:
        quarter = (interval.end_s - interval.start_s) / 4
        inside = (track.time_s >= interval.start_s + quarter) & (track.time_s <= interval.end_s - quarter) & heard
        if interval.label.strip() and inside.any():
            labels.append(" ".join(interval.label.split()))
            points.append(np.median(track.f_hz[inside, :2], 0))
    if not points:
        raise Error(f"{quoted(named)}: none of the labelled intervals is voiced; wanted a tier that labels vowels")
    return Vowels(tuple(labels), np.asarray(points, float))


def scaled(spoken: Vowels, scale: str, named: str) -> np.ndarray:
    """F1 and F2 on one of `SCALES`: (points, 2). `lobanov` and `nearey` take all the points for one speaker's.

    Raises:
        NotFoundError: another scale.
        Error: a speaker's scale, and fewer than three different vowels.
    """
    if checked_scale(scale) in _EACH:
        return _EACH[scale](spoken.f_hz)
    if (different := len(set(spoken.labels))) < 3:
        raise Error(
            f"{quoted(named)} has {different} different labels; {scale} wants at least three vowels of a speaker: "
            "label them in a TextGrid beside the recording"
        )
    return _SPEAKER[scale](spoken.f_hz)


def checked_scale(scale: str) -> str:
    """One of `SCALES`.

    Raises:
        NotFoundError: another.
    """
    if scale not in SCALES:
        raise NotFoundError(f"no scale is called {quoted(scale)}; wanted one of {', '.join(SCALES)}")
    return scale


def ellipse(points: np.ndarray, deviations: float = 2.0, corners: int = 60) -> np.ndarray:
    """The ellipse around points, closed: (corners + 1, 2).

    Args:
        points: (points, 2), at least 3.
        deviations: half an axis, in standard deviations; 2 hold 86 % of a normal distribution.
        corners: how many.

    Example:
        >>> ellipse(np.array([[0, 0], [2, 0], [0, 2], [2, 2.0]]), corners=4).mean(0).round(1).shape
        (2,)
    """
    size, axes = np.linalg.eigh(np.cov(points.T))
    around = np.linspace(0, 2 * np.pi, corners + 1)
    circle = np.stack([np.cos(around), np.sin(around)], 1)
    return points.mean(0) + deviations * (circle * np.sqrt(np.maximum(size, 0))) @ axes.T


def _tier(grid: TextGrid, named: str, name: str | None) -> IntervalTier:
    tiers = [tier for tier in grid.tiers if isinstance(tier, IntervalTier)]
    found = next((tier for tier in tiers if name is None or tier.name == name), None)
    if found is None:
        there = ", ".join(quoted(tier.name) for tier in tiers) or "none"
        raise NotFoundError(
            f"the TextGrid of {quoted(named)} has no interval tier {quoted(name) if name else ''}; there is {there}"
        )
    return found
