"""The analysis of recordings: cut into frames, packed into parts, one call for however many there are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genome.errors import Error
from genome.progress import Progress, silent
from genome.speech import audio
from genome.speech.analysis.frames import WINDOW, cut
from genome.speech.analysis.track import Track
from genome.speech.audio import RATE_HZ

HOP_S = 0.01
SHORTEST_HOP_S, LONGEST_HOP_S = 0.0005, 0.045

Sound = str | Path | tuple[np.ndarray, int]
"""A file, or samples ((samples,) or (samples, channels), integers or floats) and their rate in Hz."""


def analyse(sound: Sound, *, hop_s: float = HOP_S, progress: Progress = silent) -> Track:
    """The formant track of one recording; see `analyse_all`.

    Example:
        >>> t = np.arange(16000) / 16000
        >>> buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 60)).astype(np.float32) / 4
        >>> track = analyse((buzz, 16000))
        >>> len(track.time_s), float(track.time_s[0]), round(float(np.median(track.f0_hz)))
        (100, 0.005, 120)
    """
    return analyse_all([sound], hop_s=hop_s, progress=progress)[0]


def analyse_all(sounds: Sequence[Sound], *, hop_s: float = HOP_S, progress: Progress = silent) -> list[Track]:
    """The formant tracks of recordings, together: short ones share a part, long ones are read as they go.

    Nothing need be told about the speaker: below each of several ceilings five formants are looked for, and the
    path through all of them is taken that explains the harmonics of the voice best and jumps least.

    Args:
        sounds: files or samples.
        hop_s: from one frame to the next.
        progress: told the seconds of sound that are done.

    Raises:
        DamagedError: a file breaks off.
        Error: a file is no audio; samples of another shape; a rate or a hop that cannot be.
        OSError: a file is not there.
    """
    if not SHORTEST_HOP_S <= hop_s <= LONGEST_HOP_S:
        raise Error(f"hop_s: wanted {SHORTEST_HOP_S} to {LONGEST_HOP_S} seconds, got {hop_s}")
    recordings = [_Recording(sound) for sound in sounds]
    total = sum(recording.duration_s for recording in recordings)
    hop = max(1, round(hop_s * RATE_HZ))
    bands: dict[float, list[_Recording]] = {}
    for recording in recordings:
        bands.setdefault(min(recording.rate_hz, RATE_HZ) / 2, []).append(recording)
    done = 0
    for band_hz, together in bands.items():
        for frames in _analysed(together, hop, band_hz):
            done += frames
            progress("analysis", min(round(done * hop / RATE_HZ), round(total)), round(total), "s")
    return [recording.track(hop) for recording in recordings]


@dataclass(eq=False)
class _Recording:
    """Where its samples come from, and what was found so far."""

    sound: Sound
    rate_hz: int = field(init=False)
    duration_s: float = field(init=False)
    found: list[list[np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.sound, tuple):
            samples, rate = self.sound
            self.rate_hz = audio.checked_rate(rate, "samples")
            self.sound = audio.mono(samples), rate
            self.duration_s = len(samples) / rate
        else:
            self.rate_hz = audio.rate_hz(self.sound)
            self.duration_s = audio.duration_s(self.sound)

    def blocks(self) -> Iterator[np.ndarray]:
        if isinstance(self.sound, tuple):
            return audio.resampled(iter([self.sound[0]]), self.rate_hz)
        return audio.blocks(self.sound)

    def track(self, hop: int) -> Track:
        from genome.speech.analysis import prediction

        ceilings = prediction.ceilings_hz(min(self.rate_hz, RATE_HZ) / 2)
        columns = [np.concatenate(parts) for parts in zip(*self.found, strict=True)] or _nothing(len(ceilings))
        f0, level, f, b, ceiling, every_f, every_b = columns
        time_s = (np.arange(len(f0)) + 0.5) * hop / RATE_HZ
        return Track(time_s, f0, level, f, b, ceiling, ceilings, every_f, every_b, self.rate_hz, self.duration_s)


def _analysed(recordings: Sequence[_Recording], hop: int, band_hz: float) -> Iterator[int]:
    """Analyses recordings of one band part by part; tells how many frames each part decided."""
    from genome.speech.analysis import part, paths

    band = part.Band.below(band_hz)
    margin = paths.MARGIN
    size, both = part.LENGTH + 2 * margin, 2 * margin
    held, first = np.zeros((size, WINDOW), np.float32), np.zeros(size, bool)
    owners: list[_Recording | None] = [None] * size
    filled = margin
    for recording, frames, begins in _frames(recordings, hop, size):
        at = 0
        while at < len(frames):
            count = min(size - filled, len(frames) - at)
            new = slice(filled, filled + count)
            held[new], first[new], owners[new] = frames[at : at + count], False, [recording] * count
            first[filled] = begins and at == 0
            at, filled = at + count, filled + count
            if filled == size:
                yield _decide(part.analysed(held, first, band), owners[margin:-margin])
                held[:both], first[:both], owners[:both] = held[-both:], first[-both:], owners[-both:]
                filled = both


def _frames(
    recordings: Sequence[_Recording], hop: int, size: int
) -> Iterator[tuple[_Recording | None, np.ndarray, bool]]:
    """Whose frames, the frames, whether they begin the recording; at last as much silence as fills a part."""
    for recording in recordings:
        begins = True
        for frames in cut(recording.blocks(), hop):
            yield recording, frames, begins
            begins = False
    yield None, np.zeros((size, WINDOW), np.float32), True


def _decide(columns: Iterable[Any], owners: Sequence[_Recording | None]) -> int:
    """Hands the frames of a part to their recordings; how many are anybody's."""
    plain = [np.asarray(column) for column in columns]
    at = frames = 0
    while at < len(owners):
        owner, end = owners[at], at
        while end < len(owners) and owners[end] is owner:
            end += 1
        if owner is not None:
            owner.found.append([column[at:end].copy() for column in plain])
            frames += end - at
        at = end
    return frames


def _nothing(ceilings: int) -> list[np.ndarray]:
    f = np.zeros((0, 5), np.float32)
    every = np.zeros((0, ceilings, 5), np.float32)
    empty = np.zeros(0, np.float32)
    return [empty, empty, f, f, np.zeros(0, np.int32), every, every]
