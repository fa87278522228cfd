"""Webster's dictionary of 1913 becomes a lexicon database.

It has the function words that WordNet lacks: *because, you, this, if, when*.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import apsw

from genome.db import building
from genome.decompose.lexicon import Sense, WordSense, write_lexicon
from genome.errors import DamagedError, NotFoundError
from genome.progress import Progress, silent

# Webster's abbreviations, the first that matches decides: "pron. & a." is a pronoun.
_PARTS_OF_SPEECH = (
    (r"\bconj", "c"), (r"\bprep", "p"), (r"\bpron\b|nom\.|dat\.|obj|poss", "o"), (r"\binterj", "i"),
    (r"definite article|\bart\b", "d"), (r"\bv\b|imp\b|p\. ?p|p\. ?pr|auxiliary", "v"), (r"\badv", "r"),
    (r"^a\b|adj|superl|compar|p\. ?a\b", "a"), (r"\bn\b|pl\b", "n"),
)  # fmt: skip


def build_webster(file: Path, database: Path, progress: Progress = silent, **facts: str) -> None:
    """Reads a SQLite file `entries(word, wordtype, definition)` into a new lexicon database.

    Args:
        file: holds the entries.
        database: the file to make.
        progress: told the number of entries.
        facts: rows of the database's `meta` (source, licence ...).

    Raises:
        NotFoundError: no such file.
        DamagedError: it does not hold that table.
    """
    if not file.is_file():
        raise NotFoundError(f"{file} does not exist; wanted Webster's entries as a SQLite file")
    entries = _read(file)
    with building(database, "lexicon", **facts) as db:
        senses, words = [], []
        for lemma, pos, rank, definition in _number(entries):
            key = f"{lemma.lower().replace(' ', '_')}.{pos}.w{rank:02d}"
            senses.append(Sense(len(senses) + 1, key, pos, None, definition, json.dumps([])))
            words.append(WordSense(lemma, len(senses), rank, 0))
        write_lexicon(db, senses, words, [], [])
        progress("webster: entries", len(senses), len(senses), "entries")


def _read(file: Path) -> list[tuple[str, str | None, str]]:
    try:
        db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return list(
                db.execute(
                    "SELECT coalesce(word, ''), wordtype, coalesce(definition, '') FROM entries ORDER BY rowid"
                )
            )
        finally:
            db.close()
    except apsw.Error as error:
        raise DamagedError(f"{file} lacks a readable table entries(word, wordtype, definition): {error}") from error


def _number(entries: list[tuple[str, str | None, str]]) -> Iterator[tuple[str, str, int, str]]:
    """Lemma, part of speech, rank among the lemma's definitions of that part of speech, definition."""
    ranks: dict[tuple[str, str], int] = defaultdict(int)
    for word, wordtype, text in entries:
        lemma, definition = word.strip().lower(), " ".join(text.split())
        if lemma and definition:
            pos = part_of_speech(wordtype)
            ranks[lemma, pos] += 1
            yield lemma, pos, ranks[lemma, pos], definition


def part_of_speech(wordtype: str | None) -> str:
    """One letter for one of Webster's abbreviations; `x` where there is none that we know.

    Example:
        >>> [part_of_speech(t) for t in ("conj.", "pron. & a.", "v. t.", "n. pl.", None)]
        ['c', 'o', 'v', 'n', 'x']
    """
    return next((pos for pattern, pos in _PARTS_OF_SPEECH if re.search(pattern, wordtype or "")), "x")
