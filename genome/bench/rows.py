"""What a measurement says: a goal, a value, and what the nearest system needs for the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_SHOWN = 3


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: is measured.
        goal: in words.
        value: of this program; None where it could not be measured.
        unit: of both values: s, B, B/B ...
        met: whether the value reaches the goal; None where there is nothing to compare it with.
        peer: the nearest system and its version; empty where it cannot do the job.
        peer_value: its value; None where it cannot do the job or is not installed.
        ratio: the value divided by the peer's.
        note: what the numbers do not say.
    """

    what: str
    goal: str
    value: float | None
    unit: str
    met: bool | None
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Peer:
    """The nearest other system for a job: a package of Python, which need not be installed."""

    name: str

    @property
    def version(self) -> str | None:
        """The installed version; None without."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    @property
    def told(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}"

    def beside(
        self,
        what: str,
        goal: str,
        value: float | None,
        unit: str,
        peer_value: float | None,
        met: bool | None,
        note: str = "",
    ) -> Row:
        """A row with this system's value; where that is not installed, the row says so."""
        if self.version is None:
            missing = f"{self.name} is not installed: `pip install 'token-genome[bench]'`"
            return Row(what, goal, value, unit, met, note=joined((note, missing)))
        ratio = None if value is None or not peer_value else value / peer_value
        return Row(what, goal, value, unit, met, self.told, peer_value, ratio, note)


def none(what: str, goal: str, wrong: Sequence[str], unit: str, note: str = "") -> Row:
    """A row of what must not happen: how often it did, and the first times."""
    shown = [*wrong[:_SHOWN], f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else wrong
    return Row(what, goal, len(wrong), unit, not wrong, note=joined((note, *shown)))


def joined(notes: Iterable[str]) -> str:
    """Several notes as one; empty ones are left out."""
    return "; ".join(note for note in notes if note)
