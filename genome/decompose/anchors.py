"""Where walks end: the senses and grammatical words that stand for the primitives, and random sets as control."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from genome.decompose.dictionary import CLOSED_CLASS, Dictionary
from genome.decompose.glosses import function_words
from genome.primitives import KEYS, PRIMITIVES
from genome.resources import table


@dataclass(frozen=True)
class Anchors:
    """Ends of the walk, each with the index 0..64 of its primitive (or of its random set).

    Attributes:
        senses: by sense number.
        words: grammatical words inside definitions.
    """

    senses: dict[int, int]
    words: dict[str, int]


@cache
def exponents() -> dict[str, int]:
    """The chart's single-word exponents, lower case, with their primitive's index.

    Example:
        >>> KEYS[exponents()["time"]]
        'WHEN'
    """
    names = ((name.lower(), p.number - 1) for p in PRIMITIVES for name in (p.key, p.prime, *p.exponents))
    return {name: index for name, index in names if name.replace("'", "").isalpha()}


@cache
def primes_by_name() -> dict[str, int]:
    """The names of primes that no single word of a dictionary has, lower case, with their index.

    Example:
        >>> KEYS[primes_by_name()["don't want"]], KEYS[primes_by_name()["long_time"]], "want" in primes_by_name()
        ('DONT_WANT', 'LONG_TIME', False)
    """
    names = ((name.lower(), p.number - 1) for p in PRIMITIVES for name in (p.key, p.prime, *p.exponents))
    return {name: index for name, index in names if not name.isalpha()}


def primitive_anchors(dictionary: Dictionary) -> Anchors:
    """The table `data/senses.tsv`, and the pronoun, conjunction and preposition senses of the chart's exponents."""
    senses = {dictionary.resolve(row["sense"]): KEYS.index(row["primitive"]) for row in table("senses.tsv")}
    for word, index in exponents().items():
        for candidate in dictionary.senses_of.get(word, ()):
            if candidate.pos in CLOSED_CLASS:
                senses.setdefault(candidate.sense, index)
    return Anchors(senses, dict(function_words().primitive))


def random_anchors(
    anchors: Anchors, in_degree: np.ndarray, word_counts: dict[str, int], rng: np.random.Generator
) -> Anchors:
    """As many random ends of the same frequency: the control that the primitives must beat.

    Each sense is replaced by a random one among the 50 whose in-degree (expected visits from definitions) is
    nearest, each grammatical word by one among the 20 words that as many definitions use; groups keep their sizes.

    Args:
        anchors: the set to match.
        in_degree: (senses,) how much of all definitions points at each sense.
        word_counts: in how many definitions each word stands.
        rng: the random numbers.
    """
    order = np.argsort(in_degree, kind="stable")
    senses = _replace(anchors.senses, order, np.argsort(order), 50, rng)
    names = sorted(word_counts, key=lambda w: (word_counts[w], w))
    places = {name: n for n, name in enumerate(names)}
    known = {places[w]: index for w, index in anchors.words.items() if w in places}
    drawn = _replace(known, np.arange(len(names)), np.arange(len(names)), 20, rng)
    return Anchors(senses, {names[n]: index for n, index in drawn.items()})


def _replace(
    chosen: dict[int, int], order: np.ndarray, place: np.ndarray, width: int, rng: np.random.Generator
) -> dict[int, int]:
    """Swaps each key for one neither chosen nor drawn, among `width` around it (more where none is free)."""
    drawn: dict[int, int] = {}
    for key, index in chosen.items():
        pool: list[int] = []
        around = width
        while not pool:
            low = int(np.clip(place[key] - around // 2, 0, max(0, len(order) - around)))
            pool = [int(k) for k in order[low : low + around] if k not in drawn and k not in chosen]
            around *= 2
        drawn[pool[rng.integers(len(pool))]] = index
    return drawn
