"""Mixtures of experts, layer by layer: between the halves of a layer the experts that its router picked are read.

The halves are pure functions, compiled once for each length of a piece and kept as all executables are.
"""

from collections.abc import Callable, Sequence
from functools import cache as once
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from genome.model.kernel.cache import Cache, written
from genome.model.kernel.executables import Executables, Steps
from genome.model.kernel.experts import Experts, Touched
from genome.model.kernel.forward import attended, compiled_normed, told, turns_of, wide_vectors
from genome.model.kernel.layers import Params, expert, norm, routed
from genome.model.kernel.linear import of_layer
from genome.model.kernel.shape import Shape
from genome.model.weights import Weights


class Mixture:
    """The steps of a mixture of experts.

    Args:
        weights: of the model.
        shape: its hyper-parameters.
        executables: where compiled pieces are kept.

    Attributes:
        experts: those in memory.
    """

    def __init__(self, weights: Weights, shape: Shape, executables: Executables) -> None:
        self._shape, self._steps = shape, Steps(executables, shape)
        self.experts = Experts(weights, shape)

    def advance(
        self, params: Params, x: np.ndarray, start: int, last: int, cache: Cache
    ) -> tuple[tuple[Array, Array, Array, Cache], list[Touched]]:
        """As `forward.advance`.

        Returns:
            What `forward.advance` returns, and which experts were used.
        """
        moved, new, touched = self._through(params, x, start, last, cache)
        given = params, moved[-1], np.int32(start), np.int32(last), *new, cache
        return self._steps.run(compiled_finished(), (len(x), cache.places), *given), touched

    def states(
        self, params: Params, x: np.ndarray, start: int, last: int, cache: Cache, *, every: bool
    ) -> tuple[Array, Cache, list[Touched]]:
        """As `forward.states`, or without `every` as `forward.forward`; behind `last` rows are no states.

        Returns:
            The states, the cache with the new tokens, and which experts were used.
        """
        moved, new, touched = self._through(params, x, start, last, cache)
        cache = self._steps.run(compiled_written(), (len(x), cache.places), cache, *new, np.int32(start))
        normed = self._steps.run(compiled_normed(), (len(x),), moved[-1], params["output_norm"])
        return jnp.stack([*moved[:-1], normed]) if every else normed, cache, touched

    def _through(
        self, params: Params, x: np.ndarray, start: int, last: int, cache: Cache
    ) -> tuple[list[Any], tuple[list[Array], list[Array]], list[Touched]]:
        """New tokens before the first layer and behind each, what the cache gets, and which experts were used."""
        moved: list[Any] = [x * np.float32(self._shape.embedding_scale)]
        new: tuple[list[Array], list[Array]] = [], []
        touched: list[Touched] = []
        for layer in range(self._shape.layers):
            given = params, np.int32(layer), moved[-1], np.int32(start), cache
            after, normed, picked, shares, (key, value) = self._steps.run(
                compiled_first_half(), (len(x), cache.places), *given
            )
            new[0].append(key)
            new[1].append(value)
            # Rows behind the last one fill up: what they would pick is not read.
            picks, parts = np.asarray(picked)[: last + 1], np.asarray(shares)[: last + 1]
            moved.append(self._fed(layer, after, normed, picks, parts, touched))
        return moved, new, touched

    def _fed(
        self, layer: int, x: Array, normed: Array, picks: np.ndarray, parts: np.ndarray, touched: list[Touched]
    ) -> Array:
        """X (T, d) with what the picked experts add, so many at once as a token uses."""
        most, wanted = self._shape.experts_used, np.unique(picks).tolist()
        for at in range(0, len(wanted), most):
            numbers = wanted[at : at + most]
            found = [self.experts.get(layer, number) for number in numbers]
            touched += [touch for _, one in found for touch in one]
            shares = np.zeros((most, len(x)), np.float32)
            for row, number in enumerate(numbers):
                shares[row, : len(picks)] = np.where(picks == number, parts, 0).sum(axis=-1)
            found += found[:1] * (most - len(found))  # with a share of 0
            kinds = tuple(touch.tensor.dtype for _, one in found for touch in one)
            given = x, normed, shares, [matrices for matrices, _ in found]
            x = self._steps.run(compiled_second_half(), (len(x), kinds), *given)
        return x


@once
def compiled_first_half() -> Callable[..., Any]:
    """`first_half`, compiled once for each shape of its arguments; so the others."""
    return jax.jit(first_half, static_argnums=0, compiler_options=wide_vectors())


@once
def compiled_second_half() -> Callable[..., Array]:
    """`second_half`, compiled."""
    return jax.jit(second_half, static_argnums=0, compiler_options=wide_vectors())


@once
def compiled_finished() -> Callable[..., tuple[Array, Array, Array, Cache]]:
    """`finished`, compiled."""
    return jax.jit(finished, static_argnums=0, donate_argnames="cache", compiler_options=wide_vectors())


@once
def compiled_written() -> Callable[..., Cache]:
    """`cache.written`, of all layers' keys and values, compiled."""
    return jax.jit(_written, static_argnums=0, donate_argnames="cache")


def first_half(
    shape: Shape, params: Params, layer: Array, x: Array, start: Array, cache: Cache
) -> tuple[Array, Array, Array, Array, tuple[Array, Array]]:
    """Attention and the router.

    Args:
        shape: static.
        params: as `forward.advance` wants them.
        layer: its number.
        x: new tokens (T, d).
        start: how many tokens the cache holds.
        cache: of all layers.

    Returns:
        x with attention (T, d), normed for the experts; the picked experts and their shares, each (T, experts
        used); keys and values for the cache, each (K, D, T).
    """
    weights = of_layer(params["layers"], layer)
    turns = turns_of(shape, params, start + jnp.arange(x.shape[0]))
    x, new = attended(shape, weights, turns, x, start, cache, layer)
    normed = norm(shape, x, weights["ffn_norm"])
    return x, normed, *routed(shape, weights, normed), new


def second_half(shape: Shape, x: Array, normed: Array, shares: Array, matrices: Sequence[tuple[Any, ...]]) -> Array:
    """X (T, d) with what some experts add, whose shares for each token are (experts, T)."""
    for share, (gate, up, down) in zip(shares, matrices, strict=True):
        x = x + share[:, None] * expert(shape, gate, up, down, normed)
    return x


def finished(
    shape: Shape,
    params: Params,
    x: Array,
    start: Array,
    last: Array,
    keys: list[Array],
    values: list[Array],
    cache: Cache,
) -> tuple[Array, Array, Array, Cache]:
    """What `forward.advance` returns, from tokens (T, d) behind all layers and what the cache gets from each."""
    hidden = norm(shape, lax.dynamic_index_in_dim(x, last), params["output_norm"])
    return *told(shape, params, hidden), _written(shape, cache, keys, values, start)


def _written(shape: Shape, cache: Cache, keys: list[Array], values: list[Array], start: Array) -> Cache:
    return written(cache, jnp.stack(keys), jnp.stack(values), start)
