"""Formants fitted to the harmonics of a voice: analysis by synthesis in the spectrum.

Linear prediction is drawn to the harmonics, the more the higher the voice. Here the levels of the harmonics are
explained by what makes them: resonances in cascade (Fant 1960, "Acoustic theory of speech production", 1.3),
a source that falls with frequency, and the formants above (Fant's higher-pole correction, which grows as the square
of frequency). What is known beforehand enters as normal priors, so that few harmonics are enough.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import cho_solve

from genome.speech.analysis.frames import BIN_HZ, FFT, WINDOW
from genome.speech.analysis.prediction import FORMANTS
from genome.speech.audio import RATE_HZ

HARMONICS = 32
HIGHEST_HZ = 5000.0
_SHAPE = 3  # gain, slope, higher poles
_WIDTH_S = 0.010  # of the Gaussian window, at most; else one period
_MISFIT = 0.15  # nepers: how well the model explains a harmonic that no noise covers
_STEEPEST = 0.1, 0.5  # the longest step of a formant and of a bandwidth, as logarithms

# What the shape of the source and the width of formants are like: mean and deviation.
_GAIN_SPREAD, _SLOPE, _HIGHER_POLES = 3.0, (-1.0, 0.7), (2.0, 1.0)
_B_HZ, _B_SPREAD = (70.0, 90.0, 130.0, 200.0, 250.0), 0.5
_F_SPREAD = 0.12
"""How far a formant may lie from its pole of linear prediction: 12 %."""
_TYPICAL_HZ, _TYPICAL_SPREAD = (500.0, 1500.0, 2600.0, 3700.0, 4700.0), (0.5, 0.45, 0.25, 0.2, 0.2)
_STEP = 0.05
"""A change of a formant from one frame to the next that costs 1/2: 5 %."""
_STEP_MOST, _OTHER_CEILING = 8.0, 1.0
_IMPOSSIBLE = 1e4


class Harmonics(NamedTuple):
    """Of each frame, (HARMONICS, frames): frequency, level in nepers, how much a harmonic counts."""

    f_hz: jax.Array
    level: jax.Array
    weight: jax.Array


def measured(frames: jax.Array, f0_hz: jax.Array, band_hz: jax.Array) -> Harmonics:
    """The levels of the harmonics under a Gaussian window as wide as the voice's period.

    Between harmonics there is noise, or what leaks from them; the first makes a harmonic count less.

    Args:
        frames: (frames, WINDOW).
        f0_hz: (frames,), NaN where there is no voice.
        band_hz: above it there is nothing.
    """
    voiced = jnp.isfinite(f0_hz)
    f0 = jnp.where(voiced, f0_hz, 100.0)
    t = ((np.arange(WINDOW) - (WINDOW - 1) / 2) / RATE_HZ).astype(np.float32)
    width = jnp.minimum(1 / f0, _WIDTH_S)
    window = jnp.exp(-0.5 * (t / width[:, None]) ** 2)
    X = jnp.fft.rfft(frames * window, FFT)
    spectrum = jnp.log(X.real**2 + X.imag**2 + 1e-20) / 2 - jnp.log(window.sum(1))[:, None]
    number = jnp.arange(1, HARMONICS + 1)[:, None]
    f = number * f0
    level, above = _at(spectrum, f), _at(spectrum, f + f0 / 2)
    below = jnp.concatenate([above[:1], above[:-1]])
    # What a Gaussian leaks to the middle between two harmonics of its own level.
    leak = jnp.exp(-0.5 * (jnp.pi * width * f0) ** 2)
    tallest = jnp.maximum(level, jnp.maximum(jnp.roll(level, 1, 0), jnp.roll(level, -1, 0)))
    between = (jnp.exp(2 * below) + jnp.exp(2 * above)) / 2
    noise = jnp.maximum(between - (2 * leak * jnp.exp(tallest)) ** 2, 0) * 2 * jnp.exp(-2 * level)
    inside = jnp.clip((jnp.minimum(HIGHEST_HZ, 0.95 * band_hz) - f) / 300, 0, 1)
    return Harmonics(f, level, voiced * inside / (_MISFIT**2 + noise / 2))


def start(f_hz: jax.Array, band_hz: jax.Array) -> jax.Array:
    """(FORMANTS, …) poles of linear prediction -> (3 + 2 FORMANTS, …): shape, log frequencies, log bandwidths.

    A formant without a pole is looked for where it lies in a typical tract.
    """
    column = (FORMANTS,) + (1,) * (f_hz.ndim - 1)
    typical = jnp.asarray(_TYPICAL_HZ).reshape(column)
    found = jnp.isfinite(f_hz)
    # Above the last pole, as far as typical formants are apart, so that none changes places.
    last = jnp.max(jnp.where(found, f_hz, 0), 0)
    missing = jnp.cumsum(~found, 0)
    f = jnp.where(found, f_hz, jnp.maximum(typical, last + 900.0 * missing))
    b = jnp.broadcast_to(jnp.asarray(_B_HZ).reshape(column), f.shape)
    shape = [jnp.full_like(f[0], value) for value in (0.0, _SLOPE[0], _HIGHER_POLES[0])]
    return jnp.concatenate([jnp.stack(shape), jnp.log(f), jnp.log(b)])


def fitted(begin: jax.Array, seen: Harmonics, steps: int) -> tuple[jax.Array, jax.Array]:
    """The most probable parameters, by Gauss-Newton steps.

    Args:
        begin: (3 + 2 FORMANTS, frames) from `start`: the priors' means and the first guess.
        seen: what they are to explain.
        steps: how many.

    Returns:
        The parameters, and (frames,) what they cost: half the sum of squares, in units of the deviations.
    """
    deviations = (_GAIN_SPREAD, _SLOPE[1], _HIGHER_POLES[1]) + (_F_SPREAD,) * FORMANTS + (_B_SPREAD,) * FORMANTS
    spread = jnp.asarray(deviations, jnp.float32)[:, None]
    longest = jnp.asarray((9.0,) * _SHAPE + (_STEEPEST[0],) * FORMANTS + (_STEEPEST[1],) * FORMANTS)[:, None]
    misfit, _ = _model(begin, seen)
    gain = jnp.sum(seen.weight * misfit, 0) / (jnp.sum(seen.weight, 0) + 1e-9)
    begin = begin.at[0].set(gain)
    one = jnp.eye(len(deviations))[:, :, None]

    def step(_, now: jax.Array) -> jax.Array:
        misfit, J = _model(now, seen)
        J = J * spread  # in units of the deviations A is never far from well-conditioned, which 32 bits need
        JW = J * seen.weight[:, None]
        A = jnp.sum(JW[:, :, None] * J[:, None], 0) + one
        g = jnp.sum(JW * misfit[:, None], 0) - (now - begin) / spread
        further = now + jnp.clip(_solved(A, g) * spread, -longest, longest)
        return jnp.where(jnp.isfinite(further), further, now)

    now = lax.fori_loop(0, steps, step, begin)
    misfit, _ = _model(now, seen)
    return now, (jnp.sum(seen.weight * misfit**2, 0) + jnp.sum(((now - begin) / spread) ** 2, 0)) / 2


def own_cost(f_hz: jax.Array, misfit: jax.Array) -> jax.Array:
    """(FORMANTS, …) log frequencies and (…) the fit's cost -> (…): how unlikely a candidate is by itself."""
    column = (FORMANTS,) + (1,) * (f_hz.ndim - 1)
    typical, spread = (jnp.asarray(x).reshape(column) for x in (_TYPICAL_HZ, _TYPICAL_SPREAD))
    cost = misfit + jnp.sum(((f_hz - jnp.log(typical)) / spread) ** 2, 0) / 2
    return jnp.where(jnp.isfinite(cost), cost, _IMPOSSIBLE)


def change(before: jax.Array, after: jax.Array) -> jax.Array:
    """(…, from, 3) and (…, to, 3) log F1..F3 -> (…, from, to): what the step to the next frame costs."""
    step = (before[..., :, None, :] - after[..., None, :, :]) / _STEP
    other = _OTHER_CEILING * (1 - jnp.eye(before.shape[-2]))
    return jnp.minimum(jnp.sum(step**2, -1) / 2, _STEP_MOST) + other


def _model(now: jax.Array, seen: Harmonics) -> tuple[jax.Array, jax.Array]:
    """(HARMONICS, frames) what is left unexplained, (HARMONICS, parameters, frames) the derivatives."""
    f = seen.f_hz[:, None]
    F, B = jnp.exp(now[_SHAPE : _SHAPE + FORMANTS]), jnp.exp(now[_SHAPE + FORMANTS :])
    half = B * B / 4
    below, above, whole = (f - F) ** 2 + half, (f + F) ** 2 + half, F * F + half
    resonances = jnp.sum(jnp.log(whole) - 0.5 * jnp.log(below * above), 1)
    slope, square = jnp.log(seen.f_hz / 1000), (seen.f_hz / 4000) ** 2
    by_f = F * (2 * F / whole + (f - F) / below - (f + F) / above)
    by_b = 2 * half * (1 / whole - 0.5 * (1 / below + 1 / above))
    shape = jnp.stack([jnp.ones_like(slope), slope, square], 1)
    misfit = seen.level - (now[0] + now[1] * slope + now[2] * square + resonances)
    return misfit, jnp.concatenate([shape, by_f, by_b], 1)


def _solved(A: jax.Array, g: jax.Array) -> jax.Array:
    """(n, n, frames), (n, frames) -> (n, frames): A x = g, A positive definite."""
    # The barrier keeps XLA from computing the sums of A again inside the solver.
    A, g = lax.optimization_barrier((jnp.moveaxis(A, -1, 0), g.T[..., None]))
    return cho_solve((jnp.linalg.cholesky(A), True), g)[..., 0].T


def _at(spectrum: jax.Array, f_hz: jax.Array) -> jax.Array:
    """(frames, bins) and (n, frames) -> (n, frames): between bins by a parabola, exact for a Gaussian's log."""
    place = (jnp.clip(f_hz, 0, RATE_HZ / 2 - 100) / BIN_HZ).T
    bin_ = jnp.maximum(jnp.round(place).astype(int), 1)
    left, mid, right = (jnp.take_along_axis(spectrum, bin_ + k, 1) for k in (-1, 0, 1))
    d = place - bin_
    return (mid + 0.5 * (right - left) * d + 0.5 * (left - 2 * mid + right) * d * d).T
