"""The dictionary as sparse matrices: one step of the walk from each sense, over definition and relations."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from genome.decompose.dictionary import Dictionary
from genome.decompose.glosses import POSITION_DECAY, candidate_shares, definition_counts

RELATION_WEIGHTS = {
    "hypernym": 1.5, "instance_hypernym": 1.5, "similar": 1.0, "pertains": 1.0, "derivation": 1.0,
    "part_holonym": 0.5, "member_holonym": 0.5, "topic": 0.5, "part_meronym": 0.4, "member_meronym": 0.3,
    "substance_meronym": 0.3, "hyponym": 0.3, "verb_group": 0.3, "cause": 0.3, "entailment": 0.3,
}  # fmt: skip
"""What a relation counts against a whole definition, which counts 1; shared among targets of the same type."""


AROUND = 64
"""Of what surrounds a sense, so many of the nearest: person.n.01 stands in thousands of definitions."""

AROUND_TYPES = (*RELATION_WEIGHTS, *(f"{kind} of" for kind in RELATION_WEIGHTS), "used in")
"""A relation, a relation walked back (`of`), and a definition that uses the sense."""

USED_SHARE = 0.5
"""What the definitions that use a sense count beside the relations, which count 1 in either direction."""

FAINT = 0.01
"""A word's part in a definition below which the definition is not held to be about it."""

Csr = Any
"""`scipy.sparse.csr_matrix`, which carries no types."""


@dataclass(frozen=True)
class Graph:
    """One step of the walk. N senses, F word forms in context.

    Attributes:
        glosses: (N, F), how much of the step a gloss word takes.
        meanings: (F, N), which sense a gloss word means.
        relations: (N, N), steps along relations.
        links: the same relations one by one: source, target, type, share.
        around: (N, N), what surrounds a sense: relations in either direction, and the definitions that use it;
            each row sums to 1, or to 0 where nothing does.
        around_types: (links,) the type of each of its stored links, a place in `AROUND_TYPES`.
        forms: the F pairs of word and context.
        word_counts: in how many definitions each word stands.
    """

    glosses: Csr
    meanings: Csr
    relations: Csr
    links: list[tuple[int, int, str, float]]
    around: Csr
    around_types: np.ndarray
    forms: list[tuple[str, str]]
    word_counts: dict[str, int]

    @property
    def in_degree(self) -> np.ndarray:
        """(N,) how much of all steps leads to each sense."""
        through_words = np.asarray(self.glosses.sum(0)).ravel() @ self.meanings
        return through_words + np.asarray(self.relations.sum(0)).ravel()


def build_graph(dictionary: Dictionary, ends: frozenset[str]) -> Graph:
    """The walk's one-step matrices; each row of `glosses` and `relations` together sums to 1 (or to 0).

    Args:
        dictionary: senses, definitions and relations.
        ends: words that may end the walk and so count although they mean no sense.
    """
    count = len(dictionary.entries)
    glosses_read = dictionary.glosses()
    used = definition_counts(glosses_read)
    weights = {word: float(np.sqrt(np.log(count / n))) for word, n in used.items()}
    places: dict[tuple[str, str], int] = {}
    known: dict[str, bool] = {}
    rows, columns, values = [], [], []
    for sense, gloss in enumerate(glosses_read):
        for word, context, place in gloss:
            if word not in known:
                known[word] = word in ends or bool(dictionary.candidates(word))
            if known[word]:
                rows.append(sense)
                columns.append(places.setdefault((word, context), len(places)))
                values.append(weights[word] * POSITION_DECAY**place)
    glosses = _rows_to_one(sp.csr_matrix((values, (rows, columns)), (count, len(places)), np.float32))
    links = _weighed_links(dictionary)
    total = np.asarray(glosses.sum(1)).ravel()
    np.add.at(total, [source for source, *_ in links], [share for *_, share in links])
    scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    links = [(source, target, kind, float(share * scale[source])) for source, target, kind, share in links]
    places_of = ([source for source, *_ in links], [target for _, target, *_ in links])
    relations = sp.csr_matrix(([share for *_, share in links], places_of), (count, count), np.float32)
    glosses, meanings = _scaled(glosses, scale), _meanings(dictionary, list(places), count)
    around, around_types = _around(glosses, meanings, links)
    return Graph(
        glosses, meanings, relations, links, around, around_types, list(places), dict(used),
    )  # fmt: skip


def _around(glosses: Csr, meanings: Csr, links: list[tuple[int, int, str, float]]) -> tuple[Csr, np.ndarray]:
    """What surrounds each sense, the `AROUND` weightiest links a row; two senses may be linked in several ways."""
    kinds = {kind: place for place, kind in enumerate(RELATION_WEIGHTS)}
    source, target, kind, share = (
        np.array(column) for column in zip(*((s, t, kinds[k], w) for s, t, k, w in links), strict=True)
    ) if links else (np.zeros(0, int),) * 4  # fmt: skip
    used: Csr = (glosses @ meanings).tocoo()
    about = used.data >= FAINT
    rows = np.concatenate([source, target, used.col[about]]).astype(np.int64)
    columns = np.concatenate([target, source, used.row[about]]).astype(np.int32)
    types = np.concatenate([kind, kind + len(kinds), np.full(about.sum(), 2 * len(kinds))]).astype(np.uint32)
    weights = np.concatenate([share, share, USED_SHARE * used.data[about]]).astype(np.float32)
    order = np.lexsort((types, columns, -weights, rows))
    rows, columns, types, weights = rows[order], columns[order], types[order], weights[order]
    starts = np.searchsorted(rows, np.arange(glosses.shape[0] + 1))
    near = np.arange(len(rows)) - starts[rows] < AROUND
    rows, columns, types, weights = rows[near], columns[near], types[near], weights[near]
    starts = np.searchsorted(rows, np.arange(glosses.shape[0] + 1))
    total = np.bincount(rows, weights, glosses.shape[0])
    shares = (weights / total[rows]).astype(np.float32)
    return sp.csr_matrix((shares, columns, starts), (glosses.shape[0],) * 2), types


def _meanings(dictionary: Dictionary, forms: list[tuple[str, str]], count: int) -> Csr:
    rows, columns, values = [], [], []
    for form, (word, context) in enumerate(forms):
        for sense, share in candidate_shares(dictionary.candidates(word), context).items():
            rows.append(form)
            columns.append(sense)
            values.append(share)
    return sp.csr_matrix((values, (rows, columns)), (len(forms), count), np.float32)


def _weighed_links(dictionary: Dictionary) -> list[tuple[int, int, str, float]]:
    """Source, target, type and weight against the source's definition; targets of a type share its weight."""
    wanted = [(s, t, kind) for s, t, kind in dictionary.relations if kind in RELATION_WEIGHTS]
    targets = Counter((s, kind) for s, _, kind in wanted)
    return [(s, t, kind, RELATION_WEIGHTS[kind] / targets[s, kind]) for s, t, kind in wanted]


def _rows_to_one(matrix: Csr) -> Csr:
    total = np.asarray(matrix.sum(1)).ravel()
    return _scaled(matrix, np.divide(1, total, out=np.zeros_like(total), where=total > 0))


def _scaled(matrix: Csr, rows: np.ndarray) -> Csr:
    scales: Csr = sp.diags(rows)
    return (scales @ matrix).tocsr()
