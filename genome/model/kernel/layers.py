"""The parts of a layer as pure functions; the letters of the shapes are those of `genome.model.kernel.cache`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from genome.model.kernel.attention import attend, capped
from genome.model.kernel.cache import Cache
from genome.model.kernel.forms import Matrix
from genome.model.kernel.linear import project
from genome.model.kernel.native import attention as native
from genome.model.kernel.rope import rotate
from genome.model.kernel.shape import Shape

Params = dict
"""Arrays and matrices by role."""


def norm(shape: Shape, x: Array, weight: Array) -> Array:
    """RMSNorm (Zhang & Sennrich 2019) over the last axis."""
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + shape.norm_epsilon) * weight


def attention(
    shape: Shape,
    weights: Params,
    x: Array,
    turn: tuple[Array, Array],
    start: Array,
    cache: Cache | Sequence[Cache],
    layer: Array,
    window: Array | None = None,
) -> tuple[Array, tuple[Array, Array]]:
    """Causal attention of T new tokens over a layer's cache and themselves; what the cache gets, each (K, D, T).

    With a window a token sees only so many tokens, itself the last of them. Of several caches each is one token's
    alone, and `start` (T,) tells how many tokens each holds.
    """
    count = x.shape[0]
    q, k, v = _heads(shape, weights, x)
    q = rotate(shape, q, turn).reshape(count, shape.kv_heads, -1, shape.head_width) * shape.attention_scale
    k, v = rotate(shape, k, turn).transpose(1, 2, 0), v.transpose(1, 2, 0)
    q = q.transpose(1, 2, 0, 3)
    if isinstance(cache, Cache):
        mixed = _attend(shape, weights, q, k, v, start, cache, layer, window)
    else:
        one = [(q[:, :, n : n + 1], k[..., n : n + 1], v[..., n : n + 1], start[n]) for n in range(count)]
        found = [_attend(shape, weights, *of, own, layer, window) for of, own in zip(one, cache, strict=True)]
        mixed = jnp.concatenate(found, axis=2)
    return _affine(weights, "attn_output", mixed.transpose(2, 0, 1, 3).reshape(count, -1)), (k, v)


def _attend(
    shape: Shape,
    weights: Params,
    q: Array,
    k: Array,
    v: Array,
    start: Array,
    cache: Cache,
    layer: Array,
    window: Array | None,
) -> Array:
    """As `attend`, by the compiled kernel where that computes the layer's products too."""
    if library := native.library_for(shape, weights["attn_output"], q, cache):
        return native.attend(library, q, k, v, start, cache, layer, window)
    return attend(shape, q, k, v, start, cache, layer, window)


def _heads(shape: Shape, weights: Params, x: Array) -> tuple[Array, Array, Array]:
    """Queries (T, H, D), keys and values (T, K, D); queries and keys normed where the model does that."""
    cuts = shape.heads * shape.head_width, (shape.heads + shape.kv_heads) * shape.head_width
    q, k, v = jnp.split(_affine(weights, "attn_qkv", x), cuts, axis=-1)
    if shape.head_norms == "all":
        q, k = norm(shape, q, weights["attn_q_norm"]), norm(shape, k, weights["attn_k_norm"])
    if shape.clamp:
        q, k, v = (jnp.clip(part, -shape.clamp, shape.clamp) for part in (q, k, v))
    q, k, v = (part.reshape(x.shape[0], -1, shape.head_width) for part in (q, k, v))
    if shape.head_norms == "each":
        q, k = norm(shape, q, weights["attn_q_norm"]), norm(shape, k, weights["attn_k_norm"])
    return q, k, v


def _affine(weights: Params, role: str, x: Array) -> Array:
    """A product with the matrix of a role, and its bias where it has one."""
    found = project(x, weights[role])
    bias = weights.get(f"{role}.bias")
    return found if bias is None else found + bias


def feed_forward(shape: Shape, weights: Params, x: Array) -> Array:
    """A gated linear unit: SwiGLU, or GEGLU (Shazeer 2020, arXiv 2002.05202)."""
    gate, up = jnp.split(project(x, weights["ffn_gate_up"]), 2, axis=-1)
    return project(_activated(shape, gate) * up, weights["ffn_down"])


def routed(shape: Shape, weights: Params, x: Array) -> tuple[Array, Array]:
    """The experts that a router picks for each token, and their shares, each (T, experts used).

    Shazeer et al. 2017, arXiv 1701.06538; as in Mixtral (2401.04088) and OLMoE (2409.02060).
    """
    chances = jax.nn.softmax(project(x, weights["ffn_gate_inp"]), axis=-1)
    shares, picked = lax.top_k(chances, shape.experts_used)
    if shape.experts_normed:
        shares = shares / shares.sum(axis=-1, keepdims=True)
    return picked, shares


def expert(shape: Shape, gate: Matrix, up: Matrix, down: Matrix, x: Array) -> Array:
    """What one expert adds for each token (T, d)."""
    return project(_activated(shape, project(x, gate)) * project(x, up), down)


def _activated(shape: Shape, x: Array) -> Array:
    return jax.nn.silu(x) if shape.activation == "silu" else jax.nn.gelu(x, approximate=True)


def logits(shape: Shape, params: Params, hidden: Array) -> Array:
    """Scores of all tokens (T, V) from normed hidden states (T, d)."""
    return capped(project(hidden, params["output"]), shape.logit_cap)
