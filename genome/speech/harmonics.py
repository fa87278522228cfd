"""The levels of a voice's harmonics: measured in a sound, and what the synthesiser's equations give for them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.speech.klatt import TILT_AT_HZ, Array

WINDOW_S = 0.05
TOP_HZ = 5200.0
HARMONICS = 80
NOISE_SPACING_HZ = 100.0
"""Where there is no voice the spectrum is measured at the multiples of this."""
_F0_HZ = (65.0, 500.0)
_VOICED = 0.6  # the normalised autocorrelation from which on a frame is voiced


class Spectra(NamedTuple):
    """Levels at the multiples of f0, frame by frame.

    Attributes:
        f0_hz: (frames,), `NOISE_SPACING_HZ` where voiceless.
        voiced: (frames,), bool.
        level_db: (frames, HARMONICS); a sine of amplitude 1 has 0 dB.
        weight: (frames, HARMONICS): 0 above `TOP_HZ`, small far below the frame's strongest harmonic.
    """

    f0_hz: Array
    voiced: Array
    level_db: Array
    weight: Array


class Vowel(NamedTuple):
    """What one frame's levels depend on; (formants,) or numbers."""

    formants_hz: jax.Array
    bandwidths_hz: jax.Array
    open_quotient: jax.Array
    tilt_db: jax.Array
    gain_db: jax.Array


def levels_db(vowel: Vowel, f0_hz: Array, voiced: Array, rate_hz: float) -> jax.Array:
    """The levels that a steady vowel's harmonics have: pulse, tilt and formants in closed form.

    Returns:
        (HARMONICS,); where voiceless, the source is flat.
    """
    hz = f0_hz * jnp.arange(1, HARMONICS + 1)
    turn = jnp.exp(-2j * jnp.pi * hz / rate_hz)
    radius = jnp.exp(-jnp.pi * vowel.bandwidths_hz / rate_hz)[:, None]
    angle = jnp.cos(2 * jnp.pi * vowel.formants_hz / rate_hz)[:, None]
    b, c = 2 * radius * angle, -(radius**2)
    formants = ((1 - b - c) / jnp.abs(1 - b * turn - c * turn**2)).prod(0)
    g = 10 ** (-jnp.maximum(vowel.tilt_db, 1e-2) / 10)
    q = (1 - g * np.cos(2 * np.pi * TILT_AT_HZ / rate_hz)) / (1 - g)
    pole = q - jnp.sqrt(q**2 - 1)
    tilt = (1 - pole) / jnp.abs(1 - pole * turn)
    # The flow's derivative 2x - 3x^2 over its open part; the corrected jump is a triangle two samples wide.
    a = -2j * jnp.pi * vowel.open_quotient * jnp.arange(1, HARMONICS + 1)
    pulse = jnp.exp(a) * (-1 / a + 4 / a**2 - 6 / a**3) + 2 / a**2 + 6 / a**3
    pulse = 27 / 2 * jnp.abs(pulse) * jnp.sinc(hz / rate_hz) ** 2
    source = jnp.where(voiced, pulse * tilt, 1.0)
    return vowel.gain_db + 20 * jnp.log10(source * formants)


def measured(sound: np.ndarray, rate_hz: int, times_s: np.ndarray) -> Spectra:
    """The harmonics of a sound around each of some times.

    Args:
        sound: (samples,).
        rate_hz: of the sound.
        times_s: (frames,), the windows' centres.
    """
    pieces, window = _pieces(sound, rate_hz, times_s)
    f0_hz, voiced = _pitch(pieces, window, rate_hz)
    for frame in np.flatnonzero(voiced):
        f0_hz[frame] = _sharpened(pieces[frame], f0_hz[frame], rate_hz)
    level_db = levels_of(sound, rate_hz, times_s, f0_hz)
    hz = f0_hz[:, None] * np.arange(1, HARMONICS + 1)
    top_hz = min(TOP_HZ, 0.48 * rate_hz)
    used = hz < top_hz
    strongest = np.where(used, level_db, -np.inf).max(1, keepdims=True)
    weight = used / (1 + np.exp((strongest - 60 - level_db) / 3))
    return Spectra(f0_hz, voiced, level_db, weight)


def levels_of(sound: np.ndarray, rate_hz: int, times_s: np.ndarray, f0_hz: np.ndarray) -> np.ndarray:
    """(frames, HARMONICS): the levels in dB of a sound at the multiples of an f0 for each frame."""
    pieces, window = _pieces(sound, rate_hz, times_s)
    found = [_at(piece, hz, rate_hz) for piece, hz in zip(pieces, f0_hz, strict=True)]
    return 20 * np.log10(2 / window.sum() * np.array(found) + 1e-9)


def _pieces(sound: np.ndarray, rate_hz: int, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windowed pieces around some times, and the window."""
    width = round(WINDOW_S * rate_hz)
    window = np.hanning(width + 1)[:-1]
    starts = np.round(times_s * rate_hz).astype(int)
    padded = np.pad(sound, (width // 2, max(width, starts.max() + 2 * width - len(sound))))
    return padded[starts[:, None] + np.arange(width)] * window, window


def _pitch(pieces: np.ndarray, window: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """The autocorrelation's best lag, divided by the window's own (Boersma 1993), and whether there is a voice."""
    size = 2 * pieces.shape[1]

    def correlation(x: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(x, size)) ** 2
        return np.fft.irfft(np.where(np.fft.rfftfreq(size, 1 / rate_hz) < 1000, power, 0))

    own = correlation(window)
    found = correlation(pieces)
    energy = found[:, :1]
    first, last = (int(rate_hz / hz) for hz in _F0_HZ[::-1])
    last = min(last, int(0.65 * pieces.shape[1]))
    lags = np.arange(first, last)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = found[:, lags] / np.where(energy > 0, energy, np.inf) / (own[lags] / own[0])
    # Twice the period is as good a period: a shorter one wins unless the longer is clearly better.
    best = (ratio - 0.03 * np.log2(lags)).argmax(1)
    loud = energy[:, 0] > 1e-4 * energy.max()
    voiced = (ratio[np.arange(len(best)), best] > _VOICED) & loud
    return np.where(voiced, rate_hz / lags[best], NOISE_SPACING_HZ), voiced


def _sharpened(piece: np.ndarray, f0_hz: float, rate_hz: int) -> float:
    """The f0 near a rough one at which the harmonics are strongest, in two rounds of a finer grid."""
    for spread in (0.03, 0.004):
        grid = f0_hz * (1 + spread * np.linspace(-1, 1, 25))
        count = max(3, min(25, int(3000 / f0_hz)))
        scores = [np.log(_at(piece, hz, rate_hz, count) + 1e-9).sum() for hz in grid]
        f0_hz = float(grid[int(np.argmax(scores))])
    return f0_hz


def _at(piece: np.ndarray, f0_hz: float, rate_hz: int, count: int = HARMONICS) -> np.ndarray:
    """The magnitudes of a windowed piece at the multiples of f0."""
    turn = np.exp(-2j * np.pi * f0_hz / rate_hz * np.arange(len(piece)))
    powers = np.cumprod(np.broadcast_to(turn, (count, len(piece))), 0)
    return np.abs(powers @ piece)


def squares(
    start: Array, residual: Callable[[jax.Array], jax.Array], iterations: int
) -> tuple[jax.Array, jax.Array]:
    """Levenberg and Marquardt's method: the parameters with the least sum of squares, and that sum.

    Args:
        start: (parameters,).
        residual: parameters to (residuals,), differentiable.
        iterations: how many; a step that does not help is not taken.
    """

    def step(state: tuple[jax.Array, jax.Array, jax.Array], _: None):
        at, cost, damping = state
        jacobian, now = jax.jacfwd(residual)(at), residual(at)
        normal = jacobian.T @ jacobian
        scale = jnp.diag(normal) + 1e-3
        move = jnp.linalg.solve(normal + damping * jnp.diag(scale), -(jacobian.T @ now))
        trial = at + jnp.clip(move, -1.0, 1.0)
        reached = (residual(trial) ** 2).sum()
        better = reached < cost
        return (
            jnp.where(better, trial, at), jnp.where(better, reached, cost),
            jnp.clip(jnp.where(better, damping / 4, damping * 4), 1e-7, 1e4),
        ), None  # fmt: skip

    (at, cost, _), _ = lax.scan(step, (start, (residual(start) ** 2).sum(), jnp.asarray(1.0)), None, iterations)
    return at, cost
