"""Codes for compositions, ours and others', and what their prefixes say about nearness."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from genome.ids import CODONS
from genome.primitives import KEYS

ROUNDS = 10


@dataclass(frozen=True)
class Said:
    """What prefixes say.

    Attributes:
        recall: of the ten nearest neighbours, the share among the ten units with the longest common prefix; where
            units tie, the expected share.
        spearman: rank correlation of prefix distance and 1 - cosine over random pairs.
        purity: the share of words in the most frequent category of their first codon.
        shared: the share of units whose code another one has.
    """

    recall: float
    spearman: float
    purity: float
    shared: float


@dataclass(frozen=True, eq=False)
class Judge:
    """Units with what is known of them: neighbours of some, random pairs, categories.

    Attributes:
        vectors: (n, 65) of length 1.
        asked: (q,) units whose neighbours are known.
        near: (q, 10) those neighbours.
        pairs: (2, p) units.
        categories: of each unit; empty where it has none.
    """

    vectors: np.ndarray
    asked: np.ndarray
    near: np.ndarray
    pairs: np.ndarray
    categories: Sequence[str]

    @classmethod
    def of(cls, weights: np.ndarray, categories: Sequence[str], asked: int, pairs: int, seed: int = 0) -> "Judge":
        """Draws what is asked about, and finds the neighbours by cosine."""
        rng = np.random.default_rng(seed)
        vectors = unit(weights.astype(np.float32))
        drawn = rng.choice(len(vectors), min(asked, len(vectors)), replace=False)
        return cls(vectors, drawn, nearest(vectors, drawn), rng.integers(0, len(vectors), (2, pairs)), categories)

    def hear(self, codes: np.ndarray) -> Said:
        """What the prefixes of codes (n, levels) say."""
        one, other = self.pairs
        apart = 1 - (self.vectors[one] * self.vectors[other]).sum(1)
        told: Any = spearmanr(-_common(codes[one], codes[other]), apart)
        return Said(
            self.recall(codes, self.near),
            float(told.statistic),
            purity(codes[:, 0], self.categories),
            shared(codes),
        )

    def recall(self, codes: np.ndarray, near: np.ndarray) -> float:
        """How many neighbours (q, k) of the units asked about stand under their longest common prefixes."""
        levels, found = codes.shape[1], 0.0
        for asked, own in zip(self.asked, near, strict=True):
            common = _common(codes, codes[asked])
            common[asked] = -1
            sizes = np.bincount(common[common >= 0], minlength=levels + 1)
            hits = np.bincount(common[own], minlength=levels + 1)
            left = len(own)
            for level in range(levels, -1, -1):
                taken = min(left, sizes[level])
                found += hits[level] * taken / max(sizes[level], 1)
                left -= taken
        return found / near.size


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def nearest(vectors: np.ndarray, asked: np.ndarray, k: int = 10) -> np.ndarray:
    """(q, k) rows nearest to some rows by inner product, themselves left out."""
    found = []
    for start in range(0, len(asked), 256):
        some = asked[start : start + 256]
        near = vectors[some] @ vectors.T
        near[np.arange(len(some)), some] = -9
        found.append(np.argpartition(-near, k, axis=1)[:, :k])
    return np.concatenate(found)


def purity(first: np.ndarray, categories: Sequence[str]) -> float:
    """The share of units in the most frequent category of their first codon, of those that have a category."""
    met: dict[int, Counter[str]] = {}
    for codon, category in zip(first.tolist(), categories, strict=True):
        if category:
            met.setdefault(codon, Counter())[category] += 1
    return sum(max(counts.values()) for counts in met.values()) / sum(sum(c.values()) for c in met.values())


def shared(codes: np.ndarray) -> float:
    """The share of units whose code another unit has too."""
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(codes))


def by_weight(weights: np.ndarray) -> np.ndarray:
    """(n, 7) the primitives by falling weight."""
    return np.argsort(-weights, axis=1, kind="stable")[:, :CODONS] + 1


def by_pursuit(weights: np.ndarray) -> np.ndarray:
    """(n, 7) matching pursuit (S. Mallat and Z. Zhang, 1993): the primitive that explains most of the rest, and on.

    The atoms are the mean directions of the units that a primitive leads; none is taken twice.
    """
    vectors, led = unit(weights), weights.argmax(1)
    own = np.eye(len(KEYS))
    atoms = np.stack([unit(vectors[led == p].mean(0)) if (led == p).any() else own[p] for p in range(len(KEYS))])
    rest, rows = vectors.copy(), np.arange(len(vectors))
    codes, taken = np.zeros((len(vectors), CODONS), int), np.zeros(vectors.shape, bool)
    for place in range(CODONS):
        gain = rest @ atoms.T
        gain[taken] = -9
        best = gain.argmax(1)
        codes[:, place], taken[rows, best] = best + 1, True
        rest = rest - gain[rows, best][:, None] * atoms[best]
    return codes


def by_tree(vectors: np.ndarray, children: Sequence[int], seed: int = 0) -> np.ndarray:
    """(n, levels) a tree of spherical k-means, fitted to the units themselves."""
    codes = np.zeros((len(vectors), len(children)), int)
    waiting = [(np.arange(len(vectors)), 0)]
    rng = np.random.default_rng(seed)
    for members, level in waiting:  # grows while it is walked
        if level == len(children) or len(members) < 2:
            continue
        centres = _means(vectors[members], children[level], rng, spherical=True)
        chosen = (vectors[members] @ centres.T).argmax(1)
        codes[members, level] = chosen + 1
        waiting += [(members[chosen == c], level + 1) for c in np.unique(chosen)]
    return codes


def by_residuals(vectors: np.ndarray, levels: int = 3, size: int = 256, seed: int = 0) -> np.ndarray:
    """(n, levels) RQ-KMeans: k-means, then k-means of what is left, over all units."""
    rng, rest = np.random.default_rng(seed), vectors.copy()
    codes = np.zeros((len(vectors), levels), int)
    for level in range(levels):
        centres = _means(rest, size, rng, spherical=False)
        codes[:, level] = (rest @ centres.T - np.square(centres).sum(1) / 2).argmax(1)
        rest = rest - centres[codes[:, level]]
    return codes


def _means(vectors: np.ndarray, count: int, rng: np.random.Generator, *, spherical: bool) -> np.ndarray:
    centres = vectors[rng.choice(len(vectors), min(count, len(vectors)), replace=False)].copy()
    for _ in range(ROUNDS):
        near = vectors @ centres.T
        chosen = (near if spherical else near - np.square(centres).sum(1) / 2).argmax(1)
        order = np.argsort(chosen, kind="stable")
        some, starts = np.unique(chosen[order], return_index=True)
        sums = np.add.reduceat(vectors[order], starts, axis=0)
        centres[some] = unit(sums) if spherical else sums / np.bincount(chosen, minlength=len(centres))[some, None]
    return centres


def _common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How many codons from the first on are equal."""
    return np.cumprod(one == other, axis=1).sum(1)
