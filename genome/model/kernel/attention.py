"""Attention of new tokens over those before them, in pieces of the cache: only what has been read costs time.

The softmax is carried along from piece to piece (Milakov & Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
2205.14135). The letters of the shapes are those of `genome.model.kernel.cache`.
"""

from collections.abc import Callable
from functools import partial
from math import gcd
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from genome.model.kernel.cache import Cache
from genome.model.kernel.forms import STRIP
from genome.model.kernel.shape import Shape

_PIECES = {True: (512, 128), False: (256,)}
"""So many places of the cache at a time, for one new token or for more; fewer, where they do not divide it."""
_ROWS = 256
"""So many new tokens look at each other at a time: what is ahead of all of them costs nothing."""


class Carried(NamedTuple):
    """Values mixed so far: the highest score (K, G, T), the sum of all shares (K, G, T), the mixture (K, G, T, D).

    Shares are counted relative to the highest score.
    """

    top: Array
    total: Array
    values: Array


def attend(
    shape: Shape,
    q: Array,
    k: Array,
    v: Array,
    start: Array,
    cache: Cache,
    layer: Array,
    window: Array | None = None,
) -> Array:
    """Causal attention of T new tokens over the cache and themselves.

    Args:
        shape: static.
        q: queries (K, G, T, D), scaled.
        k: keys of the new tokens (K, D, T).
        v: their values (K, D, T).
        start: how many tokens the cache holds.
        cache: of all layers, read where it lies.
        layer: which one.
        window: a token sees only so many tokens, itself the last of them; None: all.

    Returns:
        The values that each head mixes (K, G, T, D).
    """
    new = start + jnp.arange(q.shape[2])[:, None]
    mixed = _among(shape, q, k, v, window)

    def further(size: int, number: Array, mixed: Carried) -> Carried:
        def cut(part: Array, begin: int, width: int) -> Array:
            at = (layer, 0, 0, number * size + begin)
            return lax.dynamic_slice(part, at, (1, *part.shape[1:3], width))[0]

        places = number * size + jnp.arange(size)
        seen = (places < start) & (window is None or new - places < window)
        keys = cut(cache.keys, 0, size)
        return _joined(mixed, _mixed(shape, q, keys, partial(cut, cache.values), seen))

    done = 0 if window is None else jnp.maximum(start + 1 - window, 0)
    sizes = [gcd(size, cache.places) for size in _PIECES[q.shape[2] == 1]]
    for size in sizes:
        first, end = done // size, start // size if size > sizes[-1] else -(-start // size)
        mixed = lax.fori_loop(first, end, partial(further, size), mixed)
        done = jnp.maximum(done, end * size)
    return mixed.values / mixed.total[..., None]


def _among(shape: Shape, q: Array, k: Array, v: Array, window: Array | None) -> Carried:
    """The new tokens over themselves, some at a time."""
    count = q.shape[2]
    if count == 1:
        score = capped((q * k[:, None, None, :, 0]).sum(axis=-1), shape.attention_cap)
        return Carried(score, jnp.ones_like(score), jnp.broadcast_to(v[:, None, None, :, 0], q.shape))
    parts = []
    for begin in range(0, count, _ROWS):
        end = min(begin + _ROWS, count)
        new, places = jnp.arange(begin, end)[:, None], jnp.arange(end)
        seen = (new >= places) & (window is None or new - places < window)
        values = partial(_columns, v)
        parts.append(_mixed(shape, q[:, :, begin:end], k[..., :end], values, seen))
    return Carried(*(jnp.concatenate(pieces, axis=2) for pieces in zip(*parts, strict=True)))


Cut = Callable[[int, int], Array]
"""Some columns of an array (K, D, S), from where on and how many: read where it lies."""


def _mixed(shape: Shape, q: Array, keys: Array, values: Cut, seen: Array) -> Carried:
    """Values mixed by the scores of queries (K, G, T, D) with keys (K, D, S), where they are seen (T, S)."""
    scores = jnp.where(seen, capped(jnp.einsum("kgtd,kds->kgts", q, keys), shape.attention_cap), -jnp.inf)
    top = jnp.maximum(_over_last(jnp.max, scores), jnp.finfo(scores.dtype).min)
    shares = jnp.exp(scores - top[..., None])
    return Carried(top, _over_last(jnp.sum, shares), _mixture(shares, values))


def _mixture(shares: Array, values: Cut) -> Array:
    """Shares (K, G, T, S) times values (K, D, S): (K, G, T, D).

    For one token the sum is faster by strips, as in `genome.model.kernel.strips`.
    """
    count = shares.shape[-1]
    if shares.shape[2] > 1 or count % STRIP:
        return jnp.einsum("kgts,kds->kgtd", shares, values(0, count))
    shares = lax.optimization_barrier(shares)
    strips = (shares[..., at : at + STRIP] * values(at, STRIP)[:, None] for at in range(0, count, STRIP))
    total = sum(strips, start=jnp.zeros((), shares.dtype))
    return (total @ jnp.ones(STRIP, total.dtype))[:, :, None]


def _joined(one: Carried, other: Carried) -> Carried:
    """Two mixtures of the same queries as one."""
    top = jnp.maximum(one.top, other.top)
    first, second = jnp.exp(one.top - top), jnp.exp(other.top - top)
    values = one.values * first[..., None] + other.values * second[..., None]
    return Carried(top, one.total * first + other.total * second, values)


def _over_last(reduce: Callable[..., Array], x: Array) -> Array:
    """A sum or the largest of the last axis, sixteen lanes at a time: XLA's CPU backend takes one by one else."""
    if x.shape[-1] % STRIP:
        return reduce(x, axis=-1)
    return reduce(reduce(x.reshape(*x.shape[:-1], -1, STRIP), axis=-2), axis=-1)


def _columns(part: Array, begin: int, width: int) -> Array:
    return part[..., begin : begin + width]


def capped(scores: Array, cap: float) -> Array:
    """Scores squeezed between -cap and cap (Bello et al. 2016, arXiv 1611.09940); 0 leaves them."""
    return jnp.tanh(scores / cap) * cap if cap else scores
