"""A lens onto the 65: the compositions that a model's hidden states tell of, and how far to believe them."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from genome.decompose.columns import weight_columns
from genome.errors import Error
from genome.primitives import KEYS
from genome.progress import Progress, silent

if TYPE_CHECKING:
    import polars as pl

RIDGE = 300.0
"""Of 1, 100, 300, 1000, 3000 and 10000, among the best on words held out, in all layers of SmolLM2."""

FOLDS = 5
"""Words fall into so many parts; each part's compositions are foretold by maps that have seen the others only."""

_FEWEST = 50
_SEED = 65


@dataclass(frozen=True)
class Lens:
    """A linear map from hidden states to compositions for each layer, with what it is worth on words held out.

    A word is held out with all its usages. What is measured is measured in sentences, where there were some.

    Attributes:
        matrices: (layers + 1, width + 1, 65) float32, the last row the intercept; they give weights' square roots.
        r2: (layers + 1,) the share of variance explained, over all 65.
        shuffled: the same of maps fitted to compositions that were dealt out among the usages at random.
        embedding: the same where the map of number 0, the embeddings, is put to each layer.
        senses: of pairs of sentences with one word in two senses the share that is matched to these rightly; chance
            is .5, and embeddings, which do not know the sentence, get as much. NaN where there are no pairs.
        pairs: how many there are.
        usages: how many it was fitted to.
    """

    matrices: np.ndarray
    r2: np.ndarray
    shuffled: np.ndarray
    embedding: np.ndarray
    senses: np.ndarray
    pairs: int
    usages: int

    def compositions(self, states: np.ndarray) -> np.ndarray:
        """(layers + 1, tokens, 65) float32 weights that sum to 1, of hidden states (layers + 1, tokens, width)."""
        told = np.stack([_design(s) @ matrix for s, matrix in zip(states, self.matrices, strict=True)])
        weights = np.square(np.maximum(told, 1e-4))
        return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)

    def frame(self, tokens: Sequence[str], states: np.ndarray) -> "pl.DataFrame":
        """What the lens sees: one row a token and layer.

        Args:
            tokens: their texts.
            states: (layers + 1, tokens, width).

        Returns:
            token, position, layer (0: the embeddings), leading (the weightiest primitive), weight (its), weights
            (65), and the layer's r2.
        """
        import polars as pl

        seen = self.compositions(states)
        layers, count, _ = seen.shape
        return pl.DataFrame({
            "token": list(tokens) * layers,
            "position": pl.Series(np.tile(np.arange(count), layers), dtype=pl.Int64),
            "layer": pl.Series(np.repeat(np.arange(layers), count), dtype=pl.Int64),
            **weight_columns(seen.reshape(-1, len(KEYS))),
            "r2": pl.Series(np.repeat(self.r2, count), dtype=pl.Float64),
        })  # fmt: skip

    def quality(self) -> "pl.DataFrame":
        """What it is worth: layer, r2, shuffled, embedding, senses, pairs, as the attributes tell."""
        import polars as pl

        senses = [None if np.isnan(share) else float(share) for share in self.senses]
        return pl.DataFrame({
            "layer": pl.Series(range(len(self.r2)), dtype=pl.Int64),
            "r2": self.r2, "shuffled": self.shuffled, "embedding": self.embedding,
            "senses": pl.Series(senses, dtype=pl.Float64),
            "pairs": pl.Series([self.pairs] * len(self.r2), dtype=pl.Int64),
        })  # fmt: skip


def level(states: np.ndarray) -> np.ndarray:
    """States of length sqrt(width), float16: from layer to layer lengths differ a hundredfold; directions tell."""
    lengths = np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-9)
    return (states * (np.sqrt(states.shape[-1]) / lengths)).astype(np.float16)


def fit_lens(
    states: np.ndarray,
    words: Sequence[str],
    compositions: np.ndarray,
    in_use: Sequence[bool],
    progress: Progress = silent,
) -> Lens:
    """Ridge regression in each layer, from levelled states to the square roots of compositions.

    Args:
        states: (layers + 1, n, width), of n usages of words.
        words: the n words; usages of the same word are held out together.
        compositions: (n, 65), of the word, or of the sense that it has in a sentence.
        in_use: whether a usage is in a sentence; what is measured is measured on these, if there are any.
        progress: told of each layer.

    Raises:
        Error: there are fewer than 50 usages, or all are of words of one part.
    """
    folds = np.array([zlib.crc32(word.encode()) % FOLDS for word in words])
    if len(words) < _FEWEST or len(set(folds.tolist())) < FOLDS:
        raise Error(f"a lens is fitted to at least {_FEWEST} usages of different words, got {len(words)}")
    roots = np.sqrt(compositions.astype(np.float64))
    measured = np.asarray(in_use, bool)
    measured = measured if measured.any() else ~measured
    first, second = _pairs(words, roots, measured)
    dealt = np.random.default_rng(_SEED).permutation(len(roots))
    targets = np.concatenate([roots, roots[dealt]], axis=1)
    matrices, found, embedding_maps = [], [], None
    for layer, own in enumerate(states):
        X = _design(own)
        maps, whole = _maps(X, targets, folds)
        embedding_maps = maps if embedding_maps is None else embedding_maps
        told, by_embedding = _foretold(X, maps, folds), _foretold(X, embedding_maps, folds)
        apart = ((told[first] - told[second])[:, : len(KEYS)] * (roots[first] - roots[second])).sum(1)
        half = (apart > 0) + 0.5 * np.isclose(apart, 0, atol=1e-9)
        found.append((
            _explained(told[:, : len(KEYS)], roots, folds, measured),
            _explained(told[:, len(KEYS) :], roots[dealt], folds, measured),
            _explained(by_embedding[:, : len(KEYS)], roots, folds, measured),
            half.mean() if len(half) else np.nan,
        ))  # fmt: skip
        matrices.append(whole[:, : len(KEYS)].astype(np.float32))
        progress("lens: fit", layer + 1, len(states), "layers")
    r2, shuffled, embedding, senses = np.array(found, np.float64).T
    return Lens(np.stack(matrices), r2, shuffled, embedding, senses, len(first), len(words))


def _maps(X: np.ndarray, Y: np.ndarray, folds: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The map that has not seen a fold, for each; and the one that has seen all. The intercept is not shrunk."""
    penalty = RIDGE * np.eye(X.shape[1])
    penalty[-1, -1] = 0
    parts = [(X[own].T @ X[own], X[own].T @ Y[own]) for own in (folds == fold for fold in range(FOLDS))]
    gram, product = (sum(kind, np.zeros_like(kind[0])) for kind in zip(*parts, strict=True))
    maps = [np.linalg.solve(gram - own + penalty, product - ours) for own, ours in parts]
    return maps, np.linalg.solve(gram + penalty, product)


def _foretold(X: np.ndarray, maps: Sequence[np.ndarray], folds: np.ndarray) -> np.ndarray:
    """What each fold's map says of the fold."""
    told = np.empty((len(X), maps[0].shape[1]))
    for fold, own in enumerate(maps):
        told[folds == fold] = X[folds == fold] @ own
    return told


def _explained(told: np.ndarray, roots: np.ndarray, folds: np.ndarray, measured: np.ndarray) -> float:
    """R2 beside the mean of what each fold's map has seen."""
    means = np.stack([roots[measured & (folds != fold)].mean(0) for fold in range(FOLDS)])[folds]
    return float(1 - np.square(roots - told)[measured].sum() / np.square(roots - means)[measured].sum())


def _pairs(words: Sequence[str], roots: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of measured usages that share the word and differ in their composition."""
    by_word = defaultdict(list)
    for number in np.flatnonzero(measured).tolist():
        by_word[words[number]].append(number)
    pairs = [
        pair
        for numbers in by_word.values()
        for pair in combinations(numbers, 2)
        if np.square(roots[pair[0]] - roots[pair[1]]).sum() > 1e-6
    ]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    return first, second


def _design(states: np.ndarray) -> np.ndarray:
    """Levelled states, and a column of ones for the intercept."""
    X = level(states).astype(np.float64)
    return np.concatenate([X, np.ones((len(X), 1))], axis=1)
