"""A model's weights in memory, and the compiled steps that read tokens with them."""

from collections.abc import Iterator, Sequence
from threading import Lock

import jax
import numpy as np
from jax import Array

from genome.model.kernel.cache import Cache, empty_cache, grown
from genome.model.kernel.executables import Call, Executables
from genome.model.kernel.experts import Touched
from genome.model.kernel.forward import compiled, compiled_states, compiled_told
from genome.model.kernel.layers import Params
from genome.model.kernel.loading import load
from genome.model.kernel.mixture import Mixture
from genome.model.kernel.shape import Shape
from genome.model.weights import Weights

PREFILL = (32, 256)
"""Prompts are read in pieces of these lengths, the last one filled up: two shapes to compile, not one each."""
SINGLY = 16
"""So few tokens are read one by one, as in decoding: compiling takes longer than that."""


class Engine:
    """A model's weights, read when they are first needed, and its compiled steps.

    Args:
        weights: of the model.
        shape: its hyper-parameters.
        executables: where compiled steps are kept.
    """

    def __init__(self, weights: Weights, shape: Shape, executables: Executables) -> None:
        self._weights, self._shape, self._executables = weights, shape, executables
        self._params: Params | None = None
        self._loading = Lock()
        self._steps: dict[tuple[Call, int, int], Call] = {}
        self._mixture = Mixture(weights, shape, executables) if shape.experts else None

    def params(self) -> tuple[Params, bool]:
        """The weights on the device, and whether they had to be read.

        Raises:
            DamagedError: weights are damaged.
        """
        with self._loading:
            read = self._params is None
            if self._params is None:
                self._params = load(self._weights, self._shape)
            return self._params, read

    def close(self) -> None:
        """Gives the weights' memory back; they would be read again."""
        self._params = None
        if self._mixture:
            self._mixture.experts.clear()

    def cache(self, tokens: int) -> Cache:
        """An empty cache with room for so many tokens."""
        return empty_cache(self._shape, _places(tokens))

    def step(
        self, params: Params, rows: Sequence[np.ndarray], length: int, start: int, cache: Cache
    ) -> tuple[tuple[Array, Array, Array, Cache], list[Touched]]:
        """Reads a piece of tokens.

        Args:
            params: the weights.
            rows: the tokens' embeddings, each float32 (d,).
            length: how many rows the piece is filled up to, from `pieces`.
            start: how many tokens the cache holds.
            cache: used up; grown where it is too small.

        Returns:
            As `genome.model.kernel.forward.advance`; the experts that it used.
        """
        x, cache = self._filled(rows, length, start, cache)
        if self._mixture:
            return self._mixture.advance(params, x, start, len(rows) - 1, cache)
        given = (params, x, np.int32(start), np.int32(len(rows) - 1), cache)
        return self._executable(compiled(), length, cache.places, given)(*given), []

    def states(
        self, params: Params, rows: Sequence[np.ndarray], length: int, start: int, cache: Cache, every: bool
    ) -> tuple[Array, Cache, list[Touched]]:
        """Reads a piece of tokens for their hidden states: `every` layer's (L + 1, length, d), else (length, d).

        The other arguments, what becomes of the cache, and which experts were used, are those of `step`.
        """
        x, cache = self._filled(rows, length, start, cache)
        if self._mixture:
            return self._mixture.states(params, x, start, len(rows) - 1, cache, every=every)
        given = (params, x, np.int32(start), cache)
        return *self._executable(compiled_states(every), length, cache.places, given)(*given), []

    def told(self, params: Params, hidden: Array) -> tuple[Array, Array, Array]:
        """Scores (V,) from a last hidden state (1, d), the most probable token, its log probability."""
        return self._executable(compiled_told(), 1, 0, (params, hidden))(params, hidden)

    def _filled(
        self, rows: Sequence[np.ndarray], length: int, start: int, cache: Cache
    ) -> tuple[np.ndarray, Cache]:
        """The rows filled up to a piece's length (length, d), and a cache that has room for them."""
        if (places := _places(start + length)) > cache.places:
            cache = grown(cache, places)
        x = np.zeros((length, self._shape.width), np.float32)
        x[: len(rows)] = rows
        return x, cache

    def prepare(self) -> None:
        """Compiles what the first tokens of a prompt and of an answer need, and keeps it.

        A mixture of experts reads some of its experts for that.
        """
        params, _ = self.params()
        if self._mixture:
            for length in (1, *PREFILL):
                self.step(params, [np.zeros(self._shape.width, np.float32)], length, 0, self.cache(1))
            return
        cache = self.cache(1)
        for length in (1, *PREFILL):
            x = jax.ShapeDtypeStruct((length, self._shape.width), np.float32)
            self._executable(compiled(), length, cache.places, (params, x, np.int32(0), np.int32(0), cache))

    def _executable(self, function: Call, length: int, places: int, given: tuple) -> Call:
        if (step := self._steps.get((function, length, places))) is None:
            step = self._executables.get(function, self._shape, *given)
            self._steps[function, length, places] = step
        return step


def pieces(tokens: list[int]) -> Iterator[tuple[list[int], int]]:
    """A prompt cut up, and the length that each piece is filled up to; a few tokens go one by one."""
    for at in range(0, len(tokens), PREFILL[-1]):
        piece = tokens[at : at + PREFILL[-1]]
        if len(piece) <= SINGLY:
            yield from (([token], 1) for token in piece)
        else:
            yield piece, next(length for length in PREFILL if length >= len(piece))


def _places(tokens: int) -> int:
    """Places of a cache: a power of two times the longest piece, so that few shapes are compiled."""
    pieces = -(-tokens // PREFILL[-1])
    return PREFILL[-1] << (pieces - 1).bit_length()
