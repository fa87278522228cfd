"""From compositions to genome IDs: which groups make the path, and which leaf a unit gets."""

import zlib
from collections.abc import Sequence

import numpy as np

from genome.decompose.codebook import codebook
from genome.errors import Error
from genome.ids import CODONS, LEAVES, GenomeID
from genome.primitives import KEYS

UNIT_LEAVES = LEAVES - 1
"""Leaf 0 is the path itself: a primitive, or a text that is no unit."""


def path(weights: np.ndarray) -> list[int]:
    """The codons of a composition, 1..65, from one to seven: its way through the published tree.

    Args:
        weights: (65,).

    Example:
        >>> weights = np.zeros(65); weights[[22, 28]] = .5, .46
        >>> path(weights)
        [29, 23]
    """
    return [int(codon) for codon in codebook().paths(weights[None])[0] if codon]


class Addresses:
    """Hands out genome IDs, each once. The same units in the same order get the same IDs.

    A unit's path is its composition's alone. Its leaf is the CRC-32 of its kind and label, and the next free one
    where that is taken, so that an ID depends on other units only where two of one path collide. Units that are
    added later go round those that are there, which keep theirs.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def of_path(self, kind: str, label: str, codons: Sequence[int]) -> GenomeID:
        """The ID of a unit whose composition has a path; one that is full gives its last codon to others.

        Args:
            kind: of the unit: word, sense, token.
            label: its text.
            codons: from `Codebook.paths` or `path`; zeros at the end stop.

        Raises:
            Error: all of its paths are full.
        """
        own = [int(codon) for codon in codons if codon]
        if (found := self._free(own, kind, label)) is not None:
            return found
        kept = own[: CODONS - 1]
        for other in range(1, len(KEYS) + 1):
            if other not in own and (found := self._free([*kept, other], kind, label)) is not None:
                return found
        raise Error(f"no genome ID is left for the {kind} {label!r}: its paths hold {UNIT_LEAVES} units each")

    def of_class(self, kind: str, label: str, structural: str) -> GenomeID:
        """The ID of a unit of a structural class.

        Raises:
            Error: the class is full.
        """
        found = self._free([structural], kind, label)
        if found is None:
            raise Error(f"no genome ID is left for the {kind} {label!r}: {structural} holds {UNIT_LEAVES} units")
        return found

    def _free(self, steps: list[int] | list[str], kind: str, label: str) -> GenomeID | None:
        base = GenomeID.pack(steps)
        first = zlib.crc32(f"{kind}\0{label}".encode("utf-8", "surrogatepass"))
        for offset in range(UNIT_LEAVES):
            value = base | (first + offset) % UNIT_LEAVES + 1
            if value not in self._taken:
                self._taken.add(value)
                return GenomeID(value)
        return None
