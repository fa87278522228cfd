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
        forms: the F pairs of word and context.
        word_counts: in how many definitions each word stands.
    """

    glosses: Csr
    meanings: Csr
    relations: Csr
    links: list[tuple[int, int, str, float]]
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
    return Graph(
        _scaled(glosses, scale), _meanings(dictionary, list(places), count), relations, links,
        list(places), dict(used),
    )  # fmt: skip


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
