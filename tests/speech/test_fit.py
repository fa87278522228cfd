"""Analysis by synthesis: what is known to be in a sound is found in it, and what cannot be fitted is said."""

import numpy as np
import pytest

from genome.errors import Error
from genome.speech.fit import fit
from genome.speech.harmonics import Vowel, levels_db, levels_of, measured, squares
from genome.speech.klatt import synthesise, vowel

BANDWIDTHS_HZ = np.array([70.0, 90.0, 150.0, 200.0, 250.0])


def random_vowel(draw: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray]:
    """Formants, f0 and the sound of a vowel as men, women and children have them."""
    f1 = draw.uniform(250, 850)
    f2 = draw.uniform(max(f1 + 300, 800), 2400)
    f3 = draw.uniform(max(f2 + 300, 2000), 3300)
    f4 = max(f3 + 400, draw.uniform(3300, 3800))
    formants = np.array([f1, f2, f3, f4, f4 + draw.uniform(500, 900)])
    f0_hz = draw.uniform(80, 180)
    frames = vowel(
        formants, BANDWIDTHS_HZ * draw.uniform(0.6, 1.4, 5), f0_hz=f0_hz,
        open_quotient=draw.uniform(0.4, 0.8), tilt_db=draw.uniform(0, 15),
    )  # fmt: skip
    return formants, f0_hz, np.asarray(synthesise(frames))


def test_the_synthesiser_s_harmonics_are_those_of_the_equations():
    formants = np.array([500.0, 1500.0, 2500.0, 3500.0, 4500.0])
    sound = np.asarray(synthesise(vowel(formants, BANDWIDTHS_HZ, f0_hz=125, open_quotient=0.55, tilt_db=8)))
    steady = Vowel(*(np.asarray(x, np.float32) for x in (formants, BANDWIDTHS_HZ, 0.55, 8.0, 0.0)))
    wanted = np.asarray(levels_db(steady, 125.0, True, 16000))[:40]
    found = levels_of(sound, 16000, np.array([0.15]), np.array([125.0]))[0, :40]
    assert np.abs(found - wanted).max() < 0.7


def test_the_pitch_is_found():
    for seed in range(10):
        _, f0_hz, sound = random_vowel(np.random.default_rng(seed))
        spectra = measured(sound, 16000, np.array([0.1, 0.15, 0.2]))
        assert spectra.voiced.all()
        np.testing.assert_allclose(spectra.f0_hz, f0_hz, rtol=2e-3)


def test_squares_finds_a_line():
    """Least squares of (0, 1), (1, 3), (2, 5) is 2 x + 1, and nothing is left."""
    x, y = np.arange(3.0), np.array([1.0, 3.0, 5.0])
    at, cost = squares(np.zeros(2, np.float32), lambda line: line[0] * x + line[1] - y, 30)
    np.testing.assert_allclose(at, [2, 1], atol=1e-3)
    assert float(cost) < 1e-5


@pytest.mark.slow
def test_formants_of_random_vowels_are_recovered():
    """F1 to F3 within 1 %, in all but one of six; `rounds=0`: a steady vowel needs no last stage."""
    good = 0
    for seed in range(6):
        formants, _, sound = random_vowel(np.random.default_rng(seed))
        found = np.median(np.asarray(fit(sound, 16000, rounds=0).frames.formants_hz)[5:-5], 0)
        good += bool((np.abs(found / formants - 1)[:3] < 0.01).all())
    assert good >= 5


@pytest.mark.slow
def test_the_synthesiser_s_gradients_bring_the_sound_nearer():
    """Frames whose formants move: what each frame says by itself is blurred by its window."""
    frames = vowel([500.0, 1500.0, 2500.0, 3500.0, 4500.0], BANDWIDTHS_HZ, frames=31)
    glide = np.linspace(0, 1, 31, dtype=np.float32)[:, None]
    frames = frames._replace(formants_hz=frames.formants_hz * (1 + glide * np.float32([0.4, -0.2, 0, 0, 0])))
    sound = np.asarray(synthesise(frames))
    alone, together = fit(sound, 16000, rounds=0), fit(sound, 16000, rounds=15)
    assert together.residual_db < alone.residual_db
    assert together.frame_residual_db.shape == together.voiced.shape == (16,)


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (np.zeros((2, 8000)), "one channel"),
        (np.full(8000, np.nan), "no numbers"),
        (np.ones(100), "at least 0.05 s"),
        (np.zeros(8000), "silent"),
    ],
)
def test_what_cannot_be_fitted_is_said(sound, said):
    with pytest.raises(Error, match=said):
        fit(sound, 16000)
