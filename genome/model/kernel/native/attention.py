"""One token's attention over the cache, by the compiled kernel, which reads the places that are filled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from genome.model.kernel.cache import Cache
from genome.model.kernel.forms import STRIP
from genome.model.kernel.native.library import target
from genome.model.kernel.native.product import Native
from genome.model.kernel.shape import Shape

_ROWS = 4
"""So many numbers of a head are computed at once."""


def library_for(shape: Shape, matrix: Any, queries: Array, cache: Cache) -> str:
    """Which compiled kernel computes a layer's attention: that of one of its matrices; empty where none can."""
    stack = getattr(matrix, "stack", matrix)
    fits = (
        queries.shape[2] == 1 and not shape.attention_cap and cache.keys.dtype == np.float32
        and cache.places % STRIP == 0 and queries.shape[3] % _ROWS == 0
    )  # fmt: skip
    return stack.library if isinstance(stack, Native) and fits else ""


def attend(
    library: str, q: Array, k: Array, v: Array, start: Array, cache: Cache, layer: Array, window: Array | None
) -> Array:
    """As `genome.model.kernel.attention.attend` for one new token, without a cap.

    Returns:
        The values that each head mixes (K, G, 1, D).
    """
    heads = q[:, :, 0]
    sees = jnp.int32(np.iinfo(np.int32).max) if window is None else jnp.asarray(window, jnp.int32)
    results = [
        jax.ShapeDtypeStruct(heads.shape, jnp.float32),
        jax.ShapeDtypeStruct((*heads.shape[:2], cache.places), jnp.float32),
    ]
    call = jax.ffi.ffi_call(target(library, "attention"), results, vmap_method="sequential")
    numbers = (jnp.asarray(number, jnp.int32) for number in (start, layer))
    return call(heads, k[..., 0], v[..., 0], cache.keys, cache.values, *numbers, sees)[0][:, :, None]
