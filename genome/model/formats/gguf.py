"""Reads a GGUF file: metadata, tensor descriptions, and tensor bytes through a memory map.

Versions 2 and 3, little and big endian. Every count and offset is compared with the size of the file before it is
used, so that a truncated or hostile file costs one line and no memory.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from genome.errors import DamagedError, Error, NotFoundError, quoted
from genome.model.formats.gguf_form import (
    ARRAY,
    DEFAULT_ALIGNMENT,
    MAGIC,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    Array,
    Field,
    Order,
    TensorInfo,
    aligned,
    shown_name,
    swapped,
    tensor_dtype,
)
from genome.model.formats.mapped import open_map, viewed

_DEEPEST_ARRAY = 16
_MOST_DIMENSIONS = 8
_MOST = 1 << 63


@dataclass(frozen=True)
class GGUF:
    """A GGUF file; fields and tensors in the file's order. Its bytes can be read while the file is open.

    `order` is `<` or `>`. The head is header, metadata and tensor descriptions; the last begin at `fields_end`.
    """

    path: Path
    version: int
    order: Order
    alignment: int
    fields: dict[str, Field]
    tensors: tuple[TensorInfo, ...]
    fields_end: int
    head_bytes: int
    size_bytes: int
    _map: mmap.mmap

    def data(self, tensor: TensorInfo) -> AbstractContextManager[memoryview]:
        """A tensor's bytes, mapped; their memory goes back to the system at the end of the block."""
        return viewed(self._map, tensor.offset, tensor.size_bytes)

    def padding(self) -> Iterator[tuple[int, int]]:
        """Begin and end of what belongs to nothing: between head, tensors, and the file's end; empty ones too."""
        at = self.head_bytes
        for begin, end in sorted((t.offset, t.offset + t.size_bytes) for t in self.tensors if t.size_bytes):
            yield at, begin
            at = end
        yield at, self.size_bytes

    def part(self, begin: int, end: int) -> bytes:
        """The file's bytes from `begin` up to `end`."""
        return self._map[begin:end]

    def text(self, key: str, default: str = "") -> str:
        """A string of the metadata, or the default where it is missing or no string."""
        field = self.fields.get(key)
        return field.value.decode("utf-8", "replace") if field and isinstance(field.value, bytes) else default

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of the metadata, or the default where it is missing or no whole number."""
        field = self.fields.get(key)
        return field.value if field and isinstance(field.value, int) else default


@contextmanager
def reading(path: Path) -> Iterator[GGUF]:
    """Opens a GGUF file; reads metadata and tensor descriptions, no tensor data.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a GGUF file, truncated, or with counts that cannot be.
        Error: it cannot be read, or has a version or tensor type that this program does not know.
    """
    with open_map(_mapped(path)) as mapped:
        yield _parse(path, mapped)


def unpacked(raw: bytes) -> Array:
    """The array that `packed` spelled in little-endian order.

    Raises:
        DamagedError: the bytes spell none.
    """
    return _Cursor("a stored array", raw).array("it", 1)


def _mapped(path: Path) -> mmap.mmap:
    try:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist; wanted a GGUF file")
        if not path.is_file():
            raise Error(f"{path} is not a file; wanted a GGUF file")
        with path.open("rb") as file:
            head = file.read(8)
            if head[:4] != MAGIC:
                raise DamagedError(
                    f"{path} is not a GGUF file: wanted it to begin with {MAGIC!r}, got {head[:4]!r}"
                )
            if len(head) < 8:
                raise DamagedError(f"{path} is truncated: wanted a GGUF header of 24 bytes, got {len(head)} bytes")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); wanted a GGUF file") from error


def _parse(path: Path, mapped: mmap.mmap) -> GGUF:
    cursor = _Cursor(path, mapped)
    cursor.at = len(MAGIC)
    version = cursor.scalar("I")
    if version & 0xFFFF == 0:  # the number's small bytes stand at its end
        cursor.order, cursor.at = ">", len(MAGIC)
        version = cursor.scalar("I")
    if version not in (2, 3):
        raise Error(f"{path} has GGUF version {version}; this program reads versions 2 and 3: convert it again")
    tensor_count, field_count = cursor.scalar("Q"), cursor.scalar("Q")
    cursor.expect(field_count, 13, "metadata fields")
    fields: dict[str, Field] = {}
    for _ in range(field_count):
        field = cursor.field()
        if field.key in fields:
            raise DamagedError(f"{path} has the metadata key {quoted(field.key)} twice; wanted each key once")
        fields[field.key] = field
    fields_end = cursor.at
    cursor.expect(tensor_count, 24, "tensors")
    described = [cursor.tensor() for _ in range(tensor_count)]
    alignment = _alignment(path, fields)
    tensors = _placed(path, described, aligned(cursor.at, alignment), len(mapped))
    size = len(mapped)
    return GGUF(path, version, cursor.order, alignment, fields, tensors, fields_end, cursor.at, size, mapped)


def _alignment(path: Path, fields: dict[str, Field]) -> int:
    field = fields.get("general.alignment")
    value = field.value if field else DEFAULT_ALIGNMENT
    if not isinstance(value, int) or value <= 0:
        raise DamagedError(f"{path}: general.alignment is {value!r:.60}; wanted a number of bytes, 1 or more")
    return value


def _placed(path: Path, described: list[TensorInfo], start: int, size: int) -> tuple[TensorInfo, ...]:
    """Offsets from the file's begin, after checks that names differ and that all data are there, each once."""
    seen: set[str] = set()
    beyond = start
    for info in sorted(described, key=lambda t: (t.offset, t.size_bytes)):
        if info.name in seen:
            raise DamagedError(f"{path} has the tensor {quoted(info.name)} twice; wanted each name once")
        seen.add(info.name)
        begin, end = start + info.offset, start + info.offset + info.size_bytes
        if end > size:
            raise DamagedError(
                f"{path} is truncated: tensor {quoted(info.name)} ends at byte {end}, the file at {size}; "
                "fetch it again"
            )
        if begin < beyond and info.size_bytes:
            raise DamagedError(
                f"{path}: tensor {quoted(info.name)} overlaps another one; wanted each byte used once"
            )
        beyond = max(beyond, end)
    return tuple(
        TensorInfo(t.name, t.dtype, t.shape, start + t.offset, t.row_count, t.row_bytes) for t in described
    )


class _Cursor:
    """A place in the mapped file; each step forward is compared with what is left."""

    def __init__(self, path: Path | str, mapped: mmap.mmap | bytes) -> None:
        self.path, self.mapped, self.at, self.end = path, mapped, 0, len(mapped)
        self.order: Order = "<"

    def expect(self, count: int, least_bytes: int, what: str) -> None:
        """Refuses a count of things that the rest of the file cannot hold."""
        left = self.end - self.at
        if count * least_bytes > left:
            raise DamagedError(
                f"{self.path} is truncated or damaged: byte {self.at} wants {count} {what}, "
                f"got only {left} bytes until the file's end; fetch it again"
            )

    def scalar(self, code: str) -> int:
        number = struct.Struct(self.order + code)
        self.expect(1, number.size, "more number")
        (value,) = number.unpack_from(self.mapped, self.at)
        self.at += number.size
        return value

    def string(self) -> bytes:
        length = self.scalar("Q")
        self.expect(length, 1, "bytes of text")
        value = self.mapped[self.at : self.at + length]
        self.at += length
        return value

    def field(self) -> Field:
        key = shown_name(self.string())
        kind = self.scalar("I")
        if kind in SCALARS:
            type_name, code = SCALARS[kind]
            begin = self.at
            value = self.scalar(code)
            return Field(key, type_name, value, self.mapped[begin : self.at][:: 1 if self.order == "<" else -1])
        if kind == STRING:
            return Field(key, "string", self.string())
        if kind == ARRAY:
            array = self.array(key, 1)
            return Field(key, f"array[{array.type}]", array)
        raise DamagedError(f"{self.path}: {quoted(key)} has the value type {kind}; GGUF knows 0 to 12")

    def array(self, key: str, depth: int) -> Array:
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind in SCALARS:
            type_name, code = SCALARS[kind]
            size = struct.calcsize("<" + code)
            self.expect(count, size, f"elements of {quoted(key)}")
            raw = self.mapped[self.at : self.at + count * size]
            self.at += count * size
            return Array(type_name, raw=swapped(raw, code, self.order))
        if kind == STRING:
            return Array("string", items=self.strings(key, count))
        if kind == ARRAY and depth < _DEEPEST_ARRAY:
            self.expect(count, 12, f"arrays of {quoted(key)}")
            return Array("array", items=tuple(self.array(key, depth + 1) for _ in range(count)))
        raise DamagedError(
            f"{self.path}: {quoted(key)} is an array of type {kind}, {depth} deep; GGUF knows types 0 to 12"
        )

    def strings(self, key: str, count: int) -> tuple[bytes, ...]:
        """Vocabularies are long: one loop without a call for each string."""
        self.expect(count, 8, f"strings of {quoted(key)}")
        mapped, at, end, unpack = self.mapped, self.at, self.end, struct.Struct(self.order + "Q").unpack_from
        found = []
        for number in range(count):
            begin = at + 8
            beyond = begin + unpack(mapped, at)[0] if begin <= end else begin
            if beyond > end:
                raise DamagedError(
                    f"{self.path} is truncated or damaged: string {number} of {quoted(key)} ends at byte {beyond}, "
                    f"the file at {end}; fetch it again"
                )
            found.append(mapped[begin:beyond])
            at = beyond
        self.at = at
        return tuple(found)

    def tensor(self) -> TensorInfo:
        name = shown_name(self.string())
        dimensions = self.scalar("I")
        if dimensions > _MOST_DIMENSIONS:
            raise DamagedError(f"{self.path}: tensor {quoted(name)} has {dimensions} dimensions; wanted at most 8")
        shape = tuple(reversed([self.scalar("Q") for _ in range(dimensions)]))
        kind, offset = self.scalar("I"), self.scalar("Q")
        if kind not in TENSOR_TYPES:
            raise Error(f"{self.path}: tensor {quoted(name)} has the unknown type {kind}; update Token Genome")
        dtype, elements, size = TENSOR_TYPES[kind]
        columns = shape[-1] if shape else 1
        if columns % elements:
            raise DamagedError(
                f"{self.path}: tensor {quoted(name)} has rows of {columns}; {dtype} wants whole {elements}s"
            )
        rows, row_bytes = prod(shape[:-1]), columns // elements * size
        if max(rows, row_bytes) >= _MOST:
            raise DamagedError(
                f"{self.path}: tensor {quoted(name)} has {rows} rows of {row_bytes} bytes; wanted fewer than 2**63"
            )
        return TensorInfo(name, tensor_dtype(dtype, self.order), shape, offset, rows, row_bytes)
