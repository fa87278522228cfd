"""All SQL on the genome database, as plain rows and arrays."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw
import numpy as np

from genome.errors import DamagedError

FORM_STEP = np.dtype([("form", "<u4"), ("share", "<f4")])
SENSE_STEP = np.dtype([("sense", "<u4"), ("share", "<f4")])
RELATION_STEP = np.dtype([("sense", "<u4"), ("share", "<f4"), ("type", "<u4")])

_COLUMNS = "id, u.kind, label, ref, origin, method, frequency, pos"
_UNIT = f"SELECT {_COLUMNS} FROM unit AS u"


class Unit(NamedTuple):
    """A row of `unit`: what has a genome ID."""

    id: int
    kind: str
    label: str
    ref: int
    origin: str
    method: str
    frequency: int
    pos: str


class WalkRow(NamedTuple):
    """A row of `walk`, unpacked."""

    sense: int
    unit_id: int
    primitive: int | None
    absorbed: np.ndarray
    words: np.ndarray
    relations: np.ndarray
    met: np.ndarray
    around: np.ndarray


class FormRow(NamedTuple):
    """A row of `gloss_form`, unpacked."""

    word: str
    primitive: int | None
    meanings: np.ndarray


def unit(db: apsw.Connection, identity: int) -> Unit | None:
    """The unit of a genome ID."""
    return next((Unit(*row) for row in db.execute(f"{_UNIT} WHERE id = ?", (identity,))), None)


def units_labelled(db: apsw.Connection, label: str, kind: str, *, fold_case: bool = False) -> list[Unit]:
    """The units of a label and a kind, the most frequent first; `fold_case` takes ASCII letters of either case."""
    collate = " COLLATE NOCASE" if fold_case else ""
    sql = f"{_UNIT} WHERE label = ?{collate} AND kind = ? ORDER BY frequency DESC, id"
    return [Unit(*row) for row in db.execute(sql, (label, kind))]


def words_labelled(db: apsw.Connection, labels: str) -> list[Unit]:
    """The words whose labels are among those of a JSON list, in either case; the most frequent first."""
    sql = f"""
        {_UNIT} WHERE label COLLATE NOCASE IN (SELECT value FROM json_each(?)) AND kind = 'word'
        ORDER BY frequency DESC, id"""
    return [Unit(*row) for row in db.execute(sql, (labels,))]


def unit_of(db: apsw.Connection, kind: str, origin: str, ref: int) -> Unit | None:
    """The unit of a row in another database: token 42 of `smollm2`."""
    sql = f"{_UNIT} WHERE kind = ? AND origin = ? AND ref = ?"
    return next((Unit(*row) for row in db.execute(sql, (kind, origin, ref))), None)


class Within(NamedTuple):
    """Which units a question is about.

    Attributes:
        first: the first ID.
        beyond: the first ID that is no longer meant.
        kind: word, sense, token; None for all.
        pos: a letter that has to be among their parts of speech; empty for any.
        min_frequency: how often they are at least tagged in the lexicon's corpus.
    """

    first: int = 0
    beyond: int = 2**63
    kind: str | None = None
    pos: str = ""
    min_frequency: int = 0

    @property
    def everything(self) -> bool:
        """Whether nothing but the kind is asked for."""
        return self._replace(kind=None) == Within()


_WITHIN = (
    "id BETWEEN :first AND :last AND (:kind IS NULL OR kind = :kind) AND instr(pos, :pos) AND frequency >= :least"
)


def _bindings(within: Within) -> dict[str, object]:
    return {
        "first": within.first, "last": within.beyond - 1, "kind": within.kind, "pos": within.pos,
        "least": within.min_frequency,
    }  # fmt: skip


UNITS_IN_RANGE = f"{_UNIT} WHERE {_WITHIN} ORDER BY id LIMIT :limit"
"""One range scan on the row ID."""


def units_in_range(db: apsw.Connection, within: Within, limit: int) -> list[Unit]:
    """The units that are meant, in the order of their IDs; a limit of -1 is none."""
    return [Unit(*row) for row in db.execute(UNITS_IN_RANGE, _bindings(within) | {"limit": limit})]


def composition(db: apsw.Connection, identity: int) -> np.ndarray | None:
    """(65,) float32 weights that sum to 1; None for a structural unit."""
    for (blob,) in db.execute("SELECT weights FROM composition WHERE unit_id = ?", (identity,)):
        return unpack(blob)
    return None


def unpack(blob: bytes) -> np.ndarray:
    """(65,) float32 weights that sum to 1, from their stored float16."""
    weights = np.frombuffer(blob, "<f2").astype(np.float32)
    return weights / weights.sum()


def frequent_words(db: apsw.Connection, count: int) -> tuple[list[str], np.ndarray]:
    """The words that a lexicon met most often, short ones first among equals, and their (n, 65) weights."""
    sql = """
        SELECT label, weights FROM unit JOIN composition ON unit_id = id WHERE kind = 'word'
        ORDER BY frequency DESC, length(label), label LIMIT ?"""
    rows: list[tuple[Any, ...]] = db.execute(sql, (count,)).fetchall()
    return [label for label, _ in rows], np.stack([unpack(blob) for _, blob in rows])


def compositions(db: apsw.Connection, identities: Sequence[int]) -> list[tuple[int, np.ndarray]]:
    """IDs and weights (65,) of those units that have some, in the order of their IDs."""
    sql = """
        SELECT unit_id, weights FROM composition
        WHERE unit_id IN (SELECT value FROM json_each(?)) ORDER BY unit_id"""
    return [(identity, unpack(blob)) for identity, blob in db.execute(sql, (json.dumps(list(identities)),))]


def nearest(db: apsw.Connection, weights: np.ndarray, k: int, within: Within) -> list[tuple[Unit, float]]:
    """The k units of one kind nearest to a composition, with their similarity (cosine of the weights' roots).

    Through the vector index, in all of its kind or in those that `within` leaves: a range of IDs and filters first,
    then the vectors of what they gave.
    """
    some = "" if within.everything else f"AND i.unit_id IN (SELECT id FROM unit WHERE {_WITHIN})"
    sql = f"""
        SELECT {_COLUMNS}, 1 - distance
        FROM composition_index AS i JOIN unit AS u ON u.id = i.unit_id
        WHERE vector MATCH :vector AND k = :k AND i.kind = :kind {some} ORDER BY distance, id"""
    bound = _bindings(within) | {"vector": np.sqrt(weights).astype("<f4").tobytes(), "k": k}
    return [(Unit(*row[:-1]), row[-1]) for row in db.execute(sql, bound)]


def units_numbered(db: apsw.Connection, identities: Sequence[int]) -> list[Unit]:
    """The units of some IDs, in their order."""
    return [found for identity in identities if (found := unit(db, identity)) is not None]


def senses_of_word(db: apsw.Connection, word_id: int) -> list[tuple[Unit, float]]:
    """What a word's composition is mixed from: senses and shares, the largest first."""
    sql = f"""
        SELECT {_COLUMNS}, share
        FROM word_sense JOIN unit AS u ON id = sense_id WHERE word_id = ? ORDER BY share DESC, sense_id"""
    return [(Unit(*row[:-1]), row[-1]) for row in db.execute(sql, (word_id,))]


def walk_row(db: apsw.Connection, *, sense: int | None = None, unit_id: int | None = None) -> WalkRow:
    """The walk from a sense, by its number or by its unit's ID."""
    column, value = ("sense", sense) if unit_id is None else ("unit_id", unit_id)
    sql = f"SELECT sense, unit_id, primitive, absorbed, words, relations, met, around FROM walk WHERE {column} = ?"
    number, identity, primitive, absorbed, words, relations, met, around = _one(db, sql, value)
    return WalkRow(
        number, identity, primitive, np.frombuffer(absorbed, "<f2").astype(np.float32),
        np.frombuffer(words, FORM_STEP), np.frombuffer(relations, RELATION_STEP),
        np.frombuffer(met, "<f2").astype(np.float32), np.frombuffer(around, RELATION_STEP),
    )  # fmt: skip


def form_rows(db: apsw.Connection, forms: Sequence[int]) -> list[FormRow]:
    """The forms of some numbers, in their order."""
    found = []
    for number in forms:
        sql = "SELECT word, primitive, meanings FROM gloss_form WHERE id = ?"
        word, primitive, meanings = _one(db, sql, int(number))
        found.append(FormRow(word, primitive, np.frombuffer(meanings, SENSE_STEP)))
    return found


SPELLED_LIKE = """
    SELECT label FROM unit WHERE label >= ? AND label < ? AND +kind = 'word'
    ORDER BY frequency DESC, label LIMIT ?"""
"""The plus keeps SQLite from walking through all words by their kind: it takes the index on labels."""


def spelled_like(db: apsw.Connection, prefix: str, limit: int) -> list[str]:
    """Words that begin with some letters, the most frequent first: for suggestions."""
    return [label for (label,) in db.execute(SPELLED_LIKE, (prefix, prefix + "\U0010ffff", limit))]


def parts_of_speech(db: apsw.Connection, lemma: str) -> str:
    """The parts of speech of a lower-case lemma's senses, one letter each; empty where it is no word."""
    return "".join(pos for (pos,) in db.execute("SELECT pos FROM unit WHERE label = ? AND kind = 'word'", (lemma,)))


def irregular_forms(db: apsw.Connection) -> list[tuple[str, str, str]]:
    """All irregular forms: form, part of speech, lemma."""
    return [(form, pos, lemma) for form, pos, lemma in db.execute("SELECT form, pos, lemma FROM form")]


def irregular_lemmas(db: apsw.Connection, form: str, pos: str) -> list[str]:
    """The lemmas of an irregular form: mouse for mice."""
    return [lemma for (lemma,) in db.execute("SELECT lemma FROM form WHERE form = ? AND pos = ?", (form, pos))]


class WalkFacts(NamedTuple):
    """Constants of the walk.

    Attributes:
        keep: how much of an anchor's definition still speaks.
        look: how often a walk looks one sense further around.
        relations: their names, numbered from 0.
        around: the names of the ways around a sense, likewise.
    """

    keep: float
    look: float
    relations: list[str]
    around: list[str]


def walk_facts(db: apsw.Connection) -> WalkFacts:
    """The constants of the walk that made the compositions."""
    keep, look, relations, around = (
        _one(db, "SELECT value FROM meta WHERE key = ?", key)[0]
        for key in ("anchor_keep", "look", "relation_types", "around_types")
    )
    return WalkFacts(float(keep), float(look), json.loads(relations), json.loads(around))


def _one(db: apsw.Connection, sql: str, value: object) -> tuple[Any, ...]:
    """The one row that a key names.

    Raises:
        DamagedError: there is none, although another row names it.
    """
    for row in db.execute(sql, (value,)):
        return row
    raise DamagedError(f"{db.filename} lacks a row that another one names; `genome verify` lists all damage")
