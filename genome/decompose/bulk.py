"""Many words at once: each different one is looked up once, and the answer is laid out as asked."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import apsw
import numpy as np

from genome.decompose import queries
from genome.decompose.codebook import codebook
from genome.decompose.columns import weight_columns
from genome.decompose.glosses import saying
from genome.decompose.queries import Unit
from genome.decompose.words import split_words
from genome.ids import CODONS, GenomeID
from genome.primitives import KEYS

if TYPE_CHECKING:
    import polars as pl


class Vocabulary:
    """The different words of texts, with their units and weights.

    Args:
        db: an open genome database.
        found: the unit of each word, None where there is none.

    Attributes:
        places: from a word as written to its row; -1 where it is not known or has no meaning to decompose.
        units: (rows,) distinct.
        weights: (rows, 65) float32.
    """

    def __init__(self, db: apsw.Connection, found: Mapping[str, Unit | None]) -> None:
        distinct = {unit.id: unit for unit in found.values() if unit is not None}
        stored = queries.compositions(db, list(distinct))
        rows = {identity: row for row, (identity, _) in enumerate(stored)}
        self.places = {word: -1 if unit is None else rows.get(unit.id, -1) for word, unit in found.items()}
        self.units = [distinct[identity] for identity in rows]
        self.weights = np.stack([own for _, own in stored]) if stored else np.zeros((0, len(KEYS)), np.float32)


def by_word(words: list[str], vocabulary: Vocabulary) -> "pl.DataFrame":
    """One row a word: word, unit, id, path, leading, weight, weights (65); null where it is not known."""
    import polars as pl

    units = vocabulary.units
    types = pl.DataFrame({
        "unit": pl.Series([unit.label for unit in units], dtype=pl.String),
        "id": pl.Series([unit.id for unit in units], dtype=pl.Int64),
        "path": pl.Series([GenomeID(unit.id).path for unit in units], dtype=pl.String),
        **weight_columns(vocabulary.weights),
    })  # fmt: skip
    none = pl.DataFrame({name: pl.Series([None], dtype=kind) for name, kind in types.schema.items()})
    rows = [vocabulary.places[word] for word in words]
    found = pl.concat([types, none])[[row if row >= 0 else len(units) for row in rows]]
    return found.insert_column(0, pl.Series("word", words, dtype=pl.String))


def by_text(texts: "pl.Series", split: Sequence[list[str]], vocabulary: Vocabulary) -> "pl.DataFrame":
    """One row a text: text, words, known, id, path, leading, weight, weights (65): the mean of what says something.

    Null where no word is known. The ID is a path, without a leaf.
    """
    import polars as pl

    sums, counts = np.zeros((len(split), len(KEYS)), np.float64), np.zeros(len(split), np.int64)
    for number, words in enumerate(split):
        rows = [row for word in saying(words) if (row := vocabulary.places[word]) >= 0]
        counts[number] = len(rows)
        sums[number] = vocabulary.weights[rows].sum(0)
    weights = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    known = counts > 0
    codons = np.zeros((len(split), CODONS), np.uint8)
    codons[known] = codebook().paths(weights[known])
    paths = [GenomeID.pack([c for c in row if c]) if row[0] else None for row in codons.tolist()]
    columns = weight_columns(weights)
    frame = pl.DataFrame({
        "text": texts,
        "words": pl.Series([len(words) for words in split], dtype=pl.Int64),
        "known": pl.Series(counts, dtype=pl.Int64),
        "id": pl.Series([None if i is None else int(i) for i in paths], dtype=pl.Int64),
        "path": pl.Series([None if i is None else i.path for i in paths], dtype=pl.String),
        **columns,
    })  # fmt: skip
    return frame.with_columns(pl.when(pl.Series(known)).then(pl.col(name)).alias(name) for name in columns)


def split_all(texts: "pl.Series") -> list[list[str]]:
    """The words of each text; a null has none."""
    return [[] if text is None else split_words(text) for text in texts]
