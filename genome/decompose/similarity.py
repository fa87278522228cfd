"""How well compositions agree with people on which words are alike, beside random anchors as control."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from genome.decompose.anchors import Anchors, primitive_anchors, random_anchors
from genome.decompose.dictionary import Dictionary
from genome.decompose.graph import Graph, build_graph
from genome.decompose.walk import absorb, base_rate, compositions
from genome.errors import DamagedError, Error, NotFoundError
from genome.progress import Progress, silent


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


def agreement(pairs: PairSet, vectors: np.ndarray, senses: Callable[[str], Sequence[int]]) -> float:
    """Spearman's rank correlation between people's scores and the cosine of the nearest pair of senses.

    A pair with an unknown word gets the median similarity, so that it neither helps nor is left out.

    Args:
        pairs: words and scores.
        vectors: (N, d) of unit length, one for each sense.
        senses: the rows of a word's senses.
    """
    found = np.full(len(pairs.pairs), np.nan)
    for n, (first, second, _) in enumerate(pairs.pairs):
        a, b = senses(first.lower()), senses(second.lower())
        if len(a) and len(b):
            found[n] = (vectors[a] @ vectors[b].T).max()
    found[np.isnan(found)] = np.nanmedian(found)
    return float(np.asarray(spearmanr(found, [score for *_, score in pairs.pairs]))[0])


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
        `{"primitives": {set: rho}, "random_anchors": {set: {"mean", "sd", "n"}}, "pairs": {set: {…}}}`; the last
        says how many pairs a set has and of how many both words are known.
    """
    cache: dict[str, list[int]] = {}

    def senses(word: str) -> list[int]:
        if word not in cache:
            cache[word] = [c.sense for c in dictionary.candidates(word)]
        return cache[word]

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
    primitives = _agreements(graph, anchors, sets, senses)
    progress("walks", 1, draws + 1, "walks")
    controls, in_degree = [], graph.in_degree
    for n in range(draws):
        drawn = random_anchors(anchors, in_degree, graph.word_counts, rng)
        controls.append(_agreements(graph, drawn, sets, senses))
        progress("walks", n + 2, draws + 1, "walks")
    return {
        "primitives": primitives,
        "random_anchors": {s.name: _spread([c[s.name] for c in controls]) for s in sets},
        "pairs": {s.name: {"pairs": len(s.pairs), "known": known[s.name]} for s in sets},
    }


def _agreements(
    graph: Graph, anchors: Anchors, sets: Sequence[PairSet], senses: Callable[[str], Sequence[int]]
) -> dict[str, float]:
    absorbed = absorb(graph, anchors)
    vectors = np.sqrt(compositions(absorbed, base_rate(absorbed)))
    return {s.name: agreement(s, vectors, senses) for s in sets}


def _spread(values: list[float]) -> dict[str, float | int]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)) if values else float("nan"), "sd": sd, "n": len(values)}
