"""Products of activations with matrices as they are stored: no float copy of a quantised model is kept.

One token at a time (decoding) is bound by memory: the product is summed up out of the stored blocks. Many tokens at
once (a prompt) are bound by arithmetic: one layer's matrix is dequantised, used, and forgotten.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.model.kernel import pallas, strips
from genome.model.kernel.forms import BLOCK, STRIP, Bytes, Dense, Joined, Matrix, Mixed, Nibbles
from genome.model.kernel.native import product as native
from genome.model.kernel.native.product import Native
from genome.model.kernel.pallas import Tiled
from genome.model.kernel.strips import with_high
from genome.model.quant import Array

FEW = 4
"""So many rows are computed one by one, in the form that is fast for one; for more the matrix is dequantised.

On a processor, where dequantising takes as long as some twenty such rows.
"""


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
    if isinstance(form, Tiled):
        return _plainly(x, form.form, number) if len(x) > 1 else pallas.product(x[0], form.form, number)[None]
    if 1 < len(x) <= FEW and not _is_plain(form):
        return jnp.concatenate([_project(row[None], form, number) for row in x])
    if isinstance(form, Native):
        return _project(x, form.form, number) if len(x) > 1 else native.product(x[0], form, number)[None]
    return _plainly(x, form, number)


def _plainly(x: Array, form: Matrix, number: Array | None) -> Array:
    """In pure JAX."""
    if len(x) == 1 and x.shape[1] % BLOCK == 0 and not _is_plain(form):
        return strips.product(x[0], form, number)[None]
    return _product(x, dense(_one(form, number)))


def _is_plain(form: Any) -> bool:
    return isinstance(form, Dense) and form.values.dtype == np.float32


def dense(matrix: Matrix) -> Array:
    """All weights in float32 (..., out, in)."""
    if isinstance(matrix, Dense):
        return matrix.values.astype(jnp.float32)
    if isinstance(matrix, Bytes):
        numbers = matrix.values.reshape(*matrix.scale.shape, BLOCK).astype(jnp.float32)
        return (numbers * matrix.scale.astype(jnp.float32)[..., None]).reshape(matrix.values.shape)
    rows = matrix.pairs.shape[:-1]
    pairs = matrix.pairs.reshape(*rows, -1, 1, STRIP).astype(jnp.int32)
    numbers = pairs >> np.array([[0], [4]], np.int32) & 15
    if matrix.high is not None:
        numbers = with_high(numbers, matrix.high.reshape(*rows, -1, 2, 1))
    scale, minimum = _scales(matrix)
    weights = numbers.astype(jnp.float32) * scale.reshape(*rows, pairs.shape[-3], -1, 1)
    if minimum is not None:
        weights = weights + minimum[..., None, None]
    return weights.reshape(*rows, -1)


def _product(x: Array, weights: Array) -> Array:
    return lax.dot_general(x, weights, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)


def _one(form: Matrix, number: Array | None) -> Matrix:
    """A matrix, or one of a stack."""
    if number is None:
        return form
    return type(form)(*(p if p is None else lax.dynamic_index_in_dim(p, number, 0, False) for p in form))


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
