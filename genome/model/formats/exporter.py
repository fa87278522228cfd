"""A `model` database goes out as the GGUF files that it came from, byte for byte."""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import apsw
import zstandard

from genome.db.connect import meta, opened, snapshot
from genome.db.replace import replacing, replacing_folder
from genome.errors import DamagedError, Error, quoted
from genome.model import queries
from genome.model.formats.exported import Exported
from genome.model.formats.gguf_writer import Part, file_bytes, parts
from genome.model.formats.importer import set_sha256
from genome.progress import Progress, silent

_NO_FILE = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, struct.error,
    zstandard.ZstdError,
)  # fmt: skip
"""What Python says about cells that spell no GGUF file; UnicodeError and JSON's errors are of ValueError."""


def export_gguf(database: Path, target: Path, *, force: bool = False, progress: Progress = silent) -> Exported:
    """Writes the GGUF files that a model database came from; nothing appears unless each SHA-256 is the source's.

    They grow in a hidden place beside `target`, block by block, and take their name when all is on the disk. What
    a killed export left is removed by the next one of the same name. A model that deltas were applied to goes out
    as it is now: the same files with other weights.

    Args:
        database: of the kind `model`.
        target: the file to write; of a split model the folder, in which the parts get the names that they had.
        force: replace a file of that name, or a folder that holds nothing but files of these names.
        progress: told about bytes of tensors.

    Raises:
        NotFoundError: no such database, or no such folder to write into.
        DamagedError: the database does not hold the source's bytes any more.
        Error: the database is of another kind or came from another format, something has that name, or the disk
            is full or refuses.
    """
    with opened(database, "model") as db, snapshot(db):
        with spelling(database):
            files = parts(db)
        _check(database, files)
        writer = _Writer(database, db, files, progress)
        if len(files) == 1:
            with replacing(target, force, source=database) as out:
                paths = [target]
                writer.write(files[0], out)
                writer.check()
        else:
            with replacing_folder(target, force) as folder:
                paths = [target / part.file.name for part in files]
                for part in files:
                    with (folder / part.file.name).open("xb") as out:
                        writer.write(part, out)
                writer.check()
    return Exported(tuple(zip(paths, writer.digests, strict=True)), writer.changed)


class _Writer:
    """Writes one file after another and keeps their SHA-256."""

    def __init__(self, database: Path, db: apsw.Connection, files: list[Part], progress: Progress) -> None:
        self._database, self._db, self._files, self._progress = database, db, files, progress
        self._total_bytes = sum(t.size_bytes for part in files for t in part.tensors)
        self._done_bytes = 0
        self.changed = queries.is_changed(db)
        self.digests: list[str] = []

    def write(self, part: Part, out: BinaryIO) -> None:
        """Writes a file; unless deltas changed the model, its SHA-256 is the source's or an error is raised."""
        sha = hashlib.sha256()
        with spelling(self._database):
            for piece in file_bytes(self._db, part, self._wrote, laid_anew=self.changed):
                out.write(piece)
                sha.update(piece)
        self.digests.append(sha.hexdigest())
        self._compare(part.file.name, self.digests[-1], part.file.sha256)

    def check(self) -> None:
        """Compares the set with the model's source."""
        names = (part.file.name for part in self._files)
        found = set_sha256(zip(names, self.digests, strict=True))
        self._compare("its files", found, meta(self._db).get("source_sha256", ""))

    def _compare(self, what: str, found: str, wanted: str) -> None:
        if found != wanted and not self.changed:
            raise DamagedError(
                f"{self._database} is damaged: it gives {quoted(what)} the SHA-256 {found[:16]}…, its source had "
                f"{wanted[:16]}…; nothing is written: `genome pull` builds it again"
            )

    def _wrote(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        self._progress(f"{self._database.stem}: export", self._done_bytes, self._total_bytes)


def _check(database: Path, files: list[Part]) -> None:
    """Refuses models of other formats, and names by which parts would leave their folder."""
    if not files:
        raise DamagedError(f"{database} is damaged: it names no file; `genome pull` builds it again")
    if other := [part.file.format for part in files if part.file.format != "gguf"]:
        raise Error(f"{database} came from {quoted(other[0])} files; wanted a model that came from GGUF")
    if len(files) > 1 and (bad := [p.file.name for p in files if not _is_name(p.file.name)]):
        raise DamagedError(f"{database} is damaged: {quoted(bad[0])} names no file; `genome pull` builds it again")


def _is_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", "..") and "\0" not in name


@contextmanager
def spelling(database: Path, what: str = "a GGUF file") -> Iterator[None]:
    """Says in one line that a database's cells spell no file, whatever Python says about them."""
    try:
        yield
    except _NO_FILE as error:
        line = " ".join(str(error).split())
        raise DamagedError(
            f"{database} is damaged: it does not spell {what} ({line:.100}); `genome pull` builds it again"
        ) from error
