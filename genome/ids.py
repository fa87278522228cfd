"""Genome IDs: seven 7-bit codons, most significant first, then a 14-bit leaf, in 63 bits.

The layout makes a prefix of codons a contiguous range of integers, so that a database whose row ID is the
genome ID answers "everything under KNOW.SAY" with one B-tree range scan.
"""

from collections.abc import Iterable
from typing import Self

from genome.errors import Error
from genome.primitives import codon, codon_name

CODONS = 7
CODON_BITS = 7
LEAF_BITS = 14
LEAVES = 1 << LEAF_BITS
_PATH_BITS = CODONS * CODON_BITS


class GenomeID(int):
    """A 63-bit genome ID; an integer that knows its path.

    Example:
        >>> g = GenomeID.pack(["KNOW", "SAY"], leaf=5)
        >>> g.path, g.leaf, int(g)
        ('KNOW.SAY', 5, 1673650211521560581)
        >>> GenomeID(1673650211521560581) == g
        True
    """

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        """An ID from its integer, 0 <= value < 2**63."""
        if not 0 <= value < 1 << (_PATH_BITS + LEAF_BITS):
            raise Error(f"{value} is no genome ID; wanted an integer from 0 to 2**63 - 1")
        return super().__new__(cls, value)

    @classmethod
    def pack(cls, path: Iterable[str | int], leaf: int = 0) -> Self:
        """An ID from a path of at most seven codons (names or numbers 1..127) and a leaf of 14 bits.

        Raises:
            Error: more than seven codons, a codon outside 1..127, or a leaf outside 0..16383.
        """
        codons = [codon(step) if isinstance(step, str) else int(step) for step in path]
        if len(codons) > CODONS:
            raise Error(f"a genome ID holds {CODONS} codons, got {len(codons)}")
        if any(not 1 <= step < 1 << CODON_BITS for step in codons):
            raise Error(f"a codon is a number from 1 to {(1 << CODON_BITS) - 1}, got {codons}")
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
        steps = []
        for place in range(CODONS - 1, -1, -1):
            step = self >> (LEAF_BITS + CODON_BITS * place) & (1 << CODON_BITS) - 1
            if step == 0:
                break
            steps.append(int(step))
        return tuple(steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the codons, most significant first."""
        return tuple(codon_name(step) for step in self.codons)

    @property
    def path(self) -> str:
        """The names joined by dots: `KNOW.SAY`."""
        return ".".join(self.names)

    @property
    def leaf(self) -> int:
        """What tells units of the same path apart, 0..16383."""
        return int(self) & (LEAVES - 1)

    def __repr__(self) -> str:
        return f"GenomeID({int(self)})  # {self.path} leaf {self.leaf}"


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
    steps = [s for s in prefix.split(".") if s.strip()] if isinstance(prefix, str) else list(prefix)
    first = int(GenomeID.pack(steps))
    return first, first + (1 << (LEAF_BITS + CODON_BITS * (CODONS - len(steps))))
