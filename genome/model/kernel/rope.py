"""The rotary embedding (Su et al. 2021, arXiv 2104.09864): pairs of a head turned by the place of their token."""

import jax.numpy as jnp
from jax import Array

from genome.model.kernel.shape import Shape


def rotations(shape: Shape, positions: Array) -> tuple[Array, Array]:
    """Cosines and sines of the rotary embedding (Su et al. 2021), each (T, 1, D / 2)."""
    pairs = shape.head_width // 2
    frequencies = shape.rope_base ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    angles = positions.astype(jnp.float32)[:, None, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(shape: Shape, x: Array, turn: tuple[Array, Array]) -> Array:
    """Turns the pairs of x (T, heads, D), which are stored as `Shape.halves` says."""
    cos, sin = turn
    if shape.halves:
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)
