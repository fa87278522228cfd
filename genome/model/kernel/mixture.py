"""Mixtures of experts: a layer's experts are read from the database when its router picks them, and then kept."""

from collections.abc import Iterator, Sequence
from functools import partial
from threading import Lock
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from genome.model.kernel.cache import Cache, written
from genome.model.kernel.forms import Matrix, finite, pack
from genome.model.kernel.forward import attended, told, turns_of
from genome.model.kernel.layers import Params, expert, norm, routed
from genome.model.kernel.linear import of_layer
from genome.model.kernel.shape import Shape
from genome.model.queries import TensorRow
from genome.model.weights import Weights, not_finite

PARTS = ("ffn_gate", "ffn_up", "ffn_down")


class Touched(NamedTuple):
    """Rows of a tensor that a step used."""

    tensor: TensorRow
    first: int
    rows: int
    read: bool
    """Whether they came from the database, not from memory."""


class Experts:
    """The experts of a model, each read when it is first asked for.

    Args:
        weights: of the model.
        shape: of a mixture of experts.
    """

    def __init__(self, weights: Weights, shape: Shape) -> None:
        self._weights, self._shape = weights, shape
        self._named = {(t.role, t.layer): t for t in weights.tensors()}
        self._kept: dict[tuple[int, int], tuple[Matrix, ...]] = {}
        self._keeping = Lock()

    def get(self, layer: int, number: int) -> tuple[tuple[Matrix, ...], list[Touched]]:
        """An expert's gate, up and down matrices, and what was touched for them.

        Raises:
            DamagedError: a block is damaged, or holds NaN or infinity: the tensor is named.
            Error: another program has changed the model since it was opened.
        """
        with self._keeping:
            kept = self._kept.get((layer, number))
            places = list(self._places(layer, number))
            if kept is None:
                kept = tuple(self._read(*place) for place in places)
                self._kept[layer, number] = kept
                return kept, [Touched(*place, read=True) for place in places]
            return kept, [Touched(*place, read=False) for place in places]

    def _places(self, layer: int, number: int) -> Iterator[tuple[TensorRow, int, int]]:
        for part in PARTS:
            if self._shape.experts_stacked:
                tensor = self._named[f"{part}_exps", layer]
                yield tensor, number * tensor.shape[1], tensor.shape[1]
            else:
                tensor = self._named[f"{part}.{number}", layer]
                yield tensor, 0, tensor.row_count

    def _read(self, tensor: TensorRow, first: int, rows: int) -> Matrix:
        stacked = pack(self._weights.read(tensor, first, rows)[None], tensor.dtype)
        if not finite(stacked).all():
            raise not_finite(self._weights, f"tensor {tensor.name}, rows {first} to {first + rows - 1},")
        return jax.tree.map(lambda part: jax.device_put(part[0]), stacked)


def advance(
    shape: Shape, params: Params, experts: Experts, x: np.ndarray, start: int, last: int, cache: Cache
) -> tuple[tuple[Array, Array, Array, Cache], list[Touched]]:
    """As `forward.advance`, layer by layer: between its two halves the experts that the router picked are read.

    Returns:
        What `forward.advance` returns, and which experts were used.
    """
    moved, begin, end = _embedded(shape, x), np.int32(start), np.int32(last)
    keys, values, touched = [], [], []
    for layer in range(shape.layers):
        moved, normed, picked, shares, (key, value) = _first_half(
            shape, params, np.int32(layer), moved, begin, cache
        )
        keys.append(key)
        values.append(value)
        # Rows behind the last one fill up: what they would pick is not read.
        picks, parts = np.asarray(picked)[: last + 1], np.asarray(shares)[: last + 1]
        wanted = np.unique(picks).tolist()
        for at in range(0, len(wanted), shape.experts_used):
            numbers = wanted[at : at + shape.experts_used]
            found = [experts.get(layer, number) for number in numbers]
            touched += [touch for _, one in found for touch in one]
            given = np.zeros((shape.experts_used, len(x)), np.float32)
            for row, number in enumerate(numbers):
                given[row, : last + 1] = np.where(picks == number, parts, 0).sum(axis=-1)
            matrices = [one for one, _ in found]
            matrices += matrices[:1] * (shape.experts_used - len(matrices))  # with a share of 0
            moved = _second_half(shape, moved, normed, given, matrices)
    return _finished(shape, params, moved, begin, end, keys, values, cache), touched


@partial(jax.jit, static_argnums=0)
def _embedded(shape: Shape, x: Array) -> Array:
    return x * shape.embedding_scale


@partial(jax.jit, static_argnums=0)
def _first_half(
    shape: Shape, params: Params, layer: Array, x: Array, start: Array, cache: Cache
) -> tuple[Array, Array, Array, Array, tuple[Array, Array]]:
    """Attention and the router: x with attention, normed for the experts; their numbers and shares; the cache's."""
    weights = of_layer(params["layers"], layer)
    window = jnp.array(shape.windows, jnp.int32)[layer] if shape.windows else None
    turns = turns_of(shape, params, start + jnp.arange(x.shape[0]))
    x, new = attended(shape, weights, turns, x, start, cache, layer, window)
    normed = norm(shape, x, weights["ffn_norm"])
    return x, normed, *routed(shape, weights, normed), new


@partial(jax.jit, static_argnums=0)
def _second_half(
    shape: Shape, x: Array, normed: Array, shares: Array, matrices: Sequence[tuple[Matrix, ...]]
) -> Array:
    """X (T, d) with what some experts add, whose shares for each token are (experts, T)."""
    for share, (gate, up, down) in zip(shares, matrices, strict=True):
        x = x + share[:, None] * expert(shape, gate, up, down, normed)
    return x


@partial(jax.jit, static_argnums=0, donate_argnames="cache")
def _finished(
    shape: Shape,
    params: Params,
    x: Array,
    start: Array,
    last: Array,
    keys: list[Array],
    values: list[Array],
    cache: Cache,
) -> tuple[Array, Array, Array, Cache]:
    hidden = norm(shape, lax.dynamic_index_in_dim(x, last), params["output_norm"])
    return *told(shape, params, hidden), written(cache, jnp.stack(keys), jnp.stack(values), start)
