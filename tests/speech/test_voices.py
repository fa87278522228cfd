"""Voices: the same words in another height and tract, as Praat hears them, and the command that speaks."""

import json
from pathlib import Path

import numpy as np
import parselmouth
import pytest
import soundfile

from genome.cli import main
from genome.errors import Error, NotFoundError
from genome.sources import find
from genome.speech import audio
from genome.speech.voices import RATE_HZ, VOICES, Voice, sounded, utterance, voice


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A cache that holds a dictionary of three words in CMUdict's place."""
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    path = find("english").path
    path.parent.mkdir(parents=True)
    path.write_text("mother M AH1 DH ER0\neasy IY1 Z IY0\nsea S IY1\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", VOICES)
def test_praat_hears_the_height_and_the_tract_of_a_voice(name):
    """IY's F2 is 2045 Hz in a man's middle (Klatt 1980, table II); the pitch is the voice's with an accent."""
    sound = sounded(utterance([["IY1"]], VOICES[name], tempo=0.5)).astype(float)
    assert np.abs(sound).max() == pytest.approx(0.7, rel=1e-3)
    heard = parselmouth.Sound(sound, RATE_HZ)
    at = heard.duration / 2
    assert heard.to_pitch(pitch_floor=75).get_value_at_time(at) == pytest.approx(VOICES[name].f0_hz * 1.1, rel=0.1)
    f2_hz = heard.to_formant_burg(maximum_formant=5000 * VOICES[name].formants).get_value_at_time(2, at)
    assert f2_hz == pytest.approx(2045 * VOICES[name].formants, rel=0.06)


def test_what_no_voice_can_say():
    with pytest.raises(NotFoundError, match="no voice is called 'robot'; wanted one of man, woman, child"):
        voice("robot")
    with pytest.raises(Error, match=r"0\.7 to 1\.5 times a man's, got 9"):
        utterance([["IY1"]], Voice(100, 9))
    with pytest.raises(Error, match="wanted at most 60 s: say it in parts"):
        utterance([["IY1"]] * 2000, VOICES["man"])


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_sound_is_written_and_read(tmp_path, ending):
    sound = np.array([0, 0.5, -0.5, 1.5], np.float32)
    audio.write(tmp_path / f"a.{ending}", sound, 8000)
    samples, rate_hz = soundfile.read(tmp_path / f"a.{ending}", dtype="int16")
    assert rate_hz == 8000
    np.testing.assert_allclose(samples, (0, 16384, -16384, 32767), atol=1)


def test_the_command_speaks(small, capsys):
    out = small / "a.wav"
    assert main(["formant", "speak", "Mother,", "easy", "-o", str(out)]) == 0
    assert capsys.readouterr().out.endswith(" s  M AH1 DH ER0  ,  IY1 Z IY0\n")
    man = soundfile.info(out)
    assert (man.samplerate, man.channels, man.subtype) == (16000, 1, "PCM_16")
    options = ("--voice", "woman", "--f0", "180", "--tempo", "2", "--json")
    assert main(["formant", "speak", "Mother, easy", "-o", str(out), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["voice"], told["f0_hz"], told["phones"][1]) == ("woman", 180, [])
    assert told["duration_s"] == soundfile.info(out).duration < man.duration


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mothre"], "CMUdict has no word 'mothre'"),
        (["65"], "'65' is a number; write it as words"),
        ([""], "has no word to speak"),
        (["sea", "--voice", "robot"], "no voice is called 'robot'"),
        (["sea", "--f0", "9"], "wanted an f0 from 40 to 500 Hz, got 9"),
        (["sea", "--f0", "nan"], "wanted an f0 from 40 to 500 Hz, got nan"),
        (["sea", "--tempo", "0"], "wanted a tempo from 0.25 to 4, got 0"),
        (["sea", "-o", "a.mp3"], "ends in .wav or .flac, got 'a.mp3'"),
        (["sea", "-o", "nonesuch/a.wav"], "No such file"),
        (["sea"] * 1000, "wanted at most 60 s"),
    ],
)
def test_what_the_command_refuses_is_one_line(small, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(small)
    assert main(["formant", "speak", "-o", "a.wav", *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not (small / "a.wav").exists()
