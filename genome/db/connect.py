"""The one door to a database file."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import sqlite_vec

from genome.db.kinds import APPLICATION_ID, SCHEMA_VERSION
from genome.errors import DamagedError, Error, NotFoundError

MMAP_BYTES = 1 << 40
CACHE_KIB = 4096


def connect(path: Path | str, kind: str | None = None) -> apsw.Connection:
    """Opens a reference database read-only, with sqlite-vec loaded; nothing in the file is run.

    Args:
        path: the database file.
        kind: refuse any other kind.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a database of this program, or truncated.
        Error: of another kind, or of a newer schema.
    """
    path = Path(path)
    check(path, kind)
    with sqlite_errors(path):
        db = apsw.Connection(
            path.resolve().as_uri() + "?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        prepare(db)
        if kind is not None and (found := meta(db).get("kind")) != kind:
            db.close()
            raise Error(f"{path} is a {found} database; wanted a {kind} database")
    return db


def prepare(db: apsw.Connection) -> None:
    """Loads sqlite-vec and shuts what a stranger's file could use: its schema is data, never trusted code."""
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    db.enable_load_extension(False)
    db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    db.set_busy_timeout(5000)
    for name, value in {"foreign_keys": "ON", "mmap_size": MMAP_BYTES, "cache_size": -CACHE_KIB}.items():
        db.pragma(name, value)


def header(path: Path) -> dict[str, str]:
    """The `meta` table of a database, after the checks of `connect`."""
    with opened(path) as db:
        return meta(db)


@contextmanager
def opened(path: Path | str, kind: str | None = None) -> Iterator[apsw.Connection]:
    """`connect`, closed at the end of the block; SQLite's own complaints become one clear line."""
    with sqlite_errors(path):
        db = connect(path, kind)
        try:
            yield db
        finally:
            db.close()


def meta(db: apsw.Connection) -> dict[str, str]:
    """The `meta` table of an open database."""
    return dict(db.execute("SELECT key, value FROM meta ORDER BY key"))


def is_database(path: Path) -> bool:
    """Whether a file carries this program's mark; says nothing about its health."""
    return path.is_file() and _mark(path) is not None


def check(path: Path, kind: str | None) -> None:
    """Reads the file's first hundred bytes and refuses what is not ours, before SQLite touches it."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; wanted a {kind or 'reference'} database")
    if not path.is_file():
        raise Error(f"{path} is not a file; wanted a {kind or 'reference'} database")
    mark = _mark(path)
    if mark is None:
        raise DamagedError(f"{path} is not a database of Token Genome; `genome pull` makes one from a source")
    version, size = mark
    newest = max(SCHEMA_VERSION.values()) if kind is None else SCHEMA_VERSION[kind]
    if version > newest:
        raise Error(f"{path} has schema version {version}, this program knows {newest}; update Token Genome")
    if path.stat().st_size < size:
        raise DamagedError(f"{path} is truncated: {path.stat().st_size} of {size} bytes; build or copy it again")


def _mark(path: Path) -> tuple[int, int] | None:
    """Schema version and size in bytes that a file's header states; None if the file is not ours."""
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        return None
    page_bytes, pages = struct.unpack_from(">H", head, 16)[0], struct.unpack_from(">I", head, 28)[0]
    version, application = struct.unpack_from(">I", head, 60)[0], struct.unpack_from(">I", head, 68)[0]
    if application != APPLICATION_ID:
        return None
    return version, (65536 if page_bytes == 1 else page_bytes) * pages


@contextmanager
def sqlite_errors(path: Path | str) -> Iterator[None]:
    """Turns SQLite's exceptions about one file into one clear line each."""
    try:
        yield
    except apsw.FullError as error:
        raise Error(f"no space left for {path}; free some, or set GENOME_HOME to a larger disk") from error
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError) as error:
        raise DamagedError(f"{path} is damaged ({error}); build or copy it again") from error
    except (apsw.ReadOnlyError, apsw.PermissionsError, apsw.CantOpenError) as error:
        raise Error(f"{path} cannot be opened or written ({error}); check the folder's permissions") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Error(f"{path} is in use by another process ({error}); wait for it, or end it") from error
    except apsw.IOError as error:
        raise Error(f"{path}: the disk refused ({error}); check its space and health") from error
    except apsw.SQLError as error:
        raise DamagedError(
            f"{path}: {error}; the file lacks what its kind holds: build or copy it again"
        ) from error
