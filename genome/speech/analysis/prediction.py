"""Formant candidates by linear prediction below several ceilings at once.

Selective linear prediction (Makhoul 1975, "Linear prediction: a tutorial review", Proc. IEEE 63, section V): the
autocorrelation of the part of the spectrum below a ceiling comes from the power spectrum by one matrix product, so
that no ceiling needs samples of its own. The roots are found together (Aberth 1973, Math. Comp. 27).
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.speech.analysis.frames import BIN_HZ, BINS_HZ

FORMANTS = 5
ORDER = 2 * FORMANTS
CEILINGS_HZ = (4500.0, 5000.0, 5500.0, 6000.0, 6750.0)
"""Of five formants: from the longest tracts of men to the shortest of children."""
WIDEST_HZ = 1500.0
"""Of a pole that may be a formant."""
_NARROW_HZ = 4500.0
_ITERATIONS = 10
_PREEMPHASIS_HZ = 50.0
_BEGIN = 0.95 * np.exp(1j * (2 * np.pi * (np.arange(ORDER) + 0.25) / ORDER + 0.05))


def ceilings_hz(band_hz: float) -> tuple[float, ...]:
    """The ceilings for a recording that has nothing above `band_hz`.

    Example:
        >>> ceilings_hz(8000), ceilings_hz(4000)
        ((4500.0, 5000.0, 5500.0, 6000.0, 6750.0), (3400.0, 3540.0, 3680.0, 3820.0, 3960.0))
    """
    if band_hz < _NARROW_HZ:
        return tuple(round(float(part) * band_hz, 6) for part in np.linspace(0.85, 0.99, len(CEILINGS_HZ)))
    return tuple(min(ceiling, 0.98 * band_hz) for ceiling in CEILINGS_HZ)


def formants_below(band_hz: float) -> int:
    """How many formants are looked for: five, or four where the recording ends at 4 kHz."""
    return FORMANTS - 1 if band_hz < _NARROW_HZ else FORMANTS


@lru_cache(maxsize=8)
def to_lags(band_hz: float) -> np.ndarray:
    """(bins, ceilings * (ORDER + 1)): from a power spectrum to the autocorrelation below each ceiling."""
    parts = []
    for ceiling in ceilings_hz(band_hz):
        inside = np.clip((ceiling - BINS_HZ) / BIN_HZ + 0.5, 0, 1)
        inside[0] /= 2
        a = np.exp(-np.pi * _PREEMPHASIS_HZ / ceiling)
        angle = np.pi * BINS_HZ / ceiling
        emphasis = 1 + a * a - 2 * a * np.cos(angle)
        parts.append((inside * emphasis)[:, None] * np.cos(angle[:, None] * np.arange(ORDER + 1)))
    return np.concatenate(parts, 1).astype(np.float32)


def candidates(
    power: jax.Array, lags: jax.Array, ceilings_hz: jax.Array, formants: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The poles below each ceiling, from the lowest.

    Args:
        power: (frames, bins).
        lags: `to_lags`.
        ceilings_hz: (ceilings,).
        formants: how many are looked for; no more poles than twice that.

    Returns:
        f_hz, b_hz: (FORMANTS, ceilings, frames), frequency and bandwidth; NaN where there are fewer.
    """
    r = (power @ lags).T.reshape(len(ceilings_hz), ORDER + 1, -1)
    real, imag = roots(levinson(jnp.moveaxis(r, 1, 0), formants))
    f = jnp.arctan2(imag, real) / jnp.pi * ceilings_hz[:, None]
    b = -jnp.log(real**2 + imag**2 + 1e-20) * ceilings_hz[:, None] / jnp.pi
    fits = (f > 90) & (f < ceilings_hz[:, None] - 50) & (b < WIDEST_HZ) & (b > 0)
    f, b = lax.sort((jnp.where(fits, f, jnp.inf), b), dimension=0, num_keys=1)
    there = jnp.isfinite(f[:FORMANTS])
    return jnp.where(there, f[:FORMANTS], jnp.nan), jnp.where(there, b[:FORMANTS], jnp.nan)


def levinson(r: jax.Array, formants: jax.Array) -> jax.Array:
    """(ORDER + 1, …) autocorrelation -> (ORDER + 1, …) coefficients of 1 + a1 z^-1 …, 0 above twice `formants`."""
    r = r.at[0].multiply(1 + 1e-5).at[0].add(1e-12)
    a = [jnp.ones_like(r[0])]
    error = r[0]
    for i in range(1, ORDER + 1):
        k = -sum((a[j] * r[i - j] for j in range(1, i)), r[i]) / error * (i <= 2 * formants)
        a = [*a, jnp.zeros_like(error)]
        a = [a[j] + k * a[i - j] for j in range(i + 1)]
        error = error * (1 - k * k)
    return jnp.stack(a)


def roots(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(ORDER + 1, …) coefficients, the first one 1 -> (ORDER, …) real and imaginary parts of the roots."""
    shape = (ORDER, *a.shape[1:])
    column = (ORDER,) + (1,) * (a.ndim - 1)

    def step(_, z: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, y = z
        p, q = jnp.broadcast_to(a[0], shape), jnp.zeros(shape)  # the polynomial's value (Horner)
        dp = dq = jnp.zeros(shape)  # and its derivative's
        for i in range(1, ORDER + 1):
            dp, dq = dp * x - dq * y + p, dp * y + dq * x + q
            p, q = p * x - q * y + a[i], p * y + q * x
        away = [(x - jnp.roll(x, k, 0), y - jnp.roll(y, k, 0)) for k in range(1, ORDER)]
        sx = sum(u / (u * u + v * v + 1e-20) for u, v in away)
        sy = sum(-v / (u * u + v * v + 1e-20) for u, v in away)
        u, v = dp - (p * sx - q * sy), dq - (p * sy + q * sx)
        size = u * u + v * v + 1e-30
        return x - (p * u + q * v) / size, y - (q * u - p * v) / size

    begin = [
        jnp.broadcast_to(part.astype(np.float32).reshape(column), shape) for part in (_BEGIN.real, _BEGIN.imag)
    ]
    return lax.fori_loop(0, _ITERATIONS, step, (jnp.asarray(begin[0]), jnp.asarray(begin[1])))
