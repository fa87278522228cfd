"""The one door to a database file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import apsw

from genome.db.complaints import sqlite_errors
from genome.db.connection import Connection, guard, load_vectors, snapshot
from genome.db.files import DatabaseFile, Mark
from genome.db.kinds import KINDS, SCHEMA_VERSION
from genome.db.layout import absent, layout, said, strangers
from genome.errors import DamagedError, Error

if TYPE_CHECKING:
    from pathlib import Path

CACHE_KIB = 1024
"""Of pages, for each connection: what the system's own cache holds costs 4 microseconds a page."""
WRITE_CACHE_KIB = 64 * 1024
"""A change that is larger goes to the disk before its end, and readers wait for that end."""
LONGEST_BYTES = 1 << 28
"""Of one value; no row block or file head comes near it."""
_FACTS, _FACT_BYTES, _SQL_BYTES, _STEPS = 256, 1 << 20, 1 << 16, 20_000
"""What opening takes from a file: rows of `meta`, bytes of each, bytes of one SQL, steps for one statement."""


def connect(path: "Path | str", kind: str | None = None, *, checked: bool = True) -> apsw.Connection:
    """Opens a reference database for reading; nothing in the file is run.

    Each statement reads one whole state, also while another process writes; several statements do so within
    `snapshot`. Replacing the file by a new build leaves this connection with the old content. Several threads may
    use the connection: they take turns, row by row. What a killed writer left half done is taken back.

    Args:
        path: the database file.
        kind: refuse any other kind.
        checked: compare each page that is read with its checksum; `verify` looks at all of them.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a database of this program, truncated, damaged, or without its tables.
        Error: of another kind or of another schema version, not readable, or being written for very long.
    """
    with sqlite_errors(path):
        db = _open(path, kind, checked=checked)
        try:
            with _opening(db), snapshot(db):
                check(db, kind)
        except BaseException:
            db.close(True)
            raise
    return db


@contextmanager
def writing(path: "Path | str", kind: str | None = None) -> Iterator[apsw.Connection]:
    """One change of a database in place: all that the block writes is there at its end, or nothing of it.

    Readers go on with the state before, and wait for a moment at the end. Killed anywhere, the process leaves a
    rollback journal, by which the next one that opens the database takes the change back.

    Args:
        path: the database file.
        kind: refuse any other kind.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a whole database of this program, or with something that does not belong to its kind: a
            stranger's trigger or index could take part in the change.
        Error: as `connect`; or the file or its folder cannot be written, another process is writing, or readers
            do not let go; then nothing has changed.
    """
    with sqlite_errors(path):
        db = _begin(path, kind)
        try:
            yield db
            db.execute("COMMIT")
        finally:
            with suppress(apsw.Error, DamagedError):  # the error that brought us here is the one to tell
                if db.in_transaction:
                    db.execute("ROLLBACK")
            db.close(True)


@contextmanager
def taking_the_place(path: "Path") -> Iterator[None]:
    """Excludes writers while another file takes a database's name, and leaves no journal for that file to inherit.

    SQLite pairs journals with databases by name: the old one's would be rolled back into the new one.

    Raises:
        Error: another process is writing the old one.
    """
    old = None
    try:
        with suppress(Error, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.CantOpenError):
            while old is None:
                old = _open(path, None, write=True)
                if not _excludes(old):
                    old.close(True)
                    old = None
        for end in ("-journal", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        if os.name == "nt" and old is not None:
            old.close(True)  # Windows replaces no open file
        yield
    finally:
        if old is not None:
            old.close(True)


def _open(path: "Path | str", kind: str | None, *, write: bool = False, checked: bool = True) -> Connection:
    """The file's connection, when its first bytes are a database's of this program; no lock is taken."""
    wanted = f"{kind or 'reference'} database"
    if kind is not None and kind not in KINDS:
        raise Error(f"there is no kind {kind!r} of database; wanted one of {', '.join(KINDS)}")
    while True:
        file = DatabaseFile.find(path, wanted)
        file.check_beside()
        if write and file.frozen:
            raise Error(f"{path} is read-only; make it writable to change it in place, or change a copy")
        db = Connection(file, write=write, checked=checked)
        try:
            mark = Mark.read(db)
            if not file.moved():
                if mark is None:
                    raise DamagedError(
                        f"{path} is not a database of Token Genome; `genome pull` makes one from a source"
                    )
                mark.check(path)
                guard(db)
                return db
        except BaseException:
            db.close(True)
            raise
        db.close(True)


def _begin(path: "Path | str", kind: str | None) -> Connection:
    """A connection in a transaction that excludes other writers, on the file that has the name."""
    while True:
        db = _open(path, kind, write=True)
        try:
            db.pragma("foreign_keys", 1)
            locked = _excludes(db)
            if locked:
                with _opening(db):
                    check(db, kind)
                    if extra := strangers(db, meta(db)["kind"]):
                        raise DamagedError(
                            f"{path} has {extra[0]!r:.60}, which is none of its kind; build it again to change it"
                        )
                db.pragma("cache_size", -WRITE_CACHE_KIB)
                return db
        except BaseException:
            db.close(True)
            raise
        db.close(True)


def _excludes(db: Connection) -> bool:
    """Begins the transaction; false if the file lost its name meanwhile, and another one is to be changed."""
    try:
        db.execute("BEGIN IMMEDIATE")
    except apsw.BusyError:
        if db.file.moved():
            return False
        raise
    return not db.file.moved()


@contextmanager
def opened(path: "Path | str", kind: str | None = None, *, checked: bool = True) -> Iterator[apsw.Connection]:
    """`connect`, closed at the end of the block; SQLite's own complaints become one clear line."""
    with sqlite_errors(path):
        db = connect(path, kind, checked=checked)
        try:
            yield db
        finally:
            db.close(True)


def attach(db: apsw.Connection, name: str, path: "Path | str", kind: str | None = None) -> None:
    """Attaches a reference database for reading to a connection that takes URIs, after the checks of `connect`.

    Args:
        db: the connection.
        name: the schema name that the database has there.
        path: the database file.
        kind: refuse any other kind.
    """
    with opened(path, kind) as checked:
        assert isinstance(checked, Connection)
        with sqlite_errors(path):
            db.execute(f"ATTACH ? AS {name}", (checked.file.address(),))


def header(path: "Path | str") -> dict[str, str]:
    """The `meta` table of a database, after the checks of `connect`."""
    with opened(path) as db:
        return meta(db)


def meta(db: apsw.Connection) -> dict[str, str]:
    """The `meta` table of an open database."""
    return dict(db.execute("SELECT key, value FROM meta ORDER BY key LIMIT ?", (_FACTS,)))


def is_database(path: "Path | str") -> bool:
    """Whether a file carries this program's mark; says nothing about its health."""
    return schema_version(path) is not None


def schema_version(path: "Path | str") -> int | None:
    """The schema version that a file of this program states; None of any other file."""
    try:
        db = Connection(DatabaseFile.find(path, "reference database"))
    except (Error, apsw.Error):
        return None
    try:
        mark = Mark.read(db)
        return None if mark is None else mark.version
    except apsw.Error:
        return None
    finally:
        db.close(True)


def prepare(db: apsw.Connection) -> None:
    """Gives a build, or a memory database that others are attached to, the guards of `connect` and sqlite-vec."""
    guard(db)
    load_vectors(db)
    db.pragma("foreign_keys", 1)


@contextmanager
def _opening(db: apsw.Connection) -> Iterator[None]:
    """Bounds what a file may ask of the machine while it is opened: its schema, its facts."""
    db.limit(apsw.SQLITE_LIMIT_LENGTH, _SQL_BYTES)
    db.set_progress_handler(lambda: True, _STEPS)
    try:
        yield
    except (apsw.TooBigError, apsw.InterruptError) as error:
        raise DamagedError(
            f"{db.filename} has a larger schema, or more facts, than any database of this program; build it again"
        ) from error
    finally:
        db.set_progress_handler(None)
        db.limit(apsw.SQLITE_LIMIT_LENGTH, LONGEST_BYTES)
        db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)


def check(db: Connection, wanted: str | None) -> None:
    """Refuses an open file that is not whole, of another kind or version, or without its kind's tables."""
    path = db.file.path
    try:
        db.pragma("schema_version")  # takes the lock, before the schema is read
    finally:
        _check_whole(db)
    db.pragma("cache_size", -CACHE_KIB)
    found = said(db)
    if (table := found.get("meta")) != layout("model")["meta"]:
        how = "lacks the table meta" if table is None else "has another table meta than ours"
        raise DamagedError(f"{path} {how}; build or copy it again")
    db.limit(apsw.SQLITE_LIMIT_LENGTH, _FACT_BYTES)
    _check_kind(db, meta(db).get("kind"), wanted, found)


def _check_whole(db: Connection) -> None:
    mark, found = Mark.read(db), os.stat(db.file.real).st_size
    if mark is not None and found < mark.size_bytes and not db.file.moved():
        raise DamagedError(
            f"{db.file.path} is truncated: {found} of {mark.size_bytes} bytes; build or copy it again"
        )


def _check_kind(db: Connection, found: str | None, wanted: str | None, schema: dict[str, str]) -> None:
    path = db.file.path
    if found is None:
        raise DamagedError(f"{path} does not say which kind of database it is; build or copy it again")
    if wanted is not None and found != wanted:
        raise Error(f"{path} is a {found:.40} database; wanted a {wanted} database")
    if found not in KINDS:
        raise Error(
            f"{path} is a {found!r:.40} database; this program knows {', '.join(KINDS)}: update Token Genome"
        )
    version = db.pragma("user_version")
    if version != SCHEMA_VERSION[found]:
        repair = "update Token Genome" if version > SCHEMA_VERSION[found] else "`genome pull` builds it again"
        raise Error(f"{path} has schema version {version}, wanted {SCHEMA_VERSION[found]}; {repair}")
    if lacks := absent(schema, found):
        raise DamagedError(f"{path} lacks the {lacks[0]} of a {found} database; build or copy it again")
    if any("USING vec0" in sql for sql in layout(found).values()):
        load_vectors(db)
