"""The product of one activation vector with a matrix as it is stored, in a form that XLA's CPU backend is fast at.

It is slow on dots of small integers. What it makes fast code of are sums of static slices of 16 columns into an
accumulator (out, 16), scaled once a block, with one dot against ones at the end: a sum over the last axis would not
be vectorised. Scales are converted block by block as well: what is converted as a whole is converted by one thread.
"""

from math import gcd

import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.model.kernel.forms import BLOCK, STRIP, Bytes, Dense, Matrix, Nibbles
from genome.model.quant import Array

_STRAIGHT = 48
"""So many blocks are written out one after the other; wider matrices loop, or compiling them would take minutes."""
_OUTER = 256 // BLOCK
"""Blocks in one of the larger blocks of Q4_K, Q5_K and Q6_K."""


def product(x: Array, form: Matrix, number: Array | None = None) -> Array:
    """Activations (in,) times a matrix (out, in): (out,), float32.

    Args:
        x: a whole number of blocks wide.
        form: the matrix, or a stack of them, each read where it lies: cut out, it would be copied for each token.
        number: which one of the stack.
    """
    rows, blocks = form[0].shape[-2], len(x) // BLOCK
    factors = _factors(form, x)

    def add(begin: Array | int, count: int, total: Array) -> Array:
        for block in range(count):
            at = begin + block
            first, second, both = factors[:, at]
            low, high = _strips(form, number, at)
            scale, minimum = _scale(form, number, at), _minimum(form, number, at)
            if scale is None:
                total = total + (low * first + high * second)
            elif scale.shape[1] == 1:
                total = total + scale * (low * first + high * second)
            else:
                total = total + (scale[:, :1] * (low * first) + scale[:, 1:] * (high * second))
            if minimum is not None:
                total = total + minimum * both
        return total

    total = jnp.zeros((rows, STRIP), jnp.float32)
    count = blocks if blocks <= _STRAIGHT else gcd(blocks, _STRAIGHT)
    if count == blocks:
        total = add(0, blocks, total)
    else:
        total = lax.fori_loop(0, blocks // count, lambda turn, total: add(turn * count, count, total), total)
    return total @ jnp.ones(STRIP, jnp.float32)


def with_high(low: Array, high: Array) -> Array:
    """Low four bits (..., 16) with what an integer (..., 1) holds above them: a bit for each, or two and a sign."""
    lanes = np.arange(STRIP, dtype=np.uint32)
    bits = high.astype(jnp.uint32)
    if high.dtype == np.uint16:
        return low | ((bits >> lanes & 1) << 4).astype(jnp.int32)
    return (low | ((bits >> 2 * lanes & 3) << 4).astype(jnp.int32)) - 32


def _factors(form: Matrix, x: Array) -> Array:
    """What the strips and the minimum of each block are multiplied by (3, blocks, 16).

    A byte of two 4-bit numbers is p = a + 16 b, so a x + b y = a (x - y / 16) + p (y / 16): no shift is needed.
    Without the barrier they would be computed again for each of the rows.
    """
    first, second = x.reshape(-1, 2, STRIP).swapaxes(0, 1)
    both = first + second
    if _whole_bytes(form):
        first, second = first - second / 16, second / 16
    return lax.optimization_barrier(jnp.stack([first, second, both]))


def _whole_bytes(form: Matrix) -> bool:
    return isinstance(form, Nibbles) and form.high is None


def _strips(form: Matrix, number: Array | None, block: Array | int) -> tuple[Array, Array]:
    """A block's columns as its first two factors want them, each (out, 16) float32, unscaled."""
    if not isinstance(form, Nibbles):
        first, second = (_columns(form[0], number, block * BLOCK + at, STRIP) for at in (0, STRIP))
        return first.astype(jnp.float32), second.astype(jnp.float32)
    pairs = _columns(form.pairs, number, block * STRIP, STRIP).astype(jnp.int32)
    first, second = pairs & 15, pairs
    if form.high is not None:
        first, second = (
            with_high(low, _columns(form.high, number, block * 2 + half, 1))
            for half, low in enumerate((first, pairs >> 4))
        )
    return first.astype(jnp.float32), second.astype(jnp.float32)


def _scale(form: Matrix, number: Array | None, block: Array | int) -> Array | None:
    """The scales of a block's columns (out, 1), or of its halves (out, 2)."""
    if isinstance(form, Dense):
        return None
    each = form.scale.shape[-1] * BLOCK // (form[0].shape[-1] * (2 if isinstance(form, Nibbles) else 1))
    scale = _columns(form.scale, number, block * each, each).astype(jnp.float32)
    if isinstance(form, Bytes) or form.outer is None:
        return scale
    return scale * _columns(form.outer, number, block // _OUTER, 1).astype(jnp.float32)


def _minimum(form: Matrix, number: Array | None, block: Array | int) -> Array | None:
    """The minima of a block (out, 1), where it has some."""
    if not isinstance(form, Nibbles) or form.minimum is None:
        return None
    minimum = _columns(form.minimum, number, block, 1).astype(jnp.float32)
    if form.outer_minimum is None:
        return minimum
    return minimum * _columns(form.outer_minimum, number, block // _OUTER, 1).astype(jnp.float32)


def _columns(part: Array, number: Array | None, begin: Array | int, width: int) -> Array:
    """Some of the last axis, of one of a stack; where they begin may be known only when it is computed."""
    if number is not None:
        return lax.dynamic_slice(part, (number, 0, begin), (1, part.shape[1], width))[0]
    if isinstance(begin, int):
        return part[..., begin : begin + width]
    return lax.dynamic_slice_in_dim(part, begin, width, part.ndim - 1)
