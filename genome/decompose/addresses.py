"""From compositions to genome IDs: which primitives make the path, and which leaf a unit gets."""

import zlib

import numpy as np

from genome.errors import Error
from genome.ids import CODONS, LEAVES, GenomeID

SHARE = 0.05
"""A primitive of at least this weight has a place in the path."""

UNIT_LEAVES = LEAVES - 1
"""Leaf 0 is the path itself: a primitive, or a text that is no unit."""


def path(weights: np.ndarray, length: int | None = None) -> list[int]:
    """The codons of a composition: primitives by falling weight, as many as have `SHARE`, from one to seven.

    Args:
        weights: (65,).
        length: take so many instead.

    Example:
        >>> weights = np.zeros(65); weights[[22, 28, 4]] = .5, .46, .04
        >>> path(weights)
        [23, 29]
    """
    order = np.argsort(-weights, kind="stable")[:CODONS]
    if length is None:
        length = max(1, int((weights[order] >= SHARE).sum()))
    return [int(index) + 1 for index in order[:length]]


class Addresses:
    """Hands out genome IDs, each once. The same units in the same order get the same IDs.

    A unit's leaf is the CRC-32 of its kind and label, and the next free one where that is taken, so that an ID
    depends on other units only where two of one path collide.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def of_composition(self, kind: str, label: str, weights: np.ndarray) -> GenomeID:
        """The ID of a unit with a composition; a path that is full goes on by one primitive.

        Raises:
            Error: all of its paths are full.
        """
        codons = path(weights)
        for length in range(len(codons), CODONS + 1):
            found = self._free(path(weights, length), kind, label)
            if found is not None:
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
