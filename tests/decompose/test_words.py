import pytest

from genome.decompose.words import lemmas, split_words

LEMMAS = {
    "n": {"mouse", "leaf", "church", "box", "baby", "woman", "wolf"},
    "v": {"leave", "run", "make", "carry", "be"},
    "a": {"big", "nice"},
}
IRREGULAR = {
    ("mice", "n"): ["mouse"],
    ("leaves", "n"): ["leaf"],
    ("running", "v"): ["run"],
    ("was", "v"): ["be"],
    ("carried", "v"): ["carry"],
}


def found(form):
    pos_of = lambda lemma: {pos for pos, words in LEMMAS.items() if lemma in words}  # noqa: E731
    return lemmas(form, pos_of, lambda f, pos: IRREGULAR.get((f, pos), []))


# WordNet's own rules, morphy(7WN): suffix by part of speech, exceptions first.
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("mice", [("mouse", "n")]),
        ("leaves", [("leaf", "n"), ("leave", "v")]),
        ("churches", [("church", "n")]),
        ("boxes", [("box", "n")]),
        ("babies", [("baby", "n")]),
        ("women", [("woman", "n")]),
        ("running", [("run", "v")]),
        ("making", [("make", "v")]),
        ("carried", [("carry", "v")]),
        ("nicer", [("nice", "a")]),
        ("nicest", [("nice", "a")]),
        ("was", [("be", "v")]),
        ("xyzzy", []),
        ("s", []),
    ],
)
def test_morphy(form, expected):
    assert found(form) == expected


def test_words_of_a_text_keep_their_spelling():
    assert split_words("Ångström\u2019s café-bar, 3 o'clock; e=mc²\n") == [
        "Ångström\u2019s",
        "café-bar",
        "o'clock",
        "e",
        "mc",
    ]
    assert split_words("") == []
