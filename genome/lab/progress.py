"""Progress bars: one for each stage of a long task, in a notebook or in a terminal."""

import sys
from typing import IO, Any, Self

from genome.lab.surroundings import in_notebook, in_report


class Bars:
    r"""Shows progress with tqdm: bytes or counts, rate and time left; stages come one after another.

    Handed to anything that takes a `Progress`. In a live notebook a bar is a widget, in a terminal it is
    text; where standard error goes to a file, each stage is one line; inside a report nothing is drawn,
    because a bar that has ended tells its reader nothing.

    Example:
        >>> import io
        >>> log = io.StringIO()
        >>> with Bars(log) as bars:
        ...     bars("smollm2: tensors", 1, 2, "tensors")
        ...     bars("smollm2: tensors", 2, 2, "tensors")
        >>> log.getvalue()
        'smollm2: tensors\n'
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        """Draws on `file`, else on standard error as it is when a stage begins."""
        self._file = file
        self._stage: str | None = None
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int, unit: str = "B") -> None:
        """Tells that `done` of `total` units of `stage` are finished; another stage closes the bar before."""
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = self._begin(stage, total, unit)
        if self._bar is None:
            return
        if total and self._bar.total != total:
            self._bar.reset(total)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar of the current stage; the next call opens a new one."""
        if self._bar is not None:
            self._bar.close()
        self._stage = self._bar = None

    def _begin(self, stage: str, total: int, unit: str) -> Any:
        if in_report():
            return None
        file, live = self._file or sys.stderr, in_notebook()
        if not live and not file.isatty():
            print(stage, file=file, flush=True)
            return None
        from tqdm.auto import tqdm

        in_bytes = unit == "B"
        return tqdm(
            desc=stage,
            total=total or None,
            file=file,
            unit=unit if in_bytes else f" {unit}",
            unit_scale=in_bytes,
            leave=not live,  # a widget that stays is dead when the notebook is opened again; a line is a record
        )
