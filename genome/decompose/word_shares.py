"""A word's senses weighed into one composition."""

import numpy as np

from genome.decompose.anchors import exponents
from genome.decompose.dictionary import CLOSED_CLASS, Dictionary
from genome.decompose.glosses import Candidate

EXPONENT_SHARE = 0.5
"""A word that is an exponent on the chart (time, place, can ...) means its prime in this share of its uses."""


def sense_shares(candidates: list[Candidate], function_word: bool) -> dict[int, float]:
    """How much each sense counts in a word's composition: as often as it was tagged, plus 1 / (2 rank).

    A word that is first of all grammatical (*because*, *you*) means its grammatical senses: content dictionaries
    list only its homonyms.

    Returns:
        Shares that sum to 1, by sense.

    Example:
        >>> sense_shares([Candidate(7, "n", 1, 2), Candidate(9, "n", 2, 0)], False)
        {7: 0.9090909090909091, 9: 0.09090909090909091}
    """
    if function_word:
        candidates = [c for c in candidates if c.pos in CLOSED_CLASS] or candidates
    scores: dict[int, float] = {}
    for sense, _, rank, tag_count in candidates:
        scores[sense] = scores.get(sense, 0) + tag_count + 0.5 / rank
    total = sum(scores.values())
    return {sense: score / total for sense, score in scores.items()}


def shares_of_word(word: str, dictionary: Dictionary) -> dict[int, float]:
    """The shares of a word's senses; the word as the dictionary spells it.

    A grammatical word has those of all its spellings: *I* is written as iodine is.
    """
    folded = word.lower()
    if folded in dictionary.function_words:
        return sense_shares(dictionary.senses_of[folded], True)
    return sense_shares(dictionary.spellings[word].senses, False)


def word_composition(word: str, shares: dict[int, float], compositions: np.ndarray) -> np.ndarray:
    """(65,) the composition of a word: its senses' by their shares, half of it the prime where it is an exponent.

    Args:
        word: as the dictionary spells it.
        shares: of its senses.
        compositions: (N, 65) of all senses.
    """
    mixed = np.fromiter(shares.values(), np.float32) @ compositions[list(shares)]
    prime = exponents().get(word.lower())
    if prime is not None:
        mixed *= 1 - EXPONENT_SHARE
        mixed[prime] += EXPONENT_SHARE
    return mixed / mixed.sum()
