"""Words by themselves and in a dictionary's example sentences, with the compositions that they have there."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import apsw
import numpy as np

from genome.decompose import queries
from genome.decompose.lexicon import examples

_LONGEST = 120
_AROUND = 6
"""So many senses are looked at for one that is taken: in the examples of others the word is inflected."""


class Usage(NamedTuple):
    """A word, and what it means there.

    Attributes:
        word: as the dictionary has it.
        text: up to the word and with it.
        rest: what follows; empty where the word stands by itself.
        weights: (65,) of the word by itself, or of the sense that it has in the sentence.
    """

    word: str
    text: str
    rest: str
    weights: np.ndarray

    @property
    def in_use(self) -> bool:
        """Whether it stands in a sentence."""
        return bool(self.rest) or self.text != self.word


def usages(db: apsw.Connection, lexicons: Mapping[str, apsw.Connection], count: int) -> list[Usage]:
    """The most frequent words, and example sentences of the senses that are met most often: `count` of each.

    Args:
        db: an open genome database.
        lexicons: open lexicons by the names that the genome database knows them by; those without examples add
            nothing.
        count: at most so many words, and at most so many sentences.
    """
    words, weights = queries.frequent_words(db, count)
    alone = [Usage(word, word, "", own) for word, own in zip(words, weights, strict=True)]
    found: list[Usage] = []
    for name, lexicon in lexicons.items():
        for usage in _sentences(db, name, lexicon, count):
            if len(found) == count:
                break
            found.append(usage)
    return alone + found


def _sentences(db: apsw.Connection, name: str, lexicon: apsw.Connection, count: int) -> Iterator[Usage]:
    """For each word and sense, the most frequent first, an example in which the word stands as it is."""
    for lemma, sense, texts in examples(lexicon, count * _AROUND):
        place = re.compile(rf"(?<!\w){re.escape(lemma)}(?!\w)", re.IGNORECASE)
        for text in json.loads(texts):
            at = place.search(text)
            if at is None or len(text) > _LONGEST or at[0] == text:
                continue
            unit = queries.unit_of(db, "sense", name, sense)
            own = None if unit is None else queries.composition(db, unit.id)
            if own is not None:
                yield Usage(lemma, text[: at.end()], text[at.end() :], own)
                break
