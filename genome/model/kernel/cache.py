"""Keys and values of the tokens so far.

Letters of the shapes, here and in the layers: L layers, T new tokens, S places of the cache, H heads, K key-value
heads, G = H / K, D width of a head, d width of the model, F width of the feed-forward layer, V tokens.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from genome.model.kernel.shape import Shape


class Cache(NamedTuple):
    """Keys (L, K, D, S) and values (L, K, S, D) of the tokens so far."""

    keys: Array
    values: Array

    @property
    def places(self) -> int:
        """How many tokens it has room for."""
        return self.keys.shape[3]


def empty_cache(shape: Shape, places: int) -> Cache:
    """A cache for so many tokens, float32."""
    heads = (shape.layers, shape.kv_heads)
    return Cache(
        jnp.zeros((*heads, shape.head_width, places), jnp.float32),
        jnp.zeros((*heads, places, shape.head_width), jnp.float32),
    )


def written(cache: Cache, keys: Array, values: Array, start: Array) -> Cache:
    """The cache with new tokens' keys (L, K, D, T) and values (L, K, T, D) from a place on."""
    return Cache(
        lax.dynamic_update_slice(cache.keys, keys, (0, 0, 0, start)),
        lax.dynamic_update_slice(cache.values, values, (0, 0, start, 0)),
    )


def grown(cache: Cache, places: int) -> Cache:
    """The same tokens in a cache with more places."""
    none, more = (0, 0), (0, places - cache.places)
    return Cache(jnp.pad(cache.keys, (none, none, none, more)), jnp.pad(cache.values, (none, none, more, none)))
