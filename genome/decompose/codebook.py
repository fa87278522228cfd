"""The published tree of named groups through which a composition finds its codons.

A group's children are told apart by prototypes, the mean directions of their members, and each child bears the name
of a primitive that its members have more of than the group. The tree is a fixed table, `data/codebook.npz`, made
once by `fitting.fit` from the words of the default workbench: a unit's path depends on its own composition and on
nothing else, so that adding units renumbers none.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from genome.ids import CODONS
from genome.primitives import KEYS
from genome.resources import folder

FILE = "codebook.npz"
PRIMES = len(KEYS)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Groups in one table: rows 0..64 are the first codon's, the children of a row stand together.

    Attributes:
        bias: (65,) how much the first codon favours each primitive; evens out common and rare ones.
        names: (rows,) the primitive that names a group, 0..64.
        first: (rows,) the row of a group's first child.
        count: (rows,) how many children it has; 0 where the tree ends.
        prototypes: (rows, 65) uint8, the mean direction of a group's members, its largest number 255.
    """

    bias: np.ndarray
    names: np.ndarray
    first: np.ndarray
    count: np.ndarray
    prototypes: np.ndarray

    @classmethod
    def read(cls, file: Path) -> "Codebook":
        """The tree in a file."""
        with np.load(file) as arrays:
            return cls(*(arrays[name] for name in cls.__annotations__))

    def write(self, file: Path) -> None:
        """Writes the tree, packed."""
        np.savez_compressed(file, **{name: getattr(self, name) for name in self.__annotations__})

    def paths(self, weights: np.ndarray) -> np.ndarray:
        """The codons of compositions.

        The first is the primitive whose own weight and whose group's likeness are the largest, the bias counted in:
        w_p (w . c_p)^2 b_p, c_p the prototype. Each one after it is the child of the group whose prototype has the
        largest cosine, among those named by a primitive that the composition has. Where the tree ends, primitives
        follow by falling weight. The products are of float16 and eight-bit numbers and exact in float64: the same
        composition has the same path alone and among others.

        Args:
            weights: (n, 65) non-negative; taken as they are stored, in float16.

        Returns:
            (n, 7) uint8: 1..65, then 0 where a composition has no more primitives.
        """
        weights = np.asarray(weights).astype(np.float16).astype(np.float64)
        own = self._directions(slice(0, PRIMES))
        at = np.argmax(weights * np.square(weights @ own) * self.bias, axis=1)
        codons = np.zeros((len(weights), CODONS), np.uint8)
        codons[:, 0] = at + 1
        for place in range(1, CODONS):
            at = self._step(weights, at)
            codons[at >= 0, place] = self.names[at[at >= 0]] + 1
        return _filled(codons, weights)

    def _step(self, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
        """(n,) rows of the children that compositions go on to from their rows; -1 where the tree ends."""
        after = np.full(len(at), -1)
        going = np.flatnonzero(at >= 0)
        going = going[self.count[at[going]] > 0]
        going = going[np.argsort(at[going], kind="stable")]
        for members in np.split(going, np.flatnonzero(np.diff(at[going])) + 1) if len(going) else ():
            row = at[members[0]]
            children = slice(int(self.first[row]), int(self.first[row]) + int(self.count[row]))
            near = weights[members] @ self._directions(children)
            near[weights[members][:, self.names[children]] <= 0] = -1
            best = near.argmax(1)
            found = near[np.arange(len(members)), best] >= 0
            after[members[found]] = children.start + best[found]
        return after

    def _directions(self, rows: slice) -> np.ndarray:
        """(65, rows) the prototypes over their lengths."""
        prototypes = self.prototypes[rows].astype(np.float64)
        return prototypes.T / np.sqrt(np.square(prototypes).sum(1))

    def composition(self, codons: tuple[int, ...]) -> np.ndarray:
        """(65,) float32, the composition that a path stands for: the mean of its deepest group in the tree.

        Primitives that follow where the tree ends say which the unit has beside it, and change nothing here.
        """
        row = codons[0] - 1
        for codon in codons[1:]:
            children = np.arange(self.first[row], self.first[row] + self.count[row])
            named = children[self.names[children] == codon - 1]
            if not len(named):
                break
            row = int(named[0])
        prototype = self.prototypes[row].astype(np.float32)
        return prototype / prototype.sum()


def _filled(codons: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Goes on with the primitives that a path has not named, by falling weight, as far as there are any."""
    left = weights.copy()
    rows, places = np.nonzero(codons)
    left[rows, codons[rows, places].astype(int) - 1] = 0
    order = np.argsort(-left, axis=1, kind="stable")[:, :CODONS]
    order = np.where(np.take_along_axis(left, order, 1) > 0, order + 1, 0)
    length = (codons > 0).sum(1)
    for place in range(1, CODONS):
        open_rows = np.flatnonzero(length <= place)
        codons[open_rows, place] = order[open_rows, place - length[open_rows]]
    return codons


@lru_cache(maxsize=1)
def codebook() -> Codebook:
    """The published tree."""
    return Codebook.read(folder("data") / FILE)
