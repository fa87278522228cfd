"""A `model` database goes out as the GGUF file that it came from, byte for byte."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import apsw

from genome.db.blocks import iter_rows
from genome.db.connect import meta, opened
from genome.db.replace import replacing
from genome.errors import DamagedError
from genome.model import queries
from genome.model.gguf_form import (
    CODES,
    MAGIC,
    TENSOR_TYPES,
    VALUE_TYPES,
    Array,
    aligned,
    packed,
    packed_text,
    usual_end,
)
from genome.model.importer import most_padding_bytes
from genome.model.queries import TensorRow
from genome.model.vocabulary import MERGES, SCORES, TOKENS, TYPES
from genome.progress import Progress, silent

_TENSOR_NUMBERS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}
_NO_FILE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, struct.error)
"""What Python says about cells that spell no GGUF file; UnicodeError and JSON's errors are of ValueError."""


def export_gguf(database: Path, gguf: Path, *, force: bool = False, progress: Progress = silent) -> str:
    """Writes the GGUF file that a model database came from; nothing appears unless its SHA-256 is the source's.

    It grows in a hidden file beside `gguf`, block by block, and takes its name when all is on the disk. What a
    killed export left is removed by the next one of the same name.

    Args:
        database: of the kind `model`.
        gguf: the file to write.
        force: replace a file of that name.
        progress: told about bytes of tensors.

    Returns:
        The SHA-256, in hexadecimal.

    Raises:
        NotFoundError: no such database, or no such folder to write into.
        DamagedError: the database does not hold the source's bytes any more.
        Error: the database is of another kind, a file has that name, or the disk is full or refuses.
    """
    with opened(database, "model") as db:
        db.pragma("mmap_size", 0)  # mapped pages would count as this process's memory, up to the whole model
        wanted = meta(db).get("source_sha256", "")
        with replacing(gguf, force, source=database) as file:
            sha = hashlib.sha256()
            with _told(database):
                for part in _parts(db, progress, f"{database.stem}: export"):
                    file.write(part)
                    sha.update(part)
            if sha.hexdigest() != wanted:
                raise DamagedError(
                    f"{database} is damaged: it gives a file of SHA-256 {sha.hexdigest()[:16]}…, its source had "
                    f"{wanted[:16]}…; nothing is written: `genome pull` builds it again"
                )
    return wanted


@contextmanager
def _told(database: Path) -> Iterator[None]:
    try:
        yield
    except _NO_FILE as error:
        line = " ".join(str(error).split())
        raise DamagedError(
            f"{database} is damaged: it does not spell a GGUF file ({line:.100}); `genome pull` builds it again"
        ) from error


def _parts(db: apsw.Connection, progress: Progress, stage: str) -> Iterator[bytes]:
    """The file from its begin to its end."""
    layout, tensors, offsets = queries.files(db)[0].layout, queries.tensors(db), queries.offsets(db)
    fields = list(queries.fields(db))
    at = 0
    for part in _metadata(db, int(layout["version"]), fields, len(tensors)):
        yield part
        at += len(part)
    alignment = int(layout["alignment"])
    at += sum(len(_description(tensor, 0)) for tensor in tensors)
    for tensor, offset in zip(tensors, offsets, strict=True):
        yield _description(tensor, offset - aligned(at, alignment))

    odd = layout.get("padding", {})
    usual = usual_end(at, zip(offsets, (t.size_bytes for t in tensors), strict=True), alignment)
    done, total = 0, sum(t.size_bytes for t in tensors)
    for offset, tensor in sorted(zip(offsets, tensors, strict=True)):
        if not tensor.size_bytes:
            continue
        yield _padding(odd, at, offset)
        yield from _data(db, tensor)
        at, done = offset + tensor.size_bytes, done + tensor.size_bytes
        progress(stage, done, total)
    yield _padding(odd, at, odd.get("size_bytes", usual))


def _metadata(db: apsw.Connection, version: int, fields: list[tuple], tensor_count: int) -> Iterator[bytes]:
    yield MAGIC + struct.pack("<IQQ", version, tensor_count, len(fields))
    for key, kind, value in fields:
        yield packed_text(key.encode())
        if not (inner := _element(kind)):
            yield struct.pack("<I", VALUE_TYPES[kind]) + _scalar(kind, value)
            continue
        yield struct.pack("<I", VALUE_TYPES["array"])
        if value is None:
            yield from _OWN_TABLES[key](db, inner)
        elif isinstance(value, bytes):  # as the file spelled it; of numbers without their type and count
            yield value if inner == "array" else packed(Array(inner, raw=value))
        else:
            yield packed(_array(inner, json.loads(value)))


def _element(kind: str) -> str:
    """The type of an array's elements; empty for what is no array."""
    return kind[6:-1] if kind.startswith("array[") else ""


def _scalar(kind: str, value: int | float | str | bytes) -> bytes:
    if kind == "string":
        return packed_text(_raw(value))
    return value if isinstance(value, bytes) else struct.pack("<" + CODES[kind], value)


def _array(kind: str, items: list) -> Array:
    if kind == "string":
        return Array(kind, items=tuple(item.encode("utf-8", "surrogateescape") for item in items))
    if kind == "array":
        return Array(kind, items=tuple(_array(item["type"], item["items"]) for item in items))
    return Array(kind, raw=struct.pack(f"<{len(items)}{CODES[kind]}", *items))


def _raw(piece: object) -> bytes:
    if isinstance(piece, str):
        return piece.encode()
    if isinstance(piece, bytes):
        return piece
    raise TypeError(f"wanted text or bytes, got {piece!r}")


def _tokens(db: apsw.Connection, kind: str) -> Iterator[bytes]:
    yield struct.pack("<IQ", VALUE_TYPES[kind], queries.row_count(db, "token"))
    for piece in queries.pieces(db):
        yield packed_text(_raw(piece))


def _merges(db: apsw.Connection, kind: str) -> Iterator[bytes]:
    yield struct.pack("<IQ", VALUE_TYPES[kind], queries.row_count(db, "merge"))
    for left, has_right, right in queries.merge_parts(db):
        yield packed_text(_raw(left) + b" " + _raw(right) if has_right else _raw(left))


def _column(name: Literal["type", "score"]) -> Callable[[apsw.Connection, str], Iterator[bytes]]:
    def column(db: apsw.Connection, kind: str) -> Iterator[bytes]:
        yield struct.pack("<IQ", VALUE_TYPES[kind], queries.row_count(db, "token"))
        number = struct.Struct("<" + CODES[kind])
        for value in queries.token_column(db, name):
            yield number.pack(value)

    return column


_OWN_TABLES = {TOKENS: _tokens, MERGES: _merges, TYPES: _column("type"), SCORES: _column("score")}


def _description(tensor: TensorRow, offset: int) -> bytes:
    shape = tuple(reversed(tensor.shape))
    place = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _TENSOR_NUMBERS[tensor.dtype], offset)
    return packed_text(tensor.name.encode()) + place


def _data(db: apsw.Connection, tensor: TensorRow) -> Iterator[bytes]:
    told = 0
    try:
        for _, _, data in iter_rows(db, tensor.id):
            yield data
            told += len(data)
    except DamagedError as error:
        raise DamagedError(f"tensor {tensor.name}: {error}") from error
    if told != tensor.size_bytes:
        raise DamagedError(
            f"{db.filename}: tensor {tensor.name} has {told} of {tensor.size_bytes} bytes; "
            "`genome verify` tells how to mend it"
        )


def _padding(odd: dict, begin: int, end: int) -> bytes:
    """What stands between two parts of the file: zeros where nothing else is stored."""
    if not 0 <= end - begin <= most_padding_bytes(32):
        raise ValueError(f"{end - begin} bytes of padding at byte {begin}")
    stored = odd.get("bytes", {}).get(str(begin))
    return bytes(end - begin) if stored is None else bytes.fromhex(stored)
