"""The Llama architecture as pure functions (Touvron et al. 2023, arXiv 2302.13971; grouped queries: 2307.09288)."""

from collections.abc import Callable
from functools import cache as once

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from genome.model.kernel.cache import Cache
from genome.model.kernel.layers import Params, attention, feed_forward, norm
from genome.model.kernel.linear import project
from genome.model.kernel.rope import rotations
from genome.model.kernel.shape import Shape


def advance(
    shape: Shape, params: Params, x: ArrayLike, start: ArrayLike, last: ArrayLike, cache: Cache
) -> tuple[Array, Array, Array, Cache]:
    """Reads new tokens and predicts the one after the last of them.

    Args:
        shape: static.
        params: `layers` (norms (L, d) and matrices stacked over L, joined as in `JOINED`), `output_norm` (d,),
            `output` (V, d).
        x: embeddings of the new tokens (T, d); rows behind `last` fill up and are forgotten.
        start: how many tokens the cache holds.
        last: the row of `x` to predict from.
        cache: used up; `start` + T must not pass its places.

    Returns:
        logits (V,), the most probable token, its log probability, the cache with the new tokens.
    """
    return compiled()(shape, params, x, start, last, cache)


@once
def compiled() -> Callable[..., tuple[Array, Array, Array, Cache]]:
    """`advance`, compiled once for each shape of its arguments.

    On the CPU with vectors of 512 bits, where it has them: XLA prefers 256, and a step then takes a tenth longer.
    """
    options = {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None
    return jax.jit(_advance, static_argnames="shape", donate_argnames="cache", compiler_options=options)


def _advance(
    shape: Shape, params: Params, x: Array, start: Array, last: Array, cache: Cache
) -> tuple[Array, Array, Array, Cache]:
    hidden, cache = forward(shape, params, x, start, cache)
    scores = logits(params, lax.dynamic_index_in_dim(hidden, last))[0]
    best = jnp.argmax(scores)
    return scores, best, scores[best] - jax.nn.logsumexp(scores), cache


def forward(shape: Shape, params: Params, x: Array, start: Array, cache: Cache) -> tuple[Array, Cache]:
    """All layers over new tokens (T, d): their last hidden states, normed (T, d), and the cache with them.

    The cache is read inside the loop over layers and written once behind it: as the loop's carry it would be copied
    in each layer.
    """
    turn = rotations(shape, start + jnp.arange(x.shape[0]))

    def layer(x: Array, given: tuple[Params, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        weights, keys, values = given
        mixed, new = attention(shape, weights, norm(shape, x, weights["attn_norm"]), turn, start, keys, values)
        x = x + mixed
        return x + feed_forward(weights, norm(shape, x, weights["ffn_norm"])), new

    x, (keys, values) = lax.scan(layer, x, (params["layers"], cache.keys, cache.values))
    cache = Cache(
        lax.dynamic_update_slice(cache.keys, keys, (0, 0, 0, start)),
        lax.dynamic_update_slice(cache.values, values, (0, 0, start, 0)),
    )
    return norm(shape, x, params["output_norm"]), cache


def logits(params: Params, hidden: Array) -> Array:
    """Scores of all tokens (T, V) from normed hidden states (T, d)."""
    return project(hidden, params["output"])
