"""Numbers as the bytes in which a tensor stores them."""

import numpy as np

from genome.errors import Error
from genome.model.deltas.lowrank import DTYPES, rounded
from genome.model.deltas.overlay import columns
from genome.model.deltas.quantise import FORMATS, quantise
from genome.model.queries import TensorRow

_INTEGERS = {"I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


def stored(values: np.ndarray, row: TensorRow, count: int | None = None) -> np.ndarray:
    """Rows of a tensor as they are stored.

    Args:
        values: the tensor's bytes (uint8, `count` rows of its `row_bytes`), or numbers (`count` rows of its
            columns, or its own shape), which are rounded to its type.
        row: the tensor.
        count: how many rows; all without it.

    Returns:
        uint8, shape (count, row_bytes).

    Raises:
        Error: another shape, numbers that are not finite for a quantised type, or a type into which this program
            rounds no numbers (of quantised ones it knows those of blocks of 32).

    Example:
        >>> row = TensorRow(0, "w", "w", None, "F16", (3, 2), 3, 4)
        >>> stored(np.array([[1.0, 65504.0]]), row, 1).view("<f2").tolist()
        [[1.0, 65504.0]]
    """
    count, values = row.row_count if count is None else count, np.asarray(values)
    if values.dtype == np.uint8 and values.shape == (count, row.row_bytes):
        return np.ascontiguousarray(values)
    if values.size != count * columns(row) or (values.shape != row.shape and values.shape[-1:] != (columns(row),)):
        raise Error(
            f"{row.name}: got an array of shape {values.shape}; wanted {count} rows of {columns(row)} numbers, or "
            f"of {row.row_bytes} bytes (uint8) as stored"
        )
    values = values.reshape(count, columns(row))
    if row.dtype in DTYPES:
        return rounded(values.astype(np.float64), row.dtype)
    if row.dtype in FORMATS and values.dtype.kind in "fiu":
        if not np.isfinite(values).all():
            raise Error(f"{row.name}: NaN or infinity cannot be stored as {row.dtype}; wanted finite numbers")
        return quantise(values.astype(np.float32), row.dtype)
    if values.dtype.kind == "i" and row.dtype in _INTEGERS:
        exact = values.astype(_INTEGERS[row.dtype])
        if np.array_equal(exact, values):
            return exact.view(np.uint8)
    raise Error(
        f"{row.name} is stored as {row.dtype}, into which numbers of type {values.dtype} are not rounded; "
        f"wanted its bytes (uint8, {row.row_bytes} a row)"
    )
