"""What a definition says to the walk: its words, how much each counts, and the senses it may mean."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from genome.decompose.words import split_words
from genome.primitives import KEYS
from genome.resources import table

POSITION_DECAY = 0.97
"""A definition names its genus first: each further word counts this much of the one before."""

MAX_WORDS = 40
ADVERB_SHARE = 0.4
"""Adverbs in definitions qualify more often than they define."""

_AFTER_NOMINAL = frozenset({"a", "an", "the", "of", "in", "by", "with", "from", "for", "on", "as"})
_PARENTHESES = re.compile(r"\([^)]*\)")


class GlossWord(NamedTuple):
    """A word of a definition: what stands before it (`to`, `nominal` or ``), and its place from 0."""

    word: str
    context: str
    place: int


class Candidate(NamedTuple):
    """A sense that a word may have: its number, part of speech, rank and how often it was tagged."""

    sense: int
    pos: str
    rank: int
    tag_count: int


@dataclass(frozen=True)
class FunctionWords:
    """Grammatical words: those that end a walk in a primitive (its index 0..64), and those that say nothing."""

    primitive: dict[str, int]
    silent: frozenset[str]


@cache
def function_words() -> FunctionWords:
    """The table `data/function_words.tsv`."""
    rows = [(row["word"], row["primitive"]) for row in table("function_words.tsv")]
    return FunctionWords(
        {word: KEYS.index(key) for word, key in rows if key != "-"},
        frozenset(word for word, key in rows if key == "-"),
    )


def saying(words: list[str]) -> list[str]:
    """The words of a text that say something; all of them, where none does."""
    silent = function_words().silent
    return [word for word in words if word.lower() not in silent] or words


def gloss_words(definition: str) -> Iterator[GlossWord]:
    """The words of a definition that say something; what stands in parentheses is left out.

    Example:
        >>> [(w.word, w.context) for w in gloss_words("a woman who has given birth to a child (also used to call)")]
        [('woman', 'nominal'), ('who', ''), ('given', ''), ('birth', ''), ('child', 'nominal')]
    """
    words = split_words(_PARENTHESES.sub(" ", definition).lower())
    if len(words) < 2:
        words = split_words(definition.lower())
    silent, before = function_words().silent, ""
    for place, word in enumerate(words[:MAX_WORDS]):
        if word not in silent:
            context = "to" if before == "to" else "nominal" if before in _AFTER_NOMINAL else ""
            yield GlossWord(word, context, place)
        before = word


def definition_counts(glosses: Iterable[Iterable[GlossWord]]) -> Counter[str]:
    """In how many definitions each word stands.

    Example:
        >>> definition_counts([gloss_words("person of a person"), gloss_words("young person")])["person"]
        2
    """
    return Counter(word for gloss in glosses for word in {g.word for g in gloss})


def candidate_shares(candidates: Iterable[Candidate], context: str) -> dict[int, float]:
    """How likely a gloss word means each of its senses; the shares sum to 1 (less where adverbs are among them).

    A sense counts as often as it was tagged, plus 1/rank; after `to` a verb is likelier, after an article or a
    preposition a noun or an adjective.
    """
    scores: dict[int, float] = {}
    adverbs = set()
    for sense, pos, rank, tag_count in candidates:
        score = tag_count + 1 / rank
        if context == "to":
            score *= 3 if pos == "v" else 0.3
        elif context == "nominal" and pos in "vr":
            score *= 0.1
        scores[sense] = max(score, scores.get(sense, 0))
        if pos == "r":
            adverbs.add(sense)
    total = sum(scores.values())
    return {s: score / total * (ADVERB_SHARE if s in adverbs else 1) for s, score in scores.items()}
