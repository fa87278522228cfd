"""A dictionary of a few senses, small enough to solve by hand."""

import pytest

from genome.db.connect import opened
from genome.decompose.dictionary import Dictionary, Entry
from genome.decompose.glosses import Candidate
from genome.decompose.similarity import read_pairs

ENTRIES = [
    ("person.n.01", "n", "human being", ["person"]),
    ("say.v.01", "v", "utter aloud", ["say"]),
    ("teacher.n.01", "n", "person of knowledge", ["teacher"]),
    ("speaker.n.01", "n", "person who can say", ["speaker"]),
    ("lonely.n.01", "n", "zzz yyy", ["lonely"]),
]


@pytest.fixture
def small() -> Dictionary:
    """Five senses, one word each; `speaker` is a `teacher` by hypernymy."""
    dictionary = Dictionary()
    for number, (key, pos, definition, words) in enumerate(ENTRIES):
        dictionary.entries.append(Entry(key, pos, definition, "toy", number + 1))
        for word in words:
            dictionary.senses_of[word].append(Candidate(number, pos, 1, 0))
    dictionary.relations.append((3, 2, "hypernym"))
    return dictionary


@pytest.fixture(scope="session")
def english(workbench, source):
    """The default workbench's lexicons as one dictionary, and the sets of word pairs."""
    folder = source("similarity").path
    with opened(workbench.path("wordnet")) as first, opened(workbench.path("webster")) as second:
        dictionary = Dictionary.read([("wordnet", first), ("webster", second)])
    return dictionary, [read_pairs(folder / "simlex999.txt"), read_pairs(folder / "wordsim353.tsv")]
