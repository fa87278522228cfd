"""One vector times a matrix as it is stored, by the compiled kernel: jax calls it in the middle of its own code."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from genome.model.kernel.forms import BLOCK, Matrix
from genome.model.kernel.native.library import kernel, target

_GROUP = 16
"""Blocks whose scales are read at once."""


@jax.tree_util.register_pytree_node_class
class Native:
    """A matrix whose product with one vector a compiled kernel computes.

    Args:
        form: the matrix, (out, in) or a stack (L, out, in).
        library: which compiled kernel: part of the type, so that an executable is never used with another one.
    """

    def __init__(self, form: Matrix, library: str) -> None:
        self.form, self.library = form, library

    def tree_flatten(self) -> tuple[tuple[Matrix], str]:
        """What jax traces, and what it does not."""
        return (self.form,), self.library

    @classmethod
    def tree_unflatten(cls, library: str, parts: tuple[Any]) -> "Native":
        """The same matrix of other arrays."""
        return cls(parts[0], library)


def native(matrix: Matrix) -> Matrix | Native:
    """The matrix, wrapped where the compiled kernel is used and can read its rows.

    Raises:
        Error: GENOME_KERNEL has a value that is none.
    """
    columns = matrix[0].shape[-1] * (2 if matrix[0].dtype == np.uint8 else 1)
    library = kernel().library
    return Native(matrix, library) if library and columns % BLOCK == 0 else matrix


def product(x: Array, matrix: Native, number: Array | None = None) -> Array:
    """A vector times a matrix; each row is summed up in the same order whatever the threads do.

    Args:
        x: float32 (in,); `in` is a multiple of 32.
        matrix: (out, in); with a number the stack (L, out, in).
        number: of the layer, which is read where it lies.

    Returns:
        float32 (out,).
    """
    form = matrix.form
    parts = [jnp.zeros(0, jnp.uint8) if part is None else part for part in form]
    sums = -(-len(x) // (BLOCK * _GROUP)) * _GROUP
    results = [jax.ShapeDtypeStruct((size,), jnp.float32) for size in (form[0].shape[-2], sums)]
    call = jax.ffi.ffi_call(target(matrix.library, "product"), results, vmap_method="sequential")
    return call(x.astype(jnp.float32), jnp.asarray(0 if number is None else number, jnp.int32), *parts)[0]
