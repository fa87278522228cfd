"""The genome database: every sense, word and token with its composition and its genome ID."""

import json
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import apsw
import numpy as np

from genome.db import building
from genome.decompose.addresses import Addresses
from genome.decompose.anchors import primitive_anchors
from genome.decompose.cells import cells
from genome.decompose.codebook import codebook
from genome.decompose.dictionary import Dictionary
from genome.decompose.graph import AROUND_TYPES, RELATION_WEIGHTS, Graph, build_graph
from genome.decompose.queries import FORM_STEP, RELATION_STEP, SENSE_STEP, Unit
from genome.decompose.tokens import TokenTable, fit_embedding_map, structural_class, word_in
from genome.decompose.walk import KEEP, LOOK, absorb, base_rate, compositions, look_around
from genome.decompose.word_shares import shares_of_word, word_composition
from genome.ids import CODONS
from genome.progress import Progress, silent

NO_CODONS = np.zeros(CODONS, np.uint8)
"""A structural unit has no way through the tree."""


def build_genome(
    lexicons: list[tuple[str, apsw.Connection]],
    database: Path,
    tokens: TokenTable | None = None,
    progress: Progress = silent,
    **facts: str,
) -> None:
    """Decomposes a dictionary and a vocabulary, and writes the genome database.

    Args:
        lexicons: open lexicon databases with their names, the first one decides.
        database: the file to make.
        tokens: a model's vocabulary, if it shall have IDs too.
        progress: told the steps.
        facts: rows of the database's `meta`.
    """
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress("decomposing", done, 6, "steps")

    dictionary = Dictionary.read(lexicons)
    step()
    anchors = primitive_anchors(dictionary)
    graph = build_graph(dictionary, frozenset(anchors.words))
    step()
    absorbed = absorb(graph, anchors)
    met = look_around(graph, absorbed)
    base = base_rate(met)
    senses = compositions(met, base)
    step()
    units = _Units()
    for entry, weights, codons in zip(dictionary.entries, senses, codebook().paths(senses), strict=True):
        units.add("sense", entry.key, entry.ref, entry.origin, "walk", 0, weights, codons, _letter(entry.pos))
    sense_ids = units.ids.copy()
    word_senses = _add_words(units, dictionary, senses)
    step()
    if tokens is not None:
        facts = facts | _add_tokens(units, tokens, dictionary)
    step()
    with building(database, "genome", **facts, **_constants(base)) as db:
        units.write(db)
        db.executemany(
            "INSERT INTO word_sense VALUES (?, ?, ?)",
            sorted((word, int(sense_ids[sense]), share) for word, sense, share in word_senses),
        )
        db.executemany(
            "INSERT OR IGNORE INTO form VALUES (?, ?, ?)",
            sorted((form, pos, lemma) for (form, pos), found in dictionary.irregular.items() for lemma in found),
        )
        _write_walk(db, graph, anchors.senses, anchors.words, absorbed, met, sense_ids)
    step()


def _constants(base: np.ndarray) -> dict[str, str]:
    """What explanations need to know of the walk, as rows of `meta`."""
    return {
        "base_rate": json.dumps([round(float(b), 8) for b in base]),
        "relation_types": json.dumps(list(RELATION_WEIGHTS)),
        "around_types": json.dumps(list(AROUND_TYPES)),
        "anchor_keep": str(KEEP),
        "look": str(LOOK),
    }


class _Units:
    """Units on their way into a database, with the IDs they were given."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.by_label: dict[tuple[str, str], int] = {}
        self._rows: list[Unit] = []
        self._weights: list[np.ndarray | None] = []
        self._addresses = Addresses()

    def add(
        self, kind: str, label: str, ref: int, origin: str, method: str, frequency: int,
        meaning: np.ndarray | str, codons: np.ndarray = NO_CODONS, pos: str = "",
    ) -> int:  # fmt: skip
        """Takes a unit with its composition and that one's codons, or with its structural class; gives its ID."""
        structural = isinstance(meaning, str)
        if isinstance(meaning, str):
            identity = self._addresses.of_class(kind, label, meaning)
        else:
            identity = self._addresses.of_path(kind, label, codons.tolist())
        self.by_label.setdefault((kind, label), len(self.ids))
        self.ids.append(identity)
        self._rows.append(Unit(int(identity), kind, label, ref, origin, method, frequency, pos))
        self._weights.append(None if structural else meaning)  # type: ignore[arg-type]
        return identity

    def weights(self, kind: str, label: str) -> np.ndarray | None:
        """The composition of a unit taken before."""
        place = self.by_label.get((kind, label))
        return None if place is None else self._weights[place]

    def write(self, db: apsw.Connection) -> None:
        """Inserts everything."""
        write_units(db, self._rows, self._weights)


def write_units(db: apsw.Connection, units: Sequence[Unit], weights: Sequence[np.ndarray | None]) -> None:
    """Inserts units, their compositions and what finds neighbours, in the order of the IDs."""
    order = sorted(range(len(units)), key=lambda n: units[n].id)
    composed = [(units[n], w) for n in order if (w := weights[n]) is not None]
    db.executemany("INSERT INTO unit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (units[n] for n in order))
    db.executemany(
        "INSERT INTO composition VALUES (?, ?)", ((u.id, w.astype("<f2").tobytes()) for u, w in composed)
    )
    db.executemany(
        "INSERT INTO composition_index (unit_id, kind, vector) VALUES (?, ?, ?)",
        ((u.id, u.kind, np.sqrt(w).astype("<f4").tobytes()) for u, w in composed),
    )
    numbers = count(1)
    for kind in sorted({u.kind for u, _ in composed}):
        own = [(u.id, w) for u, w in composed if u.kind == kind]
        roots = np.sqrt(np.stack([w for _, w in own]))
        for cell in cells(np.array([i for i, _ in own], np.int64), roots):
            number, size = next(numbers), len(cell.ids) // 8
            db.execute("INSERT INTO cell VALUES (?, ?, ?, ?, ?)", (number, kind, cell.first, size, cell.centre))
            db.execute("INSERT INTO cell_units VALUES (?, ?, ?)", (number, cell.ids, cell.vectors))


def _letter(pos: str) -> str:
    """A part of speech; satellite adjectives are adjectives."""
    return "a" if pos == "s" else pos


def _add_words(units: _Units, dictionary: Dictionary, senses: np.ndarray) -> Iterable[tuple[int, int, float]]:
    """Adds every word; gives word ID, sense number and share of what each is mixed from."""
    mixed = []
    words = sorted(dictionary.spellings.items())
    shared = [shares_of_word(word, dictionary) for word, _ in words]
    found = np.stack(
        [word_composition(word, shares, senses) for (word, _), shares in zip(words, shared, strict=True)]
    )
    paths = codebook().paths(found)
    for (word, spelling), shares, weights, codons in zip(words, shared, found, paths, strict=True):
        frequency = sum(c.tag_count for c in spelling.senses)
        pos = "".join(sorted({_letter(c.pos) for c in spelling.senses}))
        identity = units.add("word", word, spelling.ref, spelling.origin, "senses", frequency, weights, codons, pos)
        mixed += [(int(identity), sense, share) for sense, share in shares.items()]
    return mixed


def _add_tokens(units: _Units, tokens: TokenTable, dictionary: Dictionary) -> dict[str, str]:
    """Adds every token: structure, words by the dictionary, the rest by a map from embeddings."""
    spaced = frozenset(data for data in tokens.bytes if data.startswith(b" "))
    meanings: list[tuple[str, np.ndarray | str] | None] = []
    for data, token_type in zip(tokens.bytes, tokens.types, strict=True):
        structural = structural_class(data, token_type)
        word = None if structural else word_in(data, spaced)
        weights = None if word is None else _dictionary_weights(word, units, dictionary)
        meanings.append(
            ("structure", structural) if structural else None if weights is None else ("dictionary", weights)
        )
    known = [n for n, m in enumerate(meanings) if m is not None and m[0] == "dictionary"]
    missing = [n for n, m in enumerate(meanings) if m is None]
    fitted = fit_embedding_map(tokens.embeddings[known], np.stack([meanings[n][1] for n in known]))  # type: ignore[index]
    foretold = dict(zip(missing, fitted.compositions(tokens.embeddings[missing]), strict=True))
    told = [meaning or ("embedding", foretold[n]) for n, meaning in enumerate(meanings)]
    composed = [n for n, (_, meaning) in enumerate(told) if not isinstance(meaning, str)]
    paths = np.zeros((len(told), CODONS), np.uint8)
    paths[composed] = codebook().paths(np.stack([told[n][1] for n in composed]))  # type: ignore[arg-type]
    for n, (data, (method, meaning)) in enumerate(zip(tokens.bytes, told, strict=True)):
        units.add("token", data.decode("utf-8", "replace"), n, tokens.name, method, 0, meaning, paths[n])
    return {"token_map_r2": f"{fitted.r2:.4f}", "token_map_fitted": str(fitted.fitted)}


def _dictionary_weights(word: str, units: _Units, dictionary: Dictionary) -> np.ndarray | None:
    """The composition of a word as a token spells it: as written, in lower case, else of its lemma."""
    for spelling in (word, word.lower(), *(lemma for lemma, _ in dictionary.lemmas(word.lower()))):
        weights = units.weights("word", spelling)
        if weights is not None:
            return weights
    return None


def _write_walk(
    db: apsw.Connection,
    graph: Graph,
    ends: dict[int, int],
    end_words: dict[str, int],
    absorbed: np.ndarray,
    met: np.ndarray,
    unit_ids: list[int],
) -> None:
    """One row a sense and one a form: all that an explanation reads."""
    types = list(RELATION_WEIGHTS)
    links: list[list[tuple[int, float, int]]] = [[] for _ in unit_ids]
    for source, target, kind, share in graph.links:
        links[source].append((target, share, types.index(kind)))
    around, starts = np.empty(len(graph.around_types), RELATION_STEP), graph.around.indptr
    around["sense"], around["share"], around["type"] = graph.around.indices, graph.around.data, graph.around_types
    db.executemany(
        "INSERT INTO walk VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                sense,
                unit_ids[sense],
                ends[sense] + 1 if sense in ends else None,
                absorbed[sense].astype("<f2").tobytes(),
                _row(graph.glosses, sense, FORM_STEP),
                np.array(links[sense], RELATION_STEP).tobytes(),
                met[sense].astype("<f2").tobytes(),
                around[starts[sense] : starts[sense + 1]].tobytes(),
            )
            for sense in range(len(unit_ids))
        ),
    )
    db.executemany(
        "INSERT INTO gloss_form VALUES (?, ?, ?, ?, ?)",
        (
            (
                n,
                word,
                context,
                end_words[word] + 1 if word in end_words else None,
                _row(graph.meanings, n, SENSE_STEP),
            )
            for n, (word, context) in enumerate(graph.forms)
        ),
    )


def _row(matrix: object, row: int, dtype: np.dtype) -> bytes:
    """A sparse matrix' row as packed (number, share) pairs."""
    first, last = matrix.indptr[row], matrix.indptr[row + 1]  # type: ignore[attr-defined]
    packed = np.empty(last - first, dtype)
    packed[dtype.names[0]] = matrix.indices[first:last]  # type: ignore[attr-defined,index]
    packed["share"] = matrix.data[first:last]  # type: ignore[attr-defined]
    return packed.tobytes()
