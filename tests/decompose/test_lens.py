"""A lens on states made up so that it is known what they hold, and what the default workbench's learns from."""

import numpy as np
import polars as pl
import pytest

from genome.db.connect import opened
from genome.decompose import GenomeSpace
from genome.decompose.lens import Lens, fit_lens, level
from genome.errors import Error
from genome.primitives import KEYS

WORDS, WIDTH = 240, 24


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, list[str], np.ndarray, list[bool]]:
    """Each word by itself and in two senses. Layer 0 holds the word only, 1 the sense too, 2 nothing of either."""
    rng = np.random.default_rng(1)
    word, sense = rng.normal(size=(2, WORDS * 3, WIDTH))
    word = np.repeat(word[:WORDS], 3, axis=0)
    sense[::3] = 0
    none = np.zeros_like(word)
    states = np.stack([np.hstack([word, none]), np.hstack([word, sense]), rng.normal(size=(WORDS * 3, 2 * WIDTH))])
    roots = np.maximum(0.12 + 0.01 * np.hstack([word, sense]) @ rng.normal(size=(2 * WIDTH, 65)), 0)
    compositions = np.square(roots) / np.square(roots).sum(1, keepdims=True)
    names = [f"word{n}" for n in range(WORDS) for _ in range(3)]
    return states.astype(np.float32), names, compositions, [n % 3 > 0 for n in range(WORDS * 3)]


@pytest.fixture(scope="module")
def lens(made) -> Lens:
    return fit_lens(*made)


def test_a_layer_is_worth_what_it_holds(lens):
    """The sense is half of what varies: without it a map explains at most half. The third layer is noise."""
    word, both, noise = lens.r2
    assert 0.2 < word < 0.5 < 0.6 < both < 1
    assert noise < 0.05


def test_controls_explain_nothing(lens):
    assert (lens.shuffled < 0.05).all()
    assert lens.embedding[0] == lens.r2[0]
    assert lens.embedding[1] < lens.r2[1] - 0.2


def test_senses_are_told_apart_where_the_sentence_has_come_in(lens):
    """The same state for both senses is no better than chance, to the digit: each pair counts half."""
    assert lens.pairs == WORDS
    assert lens.senses[0] == 0.5
    assert lens.senses[1] > 0.9
    assert lens.senses[2] == pytest.approx(0.5, abs=0.12)


def test_what_is_measured_is_measured_in_sentences_and_by_themselves_without_any(made):
    states, words, compositions, _ = made
    alone = fit_lens(states[:, ::3], words[::3], compositions[::3], [False] * WORDS)
    assert alone.r2[0] == pytest.approx(alone.r2[1], abs=0.2)  # the second layer's senses are all zero here
    assert alone.r2[0] > 0.5
    assert (alone.pairs, alone.quality()["senses"].to_list()) == (0, [None] * 3)


def test_the_same_usages_give_the_same_bits(made, lens):
    again = fit_lens(*made)
    assert again.matrices.tobytes() == lens.matrices.tobytes()
    assert again.r2.tobytes() == lens.r2.tobytes()


def test_a_row_a_token_and_layer(made, lens):
    states, _, compositions, _ = made
    frame = lens.frame(["a", "b"], states[:, 1:3])
    assert frame.columns == ["token", "position", "layer", "leading", "weight", "weights", "r2"]
    assert frame.select("token", "position", "layer").rows() == [
        (token, position, layer) for layer in range(3) for position, token in enumerate("ab")
    ]
    seen = frame.filter(pl.col("layer") == 1)["weights"].to_numpy()
    assert seen.sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert [np.corrcoef(np.sqrt([a, b]))[0, 1] > 0.8 for a, b in zip(seen, compositions[1:3], strict=True)] == [
        True,
        True,
    ]
    assert frame["leading"].to_list() == [KEYS[row.argmax()] for row in frame["weights"].to_numpy()]
    assert frame["r2"].to_list() == np.repeat(lens.r2, 2).tolist()


def test_levelled_states_have_one_length():
    states = np.array([[3.0, 4.0], [3e4, 4e4], [0, 0]], np.float32)
    assert level(states).astype(float) == pytest.approx(
        np.array([[0.6, 0.8], [0.6, 0.8], [0, 0]]) * 2**0.5, abs=1e-3
    )


def test_too_few_words_are_refused(made):
    states, words, compositions, in_use = made
    with pytest.raises(Error, match="at least 50 usages of different words, got 9"):
        fit_lens(states[:, :9], words[:9], compositions[:9], in_use[:9])
    with pytest.raises(Error, match="of different words, got 60"):
        fit_lens(states[:, :60], ["word"] * 60, compositions[:60], in_use[:60])


def test_usages_are_frequent_words_and_sentences_with_the_sense_they_have(workbench):
    with opened(workbench.path("nsm65")) as db, opened(workbench.path("wordnet")) as wordnet:
        space = GenomeSpace(db, {"wordnet": wordnet})
        found = space.usages(40)
        alone, sentences = [u for u in found if not u.in_use], [u for u in found if u.in_use]
        assert (len(alone), len(sentences)) == (40, 40)
        for usage in alone[:5]:
            assert usage.weights == pytest.approx(space.decompose(usage.word).weights, abs=1e-3)
        assert all(usage.text.lower().endswith(usage.word.lower()) for usage in sentences)
        for usage in sentences:
            key = "SELECT key FROM sense WHERE instr(examples, ?)"
            keys = wordnet.execute(key, (usage.text + usage.rest,)).fetchall()
            assert any(np.allclose(usage.weights, space.decompose(str(key)).weights, atol=1e-3) for (key,) in keys)
