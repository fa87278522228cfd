"""The 65 against the chart: C. Goddard & A. Wierzbicka, English chart of semantic primes (65 since 2014).

The categories' sizes below are counted on the chart by hand, row by row.
"""

import re
from collections import Counter

import pytest

from genome.errors import NotFoundError
from genome.primitives import KEYS, PRIMITIVES, STRUCTURAL, codon, codon_name

CHART = {
    "Substantives": "I YOU SOMEONE SOMETHING PEOPLE BODY",
    "Relational substantives": "KIND PART",
    "Determiners": "THIS SAME OTHER",
    "Quantifiers": "ONE TWO SOME ALL MUCH LITTLE",
    "Evaluators": "GOOD BAD",
    "Descriptors": "BIG SMALL",
    "Mental predicates": "THINK KNOW WANT DONT_WANT FEEL SEE HEAR",
    "Speech": "SAY WORDS TRUE",
    "Actions, events, movement": "DO HAPPEN MOVE",
    "Location, existence, specification, possession": "BE_SOMEWHERE THERE_IS BE_SOMEONE MINE",
    "Life and death": "LIVE DIE",
    "Time": "WHEN NOW BEFORE AFTER LONG_TIME SHORT_TIME SOME_TIME MOMENT",
    "Place": "WHERE HERE ABOVE BELOW FAR NEAR SIDE INSIDE TOUCH",
    "Logical concepts": "NOT MAYBE CAN BECAUSE IF",
    "Intensifier, augmentor": "VERY MORE",
    "Similarity": "LIKE",
}


def test_the_chart_has_65_in_its_order_and_groups():
    assert [p.key for p in PRIMITIVES] == " ".join(CHART.values()).split()
    assert Counter(p.category for p in PRIMITIVES) == {c: len(keys.split()) for c, keys in CHART.items()}
    assert [p.number for p in PRIMITIVES] == list(range(1, 66))


def test_older_lists_count_64():
    """Goddard & Wierzbicka added DON'T WANT to WANT + NOT: the only one that earlier charts lack."""
    assert [p.key for p in PRIMITIVES if p.separable] == ["DONT_WANT"]


def test_keys_have_no_spaces_and_name_one_codon_each():
    assert all(re.fullmatch(r"[A-Z]+(_[A-Z]+)*", key) for key in (*KEYS, *STRUCTURAL))
    assert len({*KEYS, *STRUCTURAL}) == 65 + len(STRUCTURAL) <= 127


def test_codons_and_names_are_each_other():
    assert [codon(codon_name(n)) for n in range(1, 66 + len(STRUCTURAL))] == [*range(1, 66 + len(STRUCTURAL))]
    assert codon_name(66) == "SPECIAL"


def test_the_names_that_the_chart_prints_are_known_too():
    for primitive in PRIMITIVES:
        assert codon(primitive.prime) == codon(primitive.prime.lower()) == primitive.number
    assert codon(" A long time ") == codon("LONG_TIME") == 45


@pytest.mark.parametrize("number", [0, -1, 73, 127, 128])
def test_numbers_without_a_name(number: int):
    with pytest.raises(NotFoundError, match=rf"codon {number} has no name; wanted 1\.\.72"):
        codon_name(number)


def test_an_exponent_is_no_name():
    with pytest.raises(NotFoundError, match="no primitive is called 'TIME'; near it are LONG_TIME, SOME_TIME,"):
        codon("TIME")


def test_what_was_asked_is_cut():
    with pytest.raises(NotFoundError) as caught:
        codon("X" * 100_000)
    assert len(str(caught.value)) < 200
