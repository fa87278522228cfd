"""Connections for several threads, beside other processes: they take turns, wait, and take back a killed change."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from threading import Condition, RLock, get_ident
from typing import Any, Self

import apsw

from genome.db.complaints import sqlite_errors
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error

READ_WAIT_S = 30.0
"""How long a reader waits for a writer: longer than a writer for readers, so that only one of them gives up."""
WRITE_WAIT_S = 10.0
YOUNG_S = 0.1
"""How long threads may join a snapshot that is going on."""

_CLOSED = "this database is closed; open its envelope again"
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, UnicodeDecodeError)


class Connection(apsw.Connection):
    """A connection for several threads, where apsw would refuse the second one that comes at the same time.

    A statement that finds another process writing waits for it; one that finds what a killed writer left has it
    taken back first.

    Args:
        file: what to open.
        write: not for reading only.
        checked: compare pages with their checksums.
    """

    def __init__(self, file: DatabaseFile, *, write: bool = False, checked: bool = True) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
        super().__init__(file.address(write=write, checked=checked), flags=flags | apsw.SQLITE_OPEN_URI)
        self.file = file
        self.turn = RLock()
        self._inside: Counter[int] = Counter()  # threads in a snapshot, and how often
        self._began = 0.0
        self._ended = Condition(self.turn)
        self.cursor_factory = _Cursor
        self.set_busy_handler(patience(WRITE_WAIT_S, file) if write else patience(READ_WAIT_S))

    def execute(self, *arguments: Any, **options: Any) -> apsw.Cursor:
        """Runs SQL; the cursor's rows may be read by another thread."""
        try:
            return super().execute(*arguments, **options)
        except apsw.ConnectionClosedError as error:
            raise Error(_CLOSED) from error

    @contextmanager
    def whole_state(self) -> Iterator[apsw.Connection]:
        """`snapshot`, one for all threads that are in it.

        A thread that comes when it is no longer young lets it end first, for a second at most (those inside may
        wait for this thread): snapshots that overlap without end would keep every writer out.
        """
        me = get_ident()
        with self.turn:
            if me not in self._inside and self._inside and time.monotonic() - self._began > YOUNG_S:
                self._ended.wait_for(lambda: not self._inside, timeout=1)
            ours = bool(self._inside) or not self.in_transaction  # a writer's transaction is one state already
            if ours:
                if not self._inside:
                    self.execute("BEGIN")
                    self._began = time.monotonic()
                self._inside[me] += 1
        try:
            yield self
        finally:
            with self.turn:
                if ours:
                    self._inside[me] -= 1
                    if not self._inside[me]:
                        del self._inside[me]
                    if not self._inside:
                        _end(self)
                        self._ended.notify_all()

    def close(self, force: bool = False) -> None:
        """Ends it, when the statement of another thread has its row."""
        with self.turn:
            super().close(force)


class _Cursor(apsw.Cursor):
    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        assert isinstance(connection, Connection)
        self._turn, self._file = connection.turn, connection.file

    def execute(self, *arguments: Any, **options: Any) -> Self:
        with self._turn:
            try:
                super().execute(*arguments, **options)
            except apsw.ReadOnlyError as error:
                if getattr(error, "extendedresult", None) != apsw.SQLITE_READONLY_ROLLBACK:
                    raise
                self._execute_recovered(*arguments, **options)
            except _DAMAGE as error:
                raise self._damaged(error) from error
            return self

    def _execute_recovered(self, *arguments: Any, **options: Any) -> None:
        """Again, after a killed writer's change is taken back.

        Beside a file that has been replaced, the journal is the new one's, whose writer may live: wait for it.
        """
        waited = patience(READ_WAIT_S)
        for attempt in range(1 << 30):
            recover(self._file)
            try:
                super().execute(*arguments, **options)
                return
            except apsw.ReadOnlyError as error:
                if not waited(attempt):
                    raise Error(
                        f"{self._file.path} has been replaced, and the new file is being written; open it again"
                    ) from error

    def __next__(self) -> Any:
        with self._turn:
            try:
                return super().__next__()
            except apsw.CursorClosedError as error:
                raise Error(_CLOSED) from error
            except _DAMAGE as error:
                raise self._damaged(error) from error

    @property
    def get(self) -> Any:
        with self._turn:
            try:
                return super().get
            except _DAMAGE as error:
                raise self._damaged(error) from error

    def fetchone(self) -> Any:
        with self._turn:
            try:
                return super().fetchone()
            except _DAMAGE as error:
                raise self._damaged(error) from error

    def fetchall(self) -> list[Any]:
        with self._turn:
            try:
                return super().fetchall()
            except _DAMAGE as error:
                raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DamagedError:
        """What a reader is told, however deep in its work it meets damage."""
        return DamagedError(
            f"{self._file.path} is damaged ({' '.join(str(error).split())}); build or copy it again"
        )

    def __del__(self) -> None:
        with self._turn:  # ends a statement that was left before its last row
            self.close(True)


@contextmanager
def snapshot(db: apsw.Connection) -> Iterator[apsw.Connection]:
    """All that the block reads is of one state of the database, whatever another process writes meanwhile.

    Gives the connection that is open for the block: of a pool's database the one behind it.

    Nests, also across the threads that share a connection; inside a transaction it adds nothing. A writer waits
    for the block's end with its commit: keep the block short.

    Example:
        >>> db = apsw.Connection(":memory:")
        >>> with snapshot(db), snapshot(db):
        ...     db.execute("SELECT 1").get
        1
    """
    whole_state = getattr(db, "whole_state", None)
    with _plain_state(db) if whole_state is None else whole_state() as opened:
        yield opened


@contextmanager
def looking_up(db: apsw.Connection) -> Iterator[apsw.Cursor]:
    """`snapshot` with one cursor for many small questions, which takes a tenth of what a cursor for each takes.

    Example:
        >>> with looking_up(apsw.Connection(":memory:")) as cursor:
        ...     [cursor.execute("SELECT ? + 1", (n,)).fetchone() for n in (1, 2)]
        [(2,), (3,)]
    """
    with snapshot(db) as opened, closing(opened.cursor()) as cursor:
        yield cursor


@contextmanager
def _plain_state(db: apsw.Connection) -> Iterator[apsw.Connection]:
    if db.in_transaction:
        yield db
        return
    db.execute("BEGIN")
    try:
        yield db
    finally:
        _end(db)


def _end(db: apsw.Connection) -> None:
    with suppress(apsw.Error, DamagedError):  # nothing was written; the block has said what is wrong
        if db.in_transaction:
            db.execute("COMMIT")
    with suppress(apsw.Error, DamagedError):
        if db.in_transaction:
            db.execute("ROLLBACK")


def recover(file: DatabaseFile) -> None:
    """Takes back the change that a killed writer left half done, by SQLite's rollback journal beside the file.

    Raises:
        DamagedError: the journal is another program's.
        Error: the file or its folder cannot be written.
    """
    file = DatabaseFile.find(file.path, "reference database")  # what has the name now is what the journal is of
    file.check_beside()
    with sqlite_errors(file.path):
        try:
            _roll_back(file)
        except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.IOError) as error:
            raise Error(
                f"{file.path} has an unfinished change beside it ({os.path.basename(file.journal)}), which cannot "
                f"be taken back ({error}); let somebody open it who may write the file and its folder"
            ) from error


def _roll_back(file: DatabaseFile) -> None:
    db = apsw.Connection(file.address(write=True), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
    try:
        db.set_busy_handler(patience(READ_WAIT_S, file))
        if db.readonly("main"):
            raise apsw.ReadOnlyError("attempt to write a readonly database")
        if not file.moved():
            db.pragma("schema_version")  # the first lock rolls back; no schema is read
    except apsw.BusyError:
        if not file.moved():
            raise
    finally:
        db.close(True)


def guard(db: apsw.Connection) -> None:
    """Shuts what a stranger's file could use: its schema is data, never trusted code."""
    for option, value in _GUARDS:
        db.config(option, value)
    db.pragma("cell_size_check", 1)


_GUARDS = (
    (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
    (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
    (apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0),
    (apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0),
)


def load_vectors(db: apsw.Connection) -> None:
    """Loads sqlite-vec, for the kinds that have an index of vectors."""
    db.enable_load_extension(True)
    db.load_extension(_sqlite_vec())
    db.enable_load_extension(False)


@cache
def _sqlite_vec() -> str:
    """The library beside the package, whose import would bring NumPy (0.15 s) for one path."""
    from importlib.util import find_spec

    spec = find_spec("sqlite_vec")
    if spec is None or spec.origin is None:
        raise Error("the package sqlite-vec is missing; `pip install sqlite-vec`")
    return os.path.join(os.path.dirname(spec.origin), "vec0")


def patience(wait_s: float, file: DatabaseFile | None = None) -> Callable[[int], bool]:
    """For SQLite's busy handler: sleeps 1 to 20 ms, until the time is over. Python, so that Ctrl-C ends it.

    Who may roll back gives the `file`, and waits no longer when another has taken its name: the journal beside it
    would be that other one's.
    """
    until = 0.0

    def wait(attempt: int) -> bool:
        nonlocal until
        now = time.monotonic()
        if attempt == 0:
            until = now + wait_s
        time.sleep(min(0.001 * (attempt + 1), 0.02))
        return now < until and not (file and file.moved())

    return wait
