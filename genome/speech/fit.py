"""Analysis by synthesis: the parameters whose sound has a recording's spectrum, and how far from it they stay.

First each frame by itself: Levenberg-Marquardt on the levels of its harmonics, from many starts, since levels say
little about which peak is which formant. Then dynamic programming picks the starts that make the smoothest track.
Last, the frames together: gradients go through the synthesiser itself.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genome.errors import Error
from genome.speech import harmonics
from genome.speech.harmonics import NOISE_SPACING_HZ, Spectra, Vowel, levels_db, measured, squares
from genome.speech.klatt import Frames, synthesise, vowel

RATE_HZ = 16000
_FORMANTS = 5
_STARTS_HZ = [
    (f1, f2, f3, max(f3 + 600, 3500), max(f3 + 1500, 4500))
    for f1, f2 in [
        (300, 800),
        (300, 1300),
        (300, 2200),
        (500, 1000),
        (500, 1500),
        (500, 2000),
        (700, 1200),
        (700, 1700),
    ]
    for f3 in (2300, 2900)
    if f3 > f2
]
_BANDWIDTHS_HZ = (80.0, 100.0, 150.0, 200.0, 250.0)
_SWERVE = 400.0  # what a formant that moves by its own size from one frame to the next costs, in dB squared
_QUOTIENTS = (
    -1.5,
    0.0,
    1.5,
)  # before the sigmoid: 0.42, 0.63, 0.83; between them the source's zeros part the valleys
_ITERATIONS = 30
_POLISH = 60


@dataclass(frozen=True)
class Fit:
    """What a recording was found to be made of.

    Attributes:
        frames: the parameters; `synthesise(fit.frames, fit.step_s)` speaks them.
        step_s: from frame to frame.
        voiced: (frames,), bool.
        residual_db: root mean square difference of the two sounds' levels at the harmonics up to 5 kHz, over the
            frames that are not silent.
        frame_residual_db: (frames,), the same in each frame; NaN in silence.
    """

    frames: Frames
    step_s: float
    voiced: np.ndarray
    residual_db: float
    frame_residual_db: np.ndarray


def fit(sound: np.ndarray, rate_hz: int, *, step_s: float = 0.01, rounds: int = 40) -> Fit:
    """Finds the synthesiser's parameters for a recording of a voice.

    Args:
        sound: (samples,), mono; at least 0.05 s.
        rate_hz: of the sound; other rates than 16 kHz are converted.
        step_s: from frame to frame of the result.
        rounds: of the last stage, through the synthesiser; 0 leaves it out.

    Raises:
        Error: the sound has another shape, is too short, silent, or holds what is no number.

    Example:
        >>> steady = synthesise(vowel([500, 1500, 2500, 3500, 4500], [60, 90, 150, 200, 250]))
        >>> found = fit(np.asarray(steady), 16000, rounds=0)
        >>> found.frames.formants_hz[15, :3].round(-1)
        array([ 500., 1500., 2500.], dtype=float32)
    """
    sound = _checked(sound, rate_hz)
    times_s = np.arange(int(len(sound) / RATE_HZ / step_s) + 1) * step_s
    spectra = measured(sound, RATE_HZ, times_s)
    narrow = Spectra(*(jnp.asarray(field) for field in spectra))
    each, costs = _from_all_starts(narrow)
    path = _smoothest(np.sort(np.asarray(each)[..., :3], -1), np.asarray(costs), spectra)
    chosen = _polished(narrow, each[np.arange(len(path)), path])
    frames = _frames(jax.vmap(_unpacked)(chosen), spectra)
    if rounds:
        frames = Frames(*map(np.asarray, _refined(frames, jnp.asarray(sound, jnp.float32), step_s, rounds)))
    spoken = np.asarray(synthesise(frames, step_s, RATE_HZ))
    again = harmonics.levels_of(spoken, RATE_HZ, times_s, spectra.f0_hz)
    return Fit(frames, step_s, spectra.voiced, *_residual(spectra, again))


def _checked(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    sound = np.asarray(sound, np.float64)
    if sound.ndim != 1:
        raise Error(f"wanted one channel, (samples,), got {sound.shape}; mix the channels first")
    if not np.isfinite(sound).all():
        raise Error("the sound holds samples that are no numbers (NaN or infinite); cut them out first")
    if len(sound) < harmonics.WINDOW_S * rate_hz:
        raise Error(f"wanted at least {harmonics.WINDOW_S} s of sound, got {len(sound) / rate_hz:.4f} s")
    if not sound.any():
        raise Error("the sound is silent: nothing to fit")
    if rate_hz != RATE_HZ:
        from scipy.signal import resample_poly

        sound = resample_poly(sound, RATE_HZ, rate_hz)
    return sound


@jax.jit
def _from_all_starts(spectra: Spectra) -> tuple[jax.Array, jax.Array]:
    """Each frame fitted from each start: parameters (frames, starts, 13), and the cost in dB squared."""
    formants = jnp.log(jnp.asarray(_STARTS_HZ, jnp.float32))
    starts = jnp.stack([
        jnp.concatenate([start, jnp.log(jnp.asarray(_BANDWIDTHS_HZ)), jnp.array([quotient, 0.0, 0.0])])
        for start in formants for quotient in _QUOTIENTS
    ])  # fmt: skip

    def one(frame: Spectra, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        gap = frame.weight * (frame.level_db - levels_db(_unpacked(start), frame.f0_hz, frame.voiced, RATE_HZ))
        start = start.at[12].set(gap.sum() / (frame.weight.sum() + 1e-6) / 20)
        at, cost = squares(start, partial(_off, frame), _ITERATIONS)
        return at, cost / (frame.weight.sum() + 1e-6)

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(spectra, starts)


@jax.jit
def _polished(spectra: Spectra, chosen: jax.Array) -> jax.Array:
    """Parameters (frames, 13), each taken to its minimum."""
    return jax.vmap(lambda frame, at: squares(at, partial(_off, frame), _POLISH)[0])(spectra, chosen)


def _off(frame: Spectra, at: jax.Array) -> jax.Array:
    """What is wrong with one frame's parameters: dB at each harmonic, and a mild wish for usual bandwidths."""
    off = frame.weight * (levels_db(_unpacked(at), frame.f0_hz, frame.voiced, RATE_HZ) - frame.level_db)
    return jnp.concatenate([off, 0.2 * (at[5:10] - jnp.log(jnp.asarray(_BANDWIDTHS_HZ))), 0.05 * at[10:12]])


def _unpacked(at: jax.Array) -> Vowel:
    """Parameters without bounds as a vowel: formants 150 to 5500 Hz in order, bandwidths 20 to 1000 Hz."""
    formants = jnp.clip(jnp.exp(at[:5]), 150.0, 5500.0)
    bandwidths = jnp.clip(jnp.exp(at[5:10]), 20.0, 1000.0)
    order = jnp.argsort(formants)
    quotient = 0.3 + 0.65 * jax.nn.sigmoid(at[10])
    return Vowel(formants[order], bandwidths[order], quotient, 6 * jax.nn.softplus(at[11]), 20 * at[12])


def _smoothest(places: np.ndarray, costs: np.ndarray, spectra: Spectra) -> np.ndarray:
    """Which start's result to take in each frame: (frames,); least cost and least movement of F1 to F3 (Viterbi).

    Args:
        places: (frames, starts, 3), the formants' logarithms.
        costs: (frames, starts).
        spectra: say which frames are voiced.
    """
    total, came = costs[0], []
    for frame in range(1, len(costs)):
        moved = ((places[frame][None] - places[frame - 1][:, None]) ** 2).sum(-1)
        both = total[:, None] + _SWERVE * (spectra.voiced[frame] & spectra.voiced[frame - 1]) * moved
        came.append(both.argmin(0))
        total = both.min(0) + costs[frame]
    path = [int(total.argmin())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])


def _frames(found: Vowel, spectra: Spectra) -> Frames:
    count = len(spectra.f0_hz)
    plain = vowel(np.ones(_FORMANTS), np.ones(_FORMANTS), frames=count)
    # White noise of variance 1 has 2 / sqrt(samples) x sqrt(1.5) through a Hann window, as a sine's amplitude.
    noise_db = 20 * np.log10(2 * np.sqrt(1.5 / (harmonics.WINDOW_S * RATE_HZ)))
    level = 60 + np.asarray(found.gain_db)
    f0_hz = np.where(spectra.voiced, spectra.f0_hz, np.nan)
    known = np.flatnonzero(spectra.voiced)
    f0_hz = np.interp(np.arange(count), known, f0_hz[known]) if len(known) else np.full(count, NOISE_SPACING_HZ)
    return plain._replace(**{
        name: np.asarray(values, np.float32) for name, values in {
            "f0_hz": f0_hz,
            "voice_db": np.where(spectra.voiced, level, 0),
            "aspiration_db": np.where(spectra.voiced, 0, np.maximum(level - noise_db, 0)),
            "open_quotient": found.open_quotient, "tilt_db": found.tilt_db,
            "formants_hz": found.formants_hz, "bandwidths_hz": found.bandwidths_hz,
        }.items()
    })  # fmt: skip


@partial(jax.jit, static_argnames=("step_s", "rounds"))
def _refined(frames: Frames, sound: jax.Array, step_s: float, rounds: int) -> Frames:
    """All frames together, by gradients through the synthesiser (Adam, Kingma & Ba 2015).

    Formants and bandwidths are multiplied, levels added to; the best of all rounds is given.
    """
    wanted = _bands_db(sound)
    weight = jax.nn.sigmoid((wanted - wanted.max(1, keepdims=True) + 60) / 3) * (wanted > wanted.max() - 60)

    def moved(by: dict[str, jax.Array]) -> Frames:
        return frames._replace(
            formants_hz=frames.formants_hz * jnp.exp(by["formants_hz"]),
            bandwidths_hz=frames.bandwidths_hz * jnp.exp(by["bandwidths_hz"]),
            voice_db=frames.voice_db + 20 * by["voice_db"] * (frames.voice_db > 0),
            aspiration_db=frames.aspiration_db + 20 * by["aspiration_db"] * (frames.aspiration_db > 0),
            tilt_db=jnp.maximum(frames.tilt_db + 20 * by["tilt_db"], 0),
        )

    def loss(by: dict[str, jax.Array]) -> jax.Array:
        off = _bands_db(synthesise(moved(by), step_s, RATE_HZ))
        count = min(len(off), len(wanted))
        return (weight[:count] * (off[:count] - wanted[:count]) ** 2).sum() / weight[:count].sum()

    names = ("formants_hz", "bandwidths_hz", "voice_db", "aspiration_db", "tilt_db")
    zero = {name: jnp.zeros_like(getattr(frames, name)) for name in names}

    def step(state, number: jax.Array):
        by, mean, square, best, least = state
        now, slope = jax.value_and_grad(loss)(by)
        best = jax.tree.map(lambda kept, new: jnp.where(now < least, new, kept), best, by)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)
        square = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, square, slope)
        one, other = 1 - 0.9**number, 1 - 0.99**number
        by = jax.tree.map(lambda x, m, v: x - 0.003 * (m / one) / (jnp.sqrt(v / other) + 1e-8), by, mean, square)
        return (by, mean, square, best, jnp.minimum(now, least)), None

    start = (zero, zero, zero, zero, jnp.asarray(jnp.inf))
    return moved(lax.scan(step, start, jnp.arange(1.0, rounds + 2))[0][3])


def _bands_db(sound: jax.Array) -> jax.Array:
    """(windows, bands): levels in bands 100 Hz wide up to 5 kHz, a window of 50 ms every 10 ms."""
    width, hop = round(harmonics.WINDOW_S * RATE_HZ), RATE_HZ // 100
    padded = jnp.pad(sound, width // 2)
    pieces = padded[np.arange(0, padded.shape[0] - width + 1, hop)[:, None] + np.arange(width)]
    power = jnp.abs(jnp.fft.rfft(pieces * np.hanning(width).astype(np.float32))) ** 2
    wide = round(100 * width / RATE_HZ)
    count = int(5000 * width / RATE_HZ) // wide
    return 10 * jnp.log10(power[:, : count * wide].reshape(-1, count, wide).sum(-1) + 1e-7)


def _residual(wanted: Spectra, again: np.ndarray) -> tuple[float, np.ndarray]:
    """The recording's levels against those of its new sound, at the recording's harmonics: overall, by frame."""
    square = (wanted.weight * (again - wanted.level_db) ** 2).sum(1)
    weight = wanted.weight.sum(1)
    loudest = wanted.level_db.max(1)
    heard = loudest > loudest.max() - 50
    each = np.where(heard, np.sqrt(square / weight), np.nan)
    return float(np.sqrt(square[heard].sum() / weight[heard].sum())), each
