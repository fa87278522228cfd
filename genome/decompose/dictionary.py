"""Several lexicon databases read as one dictionary: senses numbered in one sequence, for the whole graph.

The first lexicon decides (WordNet). From those behind it come only the senses that it lacks: of conjunctions,
prepositions, pronouns and determiners, and of words that definitions use but the first does not define (*mice*
it does, through *mouse*).
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import apsw

from genome.decompose import lexicon
from genome.decompose.glosses import Candidate, GlossWord, definition_counts, function_words, gloss_words
from genome.decompose.words import lemmas
from genome.errors import NotFoundError

CLOSED_CLASS = frozenset("cpod")
"""Parts of speech of grammatical words: conjunction, preposition, pronoun, determiner."""

DEFINING_COUNT = 10
"""A word used in at least so many definitions belongs to the defining vocabulary and needs a meaning itself."""


class Entry(NamedTuple):
    """A sense in the sequence: its name, and where it comes from."""

    key: str
    pos: str
    definition: str
    origin: str
    ref: int


@dataclass
class Spelling:
    """A word as written (*Turkey* is not *turkey*): where it comes from, and its own senses."""

    origin: str
    ref: int
    senses: list[Candidate] = field(default_factory=list)


@dataclass
class Dictionary:
    """Senses, the words that carry them, and their relations; sense numbers are places in `entries`."""

    entries: list[Entry] = field(default_factory=list)
    senses_of: dict[str, list[Candidate]] = field(default_factory=lambda: defaultdict(list))
    spellings: dict[str, Spelling] = field(default_factory=dict)
    relations: list[tuple[int, int, str]] = field(default_factory=list)
    irregular: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    function_words: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, lexicons: list[tuple[str, apsw.Connection]]) -> "Dictionary":
        """Merges open lexicon databases, each with its name, in order of authority."""
        dictionary = cls()
        (first, db), *others = lexicons
        dictionary._add(first, db, None)
        for name, db in others:
            dictionary._add(name, db, definition_counts(dictionary.glosses()))
        return dictionary

    def _add(self, origin: str, db: apsw.Connection, wanted: Counter[str] | None) -> None:
        """Appends one lexicon; `wanted` None takes everything, else only what the dictionary lacks."""
        senses = {s.id: s for s in lexicon.all_senses(db)}
        words = lexicon.all_words(db)
        if wanted is not None:
            first_pos: dict[str, str] = {}
            for w in sorted(words, key=lambda w: w.sense_id):
                first_pos.setdefault(w.lemma, senses[w.sense_id].pos)
            self.function_words |= {lemma for lemma, pos in first_pos.items() if pos in CLOSED_CLASS}
            words = [w for w in words if self._lacks(w.lemma, senses[w.sense_id].pos, wanted)]
        numbers: dict[int, int] = {}
        for sense_id in sorted({w.sense_id for w in words}):
            sense = senses[sense_id]
            numbers[sense_id] = len(self.entries)
            self.entries.append(Entry(sense.key, sense.pos, sense.definition, origin, sense_id))
        ids = {lemma: row for row, lemma in db.execute("SELECT id, lemma FROM word")}
        for lemma, sense_id, rank, tag_count in words:
            pos = senses[sense_id].pos
            candidate = Candidate(numbers[sense_id], pos, rank, tag_count)
            self.senses_of[lemma.lower()].append(candidate)
            self.spellings.setdefault(lemma, Spelling(origin, ids[lemma])).senses.append(candidate)
        for source, target, kind in lexicon.all_relations(db):
            if source in numbers and target in numbers:
                self.relations.append((numbers[source], numbers[target], kind))
        for form, pos, lemma in lexicon.all_forms(db):
            self.irregular[form, pos].append(lemma)

    def _lacks(self, lemma: str, pos: str, wanted: Counter[str]) -> bool:
        if lemma.lower() in self.senses_of:
            return pos in CLOSED_CLASS
        words = function_words()
        if pos in CLOSED_CLASS or lemma in words.primitive:
            return True
        if lemma in words.silent:  # *shall*; but *were* is *be*, not Webster's old word for a man
            return all(pos != "v" for _, pos in self.lemmas(lemma))
        return wanted[lemma] >= DEFINING_COUNT and not self.lemmas(lemma)

    def glosses(self) -> list[list[GlossWord]]:
        """The words of each sense's definition."""
        return [list(gloss_words(entry.definition)) for entry in self.entries]

    def lemmas(self, form: str) -> list[tuple[str, str]]:
        """The lemmas of a lower-case form, with their parts of speech."""
        return lemmas(form, self.parts_of_speech, lambda f, pos: self.irregular.get((f, pos), []))

    def parts_of_speech(self, lemma: str) -> set[str]:
        """Of a lower-case lemma."""
        return {c.pos for c in self.senses_of.get(lemma, ())}

    def candidates(self, form: str) -> list[Candidate]:
        """The senses that a lower-case form may have, through its lemmas; of the form itself where it has none."""
        found = [c for lemma, pos in self.lemmas(form) for c in self.senses_of[lemma] if c.pos == pos]
        return found or list(self.senses_of.get(form, ()))

    def resolve(self, reference: str) -> int:
        """The number of a sense named `lemma.pos.rank`, satellites (`s`) as adjectives (`a`).

        Raises:
            NotFoundError: there is none.
        """
        lemma, pos, rank = [*reference.rsplit(".", 2), "", ""][:3]
        for c in self.senses_of.get(lemma.replace("_", " "), ()):
            if c.pos == pos.replace("s", "a") and rank.isdigit() and c.rank == int(rank):
                return c.sense
        raise NotFoundError(f"no sense is called {reference!r} in the lexicon; wanted lemma.pos.rank: mother.n.01")
