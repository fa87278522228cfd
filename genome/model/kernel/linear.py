"""Products of activations with matrices as they are stored: no float copy of a quantised model is kept.

One token at a time (decoding) is bound by memory: the product is summed up out of the stored blocks. Many tokens at
once (a prompt) are bound by arithmetic: one layer's matrix is dequantised, used, and forgotten.
"""

from functools import partial
from math import gcd
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.model.kernel import pallas
from genome.model.kernel.forms import BLOCK, STRIP, Bytes, Dense, Joined, Matrix, Mixed, Nibbles
from genome.model.kernel.native import product as native
from genome.model.kernel.native.product import Native
from genome.model.kernel.pallas import Tiled
from genome.model.quant import Array

_STRAIGHT = 48
"""So many blocks are written out one after the other; wider matrices loop, or compiling them would take minutes."""


class Layer(NamedTuple):
    """One matrix of a stack over layers, read where it lies: cut out, it would be copied for each token.

    The stack is a `Matrix` or a wrapper around one.
    """

    stack: Any
    number: Array


def of_layer(stacks: dict[str, Any], number: Array) -> dict[str, Any]:
    """What one layer has by role: vectors (L, n) cut out, matrices left in their stacks."""
    return {
        role: Layer(stack, number)
        if isinstance(stack, tuple | Native)
        else lax.dynamic_index_in_dim(stack, number, 0, False)
        for role, stack in stacks.items()
    }


def project(x: Array, matrix: Matrix | Native | Tiled | Layer) -> Array:
    """Activations (T, in) times a matrix (out, in): (T, out), float32."""
    form, number = matrix if isinstance(matrix, Layer) else (matrix, None)
    return _project(x, form, number)


def _project(x: Array, form: Any, number: Array | None) -> Array:
    """With a matrix; with a number, with one of a stack. Wrappers say who computes the product of one vector."""
    if isinstance(form, Joined):
        return jnp.concatenate([_project(x, part, number) for part in form.parts], axis=-1)
    if isinstance(form, Mixed):
        branches = [partial(_project, x, stack) for stack in form.stacks]
        return lax.switch(form.kinds[number], branches, form.places[number])
    if isinstance(form, Native):
        return _project(x, form.form, number) if len(x) > 1 else native.product(x[0], form, number)[None]
    if isinstance(form, Tiled):
        return _project(x, form.form, number) if len(x) > 1 else pallas.product(x[0], form.form, number)[None]
    return _plainly(x, form if number is None else Layer(form, number))


def _plainly(x: Array, matrix: Matrix | Layer) -> Array:
    """In pure JAX."""
    form = matrix.stack if isinstance(matrix, Layer) else matrix
    plain = isinstance(form, Dense) and form.values.dtype == np.float32
    if x.shape[0] == 1 and x.shape[1] % BLOCK == 0 and not plain:
        return _by_strips(x[0], matrix)[None]
    whole = _whole(matrix)
    if isinstance(whole, Nibbles):
        x = x.reshape(len(x), -1, 2, STRIP).swapaxes(1, 2).reshape(x.shape)
        found = [
            _product(part, half) for part, half in zip(jnp.split(x, 2, axis=1), _halves_of(whole), strict=True)
        ]
        return found[0] + found[1]
    return _product(x, dense(whole))


def dense(matrix: Matrix) -> Array:
    """All weights in float32 (..., out, in)."""
    if isinstance(matrix, Dense):
        return matrix.values.astype(jnp.float32)
    if isinstance(matrix, Bytes):
        numbers = matrix.values.reshape(*matrix.scale.shape, BLOCK).astype(jnp.float32)
        return (numbers * matrix.scale.astype(jnp.float32)[..., None]).reshape(matrix.values.shape)
    halves = [half.reshape(*half.shape[:-1], -1, STRIP) for half in _halves_of(matrix)]
    return jnp.stack(halves, axis=-2).reshape(*matrix.pairs.shape[:-1], -1)


def _product(x: Array, weights: Array) -> Array:
    return lax.dot_general(x, weights, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)


def _whole(matrix: Matrix | Layer) -> Matrix:
    if not isinstance(matrix, Layer):
        return matrix
    parts = (p if p is None else lax.dynamic_index_in_dim(p, matrix.number, 0, False) for p in matrix.stack)
    return type(matrix.stack)(*parts)


def _halves_of(matrix: Nibbles) -> tuple[Array, Array]:
    """The weights of the first halves of all blocks and those of the second ones, each (..., out, in / 2).

    In this order no number changes its place, which halves the time of dequantising.
    """
    pairs = matrix.pairs.reshape(*matrix.pairs.shape[:-1], -1, STRIP).astype(jnp.int32)
    blocks = pairs.shape[-2]
    scale, minimum = _scales(matrix)
    both = []
    for half, low in enumerate((pairs & 15, pairs >> 4)):
        numbers = low
        if matrix.high is not None:
            numbers = _with_high(low, matrix.high[..., half::2, None])
        of_half = scale[..., half::2] if scale.shape[-1] != blocks else scale
        weights = numbers.astype(jnp.float32) * of_half[..., None]
        if minimum is not None:
            weights = weights + minimum[..., None]
        both.append(weights.reshape(*matrix.pairs.shape[:-1], -1))
    return both[0], both[1]


def _scales(matrix: Nibbles) -> tuple[Array, Array | None]:
    """Scales (..., out, n) and minima (..., out, blocks) in float32."""
    scale = matrix.scale.astype(jnp.float32)
    minimum = None if matrix.minimum is None else matrix.minimum.astype(jnp.float32)
    if matrix.outer is not None:
        scale = _times(scale, matrix.outer)
    if minimum is not None and matrix.outer_minimum is not None:
        minimum = _times(minimum, matrix.outer_minimum)
    return scale, minimum


def _times(inner: Array, outer: Array) -> Array:
    """Numbers of blocks times those of the larger blocks around them."""
    grouped = inner.reshape(*outer.shape, -1)
    return (grouped * outer.astype(jnp.float32)[..., None]).reshape(inner.shape)


def _with_high(low: Array, high: Array) -> Array:
    """Low four bits (..., 16) with what an integer (..., 1) holds above them: a bit for each, or two and a sign."""
    lanes = np.arange(STRIP, dtype=np.uint32)
    bits = high.astype(jnp.uint32)
    if high.dtype == np.uint16:
        return low | ((bits >> lanes & 1) << 4).astype(jnp.int32)
    return (low | ((bits >> 2 * lanes & 3) << 4).astype(jnp.int32)) - 32


def _by_strips(x: Array, matrix: Matrix | Layer) -> Array:
    """One activation vector (in,) times a matrix: (out,).

    XLA's CPU backend is slow on dots of small integers. What it makes fast code of are sums of static slices of 16
    columns into an accumulator (out, 16), scaled once a block, with one dot against ones at the end (a sum over the
    last axis would not be vectorised). The minima of all blocks are a small dot of their own. Without the barrier
    it would compute `x` again for each of the rows.
    """
    x = lax.optimization_barrier(x)
    form = matrix.stack if isinstance(matrix, Layer) else matrix
    small = form if isinstance(form, Dense) else form._replace(**dict.fromkeys(_LARGE[type(form)]))
    small = _whole(Layer(small, matrix.number) if isinstance(matrix, Layer) else small)
    rows, blocks = form[0].shape[-2], len(x) // BLOCK
    scale, minimum = None, None
    if isinstance(small, Nibbles):
        scale, minimum = _scales(small)
    elif isinstance(small, Bytes):
        scale = small.scale.astype(jnp.float32)
    per_block = 0 if scale is None else scale.shape[-1] // blocks

    def add(begin: Array | int, count: int, total: Array) -> Array:
        for block in range(count):
            at = begin + block
            here = _columns(x, at * BLOCK, BLOCK)
            parts = [
                strip * here[half * STRIP : (half + 1) * STRIP] for half, strip in enumerate(_strips(matrix, at))
            ]
            if scale is None:
                total = total + (parts[0] + parts[1])
                continue
            scales = _columns(scale, at * per_block, per_block)
            if per_block == 1:
                total = total + scales * (parts[0] + parts[1])
            else:
                total = total + (scales[:, :1] * parts[0] + scales[:, 1:] * parts[1])
        return total

    total = jnp.zeros((rows, STRIP), jnp.float32)
    count = blocks if blocks <= _STRAIGHT else gcd(blocks, _STRAIGHT)
    if count == blocks:
        total = add(0, blocks, total)
    else:
        total = lax.fori_loop(0, blocks // count, lambda turn, total: add(turn * count, count, total), total)
    found = total @ jnp.ones(STRIP, jnp.float32)
    return found if minimum is None else found + minimum @ x.reshape(blocks, BLOCK).sum(-1)


def _columns(x: Array, begin: Array | int, width: int) -> Array:
    """Some of the last axis; where they begin may be known only when it is computed."""
    if isinstance(begin, int):
        return x[..., begin : begin + width]
    return lax.dynamic_slice_in_dim(x, begin, width, x.ndim - 1)


_LARGE = {Bytes: ("values",), Nibbles: ("pairs", "high")}
"""The parts of a form that are read strip by strip."""


def _strips(matrix: Matrix | Layer, block: Array | int) -> tuple[Array, Array]:
    """The two halves of a block's columns, each (out, 16) float32, unscaled."""
    form, number = matrix if isinstance(matrix, Layer) else (matrix, None)

    def cut(part: Array, begin: Array | int, width: int) -> Array:
        if number is None:
            return _columns(part, begin, width)
        return lax.dynamic_slice(part, (number, 0, begin), (1, part.shape[1], width))[0]

    if not isinstance(form, Nibbles):
        both = form[0]
        first, second = (cut(both, block * BLOCK + at, STRIP) for at in (0, STRIP))
        return first.astype(jnp.float32), second.astype(jnp.float32)
    pairs = cut(form.pairs, block * STRIP, STRIP).astype(jnp.int32)
    first, second = pairs & 15, pairs >> 4
    if form.high is not None:
        first, second = (
            _with_high(low, cut(form.high, block * 2 + half, 1)) for half, low in enumerate((first, second))
        )
    return first.astype(jnp.float32), second.astype(jnp.float32)
