"""A model's weights in memory, and the compiled steps that read tokens with them."""

from collections.abc import Iterator, Sequence
from threading import Lock

import jax
import numpy as np
from jax import Array

from genome.model.kernel.batch import compiled_batch, cuts
from genome.model.kernel.cache import Cache, cache_bytes, empty_cache, grown
from genome.model.kernel.executables import Executables, Steps
from genome.model.kernel.experts import Touched
from genome.model.kernel.forward import compiled, compiled_states, compiled_told
from genome.model.kernel.layers import Params
from genome.model.kernel.loading import bytes_in_memory, load
from genome.model.kernel.mixture import Mixture
from genome.model.kernel.shape import Shape, expert_shapes
from genome.model.kernel.streaming import Streamed, check_budget
from genome.model.weights import Weights

PREFILL = (32, 128, 512)
"""Prompts are read in pieces of these lengths: three shapes to compile, not one for each prompt."""
_SINGLY = 6
"""So few tokens are read one by one, as in decoding: a piece takes longer than that."""
_PLACES = 256
"""A cache has room for a power of two times so many tokens."""
_PREPARED = (*((length, max(length, _PLACES)) for length in PREFILL), (1, 256), (1, 512), (1, 1024))
"""Lengths of pieces, and places of the caches, that a first prompt and its answer need."""


class Engine:
    """A model's weights, read when they are first needed, and its compiled steps.

    Args:
        weights: of the model.
        shape: its hyper-parameters.
        executables: where compiled steps are kept.
    """

    def __init__(self, weights: Weights, shape: Shape, executables: Executables) -> None:
        self._weights, self._shape, self._executables = weights, shape, executables
        self._steps = Steps(executables, shape)
        self._params: Params | None = None
        self._streamed: Streamed | None = None
        self._budget_bytes: int | None = None
        self._loading = Lock()
        self._mixture = Mixture(weights, shape, executables) if shape.experts else None

    def params(self, budget_bytes: int | None = None) -> tuple[Params | Streamed, bool]:
        """The weights on the device, and whether they had to be read.

        Args:
            budget_bytes: what weights, cache and buffers may take together; weights are then read as they are
                needed, and `step` tells which; of a mixture only the experts are. None: all weights are read and
                stay.

        Raises:
            DamagedError: weights are damaged.
            Error: the budget is too small: the least that works is told.
        """
        with self._loading:
            if budget_bytes is not None and self._mixture is None:
                return self._within(budget_bytes), False
            self._streamed = None
            read = self._params is None
            if self._params is None:
                self._params = load(self._weights, self._shape)
            self._budget_bytes = budget_bytes
            self._bind(_places(1))
            return self._params, read

    def _bind(self, places: int) -> None:
        """Leaves to the experts of a mixture what weights that each token needs and the cache leave of a budget."""
        if self._mixture is None:
            return
        if (budget := self._budget_bytes) is None:
            self._mixture.experts.bound_bytes = None
            return
        picked = expert_shapes(self._shape)
        experts = sum(bytes_in_memory(t) for t in self._weights.tensors() if t.role in picked)
        in_use = self._shape.experts_used * experts // (self._shape.experts * self._shape.layers)
        others = sum(part.nbytes for part in jax.tree.leaves(self._params)) + 12 * self._shape.tokens
        least = others + in_use + cache_bytes(self._shape, places)
        check_budget(self._weights.name, budget, least, places)
        self._mixture.experts.bound_bytes = budget - least

    def _within(self, budget_bytes: int) -> Streamed:
        if self._streamed is None or self._streamed.budget_bytes != budget_bytes:
            self._streamed = self._params = None  # a generation that goes on holds its own until it ends
            self._streamed = Streamed(self._weights, self._shape, self._executables, budget_bytes)
        return self._streamed

    def close(self) -> None:
        """Gives the weights' memory back; they would be read again."""
        self._params = None
        if self._streamed is not None:
            self._streamed.close()
        if self._mixture:
            self._mixture.experts.clear()

    def cache(self, params: Params | Streamed, tokens: int) -> Cache:
        """An empty cache with room for so many tokens.

        Raises:
            Error: it does not fit into the budget.
        """
        places = _places(tokens)
        if isinstance(params, Streamed):
            return params.cache(places)
        self._bind(places)
        return empty_cache(self._shape, places)

    def pieces(self, params: Params | Streamed, tokens: list[int]) -> Iterator[tuple[list[int], int]]:
        """A prompt as pieces for `step`; shorter ones within a budget, whose results take less memory."""
        return pieces(tokens, PREFILL[:-1] if isinstance(params, Streamed) else PREFILL)

    def step(
        self, params: Params | Streamed, rows: Sequence[np.ndarray], length: int, start: int, cache: Cache
    ) -> tuple[tuple[Array, Array, Array, Cache], list[Touched]]:
        """Reads a piece of tokens.

        Args:
            params: the weights.
            rows: the tokens' embeddings, each float32 (d,).
            length: how many rows the piece is filled up to, as `pieces` says.
            start: how many tokens the cache holds.
            cache: used up; grown where it is too small.

        Returns:
            As `genome.model.kernel.forward.advance`; the experts that it used, within a budget all weights.

        Raises:
            Error: the cache no longer fits into the budget.
        """
        if isinstance(params, Streamed):
            return params.step(self._padded(rows, length), len(rows), start, cache, _places(start + length))
        x, cache = self._filled(rows, length, start, cache)
        if self._mixture:
            return self._mixture.advance(params, x, start, len(rows) - 1, cache)
        given = (params, x, np.int32(start), np.int32(len(rows) - 1), cache)
        return self._steps.run(compiled(), (length, cache.places), *given), []

    def together(
        self,
        params: Params | Streamed,
        rows: Sequence[np.ndarray],
        starts: Sequence[int],
        caches: Sequence[Cache],
    ) -> tuple[list[tuple[Array, Array, Array, Cache]], list[Touched]]:
        """Reads one token of each of several sequences, with one reading of the weights for up to four of them.

        A mixture of experts, and weights within a budget, are read for one after the other.

        Args:
            params: the weights.
            rows: the tokens' embeddings, each float32 (d,).
            starts: how many tokens each cache holds.
            caches: used up; grown where they are too small.

        Returns:
            For each sequence what `step` gives; what was touched.
        """
        found: list[tuple[Array, Array, Array, Cache]] = []
        touched: list[Touched] = []
        for cut in cuts(len(rows)):
            if self._mixture or isinstance(params, Streamed) or cut.stop - cut.start == 1:
                for row, start, cache in zip(rows[cut], starts[cut], caches[cut], strict=True):
                    one, more = self.step(params, [row], 1, start, cache)
                    found.append(one)
                    touched += more
                continue
            places = max(_places(max(starts[cut]) + 1), *(cache.places for cache in caches[cut]))
            same = tuple(c if c.places == places else grown(c, places) for c in caches[cut])
            given = (params, np.stack(rows[cut]), np.array(starts[cut], np.int32), same)
            told = self._steps.run(compiled_batch(), (cut.stop - cut.start, places), *given)
            scores, best, chances = (np.asarray(part) for part in told[:3])
            found += zip(scores, best, chances, told[3], strict=True)
        return found, touched

    def states(
        self,
        params: Params | Streamed,
        rows: Sequence[np.ndarray],
        length: int,
        start: int,
        cache: Cache,
        every: bool,
    ) -> tuple[Array, Cache, list[Touched]]:
        """Reads a piece of tokens for their hidden states: `every` layer's (L + 1, length, d), else (length, d).

        The other arguments, what becomes of the cache, and what was touched, are those of `step`.

        Raises:
            Error: as `step`.
        """
        if isinstance(params, Streamed):
            x, places = self._padded(rows, length), _places(start + length)
            return params.states(x, start, cache, places, every=every)
        x, cache = self._filled(rows, length, start, cache)
        if self._mixture:
            return self._mixture.states(params, x, start, len(rows) - 1, cache, every=every)
        given = (params, x, np.int32(start), cache)
        states, cache = self._steps.run(compiled_states(every), (length, cache.places), *given)
        return states, cache, []

    def told(self, params: Params | Streamed, hidden: Array) -> tuple[tuple[Array, Array, Array], list[Touched]]:
        """Scores (V,) from a last hidden state (1, d), the most probable token, its log probability; reads."""
        if isinstance(params, Streamed):
            return params.told(hidden)
        return self._steps.run(compiled_told(), (), params, hidden), []

    def _filled(
        self, rows: Sequence[np.ndarray], length: int, start: int, cache: Cache
    ) -> tuple[np.ndarray, Cache]:
        """The rows filled up to a piece's length (length, d), and a cache that has room for them."""
        if (places := _places(start + length)) > cache.places:
            self._bind(cache.places + places)
            cache = grown(cache, places)
            self._bind(places)
        return self._padded(rows, length), cache

    def _padded(self, rows: Sequence[np.ndarray], length: int) -> np.ndarray:
        x = np.zeros((length, self._shape.width), np.float32)
        x[: len(rows)] = rows
        return x

    def prepare(self) -> None:
        """Compiles what a first prompt of up to 512 tokens, and answers up to the 1,024th, need, and keeps it.

        A mixture of experts reads some of its experts for that.
        """
        params, _ = self.params()
        if self._mixture:
            for length in (1, *PREFILL):
                self.step(params, [np.zeros(self._shape.width, np.float32)], length, 0, self.cache(params, 1))
            return
        for length, places in _PREPARED:
            cache = self.cache(params, places)
            x = jax.ShapeDtypeStruct((length, self._shape.width), np.float32)
            self._steps.get(compiled(), (length, cache.places), params, x, np.int32(0), np.int32(0), cache)


def pieces(tokens: list[int], lengths: Sequence[int] = PREFILL) -> Iterator[tuple[list[int], int]]:
    """A prompt cut up, and the length that each piece is filled up to.

    What fills more than half of a length is one piece of it; before the rest of less come full ones, and the last
    few tokens go one by one.
    """
    while tokens:
        length = next((length for length in lengths if length >= len(tokens)), lengths[-1])
        if len(tokens) <= length // 2 and length > lengths[0]:
            length = lengths[lengths.index(length) - 1]
        if len(tokens) <= _SINGLY:
            length = 1
        yield tokens[:length], length
        tokens = tokens[length:]


def _places(tokens: int) -> int:
    """Places of a cache, few different ones: each is a shape to compile."""
    return _PLACES << (-(-tokens // _PLACES) - 1).bit_length()
