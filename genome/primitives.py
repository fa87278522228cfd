"""The 65 semantic primes of Natural Semantic Metalanguage, and the names of all codons.

Source: C. Goddard and A. Wierzbicka, the English chart of primes (65 since 2014); `data/primitives.tsv`.
"""

from functools import partial
from typing import NamedTuple

from genome.errors import NotFoundError, quoted
from genome.resources import table


class Primitive(NamedTuple):
    """One semantic prime.

    Attributes:
        number: 1..65, its place in the chart and its codon.
        key: its name in paths and JSON (`DONT_WANT`).
        prime: its name as the chart prints it (`DON'T WANT`).
        category: the chart's grouping (`Mental predicates`).
        exponents: English allolexes beside the prime itself (`("THING", "WHAT")`).
        separable: true where older lists of 64 count it as a combination of two others.
    """

    number: int
    key: str
    prime: str
    category: str
    exponents: tuple[str, ...]
    separable: bool


PRIMITIVES: tuple[Primitive, ...] = tuple(
    Primitive(
        int(row["number"]),
        row["key"],
        row["prime"],
        row["category"],
        tuple(filter(None, row["exponents"].split("|"))),
        row["separable"] == "yes",
    )
    for row in table("primitives.tsv")
)

KEYS: tuple[str, ...] = tuple(p.key for p in PRIMITIVES)

STRUCTURAL: tuple[str, ...] = ("SPECIAL", "BYTE", "DIGIT", "PUNCTUATION", "SPACE", "SYMBOL", "UNKNOWN")
"""Codons 66, 67, …: what a unit without a meaning to decompose is."""

_NAMES = (*KEYS, *STRUCTURAL)

_CODONS = {name: number for number, name in enumerate(_NAMES, start=1)}
_CODONS |= {primitive.prime: primitive.number for primitive in PRIMITIVES}


def codon(name: str) -> int:
    """The codon (1..127) of a primitive (by key, or as the chart prints it) or a structural class, in any case.

    Raises:
        NotFoundError: no codon has that name.

    Example:
        >>> codon("KNOW"), codon("special"), codon("don't want")
        (23, 66, 25)
    """
    found = _CODONS.get(name.strip().upper())
    if found is None:
        near = sorted(_NAMES, key=partial(_likeness, name.strip().upper()[:60]), reverse=True)[:3]
        raise NotFoundError(f"no primitive is called {quoted(name)}; near it are {', '.join(near)}")
    return found


def _likeness(name: str, other: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, name, other).ratio()


def codon_name(number: int) -> str:
    """The name of a codon.

    Raises:
        NotFoundError: the codon is 0 (stop) or not assigned.

    Example:
        >>> codon_name(23)
        'KNOW'
    """
    if not 1 <= number <= len(_NAMES):
        raise NotFoundError(f"codon {number} has no name; wanted 1..{len(_NAMES)}")
    return _NAMES[number - 1]
