"""The form of a safetensors file. Reads it: header, tensor descriptions, and tensor bytes through a memory map.

Format: https://github.com/huggingface/safetensors#format (8 bytes of length, a JSON header, the tensors' bytes
without holes). The header is read entry by entry, and every count and offset is compared with the size of the file
before it is used, so that a truncated or hostile file costs one line and no memory.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from genome.errors import DamagedError, Error, NotFoundError, quoted
from genome.model.formats.mapped import open_map, viewed

MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
LENGTH_BYTES = 8
_MOST_NAMES = 1 << 20
_MOST_DIMENSIONS = 64
METADATA = "__metadata__"

BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""The types of tensors: bits of one element."""

# Possessive: a long string costs one step, and a header that ends in it no second look.
_BLANK, _STRING = rb"[ \t\r\n]*+", rb'"(?:[^"\\]++|\\.)*+"'
_OPEN = re.compile(_BLANK + rb"(\{)" + _BLANK)
_KEY = re.compile(_BLANK + rb"(" + _STRING + rb")" + _BLANK + rb":" + _BLANK, re.DOTALL)
_TEXT = re.compile(rb"(" + _STRING + rb")", re.DOTALL)
_DESCRIPTION = re.compile(rb"(\{[^{}]{0,4096}+\})")
_NEXT = re.compile(_BLANK + rb"([,}])")
_REST = re.compile(rb"([ \t\r\n]*+)")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's description; `offset` counts from the file's begin.

    A row is all of the last dimension. What cannot be cut so (a type that is not known, rows of 4-bit numbers that
    end inside a byte) is one row.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int

    @property
    def row_count(self) -> int:
        """The product of all dimensions but the last."""
        return prod(self.shape[:-1]) if self._cut else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return (self.shape[-1] if self.shape else 1) * BITS[self.dtype] // 8 if self._cut else self.size_bytes

    @property
    def _cut(self) -> bool:
        return self.dtype in BITS and (self.shape[-1] if self.shape else 1) * BITS[self.dtype] % 8 == 0


@dataclass(frozen=True)
class Safetensors:
    """An open safetensors file; `tensors` by name, in the header's order."""

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]
    head_bytes: int
    size_bytes: int
    _map: mmap.mmap

    def data(self, tensor: TensorInfo) -> AbstractContextManager[memoryview]:
        """A tensor's bytes, mapped; their memory goes back to the system at the end of the block."""
        return viewed(self._map, tensor.offset, tensor.size_bytes)

    def head(self) -> bytes:
        """The bytes before the tensors': the header's length and the header."""
        return self._map[: self.head_bytes]


@contextmanager
def reading(path: Path) -> Iterator[Safetensors]:
    """Opens a safetensors file; reads its header, no tensor data.

    Raises:
        NotFoundError: no such file.
        DamagedError: not a safetensors file, truncated, or with offsets that cannot be.
        Error: it cannot be read, or holds more than this program takes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.safetensors"
        ...     header = b'{"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}'
        ...     _ = path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
        ...     with reading(path) as file:
        ...         w = file.tensors["w"]
        ...         w.dtype, w.shape, w.row_count, w.row_bytes
        ('F16', (2, 3), 2, 6)
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; wanted a safetensors file")
    if not path.is_file():
        raise Error(f"{path} is not a file; wanted a safetensors file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); wanted a safetensors file") from error
    with file:
        length = int.from_bytes(start := file.read(LENGTH_BYTES), "little")
        size = file.seek(0, 2)
        if len(start) < LENGTH_BYTES or LENGTH_BYTES + length > size:
            wanted = f"a header of {length} bytes" if len(start) == LENGTH_BYTES else "the header's length"
            raise DamagedError(
                f"{path} is truncated or no safetensors file: wanted {wanted}, the file has {size} bytes"
            )
        if length > MOST_HEADER_BYTES:
            raise DamagedError(f"{path} has a header of {length} bytes; wanted at most {MOST_HEADER_BYTES}")
        with open_map(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as mapped:
            yield _parse(path, mapped, LENGTH_BYTES + length)


def header(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the tensors of a new file, as the format's own library writes them.

    Args:
        tensors: name, type and shape of each, in the order of their data.
        metadata: texts that travel with them.

    Example:
        >>> header([("w", "F16", (2, 3))], {})[8:].decode()
        '{"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}       '
    """
    told: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    at = 0
    for name, dtype, shape in tensors:
        end = at + prod(shape) * BITS[dtype] // 8
        told[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    raw = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % LENGTH_BYTES)
    return len(raw).to_bytes(LENGTH_BYTES, "little") + raw


def _parse(path: Path, mapped: mmap.mmap, data: int) -> Safetensors:
    header = _Header(path, mapped, data)
    metadata: dict[str, str] | None = None
    tensors: dict[str, TensorInfo] = {}
    for name in header.names():
        if name in tensors or (name == METADATA and metadata is not None):
            raise DamagedError(f"{path} has the name {quoted(name)} twice; wanted each name once")
        if name == METADATA:
            metadata = {key: header.text(header.take(_TEXT, "a text")) for key in header.names()}
        else:
            tensors[name] = header.tensor(name)
    header.take(_REST, "blanks")
    if header.at != data:
        raise DamagedError(f"{path} has more than one header: byte {header.at} does not end it; fetch it again")
    _check_places(path, tensors, data, len(mapped))
    return Safetensors(path, metadata or {}, tensors, data, len(mapped), mapped)


def _check_places(path: Path, tensors: dict[str, TensorInfo], begin: int, size: int) -> None:
    """Each byte behind the header belongs to one tensor."""
    at = begin
    for tensor in sorted(tensors.values(), key=lambda t: (t.offset, t.size_bytes)):
        if tensor.offset != at:
            what = (
                "overlaps another one" if tensor.offset < at else f"leaves bytes {at} to {tensor.offset - 1} unused"
            )
            raise DamagedError(f"{path}: tensor {quoted(tensor.name)} {what}; wanted each byte used once")
        at += tensor.size_bytes
    if at > size:
        raise DamagedError(f"{path} is truncated: its tensors end at byte {at}, the file at {size}; fetch it again")
    if at < size:
        raise DamagedError(f"{path} has {size - at} bytes behind its last tensor; wanted none: fetch it again")


class _Header:
    """A place in the header's JSON; what cannot be is refused where it begins."""

    def __init__(self, path: Path, mapped: mmap.mmap, end: int) -> None:
        self.path, self.mapped, self.at, self.begin, self.end = path, mapped, LENGTH_BYTES, end, end

    def take(self, pattern: re.Pattern[bytes], wanted: str) -> bytes:
        """What stands here, if it is of that form."""
        found = pattern.match(self.mapped, self.at, self.end)
        if found is None:
            got = self.mapped[self.at : min(self.at + 20, self.end)]
            raise DamagedError(
                f"{self.path} is damaged or no safetensors file: byte {self.at} wants {wanted}, got {got!r}"
            )
        self.at = found.end()
        return found[1]

    def names(self) -> Iterator[str]:
        """The names in a JSON object, one by one; the caller takes the value before it asks for the next name."""
        self.take(_OPEN, "a JSON object")
        if self.mapped[self.at : self.at + 1] == b"}":
            self.at += 1
            return
        for _ in range(_MOST_NAMES):
            yield self.text(self.take(_KEY, "a name and a colon"))
            if self.take(_NEXT, "a comma or the object's end") == b"}":
                return
        raise Error(f"{self.path} has more than {_MOST_NAMES} tensors; wanted fewer: split it")

    def text(self, raw: bytes) -> str:
        """A JSON string."""
        try:
            text = json.loads(raw)
            text.encode()
        except ValueError as error:
            raise DamagedError(f"{self.path}: {raw[:40]!r} is no UTF-8 text in JSON; fetch it again") from error
        return text

    def tensor(self, name: str) -> TensorInfo:
        """The description that stands here."""
        raw = self.take(_DESCRIPTION, "a tensor's description")
        try:
            pairs = json.loads(raw, object_pairs_hook=list)
            dtype, shape, (begin, end) = (dict(pairs)[key] for key in ("dtype", "shape", "data_offsets"))
            whole = all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, begin, end))
            if not whole or begin > end or len(shape) > _MOST_DIMENSIONS or type(dtype) is not str:
                raise ValueError(name)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DamagedError(
                f"{self.path}: tensor {quoted(name)} is described by {raw[:100]!r}; "
                "wanted dtype, shape and data_offsets"
            ) from error
        if dtype in BITS and prod(shape) * BITS[dtype] != 8 * (end - begin):
            raise DamagedError(
                f"{self.path}: tensor {quoted(name)} has {end - begin} bytes; {dtype} of shape {shape} wants "
                f"{prod(shape) * BITS[dtype] / 8:.10g}"
            )
        return TensorInfo(name, dtype, tuple(shape), self.begin + begin, end - begin)
