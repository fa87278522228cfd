"""Several sequences at once: a step reads the weights once for up to four of them.

Their tokens are rows of one matrix in every product, and each looks back at its own cache alone.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache as once

import jax
import jax.numpy as jnp
from jax import Array, lax

from genome.model.kernel.cache import Cache, written
from genome.model.kernel.forward import chosen, through_layer, turns_of, wide_vectors
from genome.model.kernel.layers import Params, logits, norm
from genome.model.kernel.linear import FEW, of_layer
from genome.model.kernel.shape import Shape


@once
def compiled_batch() -> Callable[..., tuple[Array, Array, Array, tuple[Cache, ...]]]:
    """`advance`, compiled once for each number of sequences and shape of their caches."""
    return jax.jit(advance, static_argnames="shape", donate_argnames="caches", compiler_options=wide_vectors())


def cuts(count: int) -> Iterator[slice]:
    """Sequences in groups of 4, 2 and 1, so that few sizes are compiled.

    Example:
        >>> [(cut.start, cut.stop) for cut in cuts(11)]
        [(0, 4), (4, 8), (8, 10), (10, 11)]
    """
    begin = 0
    while begin < count:
        size = min(FEW, 1 << (count - begin).bit_length() - 1)
        yield slice(begin, begin + size)
        begin += size


def advance(
    shape: Shape, params: Params, x: Array, starts: Array, caches: Sequence[Cache]
) -> tuple[Array, Array, Array, tuple[Cache, ...]]:
    """Reads one new token of each of B sequences and predicts the ones after them.

    Args:
        shape: static; of a dense model.
        params: as `genome.model.kernel.forward.advance` wants them.
        x: embeddings of the new tokens (B, d).
        starts: how many tokens each cache holds (B,); each has room for one more.
        caches: used up.

    Returns:
        logits (B, V), the most probable tokens (B,), their log probabilities (B,), the caches with the new tokens.
    """
    turns = turns_of(shape, params, starts)

    def layer(x: Array, number: Array) -> tuple[Array, tuple[Array, Array]]:
        return through_layer(shape, of_layer(params["layers"], number), turns, x, starts, caches, number)

    x, (keys, values) = lax.scan(layer, x * shape.embedding_scale, jnp.arange(shape.layers))
    scores = logits(shape, params, norm(shape, x, params["output_norm"]))
    made = tuple(
        written(cache, keys[..., n : n + 1], values[..., n : n + 1], starts[n]) for n, cache in enumerate(caches)
    )
    return *jax.vmap(chosen)(scores), made
