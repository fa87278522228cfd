"""Matrices as they are stored, and their products with activations: no float copy of a quantised model is kept.

One token at a time (decoding) is bound by memory: the product is summed up out of the stored blocks. Many tokens at
once (a prompt) are bound by arithmetic: one layer's matrix is dequantised, used, and forgotten.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.model.quant import Array, dequantise

_BLOCK = 32
_STRIP = 16


class Dense(NamedTuple):
    """A matrix (..., out, in) in float32."""

    values: Array


class Nibbles(NamedTuple):
    """4-bit blocks of 32 with a scale and a minimum each (Q4_0, Q4_1): weight = number x scale + minimum.

    `pairs` uint8 (..., out, in / 2): of each block 16 bytes, whose low halves are its first 16 numbers. `scale` and
    `minimum` float16 (..., out, in / 32).
    """

    pairs: Array
    scale: Array
    minimum: Array


class Bytes(NamedTuple):
    """8-bit blocks of 32 with a scale each (Q8_0).

    `values` int8 (..., out, in), `scale` float16 (..., out, in / 32).
    """

    values: Array
    scale: Array


Matrix = Dense | Nibbles | Bytes


def pack(raw: np.ndarray, dtype: str) -> Matrix:
    """Stored rows as a matrix of NumPy arrays that a device can take over without a copy.

    Args:
        raw: uint8, shape (..., out, row_bytes).
        dtype: the stored type. Types without a form of their own become `Dense`.
    """
    if dtype == "Q8_0":
        blocks = raw.reshape(*raw.shape[:-1], -1, 34)
        return Bytes(_joined(blocks[..., 2:]).view(np.int8), _halves(blocks[..., :2]))
    if dtype == "Q4_1":
        blocks = raw.reshape(*raw.shape[:-1], -1, 20)
        return Nibbles(_joined(blocks[..., 4:]), _halves(blocks[..., :2]), _halves(blocks[..., 2:4]))
    if dtype == "Q4_0":
        blocks = raw.reshape(*raw.shape[:-1], -1, 18)
        scale = _halves(blocks[..., :2])
        minimum = _aligned(scale.shape, np.float16)
        np.multiply(scale, np.float16(-8), out=minimum)  # exact: the same number with another exponent
        return Nibbles(_joined(blocks[..., 2:]), scale, minimum)
    weights = dequantise(raw, dtype)
    values = _aligned(weights.shape, np.float32)
    values[...] = weights
    return Dense(values)


def finite(matrix: Matrix) -> np.ndarray:
    """For each leading index of a stacked matrix of NumPy arrays, whether all of its weights are finite."""
    floats = [part for part in matrix if part.dtype.kind == "f"]
    return np.logical_and.reduce([np.isfinite(part).all(axis=(-2, -1)) for part in floats])


def dense(matrix: Matrix) -> Array:
    """All weights in float32 (..., out, in)."""
    if isinstance(matrix, Dense):
        return matrix.values
    scale = matrix.scale.astype(jnp.float32)[..., None]
    if isinstance(matrix, Bytes):
        numbers = matrix.values.reshape(*matrix.scale.shape, _BLOCK).astype(jnp.float32)
        return (numbers * scale).reshape(matrix.values.shape)
    pairs = matrix.pairs.reshape(*matrix.scale.shape, 1, _STRIP)
    numbers = (pairs >> np.array([[0], [4]], np.uint8) & 15).astype(jnp.float32)
    minimum = matrix.minimum.astype(jnp.float32)[..., None]
    return (numbers * scale[..., None] + minimum[..., None]).reshape(*matrix.pairs.shape[:-1], -1)


def project(x: Array, matrix: Matrix) -> Array:
    """Activations (T, in) times a matrix (out, in): (T, out), float32."""
    if x.shape[0] == 1 and not isinstance(matrix, Dense):
        return _by_strips(x[0], matrix)[None]
    return lax.dot_general(x, dense(matrix), (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)


def _by_strips(x: Array, matrix: Nibbles | Bytes) -> Array:
    """One activation vector (in,) times a quantised matrix: (out,).

    XLA's CPU backend is slow on dots of small integers. What it makes fast code of are sums of static slices of 16
    columns into an accumulator (out, 16), scaled once a block, with one dot against ones at the end (a sum over the
    last axis would not be vectorised). The minima of all blocks are a small dot of their own.
    """
    rows, blocks = matrix.scale.shape
    total = jnp.zeros((rows, _STRIP), jnp.float32)
    scale = matrix.scale.astype(jnp.float32)
    for block in range(blocks):
        first, second = _strips(matrix, block)
        at = block * _BLOCK
        part = first * x[at : at + _STRIP] + second * x[at + _STRIP : at + _BLOCK]
        total = total + scale[:, block : block + 1] * part
    found = total @ jnp.ones(_STRIP, jnp.float32)
    if isinstance(matrix, Nibbles):
        found += matrix.minimum.astype(jnp.float32) @ x.reshape(blocks, _BLOCK).sum(-1)
    return found


def _strips(matrix: Nibbles | Bytes, block: int) -> tuple[Array, Array]:
    """The two halves of a block's columns, each (out, 16), unscaled."""
    if isinstance(matrix, Bytes):
        both = matrix.values[:, block * _BLOCK : (block + 1) * _BLOCK].astype(jnp.float32)
        return both[:, :_STRIP], both[:, _STRIP:]
    pairs = matrix.pairs[:, block * _STRIP : (block + 1) * _STRIP].astype(jnp.int32)
    return (pairs & 15).astype(jnp.float32), (pairs >> 4).astype(jnp.float32)


def _joined(blocks: np.ndarray) -> np.ndarray:
    """Parts of blocks (..., out, blocks, n) side by side, (..., out, blocks x n)."""
    made = _aligned(blocks.shape, np.uint8)
    made[...] = blocks
    return made.reshape(*blocks.shape[:-2], -1)


def _halves(blocks: np.ndarray) -> np.ndarray:
    """Two bytes of each block as float16, (..., out, blocks)."""
    return _joined(blocks).view(np.float16)


def _aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Empty memory that begins at a multiple of 64, which a device on the CPU takes over as it is."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + size].view(dtype).reshape(shape)
