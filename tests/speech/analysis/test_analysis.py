"""Tracks of sounds whose formants are known, and of every odd file that people bring."""

import json
from pathlib import Path

import numpy as np
import parselmouth
import pytest
import soundfile

from genome.cli import main
from genome.errors import DamagedError, Error
from genome.speech.analysis import analyse, analyse_all

RATE_HZ = 16000


def vowel(f0_hz: float, formants_hz, duration_s: float = 0.3, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Harmonics of a voice that falls by 6 dB an octave, with the gain that resonances in cascade have there."""
    f = np.arange(f0_hz, min(5500, rate_hz / 2), f0_hz)
    gain = 1 / f
    for F, B in zip(formants_hz, (60, 90, 150, 200, 250), strict=False):
        half = B * B / 4
        gain = gain * (F * F + half) / np.sqrt(((f - F) ** 2 + half) * ((f + F) ** 2 + half))
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    sound = (gain[:, None] * np.cos(2 * np.pi * f[:, None] * t)).sum(0)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


NEUTRAL = (500, 1500, 2500, 3500, 4500)


@pytest.mark.parametrize(
    ("f0_hz", "formants_hz"),
    [(110, NEUTRAL), (210, (310, 2790, 3310, 4200, 5000)), (290, (850, 1220, 2810, 4100, 5100))],
)
def test_formants_and_f0_of_a_steady_vowel(f0_hz, formants_hz):
    """The sound is made by the formula, so that its formants are known exactly; 5 % of F1, 3 % of F2 and F3."""
    track = analyse((vowel(f0_hz, formants_hz), RATE_HZ))
    middle = slice(8, 22)
    assert track.voiced[middle].all()
    np.testing.assert_allclose(track.f0_hz[middle], f0_hz, rtol=0.005)
    np.testing.assert_allclose(np.median(track.f_hz[middle, 0]), formants_hz[0], rtol=0.05)
    np.testing.assert_allclose(np.median(track.f_hz[middle, 1:3], 0), formants_hz[1:3], rtol=0.03)


def test_together_is_the_same_as_alone():
    sounds = [(vowel(f0, NEUTRAL, s), RATE_HZ) for f0, s in ((100, 0.2), (150, 3.1), (220, 2.6))]
    for sound, track in zip(sounds, analyse_all(sounds), strict=True):
        alone = analyse(sound)
        assert len(track.time_s) == round(len(sound[0]) / 160)
        np.testing.assert_allclose(track.level_db, alone.level_db, atol=0.01)
        middle = slice(8, -8)
        np.testing.assert_allclose(track.f_hz[middle, :3], alone.f_hz[middle, :3], rtol=0.01)


def test_every_candidate_is_kept():
    track = analyse((vowel(110, NEUTRAL), RATE_HZ))
    assert track.candidates_f_hz.shape == (30, 5, 5) == track.candidates_b_hz.shape
    assert track.ceilings_hz == (4500, 5000, 5500, 6000, 6750)


def test_praat_agrees_on_a_vowel():
    """Praat's own tracker, which we did not write, told the ceiling that suits this tract."""
    sound = vowel(110, NEUTRAL)
    theirs = parselmouth.Sound(sound.astype(float), RATE_HZ).to_formant_burg(maximum_formant=5000)
    ours = np.median(analyse((sound, RATE_HZ)).f_hz[8:22, :3], 0)
    np.testing.assert_allclose(ours, [theirs.get_value_at_time(n, 0.15) for n in (1, 2, 3)], rtol=0.06)


@pytest.mark.parametrize(("subtype", "ending"), [("PCM_16", "wav"), ("PCM_24", "flac"), ("FLOAT", "wav")])
@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100])
def test_any_rate_and_kind_of_sample_in_stereo(tmp_path: Path, subtype, ending, rate_hz):
    path = tmp_path / f"a.{ending}"
    sound = vowel(120, NEUTRAL, rate_hz=rate_hz)
    soundfile.write(path, np.stack([sound, sound], 1), rate_hz, subtype)
    track = analyse(path)
    assert track.rate_hz == rate_hz
    assert len(track.time_s) in (30, 31)  # a rate that does not divide 16 kHz leaves part of a sample
    np.testing.assert_allclose(np.median(track.f_hz[8:22, :3], 0), NEUTRAL[:3], rtol=0.06)
    assert np.isnan(track.f_hz[:, 4]).all() == (rate_hz == 8000)


def test_silence_and_clicks_have_no_voice():
    silence = analyse((np.zeros(8000), RATE_HZ))
    assert not silence.voiced.any()
    assert np.isnan(silence.f_hz).all()
    click = np.zeros(8000)
    click[4000] = 1
    assert not analyse((click, RATE_HZ)).voiced.any()


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_hardly_any_samples(samples):
    assert len(analyse((np.ones(samples, np.float32), RATE_HZ)).rows()) == min(samples, 1)


def test_samples_that_are_no_numbers_count_as_silence():
    sound = vowel(110, NEUTRAL)
    sound[100:120] = np.nan
    sound[130] = np.inf
    track = analyse((sound, RATE_HZ))
    np.testing.assert_allclose(np.median(track.f_hz[8:22, :3], 0), NEUTRAL[:3], rtol=0.05)


def test_files_that_are_damaged_say_so_in_one_line(tmp_path: Path):
    path = tmp_path / "a.wav"
    soundfile.write(path, vowel(110, NEUTRAL), RATE_HZ)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DamagedError, match="is truncated: its header says"):
        analyse(path)
    path.write_bytes(b"")
    with pytest.raises(Error, match="is empty"):
        analyse(path)
    path.write_bytes(b"no sound at all")
    with pytest.raises(Error, match="is no audio"):
        analyse(path)
    with pytest.raises(Error, match="wanted a rate of 4000 to 768000 Hz, got 10"):
        analyse((np.zeros(5), 10))
    with pytest.raises(Error, match="hop_s: wanted"):
        analyse((np.zeros(5), RATE_HZ), hop_s=0)


def test_the_command_prints_what_a_program_reads(tmp_path: Path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, vowel(110, NEUTRAL), RATE_HZ)
    assert main(["formant", "analyse", str(path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["file"] == str(path)
    frame = told["frames"][15]
    assert list(frame) == [
        "time_s", "f0_hz",
        *(f"f{n}_hz" for n in range(1, 6)), *(f"b{n}_hz" for n in range(1, 6)),
        "level_db", "voiced",
    ]  # fmt: skip
    assert (frame["time_s"], frame["voiced"]) == (0.155, True)
    assert main(["formant", "analyse", str(tmp_path / "b.wav")]) == 2
    assert "No such file" in capsys.readouterr().err
