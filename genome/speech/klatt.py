"""A source-filter synthesiser after Klatt: frames of parameters to sound, all of it differentiable.

The voice is a polynomial glottal pulse with an open quotient and a tilt; with aspiration it goes through a cascade
of formants and a nasal pole and zero. Frication goes through formants in parallel, each with a level of its own.
Every parameter is interpolated for each sample.

Sources: Klatt 1980, "Software for a cascade/parallel formant synthesizer", JASA 67; Klatt & Klatt 1990, "Analysis,
synthesis, and perception of voice quality variations among female and male talkers", JASA 87 (source, tilt).
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = Any
"""What JAX takes for an array: its own, NumPy's, numbers."""
Branch = Literal["cascade", "parallel"]

TILT_AT_HZ = 3000.0
"""Where `tilt_db` is measured (Klatt & Klatt 1990, TL)."""
_CLOSED_GLOTTIS = 0.5  # of the aspiration passes while the glottis is closed (Klatt 1980, II.B)
_BLOCK = 64


class Frames(NamedTuple):
    """The parameters of an utterance at equal steps of time; (frames,), or (frames, formants) where said.

    Levels are dB, 60 is an amplitude of 1 and 0 is off.

    Attributes:
        f0_hz: of the voice.
        voice_db: of the glottal pulses.
        aspiration_db: of the noise at the glottis.
        frication_db: of the noise at a constriction, for the parallel branch.
        open_quotient: the part of a period in which the glottis is open, 0 to 1.
        tilt_db: how much weaker the voice is at 3 kHz than a glottal pulse is there, 0 upwards.
        formants_hz: (frames, formants), any number of them.
        bandwidths_hz: (frames, formants).
        parallel_db: (frames, formants), the peak of each formant in the parallel branch.
        bypass_db: of the noise that passes by all formants.
        nasal_pole_hz, nasal_zero_hz: equal where the nose is closed.
        nasal_pole_bandwidth_hz, nasal_zero_bandwidth_hz: likewise.
    """

    f0_hz: Array
    voice_db: Array
    aspiration_db: Array
    frication_db: Array
    open_quotient: Array
    tilt_db: Array
    formants_hz: Array
    bandwidths_hz: Array
    parallel_db: Array
    bypass_db: Array
    nasal_pole_hz: Array
    nasal_zero_hz: Array
    nasal_pole_bandwidth_hz: Array
    nasal_zero_bandwidth_hz: Array


def vowel(
    formants_hz: Array, bandwidths_hz: Array, *, f0_hz: float = 120.0, frames: int = 61, **more: float
) -> Frames:
    """The frames of a steady vowel.

    Args:
        formants_hz: (formants,).
        bandwidths_hz: (formants,).
        f0_hz: of the voice.
        frames: how many.
        more: other fields of `Frames`, a number each.

    Example:
        >>> vowel([500, 1500, 2500], [60, 90, 150], frames=3, tilt_db=10).formants_hz.shape
        (3, 3)
    """
    given = {
        "f0_hz": f0_hz, "voice_db": 60.0, "aspiration_db": 0.0, "frication_db": 0.0, "open_quotient": 0.6,
        "tilt_db": 0.0, "parallel_db": 0.0 * np.asarray(formants_hz), "bypass_db": 0.0, "nasal_pole_hz": 250.0,
        "nasal_zero_hz": 250.0, "nasal_pole_bandwidth_hz": 100.0, "nasal_zero_bandwidth_hz": 100.0, **more,
        "formants_hz": formants_hz, "bandwidths_hz": bandwidths_hz,
    }  # fmt: skip
    return Frames(
        **{
            name: np.broadcast_to(np.asarray(value, np.float32), (frames, *np.shape(value)))
            for name, value in given.items()
        }
    )


@partial(jax.jit, static_argnames=("step_s", "rate_hz", "branch"))
def synthesise(
    frames: Frames, step_s: float = 0.005, rate_hz: int = 16000, seed: int = 0, branch: Branch = "cascade"
) -> jax.Array:
    """The sound of some frames.

    Args:
        frames: the parameters; between two frames they change linearly.
        step_s: from frame to frame.
        rate_hz: of the sound; formants stay below half of it.
        seed: of the noise.
        branch: the one for voice and aspiration; frication always goes through the parallel one.

    Returns:
        float32 (round((frames - 1) * step_s * rate_hz),): the pressure at the lips, with a gradient by every
        parameter.

    Example:
        >>> synthesise(vowel([500, 1500, 2500], [60, 90, 150], frames=61)).shape
        (4800,)
    """
    now = _per_sample(frames, step_s, rate_hz)
    voice, opened = _pulses(now.f0_hz, now.open_quotient, rate_hz)
    pole = _one_pole(now.tilt_db, rate_hz)
    voice = recursive(pole[None], jnp.zeros_like(pole)[None], ((1 - pole) * voice)[None])[0]
    breath, friction = jax.random.normal(jax.random.key(seed), (2, voice.shape[0]))
    breath *= _CLOSED_GLOTTIS + (1 - _CLOSED_GLOTTIS) * opened
    glottis = amplitude(now.voice_db) * voice + amplitude(now.aspiration_db) * breath
    friction = amplitude(now.frication_db) * friction
    if branch == "parallel":
        return _parallel(now, glottis + friction, rate_hz)
    return _cascade(now, glottis, rate_hz) + _parallel(now, friction, rate_hz)


def amplitude(level_db: Array) -> jax.Array:
    """The amplitude of a level: 1 at 60 dB, nothing at 0 dB.

    Example:
        >>> amplitude(60.0).round(2), amplitude(0.0)
        (Array(1., dtype=float32, weak_type=True), Array(0., dtype=float32, weak_type=True))
    """
    return jnp.maximum(10 ** (level_db / 20), 1.0) / 999 - 1 / 999


def resonator(frequency_hz: Array, bandwidth_hz: Array, rate_hz: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The coefficients of y[t] = a x[t] + b y[t-1] + c y[t-2] with unit gain at 0 Hz (Klatt 1980, eq. 2)."""
    c = -jnp.exp(-2 * jnp.pi * bandwidth_hz / rate_hz)
    b = 2 * jnp.sqrt(-c) * jnp.cos(2 * jnp.pi * frequency_hz / rate_hz)
    return 1 - b - c, b, c


def recursive(b: Array, c: Array, driven: Array) -> jax.Array:
    """Runs y[t] = driven[t] + b[t] y[t-1] + c[t] y[t-2] along the last axis, in blocks side by side.

    Within a block the answer is that of a silent past plus two answers to the past alone, weighted by what the
    past was; so that blocks run together, and only two numbers go from block to block.

    Args:
        b: (sections, samples).
        c: (sections, samples).
        driven: (sections, samples).

    Returns:
        (sections, samples).
    """
    sections, samples = driven.shape
    blocks = -(-samples // _BLOCK)

    def split(x: Array) -> jax.Array:
        return (
            jnp.pad(x, ((0, 0), (0, blocks * _BLOCK - samples)))
            .reshape(sections, blocks, _BLOCK)
            .transpose(2, 0, 1)
        )

    b, c, driven = split(b), split(c), split(driven)
    alone = _transfer(b, c)
    return _joined(b, c, driven, alone)[:, :samples]


def _transfer(b: jax.Array, c: jax.Array) -> jax.Array:
    """(block, 2, sections, blocks): what follows from a past of (1, 0) and of (0, 1)."""
    one, none = jnp.ones_like(b[0]), jnp.zeros_like(b[0])

    def step(past: tuple[jax.Array, jax.Array], at: tuple[jax.Array, jax.Array]):
        y = at[0] * past[0] + at[1] * past[1]
        return (y, past[0]), y

    return lax.scan(step, (jnp.stack([one, none]), jnp.stack([none, one])), (b, c))[1]


def _joined(b: jax.Array, c: jax.Array, driven: jax.Array, alone: jax.Array) -> jax.Array:
    zero = jnp.zeros_like(driven[0])

    def step(past: tuple[jax.Array, jax.Array], at: tuple[jax.Array, jax.Array, jax.Array]):
        y = at[2] + at[0] * past[0] + at[1] * past[1]
        return (y, past[0]), y

    silent = lax.scan(step, (zero, zero), (b, c, driven))[1]

    def over(past: tuple[jax.Array, jax.Array], ends: tuple[jax.Array, jax.Array]):
        last, before = (ends[0][i] + ends[1][i, 0] * past[0] + ends[1][i, 1] * past[1] for i in (1, 0))
        return (last, before), past

    ends = jnp.moveaxis(silent[-2:], -1, 0), jnp.moveaxis(alone[-2:], -1, 0)
    start = jnp.zeros(driven.shape[1])
    pasts = lax.scan(over, (start, start), ends)[1]
    y = silent + alone[:, 0] * pasts[0].T + alone[:, 1] * pasts[1].T
    return y.transpose(1, 2, 0).reshape(driven.shape[1], -1)


def _cascade(now: Frames, sound: jax.Array, rate_hz: int) -> jax.Array:
    a, b, c = resonator(now.nasal_zero_hz, now.nasal_zero_bandwidth_hz, rate_hz)
    sound = (sound - b * _delayed(sound, 1) - c * _delayed(sound, 2)) / a
    frequencies = jnp.concatenate([now.nasal_pole_hz[:, None], now.formants_hz], 1)
    bandwidths = jnp.concatenate([now.nasal_pole_bandwidth_hz[:, None], now.bandwidths_hz], 1)
    a, b, c = resonator(frequencies.T, bandwidths.T, rate_hz)

    def through(sound: jax.Array, section: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        a, b, c = section
        return recursive(b[None], c[None], (a * sound)[None])[0], None

    return lax.scan(through, sound, (a, b, c))[0]


def _parallel(now: Frames, sound: jax.Array, rate_hz: int) -> jax.Array:
    """Formants side by side with alternating signs, so that no zeros come between them (Klatt 1980, II.C)."""
    _, b, c = resonator(now.formants_hz.T, now.bandwidths_hz.T, rate_hz)
    turn = jnp.exp(-2j * jnp.pi * now.formants_hz.T / rate_hz)
    peak = jnp.abs(1 - b * turn - c * turn**2)
    signs = jnp.where(jnp.arange(b.shape[0]) % 2 == 0, 1.0, -1.0)[:, None]
    parts = recursive(b, c, signs * peak * amplitude(now.parallel_db.T) * sound)
    return parts.sum(0) + amplitude(now.bypass_db) * sound


def _pulses(f0_hz: jax.Array, open_quotient: jax.Array, rate_hz: int) -> tuple[jax.Array, jax.Array]:
    """The derivative of the glottal flow x^2 - x^3 (KLGLOTT88), and 1 where the glottis is open, 0 where closed.

    The flow's derivative jumps when the glottis closes; the two samples around the jump are corrected by its
    band-limited form, so that a pulse may fall between samples.
    """
    step = f0_hz / rate_hz
    phase = _turns(step)
    x = phase / open_quotient
    opened = (x < 1).astype(step.dtype)
    flow = opened * (2 * x - 3 * x**2)
    after = ((phase - open_quotient) % 1.0) / step  # samples since the glottis closed
    before = ((open_quotient - phase) % 1.0) / step
    jump = jnp.where(after < 1, -((1 - after) ** 2) / 2, 0.0) + jnp.where(
        (before > 0) & (before < 1), (1 - before) ** 2 / 2, 0.0
    )
    return 27 / 4 * (flow + jump) / open_quotient, opened


def _turns(step: jax.Array) -> jax.Array:
    """The running sum modulo 1, block by block, so that float32 stays exact however long the sound is."""
    blocks = jnp.pad(step, (0, -step.shape[0] % _BLOCK)).reshape(-1, _BLOCK).cumsum(1)
    ends = lax.associative_scan(lambda x, y: (x + y) % 1.0, blocks[:, -1] % 1.0)
    return ((blocks + jnp.pad(ends, (1, 0))[:-1, None]) % 1.0).reshape(-1)[: step.shape[0]]


def _one_pole(tilt_db: jax.Array, rate_hz: int) -> jax.Array:
    """The pole p of (1 - p) / (1 - p / z) that is `tilt_db` down at 3 kHz: (1 - p)^2 = g (1 - 2 p cos w + p^2)."""
    g = 10 ** (-jnp.maximum(tilt_db, 1e-3) / 10)
    q = (1 - g * np.cos(2 * np.pi * TILT_AT_HZ / rate_hz)) / (1 - g)
    return q - jnp.sqrt(q**2 - 1)


def _per_sample(frames: Frames, step_s: float, rate_hz: int) -> Frames:
    count = frames.f0_hz.shape[0]
    samples = round((count - 1) * step_s * rate_hz)
    at = np.arange(samples) / (step_s * rate_hz)
    left = np.minimum(at.astype(int), count - 2)
    part = (at - left).astype(np.float32)

    def between(x: Array) -> jax.Array:
        weight = part.reshape(-1, *[1] * (np.ndim(x) - 1))
        return jnp.asarray(x)[left] * (1 - weight) + jnp.asarray(x)[left + 1] * weight

    return Frames(*map(between, frames))


def _delayed(x: jax.Array, samples: int) -> jax.Array:
    return jnp.pad(x, (samples, 0))[: x.shape[0]]
