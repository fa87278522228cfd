"""Scales of frequency as an ear has them, and formants freed from the length of the speaker's tract.

Arrays in, arrays out; any shape unless said.
"""

import numpy as np
from numpy.typing import ArrayLike

from genome.errors import Error


def bark(f_hz: ArrayLike) -> np.ndarray:
    """Critical-band rate.

    Source: Traunmüller 1990, "Analytical expressions for the tonotopic sensory scale", JASA 88, with its
    corrections below 2 and above 20.1 Bark.

    Example:
        >>> bark([100, 1000, 4000]).round(2)
        array([ 0.96,  8.53, 17.46])
    """
    f = np.asarray(f_hz, float)
    z = 26.81 * f / (1960 + f) - 0.53
    return z + 0.15 * np.maximum(2 - z, 0) + 0.22 * np.maximum(z - 20.1, 0)


def erb(f_hz: ArrayLike) -> np.ndarray:
    """Number of equivalent rectangular bandwidths below a frequency.

    Source: Glasberg & Moore 1990, "Derivation of auditory filter shapes from notched-noise data", Hearing
    Research 47.

    Example:
        >>> erb([100, 1000, 4000]).round(2)
        array([ 3.37, 15.62, 27.11])
    """
    return 21.4 * np.log10(0.00437 * np.asarray(f_hz, float) + 1)


def lobanov(f_hz: ArrayLike) -> np.ndarray:
    """Each formant of one speaker less its mean, over its standard deviation.

    Args:
        f_hz: (vowels, formants), of one speaker, of the whole vowel space.

    Raises:
        Error: another shape, or a formant that does not vary.

    Source: Lobanov 1971, "Classification of Russian vowels spoken by different speakers", JASA 49.

    Example:
        >>> lobanov([[300, 900], [500, 1500], [700, 2100]]).round(2).tolist()
        [[-1.22, -1.22], [0.0, 0.0], [1.22, 1.22]]
    """
    f = _of_a_speaker(f_hz)
    spread = f.std(0)
    if not (spread > 1e-9 * np.abs(f).max(0)).all():
        raise Error("the vowels do not differ; wanted several different ones of each speaker")
    return (f - f.mean(0)) / spread


def nearey(f_hz: ArrayLike, *, shared: bool = True) -> np.ndarray:
    """Logarithms of one speaker's formants less their mean: of all formants together, or of each.

    Args:
        f_hz: (vowels, formants), of one speaker, above 0.
        shared: one mean for all formants (constant log interval, what people call Nearey 2); else one for each
            (Nearey 1).

    Raises:
        Error: another shape, or a frequency that is not above 0.

    Source: Nearey 1978, "Phonetic feature systems for vowels".

    Example:
        >>> high, low = nearey([[300, 2400], [700, 1200]]), nearey([[360, 2880], [840, 1440]])  # 1.2 times as high
        >>> bool(np.allclose(high, low))
        True
    """
    f = _of_a_speaker(f_hz)
    if not (f > 0).all():
        raise Error("wanted frequencies above 0 Hz")
    logs = np.log(f)
    return logs - (logs.mean() if shared else logs.mean(0))


def _of_a_speaker(f_hz: ArrayLike) -> np.ndarray:
    f = np.asarray(f_hz, float)
    if f.ndim != 2 or not len(f) or not np.isfinite(f).all():
        raise Error(f"wanted finite frequencies of shape (vowels, formants), got shape {f.shape}")
    return f
