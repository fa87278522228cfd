"""Where it is measured, and how much."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genome.bench.measure import Run, run, seconds
from genome.bench.rows import Row
from genome.errors import Error
from genome.progress import Progress
from genome.workbench import MODEL, Workbench


@dataclass(frozen=True)
class Place:
    """Where it is measured, and how much.

    Attributes:
        folder: an empty one, for everything that is made.
        home: a workbench in it, which holds a copy of SmolLM2.
        gguf: the file that SmolLM2 came from.
        quick: a tenth of the counts.
        progress: told what is done.
    """

    folder: Path
    home: Workbench
    gguf: Path
    quick: bool
    progress: Progress

    @property
    def model(self) -> Path:
        """SmolLM2's database."""
        return self.home.path(MODEL)

    @property
    def times(self) -> int:
        """How often what is timed is repeated."""
        return 3 if self.quick else 7

    def count(self, full: int) -> int:
        """A count of the goals, or a tenth of it."""
        return max(1, full // 10) if self.quick else full

    def work(self, name: str, *arguments: object) -> Run:
        """A function of `works` in a process of its own."""
        return run(f"genome.bench.works:{name}", *(str(a) if isinstance(a, Path) else a for a in arguments))


Part = Callable[[Place], Iterable[Row]]
"""Measures something; its name is what `--only` takes, the first line of its docstring says what."""


def tried(work: Callable[[], Run]) -> tuple[Run | None, str]:
    """What the peer gives, or why it does not."""
    try:
        return work(), ""
    except Error as error:
        return None, str(error)


def median_s(runs: Sequence[Run]) -> float | None:
    """The median time of some runs; None of none."""
    return seconds(runs) if runs else None
