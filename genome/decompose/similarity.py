"""How well compositions agree with people on which words are alike, beside random anchors as control."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr, t

from genome.decompose.anchors import Anchors, primitive_anchors, random_anchors
from genome.decompose.dictionary import Dictionary
from genome.decompose.explications import agreement_with, explications
from genome.decompose.graph import Graph, build_graph
from genome.decompose.walk import absorb, base_rate, compositions, look_around
from genome.decompose.word_shares import sense_shares, shares_of_word, word_composition
from genome.errors import DamagedError, Error, NotFoundError
from genome.progress import Progress, silent

SHARPNESS = 16
"""How much more the nearer senses of two words count: e times for each 1/16 of cosine."""

RARITY = 0.3
"""Senses come to mind by this power of the share of a word's uses that they have: a rare one less, yet it does."""

Senses = Callable[[str], Mapping[int, float]]
"""The senses of a word with their shares of its uses; none for a word that is not known."""


@dataclass(frozen=True)
class PairSet:
    """Pairs of words with a human score of similarity."""

    name: str
    pairs: list[tuple[str, str, float]]


def read_pairs(path: Path, name: str | None = None) -> PairSet:
    """Reads `word, word, score` lines, separated by tabs, commas or spaces; headers and # comments are passed over.

    SimLex-999's own table is read by its SimLex999 column.

    Raises:
        NotFoundError: no such file.
        DamagedError: a line has no two words and a number, or there is none at all.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist; wanted lines of word, word, score") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise DamagedError(
            f"{path} is no text file of pairs ({error}); wanted lines of word, word, score"
        ) from None
    pairs: list[tuple[str, str, float]] = []
    score_column = 2
    for number, line in enumerate(lines, start=1):
        cells = _cells(line)
        if not line.strip() or line.startswith("#"):
            continue
        if "SimLex999" in cells:
            score_column = cells.index("SimLex999")
            continue
        try:
            pairs.append((cells[0], cells[1], _finite(cells[score_column])))
        except (IndexError, ValueError):
            if pairs:
                raise DamagedError(f"{path}, line {number}: {line[:60]!r}; wanted word, word, score") from None
    if not pairs:
        raise DamagedError(f"{path} holds no pairs; wanted lines of word, word, score")
    return PairSet(name or path.stem, pairs)


def _finite(cell: str) -> float:
    if not math.isfinite(score := float(cell)):
        raise ValueError(f"{cell} is no score")
    return score


def _cells(line: str) -> list[str]:
    for separator in ("\t", ",", None):
        cells = [cell.strip() for cell in line.split(separator)]
        if len(cells) >= 3:
            return cells
    return []


def agreement(pairs: PairSet, vectors: np.ndarray, senses: Senses) -> float:
    """Spearman's rank correlation between people's scores and how alike two words' senses are.

    People compare the senses that are near to each other, if they come to mind: a soft maximum over pairs of
    senses, log(sum m e^(k c) / sum m) / k, with c a pair's cosine, m the product of the senses' shares to the power
    `RARITY`, k `SHARPNESS`. Both were chosen on SimLex-999 and WordSim-353; random anchors are read with the same
    values. A pair with an unknown word gets the median, so that it neither helps nor is left out.

    Args:
        pairs: words and scores.
        vectors: (N, d) of unit length, one for each sense.
        senses: the rows of a word's senses, with their shares.
    """
    found = np.full(len(pairs.pairs), np.nan)
    for n, (first, second, _) in enumerate(pairs.pairs):
        a, b = senses(first.lower()), senses(second.lower())
        if a and b:
            minds = np.outer([*a.values()], [*b.values()]) ** RARITY
            near = vectors[[*a]] @ vectors[[*b]].T
            found[n] = np.log((minds * np.exp(SHARPNESS * near)).sum() / minds.sum()) / SHARPNESS
    found[np.isnan(found)] = np.nanmedian(found)
    return float(np.asarray(spearmanr(found, [score for *_, score in pairs.pairs]))[0])


def chance(value: float, draws: Sequence[float]) -> float | None:
    """How likely another random draw reaches a value, from the draws that there are (Student's t, one-sided).

    None: there are fewer than two, or all are the same.

    Example:
        >>> round(chance(0.6, [0.49, 0.5, 0.51]), 4)
        0.0065
    """
    if len(draws) < 2 or (sd := float(np.std(draws, ddof=1))) == 0:
        return None
    return float(t.sf((value - np.mean(draws)) / (sd * math.sqrt(1 + 1 / len(draws))), len(draws) - 1))


def compare(
    dictionary: Dictionary, sets: Sequence[PairSet], draws: int = 20, seed: int = 65, progress: Progress = silent
) -> dict[str, object]:
    """The 65 primitives beside `draws` random anchor sets of the same frequency, on sets of word pairs.

    Args:
        dictionary: the lexicons.
        sets: word pairs with human scores.
        draws: number of random anchor sets.
        seed: of the random numbers.
        progress: told the number of solved walks.

    Returns:
        `{"primitives": {set: rho}, "random_anchors": {set: {"mean", "sd", "n", "p"}}, "pairs": {set: {…}}}`; p says
        how likely another draw is as good as the primitives, the last how many pairs a set has and of how many both
        words are known, and `explications` is what `agreement_with` tells of words explicated by hand.
    """

    @cache
    def senses(word: str) -> dict[int, float]:
        candidates = dictionary.candidates(word)
        return sense_shares(candidates, word in dictionary.function_words) if candidates else {}

    known = {s.name: sum(bool(senses(a.lower()) and senses(b.lower())) for a, b, _ in s.pairs) for s in sets}
    for s in sets:
        if known[s.name] < 3 or len({score for *_, score in s.pairs}) < 2:
            raise Error(
                f"{s.name}: {known[s.name]} of {len(s.pairs)} pairs are known words; wanted at least three with "
                "scores that differ, or there is no correlation to measure"
            )
    anchors = primitive_anchors(dictionary)
    rng = np.random.default_rng(seed)
    graph = build_graph(dictionary, frozenset(anchors.words))
    vectors = _vectors(graph, anchors)
    primitives = _agreements(vectors, sets, senses)
    progress("walks", 1, draws + 1, "walks")
    controls, in_degree = [], graph.in_degree
    for n in range(draws):
        drawn = random_anchors(anchors, in_degree, graph.word_counts, rng)
        controls.append(_agreements(_vectors(graph, drawn), sets, senses))
        progress("walks", n + 2, draws + 1, "walks")
    return {
        "primitives": primitives,
        "random_anchors": {s.name: _spread([c[s.name] for c in controls], primitives[s.name]) for s in sets},
        "pairs": {s.name: {"pairs": len(s.pairs), "known": known[s.name]} for s in sets},
        "explications": _explicated(dictionary, np.square(vectors)),
    }


def _vectors(graph: Graph, anchors: Anchors) -> np.ndarray:
    """(N, 65) the square roots of the senses' weights."""
    absorbed = look_around(graph, absorb(graph, anchors))
    return np.sqrt(compositions(absorbed, base_rate(absorbed)))


def _agreements(vectors: np.ndarray, sets: Sequence[PairSet], senses: Senses) -> dict[str, float]:
    return {s.name: agreement(s, vectors, senses) for s in sets}


def _explicated(dictionary: Dictionary, weights: np.ndarray) -> dict[str, float]:
    words = [word for word in explications() if word in dictionary.spellings]
    if len(words) < 2:
        return {}
    return agreement_with({w: word_composition(w, shares_of_word(w, dictionary), weights) for w in words})


def _spread(values: list[float], against: float) -> dict[str, float | int | None]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {
        "mean": float(np.mean(values)) if values else float("nan"),
        "sd": sd,
        "n": len(values),
        "p": chance(against, values),
    }
