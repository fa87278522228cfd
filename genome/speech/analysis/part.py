"""All of the analysis on one part: a fixed number of frames, so that it is compiled once."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from genome.speech.analysis import harmonics, paths, pitch, prediction
from genome.speech.analysis.frames import level_db, power

LENGTH = 512
"""Frames that a part decides; it looks at `paths.MARGIN` more on each side."""
_STRETCH = 64
_ROUGH, _FINE = 1, 4
"""Steps of the fit before a ceiling is chosen, and after."""
_SIZE = LENGTH + 2 * paths.MARGIN
_WINDOWS = paths.stretches(_SIZE, _STRETCH)
_INNER = slice(paths.MARGIN, -paths.MARGIN)


class Columns(NamedTuple):
    """Of each decided frame; the arrays of `Track`."""

    f0_hz: jax.Array
    level_db: jax.Array
    f_hz: jax.Array
    b_hz: jax.Array
    ceiling: jax.Array
    candidates_f_hz: jax.Array
    candidates_b_hz: jax.Array


class Band(NamedTuple):
    """What is looked for in a recording with nothing above `hz`: arrays, so that another band compiles nothing."""

    hz: jax.Array
    formants: jax.Array
    ceilings_hz: jax.Array
    lags: jax.Array

    @classmethod
    def below(cls, hz: float) -> "Band":
        """The band of a recording whose rate is twice `hz`."""
        ceilings = jnp.asarray(prediction.ceilings_hz(hz), jnp.float32)
        formants = jnp.asarray(prediction.formants_below(hz))
        return cls(jnp.asarray(hz, jnp.float32), formants, ceilings, jnp.asarray(prediction.to_lags(hz)))


@jax.jit
def analysed(frames: jax.Array, first: jax.Array, band: Band) -> Columns:
    """f0, formants, bandwidths, level and candidates of one part.

    Args:
        frames: (LENGTH + 2 MARGIN, WINDOW) float32.
        first: (LENGTH + 2 MARGIN,) whether a recording begins at a frame.
        band: of all of them.
    """
    spectrum, level = power(frames), level_db(frames)
    f0 = _voice(spectrum, level, first)
    poles_f, poles_b = prediction.candidates(spectrum, band.lags, band.ceilings_hz, band.formants)
    seen = harmonics.measured(frames, f0, band.hz)
    begin = harmonics.start(poles_f, band.hz)  # (parameters, ceilings, frames)
    many = jax.tree.map(lambda x: jnp.tile(x, (1, begin.shape[1])), seen)
    seen, many, begin = lax.optimization_barrier((seen, many, begin))
    rough, misfit = harmonics.fitted(begin.reshape(len(begin), -1), many, _ROUGH)
    place = rough.reshape(begin.shape)[3 : 3 + prediction.FORMANTS]
    own = harmonics.own_cost(place, misfit.reshape(begin.shape[1:]))
    ceiling = _chosen(own.T, jnp.moveaxis(place[:3], 0, -1).swapaxes(0, 1), first, harmonics.change)
    take = partial(_of_ceiling, ceiling=ceiling)
    fine, _ = harmonics.fitted(take(begin), seen, _FINE)
    voiced, sounds = jnp.isfinite(f0), level >= pitch.SILENCE_DB
    f = jnp.where(voiced, jnp.exp(fine[3 : 3 + prediction.FORMANTS]), take(poles_f))
    b = jnp.where(voiced, jnp.exp(fine[3 + prediction.FORMANTS :]), take(poles_b))
    wanted = jnp.arange(prediction.FORMANTS)[:, None] < band.formants
    there = sounds & wanted & (f < band.hz)
    f, b = jnp.where(there, f, jnp.nan), jnp.where(there, b, jnp.nan)
    every = jnp.moveaxis(poles_f, 2, 0).swapaxes(1, 2), jnp.moveaxis(poles_b, 2, 0).swapaxes(1, 2)
    return Columns(*(x[_INNER] for x in (f0, level, f.T, b.T, ceiling, *every)))


def _voice(spectrum: jax.Array, level: jax.Array, first: jax.Array) -> jax.Array:
    """(frames,) f0 in Hz on the cheapest path; NaN where there is no voice."""
    f0, strength = pitch.candidates(spectrum)
    own, place = pitch.costs(f0, strength, level)
    state = _chosen(own, place, first, pitch.change)
    return jnp.take_along_axis(jnp.exp2(place), state[:, None], 1)[:, 0]


def _chosen(own: jax.Array, place: jax.Array, first: jax.Array, change) -> jax.Array:
    """(frames,) the state of each frame; the margins, which nobody reads, repeat the first."""
    states = paths.cheapest(own[_WINDOWS], place[_WINDOWS], first[_WINDOWS], change)
    return jnp.pad(states[:, _INNER].reshape(-1), paths.MARGIN, mode="edge")


def _of_ceiling(x: jax.Array, ceiling: jax.Array) -> jax.Array:
    """(n, ceilings, frames) and (frames,) -> (n, frames)."""
    return jnp.take_along_axis(x, ceiling[None, None], 1)[:, 0]
