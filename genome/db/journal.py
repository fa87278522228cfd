"""What an activity touched, gathered in memory, bounded, and cheap enough to stay on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING, Any, NamedTuple

from genome.errors import Error

if TYPE_CHECKING:
    import polars as pl

MOST_TOLD = 1 << 20
"""So many accesses are told step by step; of more, the oldest are added up over their steps."""
MOST_HELD = 1 << 16
"""So many of them are held as objects of their own: what is handed in again and again counts once."""
MOST_SUMS = 1 << 17
"""So many sums are held; of more, the objects with the most rows are told without their rows."""

COLUMNS = {
    "activity": str, "step": int, "database": str, "object": str, "row": int, "rows": int, "bytes": int,
    "source": str, "times": int,
}  # fmt: skip
"""The columns of a journal as a table, and what they hold; `activity`, `step`, `row` and `rows` may be null."""


class Access(NamedTuple):
    """One read of rows that follow one another.

    Attributes:
        database: the database's name.
        object: a tensor's name, or the table that was read: `token`, `unit`, `composition`.
        row: the first row: a tensor's row, a token's number, a unit's genome ID.
        rows: how many rows, in the order of the object.
        bytes: of these rows; of tables, the bytes of the texts and arrays that were read.
        source: `disk`, the database file; `memory`, what was kept of an earlier read.
    """

    database: str
    object: str
    row: int
    rows: int
    bytes: int
    source: str


class Journal:
    """The accesses of one activity and of those nested in it, step by step.

    Step 0 is what belongs to no step: opening, looking up, reading the weights. Each thread has a step of its own,
    so that two generations of one activity do not mix their accesses.

    Sequences of accesses are kept as they were handed in: a decoder that touches the same tensors at every step
    hands in the same tuple each time and pays for one reference. Memory is bounded: beyond `MOST_TOLD` accesses
    the oldest are added up, equal ones to one row that says how many `times`. A value that such a sum has
    forgotten (its step; far later its rows, then its activity) is null; `times` and `bytes` always add up to all
    that was recorded.

    Args:
        activity: the activity's name.
        within: the journal of the activity that it is nested in.

    Raises:
        Error: the name is empty.

    Example:
        >>> journal = Journal("session")
        >>> with journal.step() as number:
        ...     journal.record([Access("smollm2", "token_embd.weight", 42, 1, 612, "disk")])
        >>> inner = journal.nested("probe")
        >>> inner.record([Access("smollm2", "token", 42, 1, 3, "memory")])
        >>> journal.frame().select("activity", "step", "object", "row", "bytes").rows()
        [('session', 1, 'token_embd.weight', 42, 612), ('session/probe', 0, 'token', 42, 3)]
    """

    def __init__(self, activity: str = "session", within: Journal | None = None) -> None:
        if not activity:
            raise Error("an activity's name is empty; wanted at least one character")
        self._activity = f"{within.activity}/{activity}" if within else activity
        self._outermost = within is None
        self._store = within._store if within else _Store()
        self._here = local()

    def nested(self, name: str) -> Journal:
        """The journal of an activity inside of this one, in its store; the same name goes on with its steps."""
        return Journal(name, self)

    @property
    def activity(self) -> str:
        """The activity's name, behind the names of those that it is nested in: `session/probe`."""
        return self._activity

    @property
    def enabled(self) -> bool:
        """Whether accesses are noted; one switch for an activity and all that are nested with it."""
        return self._store.enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        self._store.enabled = on

    @property
    def steps(self) -> int:
        """How many steps the activity has begun."""
        return self._store.steps[self._activity]

    @contextmanager
    def step(self) -> Iterator[int]:
        """The activity's next step, whose number it gives: what this thread records inside belongs to it."""
        number = self._store.begin(self._activity)
        before, self._here.step = getattr(self._here, "step", 0), number
        try:
            yield number
        finally:
            self._here.step = before

    def record(self, accesses: Sequence[Access]) -> None:
        """Notes accesses under this thread's step, under 0 outside of steps; nothing while `enabled` is false."""
        if accesses and self._store.enabled:
            self._store.add(self._activity, getattr(self._here, "step", 0), tuple(accesses))

    def columns(self) -> dict[str, list[Any]]:
        """The accesses as `COLUMNS`, of equal lengths: sums of the oldest first, then in the order they happened.

        `bytes` are those of all `times` together.
        """
        told: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for part in self._store.tables(self._covers):
            for column, values in zip(told.values(), part, strict=True):
                column.extend(values)
        return told

    def frame(self) -> pl.DataFrame:
        """`columns` as a Polars frame: activity, step, database, object, row, rows, bytes, source, times."""
        import polars as pl  # 0.2 s that nobody who only generates has to wait for

        types = {str: pl.String, int: pl.Int64}
        return pl.DataFrame(self.columns(), schema={name: types[kind] for name, kind in COLUMNS.items()})

    def _covers(self, activity: str | None) -> bool:
        """Whether an activity is this one or nested in it; the outermost tells what has forgotten its activity."""
        if activity is None:
            return self._outermost
        return activity == self._activity or activity.startswith(f"{self._activity}/")


class _Key(NamedTuple):
    """What the accesses that a sum adds up have in common; None where it is forgotten."""

    activity: str | None
    step: int | None
    database: str
    object: str
    row: int | None
    rows: int | None
    source: str


class _Store:
    """The accesses of all activities that are nested in one: the latest as they came, older ones added up."""

    def __init__(self) -> None:
        self.enabled = True
        self.steps: Counter[str] = Counter()
        self._lock = Lock()
        self._entries: deque[tuple[str, int, tuple[Access, ...]]] = deque()
        self._uses: dict[int, int] = {}  # by how many entries a tuple of accesses is held, by its identity
        self._told = self._held = 0
        self._sums: dict[_Key, tuple[int, int]] = {}  # times, bytes
        self._room = MOST_SUMS

    def begin(self, activity: str) -> int:
        with self._lock:
            self.steps[activity] += 1
            return self.steps[activity]

    def add(self, activity: str, step: int, accesses: tuple[Access, ...]) -> None:
        with self._lock:
            self._entries.append((activity, step, accesses))
            uses = self._uses.get(id(accesses), 0)
            self._uses[id(accesses)] = uses + 1
            self._told += len(accesses)
            self._held += 1 if uses else 1 + len(accesses)
            if self._told > MOST_TOLD or self._held > MOST_HELD:
                self._add_up()

    def tables(self, covers: Callable[[str | None], bool]) -> Iterator[tuple[Sequence[Any], ...]]:
        """The sums, then each entry, as columns in the order of `COLUMNS`; those of activities that are covered."""
        with self._lock:
            entries, sums = list(self._entries), list(self._sums.items())
        if rows := [(*key[:6], size, key.source, times) for key, (times, size) in sums if covers(key.activity)]:
            yield tuple(zip(*rows, strict=True))
        known: dict[int, tuple[Sequence[Any], ...]] = {}
        for activity, step, accesses in entries:
            if not covers(activity):
                continue
            count = len(accesses)
            if (table := known.get(id(accesses))) is None:
                table = known[id(accesses)] = tuple(zip(*accesses, strict=True))
            yield (activity,) * count, (step,) * count, *table, (1,) * count

    def _add_up(self) -> None:
        """Adds the older half of the entries to the sums: each distinct tuple once, however often it is held."""
        times: Counter[tuple[str, int | None, int]] = Counter()
        tuples: dict[int, tuple[Access, ...]] = {}
        while self._told > MOST_TOLD // 2 or self._held > MOST_HELD // 2:
            activity, step, accesses = self._entries.popleft()
            same = id(accesses)
            tuples[same] = accesses
            times[activity, None if step else 0, same] += 1
            self._uses[same] -= 1
            self._told -= len(accesses)
            self._held -= 1 if self._uses[same] else 1 + len(accesses)
            if not self._uses[same]:
                del self._uses[same]
        for (activity, step, same), count in times.items():
            for database, thing, row, rows, size, source in tuples[same]:
                _sum(self._sums, _Key(activity, step, database, thing, row, rows, source), count, count * size)
        if len(self._sums) > self._room:
            self._sums = _coarser(self._sums)
            self._room = max(MOST_SUMS, 2 * len(self._sums))


def _coarser(sums: dict[_Key, tuple[int, int]]) -> dict[_Key, tuple[int, int]]:
    """The same sums in half of `MOST_SUMS`: without the rows of the objects that have most, or without activities.

    What then is left has at most a few sums for each object of each database.
    """
    things = [(key.activity, key.step, key.database, key.object, key.source) for key in sums]
    left, rowless = len(sums), set()
    for thing, size in Counter(things).most_common():
        if left <= MOST_SUMS // 2:
            break
        rowless.add(thing)
        left -= size - 1
    told: dict[_Key, tuple[int, int]] = {}
    for thing, (key, (times, size)) in zip(things, sums.items(), strict=True):
        if thing in rowless:
            key = key._replace(row=None, rows=None)
        if left > MOST_SUMS // 2:
            key = key._replace(activity=None)
        _sum(told, key, times, size)
    return told


def _sum(sums: dict[_Key, tuple[int, int]], key: _Key, times: int, size: int) -> None:
    before = sums.get(key, (0, 0))
    sums[key] = before[0] + times, before[1] + size
