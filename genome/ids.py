"""Genome IDs: seven 7-bit codons, most significant first, then a 14-bit leaf, in 63 bits.

The layout makes a prefix of codons a contiguous range of integers, so that a database whose row ID is the
genome ID answers "everything under KNOW.SAY" with one B-tree range scan.
"""

from collections.abc import Iterable
from operator import index
from typing import Self, SupportsIndex

from genome.errors import Error, NotFoundError
from genome.primitives import codon, codon_name

CODONS = 7
CODON_BITS = 7
LEAF_BITS = 14
LEAVES = 1 << LEAF_BITS
ID_BITS = CODONS * CODON_BITS + LEAF_BITS
_CODON = (1 << CODON_BITS) - 1
_LEAF = LEAVES - 1


class GenomeID(int):
    """A 63-bit genome ID; an integer that knows its path.

    Example:
        >>> g = GenomeID.pack("KNOW.SAY", leaf=5)
        >>> g.path, g.leaf, int(g)
        ('KNOW.SAY', 5, 1673650211521560581)
        >>> GenomeID(1673650211521560581)
        GenomeID.pack('KNOW.SAY', leaf=5)
    """

    __slots__ = ()

    def __new__(cls, value: SupportsIndex) -> Self:
        """An ID from its integer.

        Raises:
            Error: outside 0 to 2**63 - 1, or with a codon after the stop.
        """
        number = index(value)
        if not 0 <= number < 1 << ID_BITS:
            raise Error(f"{number} is no genome ID; wanted an integer from 0 to 2**63 - 1")
        steps, left = number >> LEAF_BITS, CODONS
        while steps and not steps & _CODON:  # the stops at the end
            steps, left = steps >> CODON_BITS, left - 1
        while left and steps & _CODON:
            steps, left = steps >> CODON_BITS, left - 1
        if left and number >> LEAF_BITS:
            raise Error(f"{number} is no genome ID: a codon follows the stop; check where it comes from")
        return super().__new__(cls, number)

    @classmethod
    def pack(cls, path: str | Iterable[str | int], leaf: int = 0) -> Self:
        """An ID from a path of at most seven codons and a leaf of 14 bits.

        Args:
            path: `KNOW.SAY`, or names and numbers (1..127) one by one.
            leaf: 0..16383.

        Raises:
            NotFoundError: a name is no primitive and no structural class.
            Error: more than seven codons, a codon outside 1..127, or a leaf outside 0..16383.
        """
        codons = _codons(path)
        if not 0 <= leaf < LEAVES:
            raise Error(f"a leaf is a number from 0 to {LEAVES - 1}, got {leaf}")
        value = 0
        for step in codons:
            value = value << CODON_BITS | step
        value <<= CODON_BITS * (CODONS - len(codons))
        return cls(value << LEAF_BITS | leaf)

    @property
    def codons(self) -> tuple[int, ...]:
        """The codons before the stop, each 1..127."""
        path = int(self) >> LEAF_BITS
        steps = (path >> CODON_BITS * place & _CODON for place in range(CODONS - 1, -1, -1))
        return tuple(step for step in steps if step)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the codons, most significant first.

        Raises:
            NotFoundError: a codon has no name yet.
        """
        return tuple(codon_name(step) for step in self.codons)

    @property
    def path(self) -> str:
        """The names joined by dots: `KNOW.SAY`."""
        return ".".join(self.names)

    @property
    def leaf(self) -> int:
        """What tells units of the same path apart, 0..16383."""
        return int(self) & _LEAF

    def __repr__(self) -> str:
        try:
            path: str | tuple[int, ...] = self.path
        except NotFoundError:
            path = self.codons
        return f"GenomeID.pack({path!r}, leaf={self.leaf})"

    def __str__(self) -> str:
        return int.__repr__(self)


def prefix_range(prefix: str | Iterable[str | int]) -> tuple[int, int]:
    """The IDs under a prefix (`KNOW.SAY` or a sequence of codons): the first, and the first beyond.

    An empty prefix holds every ID. Two integers rather than a `range`, whose `in` walks through all of
    its numbers when it is asked about a subclass of int.

    Raises:
        NotFoundError: a step is no primitive and no structural class.
        Error: more than seven steps.

    Example:
        >>> first, beyond = prefix_range("KNOW.SAY")
        >>> first <= GenomeID.pack(["KNOW", "SAY", "DO"], 9) < beyond
        True
        >>> first <= GenomeID.pack(["KNOW", "SEE"]) < beyond
        False
    """
    codons = _codons(prefix)
    first = int(GenomeID.pack(codons))
    return first, first + (1 << (LEAF_BITS + CODON_BITS * (CODONS - len(codons))))


def _codons(path: str | Iterable[str | int]) -> list[int]:
    """The numbers of a path's codons; an empty string is an empty path."""
    steps = (path.split(".") if path.strip() else []) if isinstance(path, str) else list(path)
    if len(steps) > CODONS:
        raise Error(f"a genome ID holds {CODONS} codons, got {len(steps)}: {'.'.join(map(str, steps))}")
    codons = [codon(step) if isinstance(step, str) else index(step) for step in steps]
    for step in codons:
        if not 1 <= step <= _CODON:
            raise Error(f"a codon is a number from 1 to {_CODON}, got {step}")
    return codons
