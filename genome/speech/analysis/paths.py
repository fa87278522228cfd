"""The cheapest path through the candidates of successive frames (Viterbi 1967), many stretches side by side."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MARGIN = 16
"""Frames on each side of a stretch that are looked at, not decided: 160 ms, beyond which a choice is forgotten."""


def cheapest(
    own: jax.Array, place: jax.Array, first: jax.Array, change: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """The state of each frame on the path that costs least.

    Args:
        own: (stretches, frames, states), what being in a state costs.
        place: (stretches, frames, states, …), what `change` compares.
        first: (stretches, frames), whether a recording begins here: coming from before is free.
        change: the places of a frame and of the next -> (stretches, from, to).

    Returns:
        (stretches, frames) int32.
    """
    frames = jnp.moveaxis(own, 1, 0), jnp.moveaxis(place, 1, 0), jnp.moveaxis(first, 1, 0)

    def forward(carry, frame):
        total, before = carry
        cost, here, begins = frame
        steps = total[:, :, None] + jnp.where(begins[:, None, None], 0, change(before, here))
        chosen = jnp.argmin(steps, 1)
        total = cost + jnp.min(steps, 1)
        # Only differences matter: the sum over an hour would lose them.
        return (total - jnp.min(total, 1, keepdims=True), here), chosen

    def backward(state, came_from):
        return jnp.take_along_axis(came_from, state[:, None], 1)[:, 0], state

    begin = own[:, 0], place[:, 0]
    (total, _), came_from = lax.scan(forward, begin, jax.tree.map(lambda x: x[1:], frames))
    last = jnp.argmin(total, 1)
    start, rest = lax.scan(backward, last, came_from, reverse=True)
    return jnp.concatenate([start[None], rest]).T


def stretches(frames: int, length: int) -> np.ndarray:
    """(stretches, length + 2 * MARGIN): which frames each looks at, the decided ones in the middle.

    Args:
        frames: how many there are, with MARGIN before and behind those to be decided.
        length: of the decided part; divides `frames - 2 * MARGIN`.
    """
    starts = np.arange(0, frames - 2 * MARGIN, length)
    return starts[:, None] + np.arange(length + 2 * MARGIN)
