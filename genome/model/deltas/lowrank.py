"""Changes of low rank: their exact sum with a base, to the same bits on every machine, and how to find them.

A change of low rank is `scale * left @ right`: `left` (rows, r), `right` (r, columns). It is computed in float64,
rank by rank from the first to the last, with one elementwise multiplication and one addition each; then it is
multiplied by `scale`, the base is added, and the sum is rounded once, halves to even, to the type that it is kept
in. IEEE 754 leaves nothing open in that order. A matrix product would: each BLAS adds in an order of its own.
"""

import numpy as np

from genome.errors import DamagedError

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The types that a sum can be kept in, and the bytes of one number."""

_CHUNK_VALUES = 1 << 14
_MOST_RANK = 128
_SPARE = 8
_ABOVE_NOISE = 1.5


def kept_as(dtype: str) -> str:
    """The type of a tensor to which a change of low rank was added: a quantised one becomes F32.

    Example:
        >>> kept_as("BF16"), kept_as("Q4_1")
        ('BF16', 'F32')
    """
    return dtype if dtype in DTYPES else "F32"


def most_rank(rows: int, columns: int) -> int:
    """The largest rank of a product that counts as low: its factors are small, or no larger than what they give.

    Example:
        >>> most_rank(49152, 576), most_rank(1, 576)
        (576, 64)
    """
    return max(64, min(rows, columns))


def added(base: np.ndarray, left: np.ndarray, right: np.ndarray, scale: float, dtype: str) -> np.ndarray:
    """The rows `base + scale * left @ right` as they are stored.

    Args:
        base: shape (rows, columns), any floating type.
        left: shape (rows, r), any floating type.
        right: shape (r, columns), any floating type.
        scale: what the product is multiplied by.
        dtype: the type to keep the sum in, one of `DTYPES`.

    Returns:
        uint8, shape (rows, columns * bytes of `dtype`), little endian; infinite what is too large for the type.

    Raises:
        DamagedError: the shapes do not fit together, or the type has no such numbers.

    Example:
        >>> rows = added(np.ones((1, 2)), np.array([[2.0]]), np.array([[3.0, 0.5]]), 0.5, "F32")
        >>> rows.view("<f4").tolist()
        [[4.0, 1.5]]
    """
    (rows, columns), rank = base.shape, len(right)
    if dtype not in DTYPES:
        raise DamagedError(f"a sum kept as {dtype!r:.40}; wanted one of {', '.join(DTYPES)}: make the delta again")
    if left.shape != (rows, rank) or right.shape != (rank, columns):
        raise DamagedError(
            f"factors of shape {left.shape} and {right.shape} give no change of shape {base.shape}; "
            "make the delta again"
        )
    left, right = left.astype(np.float64), right.astype(np.float64)
    found = np.empty((rows, columns * DTYPES[dtype]), np.uint8)
    step = max(1, _CHUNK_VALUES // max(1, columns))
    with np.errstate(all="ignore"):
        for at in range(0, rows, step):
            total = _product(left[at : at + step], right)
            np.multiply(total, scale, out=total)
            np.add(total, base[at : at + step], out=total)
            found[at : at + step] = rounded(total, dtype)
    return found


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`left @ right` in the order that the module's docstring fixes."""
    total = np.zeros((len(left), right.shape[1]))
    term = np.empty_like(total)
    for column, row in zip(left.T, right, strict=True):
        np.multiply(column[:, None], row, out=term)
        np.add(total, term, out=total)
    return total


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float64 numbers in another type, rounded once, halves to even.

    Args:
        values: float64, shape (rows, columns).
        dtype: one of `DTYPES`.

    Returns:
        uint8, shape (rows, columns * bytes of `dtype`), little endian.

    Example:
        >>> rounded(np.array([[1.0 + 2**-8, 1.0 + 2**-8 + 2**-40]]), "BF16").view("<u2").tolist()  # 0x3F80, 0x3F81
        [[16256, 16257]]
    """
    with np.errstate(all="ignore"):
        if dtype == "BF16":
            return _bfloat16(values).astype("<u2", copy=False).view(np.uint8)
        size = DTYPES[dtype]
        return values.astype(f"<f{size}", copy=False).view(np.uint8)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, rounded once (Boldo & Melquiond 2008, IEEE Trans. Computers 57).

    Rounding to float32 towards odd keeps in the last bit whether something was cut off, so that the second rounding
    cannot take it for a tie.
    """
    near = values.astype(np.float32)
    bits = near.view(np.uint32)
    odd = bits - (np.abs(near) > np.abs(values)) | (near != values)
    return (odd + 0x7FFF + (odd >> 16 & 1) >> 16).astype(np.uint16)


def spacing(values: np.ndarray, dtype: str) -> np.ndarray:
    """The distance from each number to the next larger one of a type, as float64.

    Args:
        values: numbers of that type, any shape.
        dtype: one of `DTYPES`.
    """
    if dtype == "BF16":
        return np.spacing(np.abs(values).astype(np.float32)).astype(np.float64) * 65536.0
    return np.spacing(np.abs(values).astype(f"f{DTYPES[dtype]}")).astype(np.float64)


def factors(change: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray] | None:
    """A product of two factors that a change is, apart from noise.

    Singular vectors are found by a randomised projection (Halko, Martinsson & Tropp 2011, SIAM Review 53,
    algorithms 4.4 and 5.1) and kept where the singular value is above what noise alone would show: the largest one
    of random numbers of standard deviation `noise` comes close to `noise * (sqrt(rows) + sqrt(columns))`.

    Args:
        change: float64, shape (rows, columns).
        noise: the standard deviation of what the product need not explain, such as rounding; float32's own is
            added to it.

    Returns:
        left (rows, r) and right (r, columns) as float32, r from 1 to 128; None where no such product has so few
        numbers as a quarter of the change's.
    """
    rows, columns = change.shape
    most = min(_MOST_RANK, rows * columns // (4 * (rows + columns)))
    if most < 1 or not np.isfinite(change).all():
        return None
    basis = np.random.default_rng(65).normal(size=(columns, min(rows, columns, most + _SPARE)))
    for _ in range(2):
        basis = np.linalg.qr(change.T @ np.linalg.qr(change @ basis)[0])[0]
    left, values, right = np.linalg.svd(change @ basis, full_matrices=False)
    noise = np.hypot(noise, np.finfo(np.float32).eps * np.sqrt(np.mean(change**2)))
    rank = int(np.sum(values > _ABOVE_NOISE * noise * (rows**0.5 + columns**0.5)))
    if not 0 < rank <= most:
        return None
    root = np.sqrt(values[:rank])
    pair = left[:, :rank] * root, root[:, None] * (right[:rank] @ basis.T)
    return np.ascontiguousarray(pair[0], np.float32), np.ascontiguousarray(pair[1], np.float32)
