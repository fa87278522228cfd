"""The one door to a database file."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePath
from threading import RLock
from typing import Any, Self

import apsw

from genome.db.kinds import APPLICATION_ID, KINDS, SCHEMA_VERSION
from genome.db.layout import lacking
from genome.errors import DamagedError, Error, NotFoundError

MMAP_BYTES = 1 << 40
CACHE_KIB = 4096


def connect(path: Path | str, kind: str | None = None) -> apsw.Connection:
    """Opens a reference database read-only, with sqlite-vec loaded; nothing in the file is run.

    The file is taken as finished: no lock is held, and replacing it by a new build leaves this connection
    with the old content. Several threads may use the connection: they take turns, row by row.

    Args:
        path: the database file.
        kind: refuse any other kind.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a database of this program, truncated, half-changed, or without its tables.
        Error: of another kind or of another schema version, or not readable.
    """
    path = Path(path)
    with sqlite_errors(path):
        check(path, kind)
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        db = _Connection(_uri(path.resolve()) + "?immutable=1", flags)
        try:
            prepare(db)
            _check_kind(db, path, kind)
        except BaseException:
            db.close(True)
            raise
    return db


def _uri(path: PurePath) -> str:
    """A file's address; SQLite takes no host in it, as Python writes the folders that Windows shares."""
    uri = path.as_uri()
    return uri if uri.startswith("file:///") else "file://" + uri.removeprefix("file:")


class _Connection(apsw.Connection):
    """A connection for several threads, where apsw would refuse the second one that comes at the same time."""

    def __init__(self, filename: str, flags: int) -> None:
        super().__init__(filename, flags=flags)
        self.turn = RLock()
        self.cursor_factory = _Cursor

    def execute(self, *arguments: Any, **options: Any) -> apsw.Cursor:
        try:
            return super().execute(*arguments, **options)
        except apsw.ConnectionClosedError as error:
            raise Error(_CLOSED) from error

    def close(self, force: bool = False) -> None:
        with self.turn:
            super().close(force)


class _Cursor(apsw.Cursor):
    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        assert isinstance(connection, _Connection)
        self._turn = connection.turn

    def execute(self, *arguments: Any, **options: Any) -> Self:
        with self._turn:
            super().execute(*arguments, **options)
            return self

    def __next__(self) -> Any:
        with self._turn:
            try:
                return super().__next__()
            except apsw.CursorClosedError as error:
                raise Error(_CLOSED) from error

    def __del__(self) -> None:
        with self._turn:  # ends a statement that was left before its last row
            self.close(True)


_CLOSED = "this database is closed; open its envelope again"


@contextmanager
def opened(path: Path | str, kind: str | None = None) -> Iterator[apsw.Connection]:
    """`connect`, closed at the end of the block; SQLite's own complaints become one clear line."""
    with sqlite_errors(path):
        db = connect(path, kind)
        try:
            yield db
        finally:
            db.close(True)


def header(path: Path | str) -> dict[str, str]:
    """The `meta` table of a database, after the checks of `connect`."""
    with opened(path) as db:
        return meta(db)


def meta(db: apsw.Connection) -> dict[str, str]:
    """The `meta` table of an open database."""
    return dict(db.execute("SELECT key, value FROM meta ORDER BY key"))


def is_database(path: Path) -> bool:
    """Whether a file carries this program's mark; says nothing about its health."""
    try:
        return path.is_file() and _mark(path) is not None
    except OSError:
        return False


def prepare(db: apsw.Connection) -> None:
    """Loads sqlite-vec and shuts what a stranger's file could use: its schema is data, never trusted code."""
    db.enable_load_extension(True)
    db.load_extension(_sqlite_vec())
    db.enable_load_extension(False)
    db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    for name, value in {"foreign_keys": "ON", "mmap_size": MMAP_BYTES, "cache_size": -CACHE_KIB}.items():
        db.pragma(name, value)


def check(path: Path, kind: str | None) -> None:
    """Reads the file's first hundred bytes and refuses what is not ours, before SQLite touches it."""
    wanted = f"{kind or 'reference'} database"
    if kind is not None and kind not in KINDS:
        raise Error(f"there is no kind {kind!r} of database; wanted one of {', '.join(KINDS)}")
    try:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist; wanted a {wanted}")
        if not path.is_file():
            raise Error(f"{path} is not a file; wanted a {wanted}")
        mark = _mark(path)
        if mark is None:
            raise DamagedError(f"{path} is not a database of Token Genome; `genome pull` makes one from a source")
        for beside in (path.with_name(path.name + end) for end in ("-journal", "-wal")):
            if beside.exists() and beside.stat().st_size:
                raise DamagedError(
                    f"{path} has an unfinished change beside it ({beside.name}), made by another program; "
                    "build it again, or copy it again without changing it"
                )
        version, size = mark
        found = path.stat().st_size
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); wanted a {wanted}") from error
    if version > max(SCHEMA_VERSION.values()):
        raise Error(f"{path} has schema version {version}, newer than this program; update Token Genome")
    if found < size:
        raise DamagedError(f"{path} is truncated: {found} of {size} bytes; build or copy it again")


@contextmanager
def sqlite_errors(path: Path | str) -> Iterator[None]:
    """Turns what SQLite says about one file into one clear line; misuse by this program passes through."""
    try:
        yield
    except apsw.FullError as error:
        raise Error(f"no space left for {path}; free some, or set GENOME_HOME to a larger disk") from error
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path} is damaged ({_line(error)}); build or copy it again") from error
    except (apsw.ReadOnlyError, apsw.PermissionsError, apsw.CantOpenError) as error:
        raise Error(
            f"{path} cannot be opened or written ({_line(error)}); check the folder's permissions"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Error(f"{path} is in use by another process ({_line(error)}); wait for it, or end it") from error
    except apsw.IOError as error:
        raise Error(f"{path}: the disk refused ({_line(error)}); check its space and health") from error
    except (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError) as error:
        raise Error(
            f"{path}: the source does not fit a database ({_line(error)}); check it, or fetch it again"
        ) from error
    except apsw.ExtensionLoadingError as error:
        raise Error(
            f"sqlite-vec does not load ({_line(error)}); `pip install --force-reinstall sqlite-vec`"
        ) from error
    except apsw.NoMemError as error:
        raise Error(f"{path}: no memory left; close other programs, or use a smaller database") from error
    except apsw.SQLError as error:
        raise DamagedError(f"{path}: SQLite refused ({_line(error)}); build or copy it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _sqlite_vec() -> str:
    """The library beside the package, whose import would bring NumPy (0.15 s) for one path."""
    spec = find_spec("sqlite_vec")
    if spec is None or spec.origin is None:
        raise Error("the package sqlite-vec is missing; `pip install sqlite-vec`")
    return os.path.join(os.path.dirname(spec.origin), "vec0")


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


def _check_kind(db: apsw.Connection, path: Path, wanted: str | None) -> None:
    found = meta(db).get("kind")
    if found is None:
        raise DamagedError(f"{path} does not say which kind of database it is; build or copy it again")
    if wanted is not None and found != wanted:
        raise Error(f"{path} is a {found} database; wanted a {wanted} database")
    if found not in KINDS:
        raise Error(
            f"{path} is a {found!r:.40} database; this program knows {', '.join(KINDS)}: update Token Genome"
        )
    version = db.pragma("user_version")
    if version != SCHEMA_VERSION[found]:
        repair = "update Token Genome" if version > SCHEMA_VERSION[found] else "`genome pull` builds it again"
        raise Error(f"{path} has schema version {version}, wanted {SCHEMA_VERSION[found]}; {repair}")
    if lacks := lacking(db, found):
        raise DamagedError(f"{path} lacks the {lacks[0]} of a {found} database; build or copy it again")
