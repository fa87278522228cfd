"""Speech by rule: phones to targets, durations, stress and intonation; targets to the synthesiser's frames.

Each phone is one phase or a few (a stop: closure, burst, aspiration), each with targets from `data/phones.tsv`.
Formants go from target to target over a transition, levels over a few milliseconds.

Sources: Klatt 1980, JASA 67 (targets, sequence of a stop's phases); Allen, Hunnicutt & Klatt 1987, "From text to
speech: the MITalk system", chapters 9 (durations) and 11 (coarticulation); Pierrehumbert 1981, JASA 70 (pitch falls
along a declining line, with a peak at each stress).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from genome.errors import Error
from genome.resources import table
from genome.speech.klatt import Frames, vowel

STEP_S = 0.005
_HIGHER_HZ, _HIGHER_BANDWIDTHS_HZ = (3300.0, 3750.0, 4900.0), (250.0, 200.0, 1000.0)  # F4 to F6, Klatt 1980
_PARALLEL_DB = 0.0  # of F1, which noise does not excite
_NASAL_ZERO_HZ, _NASAL_POLE_HZ, _CLOSED_NOSE_HZ = 450.0, 270.0, 250.0
_GLIDE_MS, _STEEP_MS = 60.0, 40.0  # transitions of formants
_PAUSE_MS, _EDGE_MS = 250.0, 60.0
_ASPIRATED_MS, _BURST_MS = 45.0, 12.0
_ASPIRATION_DB = 50.0
_FINAL = 1.4  # lengthening of the last syllable before a pause (MITalk, rule 2)
_DECLINATION = 0.25  # of f0, over a phrase
_ACCENT = 0.16  # of f0, at a primary stress


@dataclass(frozen=True)
class Phone:
    """A row of the table: see `data/phones.tsv`."""

    name: str
    manner: str
    formants_hz: tuple[float, float, float]
    bandwidths_hz: tuple[float, float, float]
    to_hz: tuple[float, float, float]
    inherent_ms: float
    least_ms: float
    voice_db: float
    noise_db: tuple[float, ...]


@dataclass(frozen=True)
class Phase:
    """A stretch with one target; `noise_db` holds A2 to A6 and the bypass."""

    duration_ms: float
    formants_hz: tuple[float, ...]
    bandwidths_hz: tuple[float, ...]
    voice_db: float = 0.0
    aspiration_db: float = 0.0
    noise_db: tuple[float, ...] = (0.0,) * 6
    nasal: bool = False
    accent: float = 0.0
    transition_ms: float = _STEEP_MS


def spoken(words: Sequence[Sequence[str]], *, f0_hz: float = 115.0, tempo: float = 1.0) -> Frames:
    """The frames of an utterance, for `synthesise(frames, STEP_S)`.

    Args:
        words: phones with stress, a list for each word; an empty list is a pause.
        f0_hz: about which the voice moves.
        tempo: 2 is twice as fast.

    Raises:
        Error: no phones at all, a phone that the table lacks, or a tempo or f0 that no voice has.

    Example:
        >>> spoken([["M", "AH1", "DH", "ER0"]]).f0_hz.shape
        (113,)
    """
    if not 0.25 <= tempo <= 4:
        raise Error(f"wanted a tempo from 0.25 to 4, got {tempo}")
    if not 40 <= f0_hz <= 500:
        raise Error(f"wanted an f0 from 40 to 500 Hz, got {f0_hz}")
    phases = [_silence(_EDGE_MS)]
    phrase: list[str] = []
    for word in (*words, []):
        if word:
            phrase += word
        elif phrase:
            phases += [*_phrase(phrase, tempo), _silence(_PAUSE_MS / tempo)]
            phrase = []
    if len(phases) == 1:
        raise Error("nothing to speak: wanted at least one word with phones")
    phases[-1] = replace(phases[-1], duration_ms=_EDGE_MS)
    return _frames(_quiet_targets(phases), f0_hz)


@cache
def phones() -> dict[str, Phone]:
    """The table of targets, by the names of CMUdict."""
    found = {}
    for row in table("phones.tsv"):
        f, b, to = (
            (float(row[one]), float(row[two]), float(row[three]))
            for one, two, three in (
                ("f1_hz", "f2_hz", "f3_hz"), ("b1_hz", "b2_hz", "b3_hz"), ("to_f1_hz", "to_f2_hz", "to_f3_hz"),
            )
        )  # fmt: skip
        noise = tuple(float(row[name]) for name in ("a2_db", "a3_db", "a4_db", "a5_db", "a6_db", "bypass_db"))
        found[row["phone"]] = Phone(
            row["phone"], row["manner"], f, b, to, float(row["inherent_ms"]), float(row["least_ms"]),
            float(row["voice_db"]), noise,
        )  # fmt: skip
    return found


def _phrase(names: Sequence[str], tempo: float) -> list[Phase]:
    """The phases of the phones between two pauses."""
    row = [(_phone(name), name[-1] if name[-1].isdigit() else "") for name in names]
    vowels = [at for at, (phone, _) in enumerate(row) if phone.manner == "vowel"]
    phases: list[Phase] = []
    for at, (phone, stress) in enumerate(row):
        after = row[at + 1][0] if at + 1 < len(row) else None
        before = row[at - 1][0] if at else None
        part = 1.0 if stress in ("1", "2", "") else 0.7
        if vowels and at >= vowels[-1]:
            part *= _FINAL
        if phone.manner == "vowel" and len(vowels) > 2:
            part *= 0.85
        if phone.manner == "vowel" and after is not None and after.voice_db == 0 and at + 2 == len(row):
            part *= 0.75  # a vowel is shorter before a voiceless consonant that ends its syllable (MITalk, rule 8)
        length = max(phone.least_ms, phone.least_ms + (phone.inherent_ms - phone.least_ms) * part) / tempo
        phases += _phases(phone, length, stress, before, after)
    return phases


def _phone(name: str) -> Phone:
    bare = "AX" if name == "AH0" else name.rstrip("012")
    if bare not in phones():
        raise Error(f"the table of phones has no {name}; wanted one of {', '.join(phones())}")
    return phones()[bare]


def _phases(phone: Phone, length: float, stress: str, before: Phone | None, after: Phone | None) -> list[Phase]:
    whole = Phase(length, phone.formants_hz, phone.bandwidths_hz, phone.voice_db, noise_db=phone.noise_db)
    open_after = after is not None and after.manner in ("vowel", "glide")
    match phone.manner:
        case "vowel":
            accent = {"1": _ACCENT, "2": _ACCENT / 2}.get(stress, 0.0)
            first = replace(whole, duration_ms=length * 0.5, accent=accent)
            return [first, replace(first, formants_hz=phone.to_hz, accent=accent / 2, transition_ms=length * 0.6)]
        case "glide":
            return [replace(whole, transition_ms=_GLIDE_MS)]
        case "nasal":
            return [replace(whole, nasal=True, transition_ms=30.0)]
        case "aspirate":
            shape = after.formants_hz if after is not None else phone.formants_hz
            return [replace(whole, formants_hz=shape, aspiration_db=_ASPIRATION_DB)]
        case "stop" | "affricate":
            return _released(phone, whole, before, after, open_after)
    return [whole]


def _released(
    phone: Phone, whole: Phase, before: Phone | None, after: Phone | None, open_after: bool
) -> list[Phase]:
    """Closure, burst, and what follows: friction in an affricate, aspiration after a voiceless stop."""
    noise = 0.45 if phone.manner == "affricate" else 0.0
    closure = replace(
        whole, duration_ms=max(whole.duration_ms * (1 - noise) - _BURST_MS, 30.0), noise_db=(0.0,) * 6
    )
    parts = [closure]
    burst = replace(whole, duration_ms=_BURST_MS + noise * whole.duration_ms, voice_db=0.0, transition_ms=10.0)
    if after is None or after.manner != phone.manner:
        parts.append(burst)
    aspirated = phone.voice_db == 0 and phone.manner == "stop" and not (before is not None and before.name == "S")
    if aspirated and (open_after or after is None):
        shape = after.formants_hz if after is not None else phone.formants_hz
        half = tuple((here + there) / 2 for here, there in zip(phone.formants_hz, shape, strict=True))
        length = _ASPIRATED_MS if open_after else _ASPIRATED_MS / 2
        level = _ASPIRATION_DB if open_after else _ASPIRATION_DB - 10
        parts.append(Phase(length, half, (200.0, 120.0, 200.0), aspiration_db=level))
    return parts


def _silence(duration_ms: float) -> Phase:
    return Phase(duration_ms, (500.0, 1500.0, 2500.0), (100.0, 100.0, 150.0))


def _quiet_targets(phases: list[Phase]) -> list[Phase]:
    """Silence takes its neighbour's formants: nothing glides in from where nobody speaks."""
    first = replace(phases[0], formants_hz=phases[1].formants_hz, bandwidths_hz=phases[1].bandwidths_hz)
    last = replace(phases[-1], formants_hz=phases[-2].formants_hz, bandwidths_hz=phases[-2].bandwidths_hz)
    return [first, *phases[1:-1], last]


def _frames(phases: list[Phase], f0_hz: float) -> Frames:
    ends = np.cumsum([phase.duration_ms for phase in phases])
    starts = ends - [phase.duration_ms for phase in phases]
    times = np.arange(0, ends[-1] + STEP_S * 1000, STEP_S * 1000)

    def track(values: list[float], slow: bool) -> np.ndarray:
        """Piecewise linear: flat inside a phase, sloping around each boundary."""
        at, what = [], []
        for number, (start, end, phase) in enumerate(zip(starts, ends, phases, strict=True)):
            into = min(phase.transition_ms if slow else 5.0, (end - start) * 0.9)
            out = 0.0
            if slow and number + 1 < len(phases):
                out = min(phases[number + 1].transition_ms / 3, (end - start) * 0.4)
            at += [start + min(into * 0.6, (end - start) * 0.5), end - out]
            what += [values[number]] * 2
        return np.interp(times, at, what)

    made = vowel(np.ones(6), np.ones(6), frames=len(times))
    formants = [track([phase.formants_hz[k] for phase in phases], slow=True) for k in range(3)]
    widths = [track([phase.bandwidths_hz[k] for phase in phases], slow=True) for k in range(3)]
    higher = [np.full(len(times), value) for value in (*_HIGHER_HZ, *_HIGHER_BANDWIDTHS_HZ)]
    noise = [track([phase.noise_db[k] for phase in phases], slow=False) for k in range(6)]
    voice = track([phase.voice_db for phase in phases], slow=False)
    breath = track([phase.aspiration_db for phase in phases], slow=False)
    accents = track([phase.accent for phase in phases], slow=True)
    nose = track([float(phase.nasal) for phase in phases], slow=False)
    fall = 1 + _DECLINATION * (0.5 - times / times[-1])
    fields = {
        "f0_hz": f0_hz * fall * (1 + accents),
        "voice_db": voice, "aspiration_db": breath, "frication_db": np.full(len(times), 60.0),
        "open_quotient": np.full(len(times), 0.6), "tilt_db": np.full(len(times), 3.0),
        "formants_hz": np.stack([*formants, *higher[:3]], 1), "bandwidths_hz": np.stack([*widths, *higher[3:]], 1),
        "parallel_db": np.stack([np.full(len(times), _PARALLEL_DB), *noise[:5]], 1), "bypass_db": noise[5],
        "nasal_pole_hz": _CLOSED_NOSE_HZ + (_NASAL_POLE_HZ - _CLOSED_NOSE_HZ) * nose,
        "nasal_zero_hz": _CLOSED_NOSE_HZ + (_NASAL_ZERO_HZ - _CLOSED_NOSE_HZ) * nose,
    }  # fmt: skip
    return made._replace(**{name: np.asarray(values, np.float32) for name, values in fields.items()})
