"""What a GGUF file is made of: value types, tensor types, arrays and names, and how each is spelled.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The numbers of metadata are held here in
little-endian bytes, whatever the file's order: `<` of a little-endian file, `>` of a big-endian one.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Order = Literal["<", ">"]

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

TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 31: ("Q4_0_4_4", 32, 18), 32: ("Q4_0_4_8", 32, 18),
    33: ("Q4_0_8_8", 32, 18), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 36: ("IQ4_NL_4_4", 32, 18),
    37: ("IQ4_NL_4_8", 32, 18), 38: ("IQ4_NL_8_8", 32, 18), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Tensor types: number in the file -> name, elements in a block, bytes in a block. Those of 31 to 33 and 36 to 38,
which ggml has given up, hold the blocks of Q4_0 and IQ4_NL in another sequence."""
BIG_ENDIAN = "_BE"
"""What ends the name of a tensor's type where its numbers are big-endian: F32_BE."""
_ORDERLESS = {"I8", "MXFP4", "NVFP4"}

_HIDDEN_BYTES = re.compile("[\udc80-\udcff\U0010ff80-\U0010ffff]")
_SHOWN_BYTES = re.compile("[\U0010ff80-\U0010ffff]+")


@dataclass(frozen=True)
class Array:
    """An array of the metadata.

    `type` names its elements. Scalars stay as little-endian bytes in `raw`; strings (bytes) and arrays are `items`.
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

    A number has its little-endian bytes in `raw`: some NaN cannot pass through Python's numbers.
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


def shown_name(raw: bytes) -> str:
    r"""A key's or a tensor's name as text. A byte that is not UTF-8 becomes a character from U+10FF80 to U+10FFFF.

    These are for private use. A name that has one of them itself gets four, one for each of its bytes, so that
    `name_bytes` always gives the same bytes again.

    Example:
        >>> [hex(ord(c)) for c in shown_name(b"w\xff")]
        ['0x77', '0x10ffff']
    """
    return _HIDDEN_BYTES.sub(_shown, raw.decode("utf-8", "surrogateescape"))


def _shown(found: re.Match[str]) -> str:
    return "".join(chr(0x10FF00 + byte) for byte in found[0].encode("utf-8", "surrogateescape"))


def name_bytes(name: str) -> bytes:
    """The bytes that `shown_name` made a text of."""
    plain = _SHOWN_BYTES.sub(lambda found: "".join(chr(ord(c) - 0x10FF00 + 0xDC00) for c in found[0]), name)
    return plain.encode("utf-8", "surrogateescape")


def tensor_dtype(name: str, order: Order) -> str:
    """A tensor type's name in this program: with an ending where its numbers are big-endian."""
    return name if order == "<" or name in _ORDERLESS else name + BIG_ENDIAN


def swapped(raw: bytes, code: str, order: Order) -> bytes:
    """Numbers of a `struct` code from little-endian bytes to those of an order, or back."""
    size = struct.calcsize("<" + code)
    return raw if order == "<" or size == 1 else np.frombuffer(raw, f"u{size}").byteswap().tobytes()


def packed_text(text: bytes, order: Order = "<") -> bytes:
    """A string as the file spells it: its length, its bytes."""
    return struct.pack(order + "Q", len(text)) + text


def packed(array: Array, order: Order = "<") -> bytes:
    """An array as the file spells it: type and number of its elements, then these."""
    parts = [struct.pack(order + "IQ", VALUE_TYPES[array.type], len(array))]
    if array.raw:
        parts.append(swapped(array.raw, CODES[array.type], order))
    parts += [packed_text(item, order) if isinstance(item, bytes) else packed(item, order) for item in array.items]
    return b"".join(parts)


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
