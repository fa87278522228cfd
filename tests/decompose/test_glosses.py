import pytest

from genome.decompose.glosses import Candidate, candidate_shares, function_words, gloss_words
from genome.primitives import KEYS


def test_words_that_end_walks_and_words_that_say_nothing_are_apart():
    words = function_words()
    assert KEYS[words.primitive["because"]] == "BECAUSE"
    assert "the" in words.silent
    assert not words.silent & words.primitive.keys()


def test_a_definition_that_is_all_parentheses_is_read_whole():
    assert [w.word for w in gloss_words("(plural) people (men or women)")] == ["plural", "people", "men", "women"]


def test_place_counts_silent_words_too():
    assert [(w.word, w.place) for w in gloss_words("a person who teaches")] == [
        ("person", 1),
        ("who", 2),
        ("teaches", 3),
    ]


def test_shares_follow_tags_and_context():
    noun, verb = Candidate(1, "n", 1, 3), Candidate(2, "v", 1, 3)
    # both score 3 + 1/1 = 4; after `to` the verb 4 x 3 and the noun 4 x 0.3; after `the` the verb 4 x 0.1
    assert candidate_shares([noun, verb], "") == pytest.approx({1: 0.5, 2: 0.5})
    assert candidate_shares([noun, verb], "to") == pytest.approx({1: 1.2 / 13.2, 2: 12 / 13.2})
    assert candidate_shares([noun, verb], "nominal") == pytest.approx({1: 4 / 4.4, 2: 0.4 / 4.4})


def test_an_adverb_counts_less_and_its_rest_is_lost():
    assert candidate_shares([Candidate(1, "r", 1, 0)], "") == pytest.approx({1: 0.4})
    assert candidate_shares([], "") == {}
