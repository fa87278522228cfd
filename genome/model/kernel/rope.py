"""The rotary embedding (Su et al. 2021, arXiv 2104.09864): pairs of a head turned by the place of their token."""

import jax.numpy as jnp
from jax import Array

from genome.model.kernel.frequencies import Rope, frequencies
from genome.model.kernel.shape import Shape


def rotations(rope: Rope, pairs: int, positions: Array, divisors: Array | None = None) -> tuple[Array, Array]:
    """Cosines and sines of the rotary embedding, each (T, 1, D / 2).

    Args:
        rope: base and scaling.
        pairs: D / 2.
        positions: of the tokens (T,).
        divisors: of the frequencies (D / 2,), where a model stores them (GGUF's `rope_freqs`).
    """
    plain, scale = frequencies(rope, pairs)
    turning = plain if divisors is None else plain / divisors
    angles = positions.astype(jnp.float32)[:, None, None] * turning
    return jnp.cos(angles) * scale, jnp.sin(angles) * scale


def rotate(shape: Shape, x: Array, turn: tuple[Array, Array]) -> Array:
    """Turns the pairs of x (T, heads, D), which are stored as `Shape.halves` says."""
    cos, sin = turn
    if shape.halves:
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)
