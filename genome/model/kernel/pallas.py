"""One vector times a matrix as it is stored, on a GPU: a Pallas kernel for each form, for its Triton back end.

A program takes a few rows, goes through their blocks from left to right, and adds up what it dequantises in
registers: each stored byte is read once, and nothing is written but the product. Pure JAX is the reference
(`genome.model.kernel.linear`), and it computes the products of many vectors here too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from genome.model.kernel.forms import BLOCK, STRIP, Dense, Matrix, Nibbles

_ROWS, _BLOCKS, _PROGRAMS = 8, 32, 512
"""A program takes so many rows at most and so many of their blocks at once. Where that would make fewer programs
than the last number, each takes fewer rows. Powers of two, as Triton wants."""


class Tiled(NamedTuple):
    """A matrix on a GPU: the kernel computes its product with one vector."""

    form: Matrix


def tiled(matrix: Matrix) -> Matrix | Tiled:
    """The matrix, wrapped where the kernel has something to do.

    Float32 needs no dequantising. In an array between 2 and 4 GiB Pallas (0.10) counts places in int32, which is
    too short for its bytes: pure JAX takes such a matrix.
    """
    values = matrix.values if isinstance(matrix, Dense) else None
    plain = values is not None and (values.dtype == np.float32 or values.shape[-1] % BLOCK)
    far = any(part.size >= 2**31 and part.size * part.dtype.itemsize <= 2**32 for part in jax.tree.leaves(matrix))
    return matrix if plain or far else Tiled(matrix)


def product(x: Array, matrix: Matrix, number: Array | None = None, *, interpret: bool = False) -> Array:
    """A vector times a matrix.

    Args:
        x: float32 (in,); `in` is a multiple of 32.
        matrix: (out, in); with a number the stack (L, out, in).
        number: of the layer, which is read where it lies.
        interpret: computes it with JAX's own operations, on any device, to test it.

    Returns:
        float32 (out,).
    """
    from jax.experimental import pallas
    from jax.experimental.pallas import triton

    if number is None:
        matrix = jax.tree.map(lambda part: part[None], matrix)
    layer = jnp.zeros(1, jnp.int32) if number is None else number.reshape(1)
    blocks = len(x) // BLOCK
    parts: dict[str, Any] = {name: part for name, part in matrix._asdict().items() if part is not None}
    views = [part.reshape(*part.shape[:2], -1, max(1, part.shape[2] // blocks)) for part in parts.values()]
    rows = views[0].shape[1]
    taken = min(_ROWS, pallas.next_power_of_2(max(1, rows // _PROGRAMS)))
    wide = min(_BLOCKS, pallas.next_power_of_2(blocks))
    strip = STRIP if isinstance(matrix, Nibbles) else BLOCK
    return pallas.pallas_call(
        partial(_kernel, tuple(parts), taken, wide),
        out_shape=jax.ShapeDtypeStruct((rows,), jnp.float32),
        grid=(pallas.cdiv(rows, taken),),
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
    )(layer, x.reshape(blocks, -1, strip), *views)


def _kernel(names: tuple[str, ...], taken: int, wide: int, number: Any, x: Any, *refs: Any) -> None:
    """A program's rows of the product.

    Args:
        names: of a form's parts.
        taken: how many rows.
        wide: how many blocks at once.
        number: of the layer (1,).
        x: the vector (blocks, strips of a block, columns of a strip).
        refs: the parts (L, out, blocks or larger blocks, numbers of each), and the product (out,).
    """
    from jax.experimental import pallas
    from jax.experimental.pallas import triton

    parts, found = dict(zip(names, refs, strict=False)), refs[-1]
    blocks, strips, columns = x.shape
    layer, row = number[0], pallas.program_id(0) * taken + lax.iota(jnp.int32, taken)
    column = lax.iota(jnp.int32, columns)

    def add(turn: Array, total: Array) -> Array:
        block = turn * wide + lax.iota(jnp.int32, wide)
        inside = (row < len(found))[:, None] & (block < blocks)[None]

        def numbers(name: str, at: int | None = None) -> Array:
            """One number of each block (rows, blocks), or all those of a strip (rows, blocks, columns)."""
            place = block // (blocks // parts[name].shape[2])
            if at is not None:
                index = (layer, row[:, None], place[None], at)
                return triton.load(parts[name].at[index], mask=inside, other=0)
            index = (layer, row[:, None, None], place[None, :, None], column[None, None])
            return triton.load(parts[name].at[index], mask=inside[..., None], other=0)

        here = [
            triton.load(x.at[block[:, None], at, column[None]], mask=(block < blocks)[:, None], other=0.0)
            for at in range(strips)
        ]
        return total + _of_blocks(parts, numbers, here)

    total = lax.fori_loop(0, pallas.cdiv(blocks, wide), add, jnp.zeros((taken, wide), jnp.float32))
    triton.store(found.at[row], total.sum(axis=1), mask=row < len(found))


def _of_blocks(parts: dict[str, Any], numbers: Callable[..., Array], here: list[Array]) -> Array:
    """The products of some rows' blocks (rows, blocks) with the strips of a vector, each (blocks, columns)."""

    def scaled(name: str, outer: str, at: int = 0) -> Array:
        inner = numbers(name, at).astype(jnp.float32)
        return inner * numbers(outer, 0).astype(jnp.float32) if outer in parts else inner

    if "pairs" not in parts:
        (name,), (strip,) = parts.keys() - {"scale"}, here
        found = (numbers(name).astype(jnp.float32) * strip).sum(axis=2)
        return found * scaled("scale", "outer") if "scale" in parts else found
    pairs = numbers("pairs").astype(jnp.int32)
    found = jnp.zeros(pairs.shape[:2], jnp.float32)
    for half, (low, strip) in enumerate(zip((pairs & 15, pairs >> 4), here, strict=True)):
        if "high" in parts:
            low = _with_high(low, numbers("high", half))
        at = half if parts["scale"].shape[3] == 2 else 0
        found += scaled("scale", "outer", at) * (low.astype(jnp.float32) * strip).sum(axis=2)
    if "minimum" in parts:
        found += scaled("minimum", "outer_minimum") * (here[0] + here[1]).sum(axis=1)
    return found


def _with_high(low: Array, high: Array) -> Array:
    """As `linear._with_high`: a kernel may hold no constant array."""
    width = 1 if high.dtype == jnp.uint16 else 2
    shifts = lax.broadcasted_iota(jnp.uint32, low.shape, 2) * width
    bits = (high.astype(jnp.uint32)[..., None] >> shifts).astype(jnp.int32) & (2 * width - 1)
    return (low | bits << 4) - (0 if width == 1 else 32)
