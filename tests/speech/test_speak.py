"""Words to frames: every phone of CMUdict has targets, and the frames follow them."""

from pathlib import Path

import numpy as np
import pytest

from genome.errors import Error, NotFoundError
from genome.speech.klatt import synthesise
from genome.speech.pronounce import pronounced, read
from genome.speech.speak import STEP_S, phones, spoken


@pytest.fixture
def dictionary(tmp_path) -> Path:
    """A dictionary in CMUdict's form: a second pronunciation, a comment, an apostrophe."""
    path = tmp_path / "small.dict"
    path.write_text(
        "mother M AH1 DH ER0\ntomato T AH0 M EY1 T OW2\ntomato(2) T AH0 M AA1 T OW2\ndon't D OW1 N T # c\n"
    )
    return path


def test_words_and_pauses(dictionary):
    found = pronounced("Mother, don\N{RIGHT SINGLE QUOTATION MARK}t! TOMATO", dictionary)
    assert [" ".join(word) for word in found] == ["M AH1 DH ER0", "", "D OW1 N T", "", "T AH0 M EY1 T OW2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("mothre", "no word 'mothre'"), ("65 words", "'65' is a number"), (" ,.", "no word to speak")],
)
def test_what_cannot_be_pronounced_is_said(dictionary, text, said):
    with pytest.raises((Error, NotFoundError), match=said):
        pronounced(text, dictionary)


def test_every_phone_of_cmudict_has_targets(source):
    used = {phone.rstrip("012") for word in read(source("english").path).values() for phone in word.split()}
    assert used == set(phones()) - {"AX"}


def test_a_vowel_reaches_klatt_s_targets():
    """IY of Klatt 1980, table II: 310, 2020 and 2960 Hz at first, 290, 2070 and 2960 Hz at the end."""
    frames = spoken([["IY1"]])
    middle = frames.formants_hz[len(frames.f0_hz) // 2, :3]
    np.testing.assert_allclose(middle, (300, 2045, 2960), rtol=0.02)


def test_a_stop_is_silent_before_its_burst():
    frames = spoken([["AA1", "T", "AA1"]])
    sound = np.asarray(synthesise(frames, STEP_S))
    assert sound.shape == (round((len(frames.f0_hz) - 1) * 80),)
    level = np.abs(sound[: len(sound) // 80 * 80].reshape(-1, 80)).max(1)
    loud = np.flatnonzero(level > 0.1 * level.max())
    assert level[loud[0] : loud[-1]].min() < 1e-3 * level.max()


def test_stress_raises_and_a_phrase_lowers_the_pitch():
    frames = spoken([["M", "AH1", "DH", "ER0"]], f0_hz=100)
    assert frames.f0_hz.max() > 110
    assert frames.f0_hz[-1] < 90


def test_a_tempo_shortens():
    slow, fast = (len(spoken([["S", "IY1"]], tempo=tempo).f0_hz) for tempo in (1, 2))
    assert 0.5 * slow < fast < 0.8 * slow


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [([["QQ"]], {}, "no QQ"), ([["IY1"]], {"tempo": 9}, "tempo"), ([["IY1"]], {"f0_hz": 5}, "40 to 500"),
     ([[]], {}, "nothing")],
)  # fmt: skip
def test_what_cannot_be_spoken_is_said(words, options, said):
    with pytest.raises(Error, match=said):
        spoken(words, **options)
