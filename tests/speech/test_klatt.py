"""The synthesiser beside Praat's KlattGrid, SciPy's filters, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import parselmouth
import pytest
from parselmouth.praat import call
from scipy.signal import lfilter

from genome.speech.klatt import Frames, amplitude, recursive, resonator, synthesise, vowel

RATE_HZ = 44100
FORMANTS_HZ, BANDWIDTHS_HZ = (500.0, 1500.0, 2500.0, 3500.0, 4500.0), (60.0, 90.0, 150.0, 200.0, 250.0)
SCHWA = vowel(FORMANTS_HZ, BANDWIDTHS_HZ, frames=41)


def klattgrid(
    f0_hz: float, open_quotient: float, tilt_db: float, formants_hz, bandwidths_hz, nasal=()
) -> np.ndarray:
    """Half a second of Praat's own synthesiser with the same flow function, x^2 - x^3."""
    count = len(formants_hz)
    grid = call("Create KlattGrid", "vowel", 0, 0.5, count, 1, 1, 6, 1, 1, 1)
    for tier, value in {
        "pitch": f0_hz, "voicing amplitude": 90, "open phase": open_quotient, "power1": 2, "power2": 3,
        "collision phase": 0, "spectral tilt": tilt_db,
    }.items():  # fmt: skip
        call(grid, f"Add {tier} point", 0.1, value)
    for number, (frequency, bandwidth) in enumerate(zip(formants_hz, bandwidths_hz, strict=True), 1):
        call(grid, "Add oral formant frequency point", number, 0.1, frequency)
        call(grid, "Add oral formant bandwidth point", number, 0.1, bandwidth)
    for kind, (frequency, bandwidth) in zip(("formant", "antiformant"), nasal, strict=False):
        call(grid, f"Add nasal {kind} frequency point", 1, 0.1, frequency)
        call(grid, f"Add nasal {kind} bandwidth point", 1, 0.1, bandwidth)
    source = ("yes", "yes", "no", "no", "no", "yes", "Powers in tiers", "yes", "no", "no")
    ranges = (1, count, 1, 1, 1, 1, *([1, 0] * 5), "no")
    sound = call(grid, "To Sound (special)", 0, 0, RATE_HZ, *source, "Cascade", *ranges)
    assert isinstance(sound, parselmouth.Sound)
    return sound.values[0]


def log_spectral_distance_db(one: np.ndarray, other: np.ndarray, f0_hz: float) -> float:
    """Root mean square difference in dB, 50 to 5000 Hz, after one gain; power in bands as wide as f0.

    A band of f0 holds one harmonic. What lies between harmonics is Praat's aliasing: it samples the flow's jump
    as it is, at whatever sample comes next.
    """
    width = 2048
    power = []
    for sound in (one, other):
        windows = np.lib.stride_tricks.sliding_window_view(sound, width)[4000 : len(sound) - 6000 : 441]
        spectrum = np.abs(np.fft.rfft(windows * np.hanning(width))) ** 2
        bins = max(1, round(f0_hz / (RATE_HZ / width)))
        power.append(np.apply_along_axis(np.convolve, 1, spectrum, np.ones(bins) / bins, "same"))
    frequencies = np.fft.rfftfreq(width, 1 / RATE_HZ)
    heard = (frequencies > 50) & (frequencies < 5000)
    difference = 10 * np.log10(power[0][:, heard] / power[1][:, heard])
    difference -= difference.mean()
    return float(np.sqrt((difference**2).mean()))


@pytest.mark.parametrize("f0_hz", [90.0, 123.4, 217.0])
@pytest.mark.parametrize(("open_quotient", "tilt_db"), [(0.4, 0.0), (0.6, 10.0), (0.8, 20.0)])
def test_klattgrid_says_the_same(f0_hz, open_quotient, tilt_db):
    """The goal is 1.5 dB; Peterson & Barney's men's /i/ is the vowel with the widest gap between formants."""
    formants = (270.0, 2290.0, 3010.0, 3500.0, 4500.0)
    frames = vowel(formants, BANDWIDTHS_HZ, f0_hz=f0_hz, frames=101, tilt_db=tilt_db, open_quotient=open_quotient)
    ours = np.asarray(synthesise(frames, rate_hz=RATE_HZ))
    theirs = klattgrid(f0_hz, open_quotient, tilt_db, formants, BANDWIDTHS_HZ)
    assert log_spectral_distance_db(ours, theirs, f0_hz) < 1.5


def test_klattgrid_s_nose_is_the_same():
    frames = vowel(
        FORMANTS_HZ, BANDWIDTHS_HZ, frames=101, nasal_pole_hz=270.0, nasal_pole_bandwidth_hz=100.0,
        nasal_zero_hz=450.0, nasal_zero_bandwidth_hz=120.0,
    )  # fmt: skip
    theirs = klattgrid(120.0, 0.6, 0.0, FORMANTS_HZ, BANDWIDTHS_HZ, nasal=[(270.0, 100.0), (450.0, 120.0)])
    assert log_spectral_distance_db(np.asarray(synthesise(frames, rate_hz=RATE_HZ)), theirs, 120.0) < 1.5


def test_blocks_give_what_one_filter_gives():
    a, b, c = (float(value) for value in resonator(500.0, 60.0, 16000))
    sound = np.random.default_rng(65).normal(size=1000).astype(np.float32)
    everywhere = np.ones((1, 1000), np.float32)
    ours = recursive(b * everywhere, c * everywhere, a * sound[None])[0]
    np.testing.assert_allclose(ours, lfilter([a], [1, -b, -c], sound), atol=1e-5)


def test_a_filter_that_changes_with_each_sample():
    draw = np.random.default_rng(6)
    b, c, driven = draw.uniform(-0.5, 0.5, (3, 2, 150)).astype(np.float32)
    wanted = np.zeros((2, 152))
    for t in range(150):
        wanted[:, t + 2] = driven[:, t] + b[:, t] * wanted[:, t + 1] + c[:, t] * wanted[:, t]
    np.testing.assert_allclose(recursive(b, c, driven), wanted[:, 2:], atol=1e-5)


def test_the_tilt_is_what_it_says_at_3_khz():
    """Harmonic 30 of 100 Hz falls by 12 dB more than the voice's level, which the pole leaves at 0 Hz."""

    def harmonic(tilt_db: float, hz: int) -> float:
        frames = vowel([8000.0], [16000.0], f0_hz=100.0, frames=101, tilt_db=tilt_db)
        spectrum = np.abs(np.fft.rfft(np.asarray(synthesise(frames))[1600:6400] * np.hanning(4800)))
        return 20 * float(np.log10(spectrum[round(hz * 4800 / 16000)]))

    assert harmonic(0, 3000) - harmonic(12, 3000) == pytest.approx(12, abs=0.1)
    assert harmonic(0, 100) - harmonic(12, 100) == pytest.approx(0, abs=0.1)


def test_a_parallel_formant_has_its_level_at_its_peak():
    """The peak's gain is `parallel_db` - 60 dB: noise through one formant against the noise itself."""
    frames = SCHWA._replace(
        voice_db=0 * SCHWA.f0_hz, frication_db=60 + 0 * SCHWA.f0_hz, bypass_db=60 + 0 * SCHWA.f0_hz
    )
    noise = np.fft.rfft(np.asarray(synthesise(frames)))
    levels = np.zeros((41, 5), np.float32)
    levels[:, 1] = 40
    through = np.fft.rfft(np.asarray(synthesise(frames._replace(parallel_db=levels, bypass_db=0 * SCHWA.f0_hz))))
    at = round(1500 * 3200 / 16000)
    near = slice(at - 3, at + 4)
    assert 20 * np.log10(np.linalg.norm(through[near]) / np.linalg.norm(noise[near])) == pytest.approx(-20, abs=0.5)


def test_the_voice_in_the_parallel_branch_is_a_sum_of_formants():
    """The two formants by SciPy, each with unit gain at its peak, the second turned round."""
    formants, bandwidths = np.array([500.0, 1500.0]), np.array([60.0, 90.0])
    frames = vowel(formants, bandwidths)._replace(parallel_db=np.full((61, 2), 60, np.float32))
    source = np.asarray(
        synthesise(
            frames._replace(bypass_db=60 + 0 * frames.f0_hz, parallel_db=0 * frames.formants_hz), branch="parallel"
        )
    )
    wanted = np.zeros(4800)
    for sign, frequency, bandwidth in zip((1, -1), formants, bandwidths, strict=True):
        _, b, c = (float(value) for value in resonator(frequency, bandwidth, 16000))
        turn = np.exp(-2j * np.pi * frequency / 16000)
        wanted += sign * abs(1 - b * turn - c * turn**2) * lfilter([1], [1, -b, -c], source)
    np.testing.assert_allclose(synthesise(frames, branch="parallel"), wanted, atol=1e-3)


@pytest.mark.parametrize("field", ["f0_hz", "open_quotient", "tilt_db", "formants_hz", "bandwidths_hz", "voice_db"])
def test_gradients_are_those_of_finite_differences(field):
    with jax.enable_x64(True):
        given = vowel(
            (500.0, 1500.0, 2500.0), (60.0, 90.0, 150.0), frames=11, f0_hz=117, open_quotient=0.63, tilt_db=6
        )
        frames = Frames(*(np.asarray(values, np.float64) for values in given))
        weights = np.random.default_rng(0).normal(size=800)

        @jax.jit
        def loss(scale: float) -> jax.Array:
            return (synthesise(frames._replace(**{field: getattr(frames, field) * scale})) * weights).sum()

        step = 1e-5
        wanted = (loss(1 + step) - loss(1 - step)) / (2 * step)
        assert jax.grad(loss)(1.0) == pytest.approx(float(wanted), rel=0.01)


def test_every_parameter_has_a_gradient():
    frames = Frames(*(jnp.asarray(field) + 1.0 for field in SCHWA))
    slopes = jax.grad(lambda frames: (synthesise(frames) ** 2).sum())(frames)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_levels_of_nothing_are_silence():
    silence = synthesise(SCHWA._replace(voice_db=0 * SCHWA.f0_hz))
    assert silence.shape == (3200,)
    assert not np.asarray(silence).any()
    assert float(amplitude(80.0)) == pytest.approx(10, rel=2e-3)
