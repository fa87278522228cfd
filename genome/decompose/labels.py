"""Which units have a label: asked of the database one by one, or fetched for many words at once."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

import apsw

from genome.decompose import queries
from genome.decompose.queries import Unit
from genome.decompose.words import lemmas, uncontracted

_FOLDED = str.maketrans({chr(n): chr(n + 32) for n in range(ord("A"), ord("Z") + 1)})
"""Only ASCII letters have two cases for SQLite's NOCASE."""


class Labels(Protocol):
    """What looking a word up asks."""

    def words(self, label: str, *, fold_case: bool = False) -> list[Unit]:
        """The words of a label, the most frequent first; in either case of ASCII letters where told."""
        ...

    def parts_of_speech(self, lemma: str) -> str:
        """One letter each; empty where it is no word."""
        ...

    def irregular(self, form: str, pos: str) -> list[str]:
        """The lemmas of an irregular form."""
        ...


class Stored:
    """Each question is a query."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def words(self, label: str, *, fold_case: bool = False) -> list[Unit]:  # noqa: D102 - see Labels
        return queries.units_labelled(self._db, label, "word", fold_case=fold_case)

    def parts_of_speech(self, lemma: str) -> str:  # noqa: D102 - see Labels
        return queries.parts_of_speech(self._db, lemma)

    def irregular(self, form: str, pos: str) -> list[str]:  # noqa: D102 - see Labels
        return queries.irregular_lemmas(self._db, form, pos)


class Fetched:
    """Two queries: the words, with their forms without endings, and irregular forms; then no more.

    Args:
        db: an open genome database.
        texts: every word that will be looked up.
    """

    def __init__(self, db: apsw.Connection, texts: Iterable[str]) -> None:
        self._irregular: dict[tuple[str, str], list[str]] = defaultdict(list)
        for form, pos, lemma in queries.irregular_forms(db):
            self._irregular[form, pos].append(lemma)
        wanted = set()

        def asked(lemma: str) -> str:
            wanted.add(lemma.translate(_FOLDED))
            return ""

        for text in {form for word in texts for form in (word, uncontracted(word))}:
            wanted |= {text.translate(_FOLDED), text.lower().translate(_FOLDED)}
            lemmas(text.lower(), asked, self.irregular)
        self._folded: dict[str, list[Unit]] = defaultdict(list)
        for unit in queries.words_labelled(db, json.dumps(sorted(wanted))):
            self._folded[unit.label.translate(_FOLDED)].append(unit)

    def words(self, label: str, *, fold_case: bool = False) -> list[Unit]:  # noqa: D102 - see Labels
        found = self._folded.get(label.translate(_FOLDED), [])
        return found if fold_case else [unit for unit in found if unit.label == label]

    def parts_of_speech(self, lemma: str) -> str:  # noqa: D102 - see Labels
        return "".join(unit.pos for unit in self.words(lemma))

    def irregular(self, form: str, pos: str) -> list[str]:  # noqa: D102 - see Labels
        return self._irregular.get((form, pos), [])
