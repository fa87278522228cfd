import numpy as np
import pytest

from genome.decompose.explications import agreement_with, explications, parse, primes_in
from genome.errors import Error, NotFoundError
from genome.primitives import KEYS


@pytest.mark.parametrize("word", explications())
def test_every_explication_keeps_to_the_grammar(word):
    assert parse(explications()[word])


def test_there_are_at_least_forty():
    assert len(explications()) >= 40


def test_exponents_are_matched_longest_first():
    (clause,) = parse("someone did not move for a long time because of this child[m]")
    assert [(w.text, w.prime) for w in clause] == [
        ("someone", "SOMEONE"), ("did not", "NOT"), ("move", "MOVE"), ("for a long time", "LONG_TIME"),
        ("because of", "BECAUSE"), ("this", "THIS"), ("child[m]", "molecule"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("someone ate something", "'ate' in .* is no exponent"),
        ("a child died", "'child' in .* is no exponent"),  # a molecule that is not marked
        ("died", "DIE in 'died' lacks its subject"),
        ("something thinks this", "THINK in .* lacks its subject: person"),
        ("someone wants", "WANT in .* lacks its object"),
        ("", "at least one clause"),
        (" / ", "at least one clause"),
    ],
)
def test_what_breaks_the_grammar_is_told(text, says):
    with pytest.raises(Error, match=says):
        parse(text)


def test_a_quoted_thought_is_an_object():
    assert len(parse("someone thinks: something good happened")) == 2


def test_primes_are_counted():
    """Three of four are SOMEONE, DIE, NOT once each beside SOMEONE again: .5, .25, .25."""
    counts = primes_in("someone did not die / someone[m] / someone")
    assert {KEYS[i]: float(counts[i]) for i in np.flatnonzero(counts)} == {"SOMEONE": 0.5, "DIE": 0.25, "NOT": 0.25}
    with pytest.raises(Error, match="molecules only"):
        primes_in("water[m]")


def test_agreement_by_hand():
    """A word that is its explication agrees by 1, and is nearer to it than to any other."""
    told = agreement_with({word: primes_in(explications()[word]) for word in ("mother", "kill", "water")})
    assert told["own"] == pytest.approx(1)
    assert told["nearer"] == 1
    assert told["others"] < 1
    assert told["words"] == 3
    with pytest.raises(NotFoundError, match="fewer than two"):
        agreement_with({"zzz": np.ones(65)})
