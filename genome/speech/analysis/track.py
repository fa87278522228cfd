"""What the analysis of a recording gives: one row for each frame, and every candidate."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Track:
    """The formants of a recording. NaN stands for what is not there: f0 without voice, formants of silence.

    Attributes:
        time_s: (frames,) the middle of each frame.
        f0_hz: (frames,) of the voice.
        level_db: (frames,) re full scale.
        f_hz: (frames, 5) F1..F5 of the chosen path.
        b_hz: (frames, 5) their bandwidths.
        ceiling: (frames,) which ceiling's candidate was chosen, an index into `ceilings_hz`.
        ceilings_hz: below which five formants were looked for.
        candidates_f_hz: (frames, ceilings, 5) the poles of linear prediction below each ceiling.
        candidates_b_hz: (frames, ceilings, 5).
        rate_hz: of the recording.
        duration_s: of the recording.
    """

    time_s: np.ndarray
    f0_hz: np.ndarray
    level_db: np.ndarray
    f_hz: np.ndarray
    b_hz: np.ndarray
    ceiling: np.ndarray
    ceilings_hz: tuple[float, ...]
    candidates_f_hz: np.ndarray
    candidates_b_hz: np.ndarray
    rate_hz: int
    duration_s: float

    @cached_property
    def voiced(self) -> np.ndarray:
        """(frames,) whether there is a voice."""
        return np.isfinite(self.f0_hz)

    def columns(self) -> dict[str, np.ndarray]:
        """`time_s`, `f0_hz`, `f1_hz` … `f5_hz`, `b1_hz` … `b5_hz`, `level_db`, `voiced`: (frames,) each."""
        formants = {f"f{n + 1}_hz": self.f_hz[:, n] for n in range(self.f_hz.shape[1])}
        bandwidths = {f"b{n + 1}_hz": self.b_hz[:, n] for n in range(self.b_hz.shape[1])}
        return {
            "time_s": self.time_s, "f0_hz": self.f0_hz, **formants, **bandwidths,
            "level_db": self.level_db, "voiced": self.voiced,
        }  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each frame, for JSON: numbers rounded to what they mean, None for NaN."""
        digits = {"time_s": 6, "level_db": 2}
        plain = []
        for name, values in self.columns().items():
            if values.dtype == bool:
                plain.append(values.tolist())
            else:
                rounded = np.round(values.astype(float), digits.get(name, 2))
                plain.append([None if value != value else value for value in rounded.tolist()])
        return [dict(zip(self.columns(), row, strict=True)) for row in zip(*plain, strict=True)]

    def frame(self) -> "pl.DataFrame":
        """The same as a table; null for NaN."""
        import polars as pl

        return pl.DataFrame(self.columns()).with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
