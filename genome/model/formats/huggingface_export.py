"""A `model` database that came from safetensors goes out as its files, byte for byte."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import apsw
import zstandard

from genome.db.connect import opened, snapshot
from genome.db.replace import replacing, replacing_folder
from genome.errors import DamagedError, Error, quoted
from genome.model import queries
from genome.model.formats.exported import Exported
from genome.model.formats.exporter import spelling
from genome.model.formats.gguf_writer import tensor_bytes
from genome.model.formats.jsonfile import parsed
from genome.model.formats.safetensors import BITS, LENGTH_BYTES, METADATA, header
from genome.model.queries import FileRow, TensorRow
from genome.progress import Progress, silent

_CHUNK_BYTES = 1 << 20
_MOST_WINDOW_BYTES = 1 << 27


def export_safetensors(
    database: Path, target: Path, *, force: bool = False, progress: Progress = silent
) -> Exported:
    """Writes the files that a model database came from; nothing appears unless each has its source's SHA-256.

    Args:
        database: of the kind `model`, made from safetensors.
        target: the file to write, or the folder where the model came from several files.
        force: replace what has that name.
        progress: told about bytes of tensors.

    Returns:
        The files; `changed` where deltas were applied to the model, which changes their SHA-256.

    Raises:
        NotFoundError: no such database, or no such folder to write into.
        DamagedError: the database does not hold the source's bytes any more.
        Error: the database came from another format, the name is taken, or the disk is full or refuses.
    """
    with opened(database, "model") as db, snapshot(db):
        files = queries.files(db)
        writer = _Writer(database, db, progress, sum(t.size_bytes for t in queries.tensors(db)))
        if len(files) == 1:
            with replacing(target, force, source=database) as out:
                sha256 = writer.write(files[0], out)
            return Exported(((target, sha256),), writer.changed)
        with replacing_folder(target, force) as folder:
            hashes = []
            for file in files:
                if Path(file.name).name != file.name:
                    raise DamagedError(f"{database} is damaged: it names the file {quoted(file.name)}")
                with (folder / file.name).open("xb") as out:
                    hashes.append(writer.write(file, out))
        written = zip((target / file.name for file in files), hashes, strict=True)
        return Exported(tuple(written), writer.changed)


class _Writer:
    """Writes a database's files one by one, and tells how far it is."""

    def __init__(self, database: Path, db: apsw.Connection, progress: Progress, total: int) -> None:
        self.database, self.db, self.progress, self.total, self.done = database, db, progress, total, 0
        self.changed = queries.is_changed(db)

    def write(self, file: FileRow, out: BinaryIO) -> str:
        """Writes a file and gives its SHA-256, after comparing it with the source's."""
        if file.format not in ("safetensors", "plain"):
            raise Error(f"{self.database} came from a {file.format} file; wanted a model from safetensors")
        sha = hashlib.sha256()
        for part in self._parts(file):
            out.write(part)
            sha.update(part)
        same = sha.hexdigest() == file.sha256
        if not same and (file.format == "plain" or not self.changed):
            raise DamagedError(
                f"{self.database} is damaged: {file.name} would have SHA-256 {sha.hexdigest()[:16]}…, its "
                f"source had {file.sha256[:16]}…; nothing is written: `genome pull` builds it again"
            )
        return sha.hexdigest()

    def _parts(self, file: FileRow) -> Iterator[bytes]:
        tensors = queries.tensors_of_file(self.db, file.id)
        yield from self._head(file, tensors) if tensors and self.changed else head(self.db, file)
        for tensor in tensors:
            for data in tensor_bytes(self.db, tensor):
                yield data
                self.done += len(data)
            self.progress(f"{self.database.stem}: export", self.done, self.total)

    def _head(self, file: FileRow, tensors: Sequence[TensorRow]) -> Iterator[bytes]:
        """The source's header; another one where deltas gave tensors other types."""
        raw = b"".join(head(self.db, file))
        with spelling(self.database, "a safetensors file"):
            told = parsed(raw[LENGTH_BYTES:], f"{self.database}: the head of {file.name}")
            if all(told[tensor.name]["dtype"] == tensor.dtype for tensor in tensors):
                yield raw
                return
            if odd := next((tensor for tensor in tensors if tensor.dtype not in BITS), None):
                raise Error(
                    f"{self.database}: tensor {quoted(odd.name)} is {odd.dtype} now, for which safetensors has no "
                    "type; undo the delta that made it so"
                )
            yield header([(t.name, t.dtype, t.shape) for t in tensors], told.get(METADATA, {}))


def head(db: apsw.Connection, file: FileRow) -> Iterator[bytes]:
    """The bytes of a file before its tensors', of a plain file all.

    Raises:
        DamagedError: they are not there, or more than the file has.
    """
    packed = queries.head(db, file.id)
    try:
        with zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES).stream_reader(packed) as stream:
            left = file.size_bytes
            while part := stream.read(_CHUNK_BYTES):
                if len(part) > left:
                    break
                left -= len(part)
                yield part
            else:
                return
    except zstandard.ZstdError as error:
        raise DamagedError(f"{db.filename} is damaged: the head of {file.name} ({error})") from error
    raise DamagedError(f"{db.filename} is damaged: {file.name} has more than its {file.size_bytes} bytes")
