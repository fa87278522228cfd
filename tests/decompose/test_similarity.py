import numpy as np
import pytest

from genome.decompose.similarity import PairSet, agreement, compare, read_pairs
from genome.errors import DamagedError, Error, NotFoundError


@pytest.mark.parametrize(
    "text", ["old\tnew\t1.58\nking\tqueen\t8\n", "old,new,1.58\nking,queen,8", "old new 1.58\nking queen 8"]
)
def test_pairs_in_three_spellings(tmp_path, text):
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    assert read_pairs(file) == PairSet("pairs", [("old", "new", 1.58), ("king", "queen", 8.0)])


def test_simlex_is_read_by_its_own_column(tmp_path):
    file = tmp_path / "SimLex-999.txt"
    file.write_text("word1\tword2\tPOS\tSimLex999\tconc(w1)\nold\tnew\tA\t1.58\t2.72\n")
    assert read_pairs(file).pairs == [("old", "new", 1.58)]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "no pairs"), ("a b 1\nnonsense\n", "line 2"), ("a b c\n", "no pairs"), ("a b 1\nc d nan\n", "line 2")],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, text, says):
    file = tmp_path / "bad.txt"
    file.write_text(text)
    with pytest.raises(DamagedError, match=says):
        read_pairs(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(NotFoundError, match="wanted lines of word, word, score"):
        read_pairs(tmp_path / "none.txt")


def test_agreement_is_spearman_over_soft_best_pairs_of_senses():
    """Of a and b, senses 0 and 0 are equal, 0 and 2 at right angles: the soft maximum is log((e^16 + 1) / 2) / 16 =
    0.957; 0.6 and 0 follow. They fall as the scores 9, 5 and 1 do: rho 1. An unknown pair sits in the middle."""
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]])
    senses = {"a": {0: 1.0}, "b": {0: 0.5, 2: 0.5}, "c": {1: 1.0}, "d": {2: 1.0}}
    pairs = [("a", "b", 9.0), ("a", "c", 5.0), ("a", "d", 1.0)]
    assert agreement(PairSet("p", pairs), vectors, lambda w: senses.get(w, {})) == pytest.approx(1)
    # the median of 0.957, 0.6 and 0 is 0.6: ranks 4, 2.5, 1, 2.5 against 3, 2, 1, 4; deviations from 2.5 are
    # 1.5, 0, -1.5, 0 and 0.5, -0.5, -1.5, 1.5: rho = (0.75 + 2.25) / sqrt(4.5 * 5) = 0.6325
    worse = agreement(PairSet("p", [*pairs, ("x", "y", 10.0)]), vectors, lambda w: senses.get(w, {}))
    assert worse == pytest.approx(0.6325, abs=1e-4)


def test_words_that_nobody_knows_are_refused_before_any_walk(small):
    with pytest.raises(Error, match="0 of 3 pairs are known words"):
        compare(small, [PairSet("odd", [("qq", "ww", 1.0), ("ee", "rr", 2.0), ("tt", "yy", 3.0)])])


def test_comparison_has_its_control_beside_it(english):
    """SimLex at least .52 and WordSim at least .50, and both well above random anchors in the same run."""
    dictionary, sets = english
    found = compare(dictionary, sets, draws=4)
    assert found["primitives"]["simlex999"] >= 0.52
    assert found["primitives"]["wordsim353"] >= 0.50
    for name in ("simlex999", "wordsim353"):
        control = found["random_anchors"][name]
        assert control["n"] == 4
        assert found["primitives"][name] > control["mean"] + 2 * control["sd"]


def test_a_rare_sense_comes_to_mind_less_often():
    """The pair that meets in a main sense is nearer than the one that meets in a sense of one use in a hundred."""
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    senses = {"a": {0: 1.0}, "main": {0: 0.99, 1: 0.01}, "rare": {0: 0.01, 1: 0.99}, "far": {1: 1.0}}
    pairs = [("a", "main", 3.0), ("a", "rare", 2.0), ("a", "far", 1.0)]
    assert agreement(PairSet("p", pairs), vectors, senses.__getitem__) == pytest.approx(1)
