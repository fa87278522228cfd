"""Keys and values of the tokens so far.

Letters of the shapes, here and in the layers: L layers, T new tokens, S places of the cache, H heads, K key-value
heads, G = H / K, D width of a head, d width of the model, F width of the feed-forward layer, V tokens.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from genome.model.kernel.shape import Shape


class Cache(NamedTuple):
    """Keys and values of the tokens so far, each (L, K, D, S)."""

    keys: Array
    values: Array

    @property
    def places(self) -> int:
        """How many tokens it has room for."""
        return self.keys.shape[3]


def empty_cache(shape: Shape, places: int) -> Cache:
    """A cache for so many tokens, float32."""
    size = (shape.layers, shape.kv_heads, shape.head_width, places)
    return Cache(jnp.zeros(size, jnp.float32), jnp.zeros(size, jnp.float32))


def written(cache: Cache, keys: Array, values: Array, start: Array) -> Cache:
    """The cache with new tokens' keys and values, each (L, K, D, T), from a place on."""
    at = (0, 0, 0, start)
    return Cache(lax.dynamic_update_slice(cache.keys, keys, at), lax.dynamic_update_slice(cache.values, values, at))


def written_layer(cache: Cache, keys: Array, values: Array, layer: Array, start: Array) -> Cache:
    """The cache with one layer's new keys and values, each (K, D, T), from a place on."""
    at = (layer, 0, 0, start)
    return Cache(
        lax.dynamic_update_slice(cache.keys, keys[None], at),
        lax.dynamic_update_slice(cache.values, values[None], at),
    )


def cache_bytes(shape: Shape, places: int) -> int:
    """What a cache for so many tokens takes."""
    return 2 * shape.layers * shape.kv_heads * shape.head_width * places * 4


def grown(cache: Cache, places: int) -> Cache:
    """The same tokens in a cache with more places."""
    more = ((0, 0), (0, 0), (0, 0), (0, places - cache.places))
    return Cache(jnp.pad(cache.keys, more), jnp.pad(cache.values, more))
