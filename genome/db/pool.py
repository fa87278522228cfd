"""Many databases, few connections: a file is opened when it is asked, and closed when others are asked more."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Lock
from typing import Any

import apsw

from genome.db.connect import connect, meta
from genome.db.connection import Connection, snapshot
from genome.errors import Error, NotFoundError

CONNECTIONS = 64
WAIT_S = 10.0
"""How long a database waits for one of the connections, when all are in the middle of a statement."""


class Pool:
    """Connections to any number of databases, of which no more than a few are open.

    The page caches are bounded with them: 1 MiB a connection. The connection that has not been asked for longest
    is closed first; one whose statement is not at its end, or that is inside a `snapshot`, is left alone.

    Args:
        connections: how many may be open.

    Example:
        >>> pool = Pool(connections=2)
        >>> len(pool)
        0
    """

    def __init__(self, connections: int = CONNECTIONS) -> None:
        if connections < 1:
            raise Error(f"a pool of {connections} connections opens nothing; wanted 1 or more")
        self._limit = connections
        self._open: OrderedDict[Handle, Connection] = OrderedDict()
        self._pins: dict[Handle, int] = {}
        self._promised = 0  # connections that are being opened
        self._changed = Condition()

    def __len__(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def connect(self, path: Path | str, kind: str | None = None) -> "Handle":
        """A database, opened now and checked as `genome.db.connect` does; later it opens and closes by itself.

        Raises:
            NotFoundError, DamagedError, Error: as `genome.db.connect`.
        """
        handle = Handle(self, Path(path), kind)
        with self.lease(handle):
            return handle

    @contextmanager
    def lease(self, handle: "Handle") -> Iterator[Connection]:
        """A handle's connection, which stays open for the block.

        Raises:
            Error: all connections are in use, and none came free for 10 seconds; or as `Handle.execute`.
        """
        with handle.opening:  # by one thread; others open theirs meanwhile, as this may wait for a writer
            with self._changed:
                db = self._open.get(handle)
                if db is None:
                    self._make_room()
                    self._promised += 1
                else:
                    self._take(handle, db)
            if db is None:
                try:
                    db = handle.opened()
                    with self._changed:
                        self._take(handle, db)
                finally:
                    with self._changed:
                        self._promised -= 1
        try:
            yield db
        finally:
            with self._changed:
                self._pins[handle] -= 1
                if not self._pins[handle]:
                    del self._pins[handle]
                    self._changed.notify()

    def _take(self, handle: "Handle", db: Connection) -> None:
        self._open[handle] = db
        self._open.move_to_end(handle)
        self._pins[handle] = self._pins.get(handle, 0) + 1

    def drop(self, handle: "Handle") -> None:
        """Closes a handle's connection, if it is open."""
        with self._changed:
            if (db := self._open.pop(handle, None)) is not None:
                db.close(True)
                self._changed.notify()

    def close(self) -> None:
        """Closes all connections; a handle that is asked again opens its own again."""
        for handle in list(self._open):
            self.drop(handle)

    def _make_room(self) -> None:
        until = time.monotonic() + WAIT_S
        while len(self._open) + self._promised >= self._limit:
            idle = next((h for h, db in self._open.items() if h not in self._pins and _is_idle(db)), None)
            if idle is not None:
                self._open.pop(idle).close(True)
            elif time.monotonic() > until:
                raise Error(f"{self._limit} databases are being read at once; end some of that, then ask again")
            else:
                self._changed.wait(0.01)  # the end of a statement tells nobody


def _is_idle(db: Connection) -> bool:
    """Whether no statement of it is in the middle; a thread that is just asking it makes it busy."""
    if not db.turn.acquire(blocking=False):
        return False
    try:
        return db.txn_state("main") == apsw.SQLITE_TXN_NONE and not db.in_transaction
    finally:
        db.turn.release()


class Handle(apsw.Connection):
    """A database of a pool, asked as if it were open: `execute`, `pragma`, `close`, and within `snapshot`.

    While its connection is open it reads what it began with, also when the file is replaced. Opened again, it
    notices that, and that the file is gone: it never goes on with another content.
    """

    def __init__(self, pool: Pool, path: Path, kind: str | None) -> None:
        self.path = path
        self._pool = pool
        self._kind = kind
        self._began: tuple[tuple[int, int], str, str] | None = None
        self._openings = 0
        self._closed = False
        self.opening = Lock()

    @property
    def filename(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] (apsw's own is one too)
        """The database's file, for messages; whether it is open or not."""
        return str(self.path)

    def execute(self, *arguments: Any, **options: Any) -> apsw.Cursor:
        """Runs SQL.

        Raises:
            NotFoundError: the file is gone.
            Error: the file was replaced while it was not open, or this handle is closed.
        """
        with self._pool.lease(self) as db:
            return db.execute(*arguments, **options)

    def pragma(self, *arguments: Any, **options: Any) -> Any:
        """Asks for a setting; one that is made lasts until the connection is closed for another.

        `data_version` differs after the connection was opened anew: SQLite counts from the same number each time.
        """
        with self._pool.lease(self) as db:
            told = db.pragma(*arguments, **options)
            return (self._openings, told) if arguments == ("data_version",) else told

    @contextmanager
    def whole_state(self) -> Iterator[apsw.Connection]:
        """For `snapshot`."""
        with self._pool.lease(self) as db, snapshot(db) as opened:
            yield opened

    def close(self, force: bool = False) -> None:
        """Gives it back for good."""
        self._closed = True
        self._pool.drop(self)

    def opened(self) -> Connection:
        """A new connection to what this handle began with; called by the pool."""
        if self._closed:
            raise Error("this database is closed; open its envelope again")
        try:
            db = connect(self.path, self._kind)
        except NotFoundError as error:
            if self._began is None:
                raise
            raise NotFoundError(
                f"{self.path} has been removed or renamed since it was opened; put it back, or open another"
            ) from error
        assert isinstance(db, Connection)
        try:
            self._recognise(db)
        except BaseException:
            db.close(True)
            raise
        self._openings += 1
        return db

    def _recognise(self, db: Connection) -> None:
        """A change in place keeps the file and the time of its making; a new build has another one of them.

        The number of a file that is gone may be given to the next one, so that it alone proves nothing.
        """
        facts = meta(db)
        now = (db.file.identity, facts.get("created", ""), facts.get("checksum", ""))
        began, self._began = self._began, now
        if began is not None and now[2] != began[2] and now[:2] != began[:2]:
            self._began = began
            raise Error(f"{self.path} has been replaced since it was opened; open it again to read the new one")
