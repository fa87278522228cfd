"""Voices: who speaks what the rules say, by the height of the voice and the length of the tract.

A shorter tract has its formants higher, all by about the same part. How much, and how high people speak, are means
over ten vowels of 76 speakers: Peterson & Barney 1952, "Control methods used in a study of the vowels", JASA 24,
table II (the ratio is the geometric mean of F1 to F3 over those of the men).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genome.errors import Error, NotFoundError, quoted
from genome.speech.klatt import Frames, synthesise
from genome.speech.speak import STEP_S, spoken

RATE_HZ = 16000
LONGEST_S = 60.0
"""Of one utterance, which is made in memory as a whole."""
_PEAK = 0.7  # of full scale: 3 dB of room


class Voice(NamedTuple):
    """A speaker.

    Attributes:
        f0_hz: about which the voice moves.
        formants: how many times as high as a man's.
    """

    f0_hz: float
    formants: float


VOICES = {"man": Voice(132.0, 1.0), "woman": Voice(223.0, 1.16), "child": Voice(264.0, 1.35)}


def voice(name: str) -> Voice:
    """One of `VOICES`.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in VOICES:
        raise NotFoundError(f"no voice is called {quoted(name)}; wanted one of {', '.join(VOICES)}")
    return VOICES[name]


def utterance(words: Sequence[Sequence[str]], speaker: Voice, *, tempo: float = 1.0) -> Frames:
    """The frames of an utterance in a voice.

    Args:
        words: phones with stress, a list for each word; an empty list is a pause.
        speaker: whose f0 and tract.
        tempo: 2 is twice as fast.

    Raises:
        Error: as `spoken`, a tract that nobody has, or longer than `LONGEST_S`.

    Example:
        >>> man, woman = (utterance([["IY1"]], VOICES[name]) for name in ("man", "woman"))
        >>> round(float(woman.formants_hz[9, 1] / man.formants_hz[9, 1]), 2)
        1.16
    """
    if not 0.7 <= speaker.formants <= 1.5:
        raise Error(f"wanted formants of 0.7 to 1.5 times a man's, got {speaker.formants}")
    frames = spoken(words, f0_hz=speaker.f0_hz, tempo=tempo)
    duration_s = len(frames.f0_hz) * STEP_S
    if duration_s > LONGEST_S:
        raise Error(f"that takes {duration_s:.0f} s to say; wanted at most {LONGEST_S:.0f} s: say it in parts")
    higher = {
        name: np.asarray(getattr(frames, name) * np.float32(speaker.formants))
        for name in ("formants_hz", "nasal_pole_hz", "nasal_zero_hz")
    }
    return frames._replace(**higher)


def sounded(frames: Frames) -> np.ndarray:
    """The sound of an utterance: (samples,) float32 at `RATE_HZ`, its highest peak 3 dB below full scale."""
    sound = np.asarray(synthesise(frames, STEP_S, RATE_HZ))
    return sound * np.float32(_PEAK / max(np.abs(sound).max(initial=0), 1e-9))
