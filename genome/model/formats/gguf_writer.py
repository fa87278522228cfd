"""The bytes of a GGUF file, spelled again from the tables of a `model` database."""

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import apsw
import zstandard

from genome.db.blocks import BLOCK_BYTES, iter_rows
from genome.errors import DamagedError
from genome.model import queries
from genome.model.formats.gguf import unpacked
from genome.model.formats.gguf_form import (
    BIG_ENDIAN,
    CODES,
    MAGIC,
    TENSOR_TYPES,
    VALUE_TYPES,
    Array,
    Order,
    aligned,
    name_bytes,
    packed,
    packed_text,
    swapped,
    tensor_dtype,
    usual_end,
)
from genome.model.formats.importer import MOST_HEAD_BYTES, most_padding_bytes
from genome.model.formats.vocabulary import MERGES, SCORES, TOKENS, TYPES
from genome.model.queries import FileRow, TensorRow

_TENSOR_NUMBERS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}


class Part(NamedTuple):
    """A file to write: its row, its tensors in their order, and where each one's data begin, in bytes."""

    file: FileRow
    tensors: list[TensorRow]
    offsets: list[int]


def parts(db: apsw.Connection) -> list[Part]:
    """The files of a model, in the order of their set."""
    places = list(zip(queries.tensors(db), queries.places(db), strict=True))
    return [
        Part(file, [t for t, (of, _) in places if of == file.id], [at for _, (of, at) in places if of == file.id])
        for file in queries.files(db)
    ]


def file_bytes(
    db: apsw.Connection,
    part: Part,
    wrote: Callable[[int], None],
    *,
    laid_anew: bool = False,
    data: Callable[[TensorRow], Iterator[bytes]] | None = None,
) -> Iterator[bytes]:
    """A file from its begin to its end, in pieces of about a block.

    Args:
        db: the model database.
        part: which file.
        wrote: told the bytes of each tensor.
        laid_anew: place the tensors one after the other, as a writer of GGUF does, not where they were: some may
            have another size now.
        data: gives a tensor's bytes; without it they are those of its blocks.

    Raises:
        DamagedError: a block is damaged or missing.
        LookupError, TypeError, ValueError, ArithmeticError, struct.error: the tables spell no GGUF file.
    """
    layout, tensors, offsets = part.file.layout, part.tensors, part.offsets
    order: Order = ">" if layout.get("byte_order") == "big" else "<"
    alignment, odd = int(layout["alignment"]), layout.get("padding", {})
    at = 0
    for piece in _joined(_metadata(db, part, order)):
        yield piece
        at += len(piece)
    at += sum(len(_description(tensor, 0, order)) for tensor in tensors)
    start = aligned(at, alignment)
    if laid_anew:
        offsets, odd = _laid(tensors, offsets, start, alignment), {}
    yield from _joined(_description(t, offset - start, order) for t, offset in zip(tensors, offsets, strict=True))

    usual = usual_end(at, zip(offsets, (t.size_bytes for t in tensors), strict=True), alignment)
    for offset, tensor in sorted(zip(offsets, tensors, strict=True)):
        if tensor.size_bytes:
            yield _padding(odd, at, offset, alignment)
            yield from data(tensor) if data else tensor_bytes(db, tensor)
            at = offset + tensor.size_bytes
            wrote(tensor.size_bytes)
    yield _padding(odd, at, odd.get("size_bytes", usual), alignment)


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces as larger ones: a vocabulary has a hundred thousand."""
    held, size_bytes = [], 0
    for piece in pieces:
        held.append(piece)
        size_bytes += len(piece)
        if size_bytes >= BLOCK_BYTES:
            yield b"".join(held)
            held, size_bytes = [], 0
    yield b"".join(held)


def _laid(tensors: list[TensorRow], offsets: list[int], start: int, alignment: int) -> list[int]:
    """New places in the order of the old ones."""
    found, at = dict.fromkeys(range(len(tensors)), start), start
    for number in sorted(found, key=offsets.__getitem__):
        found[number] = at
        at = aligned(at + tensors[number].size_bytes, alignment)
    return list(found.values())


def _metadata(db: apsw.Connection, part: Part, order: Order) -> Iterator[bytes]:
    """Header and metadata: the first file's from the tables, another's as they were."""
    if part.file.id:
        yield _head(queries.head(db, part.file.id))
        return
    fields = list(queries.fields(db))
    yield MAGIC + struct.pack(order + "IQQ", int(part.file.layout["version"]), len(part.tensors), len(fields))
    for key, kind, value in fields:
        yield packed_text(name_bytes(key), order)
        if not (inner := _element(kind)):
            yield struct.pack(order + "I", VALUE_TYPES[kind]) + _scalar(kind, value, order)
            continue
        yield struct.pack(order + "I", VALUE_TYPES["array"])
        if value is None:
            yield from _OWN_TABLES[key](db, inner, order)
        elif isinstance(value, bytes):  # little-endian; of numbers without their type and count
            yield packed(unpacked(value) if inner == "array" else Array(inner, raw=value), order)
        else:
            yield packed(_array(inner, json.loads(str(value))), order)


def _head(stored: bytes) -> bytes:
    if not 0 < zstandard.frame_content_size(stored) <= MOST_HEAD_BYTES:
        raise ValueError("metadata of a part that are too long")
    return zstandard.ZstdDecompressor().decompress(stored)


def _element(kind: str) -> str:
    """The type of an array's elements; empty for what is no array."""
    return kind[6:-1] if kind.startswith("array[") else ""


def _scalar(kind: str, value: object, order: Order) -> bytes:
    if kind == "string":
        return packed_text(_raw(value), order)
    code = CODES[kind]
    if not isinstance(value, bytes):
        return struct.pack(order + code, value)
    if len(value) != struct.calcsize("<" + code):
        raise ValueError(f"{len(value)} bytes for one {kind}")
    return swapped(value, code, order)


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


def _tokens(db: apsw.Connection, kind: str, order: Order) -> Iterator[bytes]:
    yield struct.pack(order + "IQ", VALUE_TYPES[kind], queries.row_count(db, "token"))
    for piece in queries.pieces(db):
        yield packed_text(_raw(piece), order)


def _merges(db: apsw.Connection, kind: str, order: Order) -> Iterator[bytes]:
    yield struct.pack(order + "IQ", VALUE_TYPES[kind], queries.row_count(db, "merge"))
    for left, has_right, right in queries.merge_parts(db):
        yield packed_text(_raw(left) + b" " + _raw(right) if has_right else _raw(left), order)


def _column(name: Literal["type", "score"]) -> Callable[[apsw.Connection, str, Order], Iterator[bytes]]:
    def column(db: apsw.Connection, kind: str, order: Order) -> Iterator[bytes]:
        yield struct.pack(order + "IQ", VALUE_TYPES[kind], queries.row_count(db, "token"))
        number = struct.Struct(order + CODES[kind])
        for value in queries.token_column(db, name):
            yield number.pack(value)

    return column


_OWN_TABLES = {TOKENS: _tokens, MERGES: _merges, TYPES: _column("type"), SCORES: _column("score")}


def _description(tensor: TensorRow, offset: int, order: Order) -> bytes:
    name = tensor.dtype.removesuffix(BIG_ENDIAN) if order == ">" else tensor.dtype
    if tensor_dtype(name, order) != tensor.dtype:
        raise ValueError(f"numbers of type {tensor.dtype} in a file of the other byte order")
    shape = tuple(reversed(tensor.shape))
    place = struct.pack(f"{order}I{len(shape)}QIQ", len(shape), *shape, _TENSOR_NUMBERS[name], offset)
    return packed_text(name_bytes(tensor.name), order) + place


def tensor_bytes(db: apsw.Connection, tensor: TensorRow) -> Iterator[bytes]:
    """A tensor's bytes as they are stored, block by block.

    Raises:
        DamagedError: a block is damaged or missing: the tensor is named.
    """
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


def _padding(odd: dict, begin: int, end: int, alignment: int) -> bytes:
    """What stands between two parts of the file: zeros where nothing else is stored."""
    if not 0 <= end - begin <= most_padding_bytes(alignment):
        raise ValueError(f"{end - begin} bytes of padding at byte {begin}")
    stored = odd.get("bytes", {}).get(str(begin))
    return bytes(end - begin) if stored is None else bytes.fromhex(stored)
