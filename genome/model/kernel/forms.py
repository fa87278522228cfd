"""The forms that stored matrices have in memory: the same bits, each kind of number in an array of its own. No jax.

Sources: ggml's block structures, as in `genome.model.quant`.
"""

import mmap
from contextlib import suppress
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from genome.model.quant import Array

BLOCK = 32
STRIP = 16
_LARGE_BYTES = 1 << 17


class Dense(NamedTuple):
    """A matrix (..., out, in) of float32, float16 or bfloat16."""

    values: Array


class Nibbles(NamedTuple):
    """4-bit numbers in blocks of 32, with what is stored around them: weight = number x scale + minimum.

    Q4_0, Q4_1, Q5_0, Q5_1: a scale and a minimum in float16 for each block. Q4_K, Q5_K: small integers in their
    place, times `outer` and `outer_minimum` of 256 weights. Q6_K: a scale for each 16 weights, and no minimum.

    `pairs` uint8 (..., out, in / 2): of each block 16 bytes, whose low halves are its first 16 numbers. `high`
    (..., out, in / 16): the higher bits of 16 numbers, lowest first; uint16 one bit each, uint32 two bits each of
    numbers that count from -32. `scale` (..., out, in / 32 or in / 16), `minimum` (..., out, in / 32), `outer` and
    `outer_minimum` float16 (..., out, in / 256).
    """

    pairs: Array
    scale: Array
    minimum: Array | None = None
    high: Array | None = None
    outer: Array | None = None
    outer_minimum: Array | None = None


class Bytes(NamedTuple):
    """8-bit blocks of 32 with a scale each (Q8_0).

    `values` int8 (..., out, in), `scale` float16 (..., out, in / 32).
    """

    values: Array
    scale: Array


Matrix = Dense | Nibbles | Bytes


class Mixed(NamedTuple):
    """Matrices of all layers, which are stored in different types: a stack for each type.

    `stacks` of matrices (n, out, in); for each layer `kinds` int32 (L,) tells the stack and `places` int32 (L,) the
    place in it.
    """

    stacks: tuple[Any, ...]
    kinds: Array
    places: Array


class Joined(NamedTuple):
    """Stacks of matrices that read the same activations and are under one another, but are stored differently."""

    parts: tuple[Any, ...]


def pack(raw: np.ndarray, dtype: str) -> Matrix:
    """Stored rows as a matrix of NumPy arrays that a device can take over without a copy.

    Args:
        raw: uint8, shape (..., out, row_bytes).
        dtype: the stored type.
    """
    if dtype in ("F32", "F16", "BF16"):
        return Dense(_aligned(raw).view(_floats(dtype)))
    size = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}[
        dtype
    ]
    rows = raw.shape[:-1]
    blocks = raw.reshape(*rows, -1, size)
    if dtype == "Q8_0":
        return Bytes(_joined(blocks[..., 2:], rows).view(np.int8), _halves(blocks[..., :2], rows))
    if dtype == "Q6_K":
        return _sixes(blocks)
    if dtype in ("Q4_K", "Q5_K"):
        return _larger(blocks, dtype == "Q5_K")
    scale = _halves(blocks[..., :2], rows)
    at = 4 if dtype.endswith("1") else 2
    if at == 4:
        minimum = _halves(blocks[..., 2:4], rows)
    else:  # exact: the same number with another exponent
        minimum = _aligned(scale * np.float16(-8 if dtype == "Q4_0" else -16))
    if not dtype.startswith("Q5"):
        return Nibbles(_joined(blocks[..., at:], rows), scale, minimum)
    high = _joined(blocks[..., at : at + 4], rows).view("<u2")
    return Nibbles(_joined(blocks[..., at + 4 :], rows), scale, minimum, high)


def stack(matrix: Matrix, count: int) -> Matrix:
    """Room for so many matrices of this form (count, ..., out, in), which a device can take over without a copy."""
    return type(matrix)(*(p if p is None else empty((count, *p.shape), p.dtype) for p in matrix))


def finite(matrix: Matrix) -> np.ndarray:
    """For each leading index of a stacked matrix of NumPy arrays, whether all of its weights are finite."""
    floats = [part for part in matrix if part is not None and part.dtype.kind not in "iu"]
    return np.logical_and.reduce([np.isfinite(part).all(axis=(-2, -1)) for part in floats])


def _floats(dtype: str) -> np.dtype:
    if dtype == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"F32": "<f4", "F16": "<f2"}[dtype])


def _larger(blocks: np.ndarray, fifth: bool) -> Nibbles:
    """Q4_K and Q5_K (..., blocks of 256, bytes): eight scales and minima of six bits each."""
    rows, packed = blocks.shape[:-2], blocks[..., 4:16]
    d, m, both = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scale = np.concatenate([d & 63, both & 15 | d >> 2 & 48], axis=-1)
    minimum = np.concatenate([m & 63, both >> 4 | m >> 2 & 48], axis=-1)
    high = None
    if fifth:  # bit i of byte j belongs to number j of the block of 32 numbers i
        bits = blocks[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
        high = _joined(np.packbits(bits, axis=-1, bitorder="little"), rows).view("<u2")
    numbers = blocks[..., 48 if fifth else 16 :].reshape(*blocks.shape[:-1], 4, 1, 32)
    halves = (numbers >> np.array([[0], [4]], np.uint8) & 15).reshape(*blocks.shape[:-1], 8, 2, STRIP)
    pairs = halves[..., 0, :] | halves[..., 1, :] << 4
    outer, minus = _halves(blocks[..., 0:2], rows), _aligned(-_halves(blocks[..., 2:4], rows))
    return Nibbles(_joined(pairs, rows), _joined(scale, rows), _joined(minimum, rows), high, outer, minus)


def _sixes(blocks: np.ndarray) -> Nibbles:
    """Q6_K (..., blocks of 256, 210 bytes): sixteen scales of eight bits."""
    shape, rows = blocks.shape[:-1], blocks.shape[:-2]
    low = blocks[..., :128].reshape(*shape, 2, 1, 64) >> np.array([[0], [4]], np.uint8) & 15
    halves = low.reshape(*shape, 8, 2, STRIP)
    shifts = np.array([[0], [2], [4], [6]], np.uint8)
    top = (blocks[..., 128:192].reshape(*shape, 2, 1, 32) >> shifts & 3).reshape(*shape, 16, STRIP)
    high = np.bitwise_or.reduce(top.astype(np.uint32) << 2 * np.arange(STRIP, dtype=np.uint32), axis=-1)
    scale = _joined(blocks[..., 192:208], rows).view(np.int8)
    pairs = _joined(halves[..., 0, :] | halves[..., 1, :] << 4, rows)
    return Nibbles(pairs, scale, None, _joined(high, rows), _halves(blocks[..., 208:210], rows))


def _joined(blocks: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Parts of the blocks of some rows side by side, (*rows, n)."""
    return _aligned(blocks).reshape(*rows, -1)


def _halves(blocks: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Two bytes of each block as float16, (*rows, blocks)."""
    return _joined(blocks, rows).view("<f2")


def _aligned(values: np.ndarray) -> np.ndarray:
    """A copy that a device can take over.

    A few bytes of each block are copied as one element of so many bytes: ten times as fast as byte by byte.
    """
    copy = empty(values.shape, values.dtype)
    size = gcd(values.shape[-1] * values.itemsize, STRIP)
    if values.shape[-1] * values.itemsize > 2 * STRIP or values.strides[-1] != values.itemsize or size == 1:
        copy[...] = values
        return copy
    source, target = values.view(f"V{size}"), copy.view(f"V{size}")
    for place in range(source.shape[-1]):
        target[..., place] = source[..., place]
    return copy


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that begins at a multiple of 64, which a device on the CPU takes over as it is.

    What is large is a mapping of its own: the system has it back as soon as it is no longer used.
    """
    size = prod(shape) * dtype.itemsize
    if size >= _LARGE_BYTES:
        return np.frombuffer(_mapping(size), np.uint8).view(dtype).reshape(shape)
    raw = np.empty(size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + size].view(dtype).reshape(shape)


def _mapping(size_bytes: int) -> mmap.mmap:
    """Private memory, in huge pages where the system has them: with small ones weights are read half as fast."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return mmap.mmap(-1, size_bytes)
    mapping = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel that was built without them
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping
