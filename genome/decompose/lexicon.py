"""The lexicon database: what is written to it, and all SQL that reads it, as plain rows."""

from collections.abc import Iterable
from typing import NamedTuple

import apsw

from genome.decompose.words import lemmas


class Sense(NamedTuple):
    """A meaning with its definition; `examples` is a JSON list."""

    id: int
    key: str
    pos: str
    domain: str | None
    definition: str
    examples: str


class WordSense(NamedTuple):
    """That a word can carry a sense: rank among its senses of that part of speech, tagged how often."""

    lemma: str
    sense_id: int
    pos_rank: int
    tag_count: int


class Relation(NamedTuple):
    """A directed relation between two senses."""

    source_id: int
    target_id: int
    type: str


def write_lexicon(
    db: apsw.Connection,
    senses: Iterable[Sense],
    words: Iterable[WordSense],
    relations: Iterable[Relation],
    forms: Iterable[tuple[str, str, str]],
) -> None:
    """Fills a lexicon database that is being built.

    Args:
        db: the database.
        senses: all senses.
        words: which words carry them; a lemma may come in several spellings of case, each a word.
        relations: between the senses.
        forms: irregular form, part of speech, lemma.
    """
    words = list(words)
    numbers = {lemma: n for n, lemma in enumerate(sorted({w.lemma for w in words}), start=1)}
    db.executemany("INSERT INTO word VALUES (?, ?)", ((n, lemma) for lemma, n in numbers.items()))
    db.executemany("INSERT INTO sense VALUES (?, ?, ?, ?, ?, ?)", senses)
    links = sorted((numbers[w.lemma], w.sense_id, w.pos_rank, w.tag_count) for w in words)
    db.executemany("INSERT INTO word_sense VALUES (?, ?, ?, ?)", links)
    db.executemany("INSERT INTO relation VALUES (?, ?, ?)", relations)
    db.executemany("INSERT OR IGNORE INTO form VALUES (?, ?, ?)", forms)


def all_senses(db: apsw.Connection) -> list[Sense]:
    """Every sense, by number."""
    return [Sense(*row) for row in db.execute("SELECT * FROM sense ORDER BY id")]


def all_words(db: apsw.Connection) -> list[WordSense]:
    """Every pair of word and sense, by word, then the most often tagged and first-ranked sense."""
    sql = """
        SELECT lemma, sense_id, pos_rank, tag_count FROM word_sense JOIN word ON word.id = word_id
        ORDER BY word_id, tag_count DESC, pos_rank, sense_id"""
    return [WordSense(*row) for row in db.execute(sql)]


def all_relations(db: apsw.Connection) -> list[Relation]:
    """Every relation."""
    return [Relation(*row) for row in db.execute("SELECT source_id, target_id, type FROM relation")]


def all_forms(db: apsw.Connection) -> list[tuple[str, str, str]]:
    """Every irregular form: form, part of speech, lemma."""
    return list(db.execute("SELECT form, pos, lemma FROM form ORDER BY form, pos, lemma"))


def definition_of(db: apsw.Connection, sense_id: int) -> str:
    """The definition of a sense; empty where there is no such sense."""
    return next((text for (text,) in db.execute("SELECT definition FROM sense WHERE id = ?", (sense_id,))), "")


def examples(db: apsw.Connection, limit: int) -> list[tuple[str, int, str]]:
    """Words with a sense of theirs that has examples, those met most often first: lemma, sense, JSON list."""
    sql = """
        SELECT lemma, sense.id, examples
        FROM word_sense JOIN word ON word.id = word_id JOIN sense ON sense.id = sense_id
        WHERE examples != '[]' ORDER BY tag_count DESC, lemma, sense.id LIMIT ?"""
    return [(lemma, sense, texts) for lemma, sense, texts in db.execute(sql, (limit,))]


def domains(db: apsw.Connection) -> dict[str, str | None]:
    """The lexicographer's file (`noun.person`) of each word's most frequent sense."""
    sql = """
        SELECT lemma, domain FROM word JOIN word_sense ON word_id = word.id JOIN sense ON sense.id = sense_id
        ORDER BY word.id, tag_count DESC, pos_rank"""
    found: dict[str, str | None] = {}
    for lemma, domain in db.execute(sql):
        found.setdefault(lemma, domain)
    return found


def known_words(db: apsw.Connection, words: Iterable[str]) -> set[str]:
    """Those of some words (lower case) that the lexicon defines, as they are or through a lemma."""

    def parts_of_speech(lemma: str) -> set[str]:
        sql = """
            SELECT DISTINCT pos FROM word JOIN word_sense ON word_id = word.id JOIN sense ON sense.id = sense_id
            WHERE lemma = ? COLLATE NOCASE"""
        return {pos for (pos,) in db.execute(sql, (lemma,))}

    def irregular(form: str, pos: str) -> list[str]:
        return [lemma for (lemma,) in db.execute("SELECT lemma FROM form WHERE form = ? AND pos = ?", (form, pos))]

    return {word for word in words if parts_of_speech(word) or lemmas(word, parts_of_speech, irregular)}
