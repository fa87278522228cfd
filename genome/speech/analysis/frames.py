"""Frames: overlapping pieces of the samples, their power spectrum and level."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from genome.speech.audio import RATE_HZ

WINDOW = 720
"""Samples of a frame: 45 ms, three periods of a voice at 67 Hz."""
FFT = 1024
BIN_HZ = RATE_HZ / FFT
BINS_HZ = np.arange(FFT // 2 + 1) * BIN_HZ
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)).astype(np.float32)
_SILENT = 1e-20


def cut(parts: Iterator[np.ndarray], hop: int) -> Iterator[np.ndarray]:
    """Frames around the instants `hop / 2`, `3 * hop / 2` ...; beyond the ends there is silence.

    Args:
        parts: the samples, in pieces of any length.
        hop: samples from one frame to the next.

    Yields:
        (frames, WINDOW) float32; together `ceil(samples / hop)` frames.

    Example:
        >>> sum(len(frames) for frames in cut(iter([np.ones(480, np.float32)]), 160))
        3
    """
    held = np.zeros(WINDOW // 2 - hop // 2, np.float32)
    seen = made = 0
    for part in parts:
        seen += len(part)
        held = np.concatenate([held, part])
        if (ready := (len(held) - WINDOW) // hop + 1) > 0:
            yield sliding(held, ready, hop)
            held = held[ready * hop :]
            made += ready
    if left := -(-seen // hop) - made:
        yield sliding(np.pad(held, (0, WINDOW + left * hop)), left, hop)


def sliding(samples: np.ndarray, count: int, hop: int) -> np.ndarray:
    """(count, WINDOW): the first frames of some samples, a view."""
    return np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[: (count - 1) * hop + 1 : hop]


def power(frames: jax.Array) -> jax.Array:
    """(frames, WINDOW) -> (frames, FFT / 2 + 1), the power spectrum under a Hann window."""
    X = jnp.fft.rfft(frames * HANN, FFT)
    return X.real**2 + X.imag**2


def level_db(frames: jax.Array) -> jax.Array:
    """(frames, WINDOW) -> (frames,): dB of the mean square under the window; a full sine has -3, silence -200."""
    mean = jnp.sum((frames * HANN) ** 2, -1) / np.sum(HANN**2)
    return 10 * jnp.log10(mean + _SILENT)
