"""f0 candidates of a frame from its autocorrelation, after Boersma 1993.

"Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound",
Proceedings of the Institute of Phonetic Sciences 17: the autocorrelation divided by the window's own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.speech.analysis.frames import BINS_HZ, FFT, HANN
from genome.speech.audio import RATE_HZ

LOWEST_HZ, HIGHEST_HZ = 60.0, 600.0
CANDIDATES = 5
VOICED_STRENGTH = 0.5
"""Of the best candidate, where being voiced and unvoiced cost the same."""
SILENCE_DB = -75.0
"""Below this level (re full scale) a frame is silence."""
_OCTAVE = 0.03  # what an octave downwards costs
_JUMP = 0.5  # what an octave from one frame to the next costs
_CHANGE = 0.15  # what voice that begins or ends costs

_SHORTEST, _LONGEST = int(RATE_HZ / HIGHEST_HZ), int(RATE_HZ / LOWEST_HZ)
_LAGS = np.arange(1, _LONGEST + 1)

# Above 1.5 kHz the noise outweighs the voice; below 50 Hz there is hum.
_LOWPASS = np.where(BINS_HZ < 50, 0, np.minimum(1, 1500 / np.maximum(BINS_HZ, 1)) ** 2).astype(np.float32)
_OWN = np.fft.irfft(np.abs(np.fft.rfft(HANN, FFT)) ** 2)[: _LONGEST + 2]
_OWN = (_OWN / _OWN[0]).astype(np.float32)


def candidates(power: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The strongest peaks of the autocorrelation.

    Args:
        power: (frames, FFT / 2 + 1), the power spectrum.

    Returns:
        f0_hz, strength: (frames, CANDIDATES); strength is the correlation of a period with the next, at most 1,
        less what low frequencies cost; -9 where there are fewer peaks.
    """
    r = jnp.fft.irfft(power * _LOWPASS)[:, : _LONGEST + 2]
    r = r / (r[:, :1] + 1e-12) / _OWN
    left, mid, right = r[:, :-2], r[:, 1:-1], r[:, 2:]
    bend = left - 2 * mid + right
    shift = 0.5 * (left - right) / jnp.where(bend == 0, 1, bend)
    height = jnp.minimum(mid - 0.25 * (left - right) * shift, 1)
    peak = (mid > left) & (mid >= right) & (_LAGS >= _SHORTEST)
    cost = (_OCTAVE * np.log2(_LAGS / _SHORTEST)).astype(np.float32)
    strength, at = lax.top_k(jnp.where(peak, height - cost, -9), CANDIDATES)
    return RATE_HZ / (1 + at + jnp.take_along_axis(shift, at, 1)), strength


def costs(f0_hz: jax.Array, strength: jax.Array, level_db: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What each state costs by itself, and its place in octaves; the last state is unvoiced.

    Returns:
        (frames, CANDIDATES + 1) each; the place of the unvoiced state is NaN.
    """
    silent = level_db < SILENCE_DB
    voiced = jnp.where(silent[:, None], 9.0, -strength)
    own = jnp.concatenate([voiced, jnp.full_like(level_db, -VOICED_STRENGTH)[:, None]], 1)
    return own, jnp.concatenate([jnp.log2(f0_hz), jnp.full_like(level_db, jnp.nan)[:, None]], 1)


def change(before: jax.Array, after: jax.Array) -> jax.Array:
    """(…, from) and (…, to) places -> (…, from, to): what the step from a state to the next costs."""
    leap = _JUMP * jnp.abs(before[..., :, None] - after[..., None, :])
    both = jnp.isnan(before)[..., :, None] & jnp.isnan(after)[..., None, :]
    return jnp.where(jnp.isnan(leap), jnp.where(both, 0, _CHANGE), leap)
