"""Explications in the Natural Semantic Metalanguage: a table of our own, a checker, and how far walks agree.

A text is clauses. A clause is written in exponents of the 65 primes (with the inflections of English), molecules
marked `[m]`, and a few words that English grammar needs; each predicate among the primes has what its frame asks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from genome.errors import Error, NotFoundError, quoted
from genome.primitives import KEYS, PRIMITIVES
from genome.resources import table

MOLECULE = "molecule"
_TOKEN = re.compile(r"[a-z']+(?:\[m\])?")
_LONGEST = 5
"""Words of the longest exponent: *for a very short time*."""

_GRAMMAR = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "about",
        "for",
        "at",
        "on",
        "in",
        "with",
        "is",
        "are",
        "was",
        "were",
        "am",
        "be",
        "will",
        "has",
        "have",
        "had",
        "well",
        "it",
        "that",
        "they",
    ]
)
"""What English needs beside the primes: articles, prepositions that mark a slot of a frame, the copula, `it`."""

_FORMS = {
    "I": "me my", "YOU": "your", "SOMEONE": "somebody", "SOMETHING": "thing things what anything", "THIS": "these",
    "BODY": "bodies", "PART": "parts", "MUCH": "many", "LITTLE": "few", "OTHER": "others",
    "THINK": "thinks thought", "KNOW": "knows knew", "WANT": "wants wanted", "FEEL": "feels felt",
    "SEE": "sees saw", "HEAR": "hears heard", "SAY": "says said", "DO": "does did done doing",
    "HAPPEN": "happens happened happening", "MOVE": "moves moved moving", "LIVE": "lives lived living",
    "DIE": "dies died", "TOUCH": "touches touched", "WHEN": "times", "WHERE": "places", "SIDE": "sides",
    "THERE_IS": "there|are there|was", "BE_SOMEWHERE": "somewhere",
    "NOT": "do|not does|not did|not cannot", "LONG_TIME": "for|a|long|time",
    "SHORT_TIME": "for|a|short|time for|a|very|short|time after|a|short|time",
    "SOME_TIME": "for|some|time", "MOMENT": "in|one|moment one|moment", "MORE": "anymore",
    "BECAUSE": "because|of", "KIND": "kinds", "LIKE": "like|this",
}  # fmt: skip
"""Inflected and many-worded forms beside the chart's exponents."""

_ANAPHORA = frozenset({"it", "they", "that"})
"""Words of grammar that stand for what was named before; they fill any slot."""

_PERSONS = frozenset({"I", "YOU", "SOMEONE", "PEOPLE", MOLECULE})
_SUBJECTS = {
    "person": _PERSONS,
    "thing": _PERSONS | {"SOMETHING", "BODY", "PART", "THIS"},
}


@dataclass(frozen=True)
class Word:
    """A piece of a clause: as written, and the prime that it expresses, `molecule`, or empty for grammar."""

    text: str
    prime: str


def explications() -> dict[str, str]:
    """The table `data/explications.tsv` by word."""
    return {row["word"]: row["explication"] for row in table("explications.tsv")}


def parse(text: str) -> list[list[Word]]:
    """The clauses of an explication, checked.

    Raises:
        Error: a word is no exponent, molecule or word of grammar; a predicate lacks what its frame asks for.

    Example:
        >>> [(word.text, word.prime) for word in parse("someone did not die")[0]]
        [('someone', 'SOMEONE'), ('did not', 'NOT'), ('die', 'DIE')]
    """
    clauses = []
    for line in text.split("/"):
        *opening, last = [part for part in line.split(":") if part.strip()] or [""]
        for clause in (*opening, last):
            if words := _words(clause):
                _check_frames(words, quotes=clause is not last)
                clauses.append(words)
    if not clauses:
        raise Error("an explication has at least one clause: someone died")
    return clauses


def primes_in(text: str) -> np.ndarray:
    """(65,) how often each prime stands in an explication, summing to 1; molecules are left out."""
    counts = np.zeros(len(KEYS), np.float32)
    for clause in parse(text):
        for word in clause:
            if word.prime in KEYS:
                counts[KEYS.index(word.prime)] += 1
    if not counts.any():
        raise Error(f"{quoted(text)} holds molecules only; wanted at least one prime")
    return counts / counts.sum()


def agreement_with(compositions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far compositions agree with the explications of the same words, and how far with those of others.

    Args:
        compositions: (65,) weights by word.

    Returns:
        `own`: mean cosine of square roots of a word's weights and its explication's primes; `others`: of the
        weights and all other explications; `nearer`: in what share of the pairs of a word and another's
        explication its own is nearer, .5 by chance; `words`.

    Raises:
        NotFoundError: fewer than two of the words are explicated.
    """
    told = {word: text for word, text in explications().items() if word in compositions}
    if len(told) < 2:
        raise NotFoundError("fewer than two of the words are explicated; wanted words of data/explications.tsv")
    walked = np.sqrt(np.stack([compositions[word] for word in told]))
    written = np.sqrt(np.stack([primes_in(text) for text in told.values()]))
    near = walked @ written.T
    apart = ~np.eye(len(told), dtype=bool)
    own = np.diag(near)
    return {
        "own": float(own.mean()),
        "others": float(near[apart].mean()),
        "nearer": float((own[:, None] > near)[apart].mean()),
        "words": len(told),
    }


@cache
def _lexicon() -> dict[str, str]:
    """Every form, lower case, with its prime; the chart's forms first."""
    forms = {name.lower(): p.key for p in reversed(PRIMITIVES) for name in (p.key, p.prime, *p.exponents)}
    for key, more in _FORMS.items():
        forms |= {form.replace("|", " "): key for form in more.split()}
    return forms


def _words(clause: str) -> list[Word]:
    tokens = _TOKEN.findall(clause.lower())
    words, place = [], 0
    while place < len(tokens):
        if tokens[place].endswith("[m]"):
            words.append(Word(tokens[place], MOLECULE))
            place += 1
            continue
        for length in range(_LONGEST, 0, -1):
            form = " ".join(tokens[place : place + length])
            if form in _lexicon() and place + length <= len(tokens):
                words.append(Word(form, _lexicon()[form]))
                break
        else:
            length = 1
            if tokens[place] not in _GRAMMAR:
                raise Error(
                    f"{quoted(tokens[place])} in {quoted(clause.strip())} is no exponent of a prime; wanted "
                    "one of the 65, or a molecule marked [m]"
                )
            words.append(Word(tokens[place], ""))
        place += length
    return words


@cache
def _frames() -> dict[str, tuple[str, str]]:
    return {row["primitive"]: (row["subject"], row["object"]) for row in table("frames.tsv")}


def _check_frames(clause: list[Word], *, quotes: bool) -> None:
    """That each predicate has a subject before it and an object behind it; what a colon quotes is an object too."""
    said = [word for word in clause if word.prime or word.text in _ANAPHORA]
    for place, word in enumerate(said):
        if word.prime not in _frames():
            continue
        subject, needed = _frames()[word.prime]
        before = said[:place]
        if not any(w.prime in _SUBJECTS[subject] or w.text in _ANAPHORA for w in before):
            raise Error(f"{word.prime} in {_shown(clause)} lacks its subject: {subject} before it")
        if not needed.startswith("?") and place + 1 == len(said) and not quotes:
            raise Error(f"{word.prime} in {_shown(clause)} lacks its object: something after it")


def _shown(clause: list[Word]) -> str:
    return quoted(" ".join(word.text for word in clause))
