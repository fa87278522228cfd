"""How many bytes numbers take in the types that tensors are stored in, whichever format they came from."""

import numpy as np

from genome.errors import Error
from genome.model.formats.gguf_form import TENSOR_TYPES
from genome.model.formats.safetensors import BITS
from genome.model.quant import dequantise

_BLOCKS = {name: (elements, size) for name, elements, size in TENSOR_TYPES.values()}


def row_bytes(dtype: str, columns: int) -> int:
    """The bytes of a row.

    Raises:
        Error: the type is not known, or has no rows of so many columns.

    Example:
        >>> row_bytes("Q8_0", 576), row_bytes("BF16", 576)
        (612, 1152)
    """
    elements, size = _BLOCKS.get(dtype, (8, BITS.get(dtype, 0)))
    whole = columns * size if dtype not in _BLOCKS else columns
    if size == 0 or whole % elements:
        raise Error(f"rows of {columns} numbers cannot be stored as {dtype}; wanted a type that the base may have")
    return columns * size // elements


def element_bytes(dtype: str, row: int) -> int:
    """The bytes of a number, or of a block of quantised ones; 1 where a row of `row` bytes is no sequence of them.

    Example:
        >>> element_bytes("Q8_0", 612), element_bytes("F32", 64), element_bytes("F4", 3)
        (34, 4, 1)
    """
    size = _BLOCKS[dtype][1] if dtype in _BLOCKS else BITS.get(dtype, 0) // 8
    return size if size and row % size == 0 else 1


def numbers(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Rows of stored bytes as weights: float64 of F64, else float32.

    Args:
        raw: uint8, shape (rows, row_bytes).
        dtype: the stored type.

    Raises:
        Error: a type that this program cannot compute with.
    """
    if dtype == "F64":
        return np.ascontiguousarray(raw).view("<f8")
    return dequantise(raw, dtype)
