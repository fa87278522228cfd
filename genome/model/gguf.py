"""The form of a GGUF file. Reads it: metadata, tensor descriptions, and tensor bytes through a memory map.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little endian. Every count
and offset is compared with the size of the file before it is used, so that a truncated or hostile file costs
one line and no memory.
"""

import mmap
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from genome.errors import DamagedError, Error, NotFoundError

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

SCALARS = {
    0: ("uint8", "B"), 1: ("int8", "b"), 2: ("uint16", "H"), 3: ("int16", "h"), 4: ("uint32", "I"),
    5: ("int32", "i"), 6: ("float32", "f"), 7: ("bool", "B"), 10: ("uint64", "Q"), 11: ("int64", "q"),
    12: ("float64", "d"),
}  # fmt: skip
"""Value types of a fixed size: number in the file -> name, `struct` code."""
CODES = dict(SCALARS.values())
STRING, ARRAY = 8, 9
VALUE_TYPES = {name: number for number, (name, _) in SCALARS.items()} | {"string": STRING, "array": ARRAY}
"""Value types by name: the number in the file."""
_DEEPEST_ARRAY = 16
_MOST_DIMENSIONS = 8

TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Tensor types: number in the file -> name, elements in a block, bytes in a block."""


@dataclass(frozen=True)
class Array:
    """An array of the metadata.

    `type` names its elements. Scalars stay as the file's bytes in `raw`; strings (bytes) and arrays are `items`.
    """

    type: str
    raw: bytes = b""
    items: "tuple[bytes | Array, ...]" = ()

    def numbers(self) -> np.ndarray:
        """The elements of an array of scalars, shape (n,)."""
        return np.frombuffer(self.raw, "<" + CODES[self.type])

    def __len__(self) -> int:
        return len(self.items) or (len(self.raw) // struct.calcsize("<" + CODES[self.type]) if self.raw else 0)


@dataclass(frozen=True)
class Field:
    """One key of the metadata; `type` is the format's own name: uint32, string, array[int32].

    A number has the file's bytes in `raw`: some NaN cannot pass through Python's numbers.
    """

    key: str
    type: str
    value: int | float | bytes | Array
    raw: bytes = b""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's description. `shape` has rows first (NumPy's order), `offset` counts from the file's begin."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    row_count: int
    row_bytes: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.row_count * self.row_bytes


@dataclass(frozen=True)
class GGUF:
    """An open GGUF file; fields and tensors in the file's order."""

    path: Path
    version: int
    alignment: int
    fields: dict[str, Field]
    tensors: tuple[TensorInfo, ...]
    head_bytes: int
    size_bytes: int
    _map: mmap.mmap

    @contextmanager
    def data(self, tensor: TensorInfo) -> Iterator[memoryview]:
        """A tensor's bytes, mapped; their memory goes back to the system at the end of the block."""
        end = tensor.offset + tensor.size_bytes
        with memoryview(self._map) as whole, whole[tensor.offset : end] as view:
            yield view
        if hasattr(self._map, "madvise"):
            begin = tensor.offset // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, begin, end - begin)

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


@contextmanager
def reading(path: Path) -> Iterator[GGUF]:
    """Opens a GGUF file; reads metadata and tensor descriptions, no tensor data.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a GGUF file, truncated, or with counts that cannot be.
        Error: a version, byte order or tensor type that this program does not know.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; wanted a GGUF file")
    if not path.is_file():
        raise Error(f"{path} is not a file; wanted a GGUF file")
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] != MAGIC:
            raise DamagedError(f"{path} is not a GGUF file: wanted it to begin with {MAGIC!r}, got {head[:4]!r}")
        if len(head) < 8:
            raise DamagedError(f"{path} is truncated: wanted a GGUF header of 24 bytes, got {len(head)} bytes")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield _parse(path, mapped)
        finally:
            with suppress(BufferError):  # an error on its way holds views of the map, which ends with it
                mapped.close()


def _parse(path: Path, mapped: mmap.mmap) -> GGUF:
    cursor = _Cursor(path, mapped)
    cursor.at = len(MAGIC)
    version = cursor.scalar("I")
    if version & 0xFFFF == 0:
        raise Error(
            f"{path} is a big-endian GGUF file; wanted little endian: convert it with gguf_convert_endian.py"
        )
    if version not in (2, 3):
        raise Error(f"{path} has GGUF version {version}; this program reads versions 2 and 3: convert it again")
    tensor_count, field_count = cursor.scalar("Q"), cursor.scalar("Q")
    cursor.expect(field_count, 13, "metadata fields")
    fields: dict[str, Field] = {}
    for _ in range(field_count):
        field = cursor.field()
        if field.key in fields:
            raise DamagedError(f"{path} has the metadata key {field.key!r} twice; wanted each key once")
        fields[field.key] = field
    cursor.expect(tensor_count, 24, "tensors")
    described = [cursor.tensor() for _ in range(tensor_count)]
    alignment = _alignment(path, fields)
    tensors = _placed(path, described, aligned(cursor.at, alignment), len(mapped))
    return GGUF(path, version, alignment, fields, tensors, cursor.at, len(mapped), mapped)


def aligned(place: int, alignment: int) -> int:
    """The first multiple of the alignment at or after a place."""
    return -(-place // alignment) * alignment


def usual_end(head_bytes: int, data: Iterable[tuple[int, int]], alignment: int) -> int:
    """Where a file ends: after its last tensor and what aligns a next one, or after a head without data.

    Args:
        head_bytes: size of header, metadata and tensor descriptions.
        data: offset and size in bytes of each tensor.
        alignment: in bytes.
    """
    end = max((offset + size for offset, size in data if size), default=0)
    return aligned(end, alignment) if end else head_bytes


def packed_text(text: bytes) -> bytes:
    """A string as the file spells it: its length, its bytes."""
    return struct.pack("<Q", len(text)) + text


def packed(array: Array) -> bytes:
    """An array as the file spells it: type and number of its elements, then these."""
    parts = [struct.pack("<IQ", VALUE_TYPES[array.type], len(array)), array.raw]
    parts += [packed_text(item) if isinstance(item, bytes) else packed(item) for item in array.items]
    return b"".join(parts)


def _alignment(path: Path, fields: dict[str, Field]) -> int:
    field = fields.get("general.alignment")
    value = field.value if field else DEFAULT_ALIGNMENT
    if not isinstance(value, int) or value <= 0 or value & (value - 1):
        raise DamagedError(f"{path}: general.alignment is {value!r}; wanted a power of two")
    return value


def _placed(path: Path, described: list[TensorInfo], start: int, size: int) -> tuple[TensorInfo, ...]:
    """Offsets from the file's begin, after checks that names differ and that all data are there, each once."""
    seen: set[str] = set()
    beyond = start
    for info in sorted(described, key=lambda t: (t.offset, t.size_bytes)):
        if info.name in seen:
            raise DamagedError(f"{path} has the tensor {info.name!r} twice; wanted each name once")
        seen.add(info.name)
        begin, end = start + info.offset, start + info.offset + info.size_bytes
        if end > size:
            raise DamagedError(
                f"{path} is truncated: tensor {info.name!r} ends at byte {end}, the file at {size}; fetch it again"
            )
        if begin < beyond and info.size_bytes:
            raise DamagedError(f"{path}: tensor {info.name!r} overlaps another one; wanted each byte used once")
        beyond = max(beyond, end)
    return tuple(
        TensorInfo(t.name, t.dtype, t.shape, start + t.offset, t.row_count, t.row_bytes) for t in described
    )


class _Cursor:
    """A place in the mapped file; each step forward is compared with what is left."""

    def __init__(self, path: Path, mapped: mmap.mmap) -> None:
        self.path, self.mapped, self.at, self.end = path, mapped, 0, len(mapped)

    def expect(self, count: int, least_bytes: int, what: str) -> None:
        """Refuses a count of things that the rest of the file cannot hold."""
        left = self.end - self.at
        if count * least_bytes > left:
            raise DamagedError(
                f"{self.path} is truncated or damaged: byte {self.at} wants {count} {what}, "
                f"got only {left} bytes until the file's end; fetch it again"
            )

    def scalar(self, code: str) -> int:
        size = struct.calcsize("<" + code)
        self.expect(1, size, "more number")
        (value,) = struct.unpack_from("<" + code, self.mapped, self.at)
        self.at += size
        return value

    def string(self) -> bytes:
        length = self.scalar("Q")
        self.expect(length, 1, "bytes of text")
        value = self.mapped[self.at : self.at + length]
        self.at += length
        return value

    def name(self, what: str) -> str:
        raw = self.string()
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise DamagedError(
                f"{self.path}: {what} {raw[:40]!r} is not UTF-8 text; fetch the file again"
            ) from None

    def field(self) -> Field:
        key = self.name("metadata key")
        kind = self.scalar("I")
        if kind in SCALARS:
            type_name, code = SCALARS[kind]
            begin = self.at
            value = self.scalar(code)
            if type_name == "bool" and value > 1:
                raise DamagedError(f"{self.path}: {key} is a bool of value {value}; wanted 0 or 1")
            return Field(key, type_name, value, self.mapped[begin : self.at])
        if kind == STRING:
            return Field(key, "string", self.string())
        if kind == ARRAY:
            array = self.array(key, 1)
            return Field(key, f"array[{array.type}]", array)
        raise DamagedError(f"{self.path}: {key} has the value type {kind}; GGUF knows 0 to 12")

    def array(self, key: str, depth: int) -> Array:
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind in SCALARS:
            type_name, code = SCALARS[kind]
            size = struct.calcsize("<" + code)
            self.expect(count, size, f"elements of {key}")
            raw = self.mapped[self.at : self.at + count * size]
            self.at += count * size
            return Array(type_name, raw=raw)
        if kind == STRING:
            return Array("string", items=self.strings(key, count))
        if kind == ARRAY and depth < _DEEPEST_ARRAY:
            self.expect(count, 12, f"arrays of {key}")
            return Array("array", items=tuple(self.array(key, depth + 1) for _ in range(count)))
        raise DamagedError(f"{self.path}: {key} is an array of type {kind}, {depth} deep; GGUF knows types 0 to 12")

    def strings(self, key: str, count: int) -> tuple[bytes, ...]:
        """Vocabularies are long: one loop without a call for each string."""
        self.expect(count, 8, f"strings of {key}")
        mapped, at, end, unpack = self.mapped, self.at, self.end, struct.Struct("<Q").unpack_from
        found = []
        for number in range(count):
            begin = at + 8
            beyond = begin + unpack(mapped, at)[0] if begin <= end else begin
            if beyond > end:
                raise DamagedError(
                    f"{self.path} is truncated or damaged: string {number} of {key} ends at byte {beyond}, "
                    f"the file at {end}; fetch it again"
                )
            found.append(mapped[begin:beyond])
            at = beyond
        self.at = at
        return tuple(found)

    def tensor(self) -> TensorInfo:
        name = self.name("tensor name")
        dimensions = self.scalar("I")
        if dimensions > _MOST_DIMENSIONS:
            raise DamagedError(f"{self.path}: tensor {name!r} has {dimensions} dimensions; wanted at most 8")
        shape = tuple(reversed([self.scalar("Q") for _ in range(dimensions)]))
        kind, offset = self.scalar("I"), self.scalar("Q")
        if kind not in TENSOR_TYPES:
            raise Error(f"{self.path}: tensor {name!r} has the unknown type {kind}; update Token Genome")
        dtype, elements, size = TENSOR_TYPES[kind]
        columns = shape[-1] if shape else 1
        if columns % elements:
            raise DamagedError(
                f"{self.path}: tensor {name!r} has rows of {columns}; {dtype} wants whole {elements}s"
            )
        rows = prod(shape[:-1])
        if rows >= 1 << 63:
            raise DamagedError(f"{self.path}: tensor {name!r} has {rows} rows; wanted fewer than 2**63")
        return TensorInfo(name, dtype, shape, offset, rows, columns // elements * size)
