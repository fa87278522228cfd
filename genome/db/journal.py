"""What an activity touched, gathered in memory and cheap enough to stay on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl


class Access(NamedTuple):
    """One read: of which object, from which row on, how many rows and bytes, from `disk` or `memory`."""

    database: str
    object: str
    row: int
    rows: int
    bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class _Entry:
    step: int
    accesses: Sequence[Access]


class Journal:
    """The accesses of one activity, step by step. Step 0 is what belongs to no step: reading the weights.

    The accesses of a step are kept as the sequence that was handed in: a decoder that touches the same
    tensors at every step hands in the same tuple each time, and pays for one reference.

    Example:
        >>> journal = Journal()
        >>> journal.begin()
        1
        >>> journal.record([Access("smollm2", "token_embd.weight", 42, 1, 612, "disk")])
        >>> journal.frame().select("step", "object", "row", "bytes").row(0)
        (1, 'token_embd.weight', 42, 612)
    """

    def __init__(self) -> None:
        self.step = 0
        self.enabled = True
        self._entries: list[_Entry] = []

    def begin(self) -> int:
        """Opens the next step and gives its number."""
        self.step += 1
        return self.step

    def record(self, accesses: Sequence[Access], *, step: int | None = None) -> None:
        """Notes accesses under a step, the current one unless told; nothing while `enabled` is false."""
        if self.enabled:
            self._entries.append(_Entry(self.step if step is None else step, accesses))

    def frame(self) -> pl.DataFrame:
        """One row an access, in the order they happened: step, database, object, row, rows, bytes, source."""
        import polars as pl  # 0.2 s that nobody who only generates has to wait for

        schema = {
            "step": pl.Int64, "database": pl.String, "object": pl.String,
            "row": pl.Int64, "rows": pl.Int64, "bytes": pl.Int64, "source": pl.String,
        }  # fmt: skip
        told = [(entry.step, *access) for entry in self._entries for access in entry.accesses]
        return pl.DataFrame(told, schema=schema, orient="row")
