"""What a database's file says before SQLite reads it: whether it is ours and whole, and what lies beside it."""

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

import apsw

from genome.db.kinds import APPLICATION_ID, SCHEMA_VERSION
from genome.db.pages import parameters
from genome.errors import DamagedError, Error, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 100
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""https://www.sqlite.org/fileformat.html#the_rollback_journal; also the end of a journal that names another."""
_NAMING_BYTES = 16
"""Of the shortest journal in which SQLite looks for a name."""
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/:")
"""What stands for itself in an address."""


class DatabaseFile(NamedTuple):
    """A regular file under a name, at one moment.

    Attributes:
        path: as it was asked for.
        real: without symbolic links: SQLite's journals lie beside this name.
        identity: device and number; another file that takes the name has another one, as long as this one is open.
        frozen: nobody can write it: it has no write permission at all, or its disk is mounted for reading only.
    """

    path: str
    real: str
    identity: tuple[int, int]
    frozen: bool

    @classmethod
    def find(cls, path: "Path | str", wanted: str) -> "DatabaseFile":
        """Looks at a name.

        Raises:
            NotFoundError: nothing has that name.
            Error: a folder, a device, or a name that cannot be looked at.
        """
        path = os.fspath(path)
        try:
            found = os.stat(path)
            real = os.path.realpath(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"{path} does not exist; wanted a {wanted}") from error
        except OSError as error:
            raise Error(f"{path} cannot be read ({error.strerror}); wanted a {wanted}") from error
        if not stat.S_ISREG(found.st_mode):
            raise Error(f"{path} is not a file; wanted a {wanted}")
        return cls(path, real, (found.st_dev, found.st_ino), not found.st_mode & 0o222 or _mounted_read_only(real))

    @property
    def journal(self) -> str:
        """Where SQLite keeps what takes back an unfinished change."""
        return self.real + "-journal"

    def moved(self) -> bool:
        """Whether the name is now another file's, or nobody's."""
        try:
            now = os.stat(self.path)
        except OSError:
            return True
        return (now.st_dev, now.st_ino) != self.identity

    def address(self, *, write: bool = False, checked: bool = True) -> str:
        """The URI under which SQLite opens it; a frozen file needs no locks."""
        how = "immutable=1" if self.frozen else "mode=rw" if write else "mode=ro"
        path = self.real.replace(os.sep, "/")
        return f"{uri(path)}?{how}&{parameters(checked=checked)}"

    def check_beside(self) -> None:
        """Refuses what lies beside the file and would change what it says.

        Raises:
            DamagedError: a write-ahead log, a journal of several files, or one beside a file that nobody may write.
        """
        if os.path.exists(self.real + "-wal"):
            raise DamagedError(
                f"{self.path} has a write-ahead log beside it ({os.path.basename(self.real)}-wal), made by another "
                "program; end that program, or build or copy the database again"
            )
        name, size = os.path.basename(self.journal), _size(self.journal)
        if size and self.frozen:
            raise DamagedError(
                f"{self.path} has an unfinished change beside it ({name}), which cannot be taken back in a "
                "read-only file; make it writable once, or copy it again"
            )
        if size and _names_another(self.journal):
            raise DamagedError(
                f"{self.path} has an unfinished change beside it ({name}) that belongs to several files, made by "
                "another program; build it again, or copy it again"
            )


class Mark(NamedTuple):
    """What the first hundred bytes state (https://www.sqlite.org/fileformat.html#the_database_header)."""

    version: int
    size_bytes: int
    write_ahead: bool

    @classmethod
    def read(cls, db: apsw.Connection) -> "Mark | None":
        """The mark of an open file; None if it is not a database of this program.

        SQLite's own descriptor reads it: closing another one would end all locks that this process holds on the
        file (POSIX, https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread).
        """
        _, head = db.read("main", 0, 0, HEAD_BYTES)
        if not head.startswith(b"SQLite format 3\0"):
            return None
        page_bytes, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        version, application = int.from_bytes(head[60:64], "big"), int.from_bytes(head[68:72], "big")
        if application != APPLICATION_ID:
            return None
        return cls(version, (65536 if page_bytes == 1 else page_bytes) * pages, 2 in (head[18], head[19]))

    def check(self, path: "Path | str") -> None:
        """Refuses a newer schema, and a file that another program has set to write ahead."""
        if self.version > max(SCHEMA_VERSION.values()):
            raise Error(f"{path} has schema version {self.version}, newer than this program; update Token Genome")
        if self.write_ahead:
            raise DamagedError(
                f"{path} was set to write-ahead logging by another program; let that program run "
                "`PRAGMA journal_mode = DELETE` on it, or build or copy it again"
            )


def uri(path: str) -> str:
    """The address of a file whose path is absolute and has forward slashes; SQLite takes no host in it.

    `Path.as_uri` would do but for the folders that Windows shares; and importing it takes 5 ms of a start.
    """
    told = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(path))
    return ("file://" if told.startswith("/") else "file:///") + told


def _mounted_read_only(path: str) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _names_another(journal: str) -> bool:
    """Whether a journal ends in the name of a super-journal: rolling it back could remove the file of that name."""
    try:
        with open(journal, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < _NAMING_BYTES:  # a writer that is just beginning: a journal's first bytes are the same magic
                return False
            file.seek(size - len(_JOURNAL_MAGIC))
            return file.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC
    except OSError:
        return False
