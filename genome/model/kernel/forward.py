"""The forward pass of Llama and its relatives as pure functions over a `Shape`.

Llama: Touvron et al. 2023, arXiv 2302.13971 (grouped queries: 2307.09288); Qwen2: 2407.10671; Qwen3: 2505.09388;
Gemma 2: 2408.00118; Gemma 3: 2503.19786.
"""

from collections.abc import Callable, Sequence
from functools import cache as once

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from genome.model.kernel.cache import Cache, written
from genome.model.kernel.layers import Params, attention, feed_forward, logits, norm
from genome.model.kernel.linear import of_layer
from genome.model.kernel.rope import rotations
from genome.model.kernel.shape import Shape


def advance(
    shape: Shape, params: Params, x: ArrayLike, start: ArrayLike, last: ArrayLike, cache: Cache
) -> tuple[Array, Array, Array, Cache]:
    """Reads new tokens and predicts the one after the last of them.

    Args:
        shape: static.
        params: `layers` (vectors and matrices stacked over L, joined as in `shape.JOINED`), `output_norm` (d,),
            `output` (V, d), `rope_freqs` (D / 2,) where the model has them.
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
    """`advance`, compiled once for each shape of its arguments."""
    return jax.jit(_advance, static_argnames="shape", donate_argnames="cache", compiler_options=wide_vectors())


def wide_vectors() -> dict[str, str | bool | int | float] | None:
    """Options of the compiler: on the CPU vectors of 512 bits, where it has them.

    XLA prefers 256, and a step then takes a tenth longer.
    """
    return {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None


@once
def compiled_states(every: bool) -> Callable[..., tuple[Array, Cache]]:
    """`states`, or `forward` where only the last ones are wanted, compiled once for each shape of its arguments."""
    return jax.jit(states if every else forward, static_argnames="shape", donate_argnames="cache")


@once
def compiled_normed() -> Callable[..., Array]:
    """`layers.norm`, compiled once for each shape of its arguments."""
    return jax.jit(norm, static_argnames="shape")


@once
def compiled_told() -> Callable[..., tuple[Array, Array, Array]]:
    """`told`, compiled once for each shape of its arguments."""
    return jax.jit(told, static_argnames="shape")


def _advance(
    shape: Shape, params: Params, x: Array, start: Array, last: Array, cache: Cache
) -> tuple[Array, Array, Array, Cache]:
    hidden, cache = forward(shape, params, x, start, cache)
    return *told(shape, params, lax.dynamic_index_in_dim(hidden, last)), cache


def told(shape: Shape, params: Params, hidden: Array) -> tuple[Array, Array, Array]:
    """Scores (V,) from one normed hidden state (1, d), the most probable token, its log probability."""
    return chosen(logits(shape, params, hidden)[0])


def chosen(scores: Array) -> tuple[Array, Array, Array]:
    """Scores (V,), the most probable token, its log probability."""
    best = jnp.argmax(scores)
    return scores, best, scores[best] - jax.nn.logsumexp(scores)


def forward(shape: Shape, params: Params, x: Array, start: Array, cache: Cache) -> tuple[Array, Cache]:
    """All layers over new tokens (T, d): their last hidden states, normed (T, d), and the cache with them."""
    x, _, cache = _through(shape, params, x, start, cache, keep=False)
    return norm(shape, x, params["output_norm"]), cache


def states(shape: Shape, params: Params, x: Array, start: Array, cache: Cache) -> tuple[Array, Cache]:
    """All hidden states of new tokens (T, d): (L + 1, T, d), and the cache with them.

    Number 0 are the embeddings, number n is what the nth layer leaves, and the last ones are normed.
    """
    x, before, cache = _through(shape, params, x, start, cache, keep=True)
    assert before is not None
    return jnp.concatenate([before, norm(shape, x, params["output_norm"])[None]]), cache


def _through(
    shape: Shape, params: Params, x: Array, start: Array, cache: Cache, *, keep: bool
) -> tuple[Array, Array | None, Cache]:
    """New tokens (T, d) behind all layers and, if they are to be kept, before each (L, T, d); the cache with them.

    Weights and cache are read inside the loop over layers where they lie, and the cache is written once behind it:
    what the loop scans or carries would be copied in each layer.
    """
    turns = turns_of(shape, params, start + jnp.arange(x.shape[0]))

    def kept(x: Array, number: Array) -> tuple[Array, tuple[Array, Array, Array | None]]:
        weights = of_layer(params["layers"], number)
        after, new = through_layer(shape, weights, turns, x, start, cache, number)
        return after, (*new, x if keep else None)

    x, (keys, values, before) = lax.scan(kept, x * shape.embedding_scale, jnp.arange(shape.layers))
    cache = written(cache, keys, values, start)
    return x, before, cache


def through_layer(
    shape: Shape,
    weights: Params,
    turns: list[tuple[Array, Array]],
    x: Array,
    start: Array,
    cache: Cache | Sequence[Cache],
    layer: Array,
) -> tuple[Array, tuple[Array, Array]]:
    """New tokens (T, d) behind a layer, and what the cache gets."""
    x, new = attended(shape, weights, turns, x, start, cache, layer)
    fed = feed_forward(shape, weights, norm(shape, x, weights["ffn_norm"]))
    return x + _after(shape, weights, "post_ffw_norm", fed), new


def attended(
    shape: Shape,
    weights: Params,
    turns: list[tuple[Array, Array]],
    x: Array,
    start: Array,
    cache: Cache | Sequence[Cache],
    layer: Array,
) -> tuple[Array, tuple[Array, Array]]:
    """The first half of a layer: x with attention added, and what the cache gets."""
    turn, seen = turns[0], None
    if shape.windows:
        window = jnp.array(shape.windows, jnp.int32)[layer]
        (cos, sin), (near_cos, near_sin) = turns[0], turns[-1]
        turn = jnp.where(window > 0, near_cos, cos), jnp.where(window > 0, near_sin, sin)
        seen = jnp.where(window > 0, window, jnp.iinfo(jnp.int32).max)
    mixed, new = attention(shape, weights, norm(shape, x, weights["attn_norm"]), turn, start, cache, layer, seen)
    return x + _after(shape, weights, "post_attention_norm", mixed), new


def turns_of(shape: Shape, params: Params, positions: Array) -> list[tuple[Array, Array]]:
    """The rotations of layers that see all tokens; behind them those of layers with a window, where they differ."""
    pairs = shape.head_width // 2
    turns = [rotations(shape.rope, pairs, positions, params.get("rope_freqs"))]
    if shape.windows and shape.window_rope:
        turns.append(rotations(shape.window_rope, pairs, positions))
    return turns


def _after(shape: Shape, weights: Params, role: str, x: Array) -> Array:
    return norm(shape, x, weights[role]) if shape.post_norms else x
