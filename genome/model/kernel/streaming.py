"""A dense model within a budget of memory: layer by layer, from the database where they do not fit.

The layers are the same pure functions as in `genome.model.kernel.forward`, compiled for one layer at a time.
"""

from collections.abc import Iterator
from functools import cache as once
from functools import partial
from threading import RLock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from genome.errors import Error
from genome.model.kernel.cache import Cache, cache_bytes, empty_cache, grown, written_layer
from genome.model.kernel.executables import Call, Executables, Steps
from genome.model.kernel.experts import Touched
from genome.model.kernel.forward import chosen, compiled_normed, through_layer, turns_of, wide_vectors
from genome.model.kernel.layers import Params, logits, norm
from genome.model.kernel.linear import of_layer
from genome.model.kernel.loading import Parts, bytes_in_memory
from genome.model.kernel.memory import give_back
from genome.model.kernel.shape import Shape
from genome.model.kernel.shelf import Piece, Shelf
from genome.model.weights import Weights
from genome.sizes import shown_size

_HEAD_BYTES = 1 << 21
"""A piece of the output projection is about so large."""


class Streamed:
    """A dense model whose weights, cache and buffers together stay within a budget.

    Several threads may ask; they take turns. Each generation has a cache of its own: the budget holds for one
    generation at a time.

    Args:
        weights: of the model.
        shape: its hyper-parameters.
        executables: where compiled steps are kept.
        budget_bytes: of weights, cache, and what a step needs beside them. The compiled code is not counted.

    Attributes:
        budget_bytes: as given.
        peak_bytes: the most that was held so far, by its own account.

    Raises:
        Error: the budget is too small: the least that works is told.
    """

    def __init__(self, weights: Weights, shape: Shape, executables: Executables, budget_bytes: int) -> None:
        self._weights, self._shape, self._executables = weights, shape, executables
        self.budget_bytes, self.peak_bytes = budget_bytes, 0
        parts = Parts(weights, shape)
        self._outside = parts.alone()
        pieces = [*_layers(parts, shape), *_head(parts)]
        self._shelf, self._order = Shelf(pieces), range(len(pieces))
        self._layers, self._head = self._order[: shape.layers], self._order[shape.layers :]
        # What pieces of each kind look like: all is compiled before weights take the memory that it needs.
        self._looks = {
            pieces[n].kind: _look(self._shelf.load(n)) for n in {p.kind: n for n, p in enumerate(pieces)}.values()
        }
        self._needed: dict[tuple[int, int], int] = {}
        self._steps = Steps(executables, shape)
        self._cached = self._temporary = 0
        self._using = RLock()

    def cache(self, places: int) -> Cache:
        """An empty cache with so many places.

        Raises:
            Error: it does not fit into the budget.
        """
        with self._using:
            self._check(places)
            self._make_room(cache_bytes(self._shape, places), self._needs(1, places))
            return self._executables.get(compiled_empty(), (self._shape, places))()

    def step(
        self, x: np.ndarray, rows: int, start: int, cache: Cache, places: int
    ) -> tuple[tuple[Array, Array, Array, Cache], list[Touched]]:
        """Reads embeddings (T, d), of which the first `rows` count; the cache gets at least so many places.

        Returns:
            As `Engine.step`; everything that was touched.
        """
        with self._using:
            touched: list[Touched] = []
            if len(x) > 1 and self._least(max(places, cache.places), len(x)) > self.budget_bytes:
                cut = [x[number : number + 1] for number in range(rows)]  # many at once need too much
            else:
                cut = [x]
            after = cut[0]
            for number, piece in enumerate(cut):
                after, cache = self._through(piece, start + number, cache, places, touched)
            last = np.int32(min(rows, len(after)) - 1)
            hidden = self._steps.run(compiled_last(), (len(after),), self._outside, after, last)
            return (*self._told(hidden, touched), cache), touched

    def states(
        self, x: np.ndarray, start: int, cache: Cache, places: int, *, every: bool
    ) -> tuple[Array, Cache, list[Touched]]:
        """Hidden states as `Engine.states`; they are not counted. Everything that was touched."""
        with self._using:
            touched: list[Touched] = []
            before: list[np.ndarray] = []
            after, cache = self._through(x, start, cache, places, touched, before if every else None)
            last = self._steps.run(compiled_normed(), (len(x),), after, self._outside["output_norm"])
            return jnp.stack([*before, last]) if every else last, cache, touched

    def told(self, hidden: Array) -> tuple[tuple[Array, Array, Array], list[Touched]]:
        """Scores (V,) from a last hidden state (1, d), the most probable token, its log probability; the reads."""
        with self._using:
            touched: list[Touched] = []
            return self._told(hidden, touched), touched

    def close(self) -> None:
        """Gives the weights' memory back."""
        with self._using:
            self._shelf.clear()

    @property
    def held_bytes(self) -> int:
        """What is held now, by its own account."""
        outside = sum(part.nbytes for part in self._outside.values())
        return outside + self._cached + self._temporary + self._shelf.kept_bytes + self._shelf.moving_bytes()

    def _through(
        self,
        x: np.ndarray,
        start: int,
        cache: Cache,
        places: int,
        touched: list[Touched],
        before: list[np.ndarray] | None = None,
    ) -> tuple[Array, Cache]:
        """Embeddings (T, d) behind all layers; what is before each of them goes into a list."""
        places, length = max(places, cache.places), len(x)
        self._check(places)
        if places > cache.places:
            self._make_room(cache_bytes(self._shape, cache.places + places), self._needs(length, places))
            cache = grown(cache, places)
        self._make_room(cache_bytes(self._shape, places), self._needs(length, places))
        moved: Any = x * np.float32(self._shape.embedding_scale)
        begin = np.int32(start)
        for number in self._layers:
            if before is not None:
                before.append(np.asarray(moved))
            layer, kind = self._piece(number, touched), self._shelf.pieces[number].kind
            given = (layer, self._outside, moved, np.int32(number), begin, cache)
            moved, new = self._steps.run(compiled_layer(), (kind, length, places), *given)
            cache = self._steps.run(compiled_written(), (length, places), cache, *new, np.int32(number), begin)
            moved.block_until_ready()  # else more than one layer would wait for its turn, in memory
        return moved, cache

    def _told(self, hidden: Array, touched: list[Touched]) -> tuple[Array, Array, Array]:
        scores = []
        for number in self._head:
            piece, kind = self._piece(number, touched), self._shelf.pieces[number].kind
            scores.append(self._steps.run(compiled_scores(), (kind,), piece, hidden).block_until_ready())
        return self._steps.run(compiled_chosen(), (), scores)

    def _piece(self, number: int, touched: list[Touched]) -> Any:
        """A layer's weights, or a piece of the output projection; it stays where there is room."""
        found, read = self._shelf.get(number, self._order)
        piece = self._shelf.pieces[number]
        touched += [Touched(*rows, read) for rows in piece.rows]
        if read:
            self.peak_bytes = max(self.peak_bytes, self.held_bytes)
            more = piece.size_bytes + self._shelf.moving_bytes(number) - self._shelf.moving_bytes()
            if self.held_bytes + more <= self.budget_bytes:
                self._shelf.keep(number, found)
        return found

    def _make_room(self, cached_bytes: int, temporary_bytes: int) -> None:
        self._cached, self._temporary = cached_bytes, temporary_bytes
        while self.held_bytes > self.budget_bytes and self._shelf.drop():
            pass
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def _check(self, places: int) -> None:
        check_budget(self._weights.name, self.budget_bytes, self._least(places, 1), places)

    def _least(self, places: int, length: int) -> int:
        """The smallest budget for a cache of so many places and so many tokens at once."""
        outside = sum(part.nbytes for part in self._outside.values())
        moving = Shelf(self._shelf.pieces).moving_bytes()
        return outside + cache_bytes(self._shape, places) + self._needs(length, places) + moving

    def _needs(self, length: int, places: int) -> int:
        """What so many tokens at once take beside weights and cache: a layer's buffers, or the scores.

        All that they need is compiled, or loaded, when this is first asked.
        """
        if (needed := self._needed.get((length, places))) is None:
            needed = self._needed[length, places] = max(self._prepared(length, places), 3 * 4 * self._shape.tokens)
            give_back()
        return needed

    def _prepared(self, length: int, places: int) -> int:
        """Compiles, or loads, all executables; the most that a layer takes beside its arguments."""
        shape, pieces = self._shape, self._shelf.pieces
        number = np.int32(0)
        x, hidden = (jax.ShapeDtypeStruct((rows, shape.width), np.float32) for rows in (length, 1))
        cache = jax.eval_shape(lambda: empty_cache(shape, places))
        keys = jax.ShapeDtypeStruct((shape.kv_heads, shape.head_width, length), np.float32)
        most = 0
        for kind in {pieces[n].kind for n in self._layers}:
            given = (self._looks[kind], self._outside, x, number, number, cache)
            most = max(most, _buffers(self._steps.get(compiled_layer(), (kind, length, places), *given)))
        self._steps.get(compiled_written(), (length, places), cache, keys, keys, number, number)
        self._steps.get(compiled_last(), (length,), self._outside, x, number)
        for kind in {pieces[n].kind for n in self._head}:
            self._steps.get(compiled_scores(), (kind,), self._looks[kind], hidden)
        scores = [jax.ShapeDtypeStruct((pieces[n].kind,), np.float32) for n in self._head]
        self._steps.get(compiled_chosen(), (), scores)
        return most


def check_budget(name: str, budget_bytes: int, least_bytes: int, places: int) -> None:
    """Refuses a budget that is too small.

    Raises:
        Error: it is; the least that works with a cache of so many places is told.
    """
    if least_bytes > budget_bytes:
        raise Error(
            f"a budget of {shown_size(budget_bytes)} is too small for {name}; wanted at least "
            f"{shown_size(least_bytes)} for a cache of {places} tokens"
        )


def _layers(parts: Parts, shape: Shape) -> Iterator[Piece]:
    for number in range(shape.layers):
        tensors = parts.tensors(number)
        yield Piece(
            partial(parts.layer, number),
            sum(bytes_in_memory(t) for t in tensors),
            2 * max(t.size_bytes for t in tensors),  # parts of one product are read together
            tuple((t.role, t.dtype) for t in tensors),
            tuple((t, 0, t.row_count) for t in tensors),
        )


def _head(parts: Parts) -> Iterator[Piece]:
    """Pieces of the output projection, all but the last one of the same number of rows."""
    tensor = parts.output
    most = max(1, _HEAD_BYTES // tensor.row_bytes)
    for first in range(0, tensor.row_count, most):
        count = min(most, tensor.row_count - first)
        size = bytes_in_memory(tensor, count)
        yield Piece(
            partial(parts.output_rows, first, count), size, count * tensor.row_bytes, count,
            ((tensor, first, count),),
        )  # fmt: skip


def _look(tree: Any) -> Any:
    return jax.tree.map(lambda part: jax.ShapeDtypeStruct(part.shape, part.dtype), tree)


def _buffers(executable: Any) -> int:
    """What an executable takes beside its arguments."""
    told = executable.memory_analysis()
    return told.temp_size_in_bytes + told.output_size_in_bytes if told else 0


@once
def compiled_empty() -> Call:
    """An empty cache of a shape and a number of places."""
    return jax.jit(lambda given: empty_cache(*given), static_argnames="given")


@once
def compiled_layer() -> Call:
    """`_layer`, compiled once for each shape of its arguments."""
    return jax.jit(_layer, static_argnames="shape", compiler_options=wide_vectors())


@once
def compiled_written() -> Call:
    """`_written`, which uses the cache up."""
    return jax.jit(_written, static_argnames="shape", donate_argnames="cache")


@once
def compiled_last() -> Call:
    """`_last`, compiled once for each shape of its arguments."""
    return jax.jit(_last, static_argnames="shape")


@once
def compiled_scores() -> Call:
    """`_scores`, compiled once for each shape of its arguments."""
    return jax.jit(_scores, static_argnames="shape", compiler_options=wide_vectors())


@once
def compiled_chosen() -> Call:
    """`_chosen`, compiled once for each number of pieces."""
    return jax.jit(_chosen, static_argnames="shape", compiler_options=wide_vectors())


def _layer(
    shape: Shape, layer: Params, outside: Params, x: Array, number: Array, start: Array, cache: Cache
) -> tuple[Array, tuple[Array, Array]]:
    turns = turns_of(shape, outside, start + jnp.arange(x.shape[0]))
    return through_layer(shape, of_layer(layer, jnp.int32(0)), turns, x, start, cache, number)


def _written(shape: Shape, cache: Cache, keys: Array, values: Array, layer: Array, start: Array) -> Cache:
    return written_layer(cache, keys, values, layer, start)


def _last(shape: Shape, outside: Params, x: Array, last: Array) -> Array:
    return norm(shape, lax.dynamic_index_in_dim(x, last), outside["output_norm"])


def _scores(shape: Shape, rows: Any, hidden: Array) -> Array:
    return logits(shape, {"output": rows}, hidden)[0]


def _chosen(shape: Shape, scores: list[Array]) -> tuple[Array, Array, Array]:
    return chosen(jnp.concatenate(scores))
