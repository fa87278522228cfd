"""Recordings as samples: any file that libsndfile reads, one channel, at the analysis's own rate, in blocks."""

import io
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.signal import firwin, resample_poly

from genome.errors import DamagedError, Error, quoted

RATE_HZ = 16000
"""The rate of all analysis: formants lie below 8 kHz."""
SLOWEST_HZ, FASTEST_HZ = 4000, 768000
_BLOCK_S = 10
_WINGS = 10
"""How many zero crossings of the resampling filter lie on each side."""


def blocks(path: str | Path) -> Iterator[np.ndarray]:
    """The samples of a file at `RATE_HZ`, mono (the mean of the channels), about ten seconds at a time.

    Full scale is 1. A sample that is no number (NaN, infinite) is read as 0.

    Args:
        path: WAV, FLAC, or whatever else libsndfile reads.

    Yields:
        (samples,) float32; together exactly `duration * RATE_HZ` samples, rounded up.

    Raises:
        DamagedError: it ends before its header says, or breaks off.
        Error: it is no audio, its rate is outside of 4 to 768 kHz, or soundfile is missing.
    """
    file = _open(Path(path))
    with file:
        yield from resampled(_read(file, path), file.samplerate)


def rate_hz(path: str | Path) -> int:
    """The rate at which a file was recorded.

    Raises:
        DamagedError, Error: as `blocks`.
    """
    with _open(Path(path)) as file:
        return file.samplerate


def duration_s(path: str | Path) -> float:
    """How long a file says that it is.

    Raises:
        DamagedError, Error: as `blocks`.
    """
    with _open(Path(path)) as file:
        return file.frames / file.samplerate


def write(path: str | Path, samples: np.ndarray, rate_hz: int) -> None:
    """Writes a sound, 16 bits a sample.

    Args:
        path: ends in `.wav` or `.flac`.
        samples: (samples,), full scale is 1; what is beyond is cut.
        rate_hz: their rate.

    Raises:
        Error: another ending, or soundfile is missing.
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    _soundfile().write(content, samples, rate_hz, "PCM_16", format=written_format(path))
    Path(path).write_bytes(content.getvalue())


def written_format(path: str | Path) -> str:
    """The format of a sound file to be written, by its ending: `WAV`, `FLAC`.

    Raises:
        Error: another ending.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".wav", ".flac"):
        raise Error(f"wanted a file that ends in .wav or .flac, got {_named(path)}")
    return ending[1:].upper()


def resampled(parts: Iterator[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks of samples at another rate, without seams.

    Args:
        parts: (samples,) float32 each; all but the last a multiple of the rate long.
        rate_hz: their rate.

    Yields:
        (samples,) float32 at `RATE_HZ`.

    Example:
        >>> half = resampled(iter([np.zeros(44100, np.float32), np.zeros(22050, np.float32)]), 44100)
        >>> sum(map(len, half))
        24000
    """
    if rate_hz == RATE_HZ:
        yield from parts
        return
    divisor = math.gcd(RATE_HZ, rate_hz)
    up, down = RATE_HZ // divisor, rate_hz // divisor
    # As much of the neighbours as the filter reaches, in steps of `down`: outputs fall on the same instants.
    reach = math.ceil((_WINGS * max(up, down) / up + 1) / down) * down
    before = np.zeros(reach, np.float32)
    part = next(parts, None)
    while part is not None:
        following = next(parts, None)
        after = np.zeros(reach, np.float32)
        if following is not None:
            after[: len(following)] = following[:reach]
        joined = np.concatenate([before, part, after])
        made = resample_poly(joined, up, down, window=_lowpass(up, down))
        first = reach // down * up
        yield made[first : first + math.ceil(len(part) * up / down)].astype(np.float32)
        before = joined[len(part) : len(part) + reach]
        part = following


def mono(samples: np.ndarray) -> np.ndarray:
    """(samples,) or (samples, channels), integers or floats, as (samples,) float32 with full scale 1; NaN is 0.

    Raises:
        Error: another number of dimensions, or another type.

    Example:
        >>> mono(np.array([[16384, 0], [np.iinfo(np.int16).min, 0]], np.int16))
        array([ 0.25, -0.5 ], dtype=float32)
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "if":
        raise Error(
            f"wanted samples of shape (samples,) or (samples, channels), integers or floats; got {samples.dtype} "
            f"of shape {samples.shape}"
        )
    scale = 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
    kept = np.nan_to_num(samples.astype(np.float32) / np.float32(scale), nan=0, posinf=0, neginf=0)
    return kept if kept.ndim == 1 else kept.mean(1, dtype=np.float32)


def checked_rate(rate: int, named: str) -> int:
    """A rate that can be analysed.

    Raises:
        Error: it is not within 4 to 768 kHz.
    """
    if not SLOWEST_HZ <= rate <= FASTEST_HZ:
        raise Error(f"{named}: wanted a rate of {SLOWEST_HZ} to {FASTEST_HZ} Hz, got {rate}; resample it first")
    return rate


def _read(file, path: str | Path) -> Iterator[np.ndarray]:
    import soundfile

    done = 0
    while done < file.frames:
        try:
            samples = file.read(min(_BLOCK_S * file.samplerate, file.frames - done), "float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DamagedError(f"{_named(path)} breaks off at {done / file.samplerate:.3f} s: {error}") from error
        if not len(samples):
            told = file.frames / file.samplerate
            raise DamagedError(
                f"{_named(path)} ends at {done / file.samplerate:.3f} s of {told:.3f} s; get it anew"
            )
        done += len(samples)
        yield mono(samples)


def _soundfile():
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise Error("sound files need soundfile: `pip install soundfile`") from error
    return soundfile


def _open(path: Path):
    soundfile = _soundfile()
    with path.open("rb") as file:  # a missing file and a folder have the system's own words
        head = file.read(12)
    try:
        opened = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        said = "is empty" if not head else f"is no audio that libsndfile reads ({error.error_string.rstrip('.')})"
        raise Error(f"{_named(path)} {said}; wanted WAV, FLAC, AIFF or Ogg") from error
    try:
        checked_rate(opened.samplerate, _named(path))
        _check_length(path, head, opened)
    except Error:
        opened.close()
        raise
    return opened


def _check_length(path: Path, head: bytes, file) -> None:
    """What there is of a truncated WAV is read and nothing said: compare with what its header says."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    told, there = int.from_bytes(head[4:8], "little") + 8, path.stat().st_size
    # A recorder that streams writes 0 or the largest number where it does not know the length yet.
    if told in (8, (1 << 32) - 1 + 8) or there + 1 >= told:
        return
    raise DamagedError(
        f"{_named(path)} is truncated: its header says {told} bytes, the file has {there} "
        f"({file.frames / file.samplerate:.3f} s of sound); get it anew"
    )


@lru_cache(maxsize=8)
def _lowpass(up: int, down: int) -> np.ndarray:
    most = max(up, down)
    return np.asarray(firwin(2 * _WINGS * most + 1, 1 / most, window="hamming"), np.float32)


def _named(path: str | Path) -> str:
    return quoted(str(path))
