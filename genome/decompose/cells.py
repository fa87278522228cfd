"""Neighbours through prefixes: units in cells of consecutive genome IDs; a question reads the nearest few."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import apsw
import numpy as np

from genome.ids import CODON_BITS, CODONS, ID_BITS
from genome.primitives import KEYS

LARGEST = 256
"""At most so many units share a cell, unless they share a whole path."""

PROBED = 0.1
"""The share of a kind's units that a question looks at; it finds 99 of 100 neighbours (`genome bench ids`)."""

AGAIN = 40
"""So many more than asked for are compared again by their stored weights: a cell's vectors are of eight bits."""

SCALE = 255


class Cell(NamedTuple):
    """Units of one kind whose IDs follow each other.

    Attributes:
        first: the first ID.
        centre: 65 float16, the mean direction of the square roots of their weights.
        ids: int64.
        vectors: (units, 65) uint8, the square roots times 255.
    """

    first: int
    centre: bytes
    ids: bytes
    vectors: bytes


def cut(ids: np.ndarray, largest: int = LARGEST, place: int = 0, start: int = 0) -> Iterator[tuple[int, int]]:
    """The borders of cells among sorted IDs: a prefix that fits in one is never torn.

    Example:
        >>> ids = np.array([1, 1, 2, 2, 2, 3]) << 56
        >>> list(cut(ids, 3)), list(cut(ids, 4))
        ([(0, 2), (2, 5), (5, 6)], [(0, 2), (2, 6)])
    """
    if len(ids) <= largest or place == CODONS:
        yield start, start + len(ids)
        return
    codons = ids >> (ID_BITS - CODON_BITS * (place + 1)) & ((1 << CODON_BITS) - 1)
    borders = [0, *(np.flatnonzero(np.diff(codons)) + 1).tolist(), len(ids)]
    begun = 0
    for one, other in pairwise(borders):
        if other - begun > largest and begun < one:
            yield start + begun, start + one
            begun = one
        if other - one > largest:
            yield from cut(ids[one:other], largest, place + 1, start + one)
            begun = other
    if begun < len(ids):
        yield start + begun, start + len(ids)


def cells(ids: np.ndarray, roots: np.ndarray) -> Iterator[Cell]:
    """The cells of sorted IDs (n,) and the square roots (n, 65) of their weights."""
    for start, end in cut(ids):
        own = roots[start:end].astype(np.float32)
        centre = own.mean(0)
        yield Cell(
            int(ids[start]), (centre / np.linalg.norm(centre)).astype("<f2").tobytes(),
            ids[start:end].astype("<i8").tobytes(), np.round(own * SCALE).astype(np.uint8).tobytes(),
        )  # fmt: skip


class Cells:
    """The cells of one kind of unit in an open genome database; their centres stay in memory."""

    def __init__(self, db: apsw.Connection, kind: str) -> None:
        self._db = db
        rows = db.execute("SELECT id, size, centre FROM cell WHERE kind = ? ORDER BY id", (kind,)).fetchall()
        numbers, sizes, centres = zip(*rows, strict=True) if rows else ((), (), ())
        self._cells, self._sizes = np.array(numbers, np.int64), np.array(sizes, np.int64)
        packed = np.frombuffer(b"".join(centres), "<f2")  # pyright: ignore[reportArgumentType]
        self._centres = packed.reshape(-1, len(KEYS)).astype(np.float32)

    def candidates(self, root: np.ndarray, k: int, probed: float = PROBED) -> list[int]:
        """The IDs of the units that look nearest, the nearest first; k and `AGAIN` more, or all that there are.

        Args:
            root: (65,) float32, the square roots of the weights asked about.
            k: how many are wanted.
            probed: the share of all units to look at, in the cells whose centres are nearest.
        """
        wanted = k + AGAIN
        order = np.argsort(-(self._centres @ root), kind="stable")
        seen = np.cumsum(self._sizes[order])
        enough = np.searchsorted(seen, max(probed * self._sizes.sum(), 4 * wanted)) + 1
        ids, vectors = [], []
        for cell in self._cells[order[:enough]].tolist():
            for own, roots in self._db.execute("SELECT ids, vectors FROM cell_units WHERE cell = ?", (cell,)):
                ids.append(own)
                vectors.append(roots)
        found = np.frombuffer(b"".join(ids), "<i8")
        near = np.frombuffer(b"".join(vectors), np.uint8).reshape(-1, len(KEYS)).astype(np.float32) @ root
        if len(near) > wanted:
            best = np.argpartition(-near, wanted)[:wanted]
            found, near = found[best], near[best]
        return found[np.argsort(-near, kind="stable")].tolist()
