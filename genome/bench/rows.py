"""What a measurement says: a goal, a value, and what the nearest system needs for the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genome.bench.measure import Run, run, seconds
from genome.errors import Error
from genome.progress import Progress
from genome.workbench import MODEL, Workbench


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: is measured.
        goal: in words.
        value: of this program; None where it could not be measured.
        unit: of both values: s, B, B/B ...
        met: whether the value reaches the goal.
        peer: the nearest system and its version; empty where it cannot do the job.
        peer_value: its value; None where it cannot do the job or is not installed.
        ratio: the value divided by the peer's.
        note: what the numbers do not say.
    """

    what: str
    goal: str
    value: float | None
    unit: str
    met: bool
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Place:
    """Where it is measured, and how much.

    Attributes:
        folder: an empty one, for everything that is made.
        home: a workbench in it, which holds a copy of SmolLM2.
        gguf: the file that SmolLM2 came from.
        peer: the version of the nearest system; None where it is not installed.
        quick: a tenth of the counts.
        progress: told what is done.
    """

    folder: Path
    home: Workbench
    gguf: Path
    peer: str | None
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

    def beside(
        self,
        what: str,
        goal: str,
        value: float | None,
        unit: str,
        peer: float | None,
        met: bool,
        note: str = "",
    ) -> Row:
        """A row with the peer's value; where that is not installed, the row says so."""
        if self.peer is None:
            missing = "reminis is not installed: `pip install 'token-genome[bench]'`"
            return Row(what, goal, value, unit, met, note="; ".join(part for part in (note, missing) if part))
        ratio = None if value is None or not peer else value / peer
        return Row(what, goal, value, unit, met, f"reminis {self.peer}", peer, ratio, note)


def tried(work: Callable[[], Run]) -> tuple[Run | None, str]:
    """What the peer gives, or why it does not."""
    try:
        return work(), ""
    except Error as error:
        return None, str(error)


def median_s(runs: Sequence[Run]) -> float | None:
    """The median time of some runs; None of none."""
    return seconds(runs) if runs else None
