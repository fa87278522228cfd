"""The parts of a layer as pure functions; the letters of the shapes are those of `genome.model.kernel.cache`."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from genome.model.kernel.linear import project
from genome.model.kernel.rope import rotate
from genome.model.kernel.shape import Shape

Params = dict
"""Arrays and matrices by role."""


def norm(shape: Shape, x: Array, weight: Array) -> Array:
    """RMSNorm (Zhang & Sennrich 2019) over the last axis."""
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + shape.norm_epsilon) * weight


def attention(
    shape: Shape, weights: Params, x: Array, turn: tuple[Array, Array], start: Array, keys: Array, values: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Causal attention of T new tokens over the cache (K, D, S), (K, S, D) and themselves; what the cache gets."""
    count, group = x.shape[0], shape.heads // shape.kv_heads
    qkv = project(x, weights["attn_qkv"]).reshape(count, -1, shape.head_width)
    q, k, v = jnp.split(qkv, (shape.heads, shape.heads + shape.kv_heads), axis=1)
    q = rotate(shape, q, turn).reshape(count, shape.kv_heads, group, shape.head_width) * shape.head_width**-0.5
    k, v = rotate(shape, k, turn).transpose(1, 2, 0), v.swapaxes(0, 1)
    places = keys.shape[-1]
    before = jnp.where(jnp.arange(places) < start, _scores(q, keys), -jnp.inf)
    among = jnp.where(jnp.arange(count)[:, None] >= jnp.arange(count), _scores(q, k), -jnp.inf)
    shares = jax.nn.softmax(jnp.concatenate([before, among], axis=-1), axis=-1)
    mixed = jnp.einsum("kgts,ksd->kgtd", shares[..., :places], values)
    mixed += jnp.einsum("kgtu,kud->kgtd", shares[..., places:], v)
    return project(mixed.transpose(2, 0, 1, 3).reshape(count, -1), weights["attn_output"]), (k, v)


def _scores(q: Array, keys: Array) -> Array:
    """Queries (T, K, G, D) times keys (K, D, S): (K, G, T, S).

    One token's small products are faster as a plain sum over D: XLA's CPU backend makes vectors of S.
    """
    if q.shape[0] == 1:
        return (q[0][..., None] * keys[:, None]).sum(axis=2)[:, :, None]
    return jnp.einsum("tkgd,kds->kgts", q, keys)


def feed_forward(weights: Params, x: Array) -> Array:
    """SwiGLU (Shazeer 2020)."""
    gate, up = jnp.split(project(x, weights["ffn_gate_up"]), 2, axis=-1)
    return project(jax.nn.silu(gate) * up, weights["ffn_down"])
