"""Quantised blocks to float32: the formats of ggml, for NumPy and JAX arrays alike.

Source: ggml's block structures (ggml-common.h, ggml-quants.c). A row is a sequence of blocks; a block of 32 or 256
weights carries its scales. All functions take uint8 and work inside `jax.jit`; NumPy arrays need no jax.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from genome.errors import Error

Array = Any
"""A NumPy or a JAX array."""


def dequantise(raw: Array, dtype: str) -> Array:
    """Rows of stored bytes as weights.

    Args:
        raw: uint8, shape (..., row_bytes).
        dtype: the stored type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K.

    Returns:
        float32, shape (..., columns).

    Raises:
        Error: a type that this program cannot compute with.

    Example:
        >>> block = np.concatenate([np.float16([0.5]).view(np.uint8), np.arange(32, dtype=np.uint8)])
        >>> dequantise(block, "Q8_0")[:4].tolist()
        [0.0, 0.5, 1.0, 1.5]
    """
    check(dtype)
    size, decode = _FORMATS[dtype]
    blocks = raw.reshape(*raw.shape[:-1], -1, size)
    weights = decode(blocks)
    return weights.reshape(*raw.shape[:-1], -1)


def check(dtype: str) -> None:
    """Refuses a type that `dequantise` does not know.

    Raises:
        Error: with the names of those it knows.
    """
    if dtype not in _FORMATS:
        raise Error(f"weights of type {dtype} cannot be computed with; wanted one of {', '.join(_FORMATS)}")


def _namespace(x: Array) -> ModuleType:
    if isinstance(x, np.ndarray):
        return np
    import jax.numpy

    return jax.numpy


def _view(x: Array, dtype: str) -> Array:
    """Bytes (..., n) as little-endian numbers (..., n / their size)."""
    size = np.dtype(dtype).itemsize
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x).view(np.dtype(dtype).newbyteorder("<"))
    from jax.lax import bitcast_convert_type

    return bitcast_convert_type(x if size == 1 else x.reshape(*x.shape[:-1], -1, size), np.dtype(dtype))


def _float(x: Array) -> Array:
    return x.astype(np.float32)


def _halves(x: Array) -> Array:
    return _float(_view(x, "float16"))


def _nibbles(x: Array) -> Array:
    """Bytes (..., n) as 4-bit numbers (..., 2 n): all low halves, then all high ones."""
    return _namespace(x).concatenate([x & 15, x >> 4], axis=-1)


def _fifth_bits(x: Array) -> Array:
    """Four bytes of 32 bits as the value 16 of each, (..., 32)."""
    bits = x[..., :, None] >> np.arange(8, dtype=np.uint8) & 1
    return bits.reshape(*x.shape[:-1], 32) << 4


def _f32(b: Array) -> Array:
    return _view(b, "float32")


def _bf16(b: Array) -> Array:
    widened = _view(b, "uint16").astype(np.uint32) << 16
    if isinstance(b, np.ndarray):
        return widened.view(np.float32)
    from jax.lax import bitcast_convert_type

    return bitcast_convert_type(widened, np.dtype("float32"))


def _q8_0(b: Array) -> Array:
    return _halves(b[..., :2]) * _float(_view(b[..., 2:], "int8"))


def _q4_0(b: Array) -> Array:
    return _halves(b[..., :2]) * (_float(_nibbles(b[..., 2:])) - 8)


def _q4_1(b: Array) -> Array:
    return _halves(b[..., :2]) * _float(_nibbles(b[..., 4:])) + _halves(b[..., 2:4])


def _q5_0(b: Array) -> Array:
    return _halves(b[..., :2]) * (_float(_nibbles(b[..., 6:]) | _fifth_bits(b[..., 2:6])) - 16)


def _q5_1(b: Array) -> Array:
    values = _float(_nibbles(b[..., 8:]) | _fifth_bits(b[..., 4:8]))
    return _halves(b[..., :2]) * values + _halves(b[..., 2:4])


def _scales_and_minima(b: Array) -> tuple[Array, Array]:
    """The eight 6-bit scales and minima that a K-block packs into twelve bytes, each (..., 8, 1)."""
    xp = _namespace(b)
    d, m, both = b[..., 0:4], b[..., 4:8], b[..., 8:12]
    scales = xp.concatenate([d & 63, both & 15 | d >> 2 & 48], axis=-1)
    minima = xp.concatenate([m & 63, both >> 4 | m >> 2 & 48], axis=-1)
    return _float(scales)[..., None], _float(minima)[..., None]


def _shifted(b: Array, group: int, shifts: tuple[int, ...], mask: int) -> Array:
    """Groups of bytes, each shifted in turn and masked, as rows of 32."""
    groups = b.reshape(*b.shape[:-1], -1, 1, group) >> np.array(shifts, np.uint8)[:, None]
    return (groups & mask).reshape(*b.shape[:-1], -1, 32)


def _k_block(b: Array, values: Array) -> Array:
    scales, minima = _scales_and_minima(b[..., 4:16])
    d, dmin = _halves(b[..., 0:2])[..., None], _halves(b[..., 2:4])[..., None]
    return d * scales * _float(values) - dmin * minima


def _q4_k(b: Array) -> Array:
    return _k_block(b, _shifted(b[..., 16:], 32, (0, 4), 15))


def _q5_k(b: Array) -> Array:
    high = _shifted(b[..., 16:48], 32, tuple(range(8)), 1) << 4
    return _k_block(b, _shifted(b[..., 48:], 32, (0, 4), 15) | high)


def _q6_k(b: Array) -> Array:
    low = _shifted(b[..., :128], 64, (0, 4), 15)
    high = _shifted(b[..., 128:192], 32, (0, 2, 4, 6), 3) << 4
    values = (_float(low | high) - 32).reshape(*b.shape[:-1], 16, 16)
    scales = _float(_view(b[..., 192:208], "int8"))
    return _halves(b[..., 208:])[..., None] * scales[..., None] * values


_FORMATS: dict[str, tuple[int, Callable[[Array], Array]]] = {
    "F32": (4, _f32), "F16": (2, _halves), "BF16": (2, _bf16), "Q8_0": (34, _q8_0), "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1), "Q5_0": (22, _q5_0), "Q5_1": (24, _q5_1), "Q4_K": (144, _q4_k), "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}  # fmt: skip
