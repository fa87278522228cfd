"""An open genome database: words looked up, texts decomposed, neighbours and ranges."""

import difflib
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import apsw
import numpy as np

from genome.db.journal import Access, Journal
from genome.decompose import addresses, bulk, queries
from genome.decompose.anchors import exponents, primes_by_name
from genome.decompose.cells import Cells
from genome.decompose.decomposition import Branch, Decomposition, Explanation, Reason, SenseShare
from genome.decompose.dictionary import CLOSED_CLASS
from genome.decompose.explain import BRANCHES, Explainer
from genome.decompose.glosses import saying
from genome.decompose.labels import Fetched, Labels, Stored
from genome.decompose.lexicon import definition_of
from genome.decompose.queries import Unit, Within
from genome.decompose.usages import Usage, usages
from genome.decompose.word_shares import EXPONENT_SHARE
from genome.decompose.words import lemmas, split_words, uncontracted
from genome.errors import Error, NotFoundError, quoted
from genome.ids import GenomeID, prefix_range
from genome.primitives import KEYS, PRIMITIVES

if TYPE_CHECKING:
    import polars as pl

_METHODS = {"senses": "senses of", "walk": "definitions of", "dictionary": "a word that is a token of",
            "embedding": "token embeddings of", "structure": "structure of"}  # fmt: skip

_STORED_WEIGHT_BYTES = 2

_FEW = 100
"""So many words are looked up one by one."""

_PARTS_OF_SPEECH = "nvarcpod"
"""Noun, verb, adjective, adverb; conjunction, preposition, pronoun, determiner."""


class GenomeSpace:
    """The units of a genome database and what can be asked of them.

    Args:
        db: an open genome database.
        lexicons: open lexicon databases by name, for the definitions in explanations.
        display: turns decompositions and explanations into HTML.
        name: the database's name in the journal.
        journal: told the rows of the tables `unit` and `composition` that are read; None where nobody asks.
    """

    def __init__(
        self,
        db: apsw.Connection,
        lexicons: dict[str, apsw.Connection] | None = None,
        display: Callable[[object], str] | None = None,
        name: str = "",
        journal: Journal | None = None,
    ) -> None:
        self._db = db
        self._lexicons = lexicons or {}
        self._display = display
        self._name, self._journal = name, journal
        self._found: dict[str, Unit | None] = {}
        self._cells: dict[str, Cells] = {}
        self._labels = Stored(db)

    # Units

    def find(self, text: str) -> Unit | None:
        """The unit that a text names: a word (as written, in another case, or a form of it) or a sense's key."""
        kept = self._found
        known = text in kept
        if not known:
            if len(kept) > 50_000:
                self._found = kept = {}
            kept[text] = self._find(_bare(text), self._labels)
        if (found := kept[text]) is not None:
            self._note([found], "memory" if known else "disk")
        return found

    def _find(self, text: str, labels: Labels) -> Unit | None:
        written = labels.words(text) or labels.words(text.lower()) or labels.words(text, fold_case=True)
        if written and (written[0].frequency or not CLOSED_CLASS.isdisjoint(labels.parts_of_speech(text.lower()))):
            return written[0]
        forms = lemmas(text.lower(), labels.parts_of_speech, labels.irregular)
        found = [unit for lemma, _ in forms for unit in labels.words(lemma)]
        found = sorted(written + found, key=lambda unit: -unit.frequency)  # *sang* is *sing* before it is ginseng
        if not found and "." in text:
            found = queries.units_labelled(self._db, text.replace(" ", "_"), "sense", fold_case=True)
        if not found and (whole := uncontracted(text)) != text:
            return self._find(whole, labels)
        return found[0] if found else None

    def _find_all(self, words: set[str]) -> dict[str, Unit | None]:
        """The units of words, those not met before in a few queries."""
        new = {word: _bare(word) for word in words if word not in self._found}
        if new:
            labels = Fetched(self._db, new.values()) if len(new) > _FEW else self._labels
            if len(self._found) + len(new) > 50_000:
                self._found = {word: self._found[word] for word in words if word in self._found}
            self._found |= {word: self._find(bare, labels) for word, bare in new.items()}
        return {word: self._found[word] for word in words}

    def _missing(self, text: str) -> NotFoundError:
        """What to raise where no unit has a text as its name: it tells words that are spelled alike."""
        begun = queries.spelled_like(self._db, text.strip().lower()[:2], 4000)
        near = difflib.get_close_matches(text.strip().lower(), begun, n=3)
        meant = f"; near it are {', '.join(near)}" if near else ""
        return NotFoundError(f"no word or sense is called {quoted(text)} in the genome database{meant}")

    def units(
        self,
        prefix: str = "",
        limit: int | None = None,
        *,
        kind: str | None = None,
        pos: str = "",
        min_frequency: int = 0,
    ) -> "pl.DataFrame":
        """The units under a prefix of codons (`KNOW.SAY`), in the order of their IDs: one range scan.

        Args:
            prefix: names of codons joined by dots; empty for all.
            limit: at most so many.
            kind: only words, senses or tokens.
            pos: only what can be this part of speech: n, v, a, r, or a letter of the function words'.
            min_frequency: only what is tagged so often in the lexicon's corpus.

        Raises:
            NotFoundError: a step of the prefix is no primitive.
            Error: the limit is negative, or a filter is none.
        """
        if limit is not None and limit < 0:
            raise Error(f"a limit is a number of units from 0 on, got {limit}")
        within = _within(prefix, kind, pos, min_frequency)
        found = queries.units_in_range(self._db, within, -1 if limit is None else limit)
        if found and self._journal is not None:
            size = sum(len(unit.label.encode()) for unit in found)
            self._journal.record([Access(self._name, "unit", found[0].id, len(found), size, "disk")])
        return _frame(found)

    def token_id(self, model: str, token: int) -> GenomeID | None:
        """The genome ID of a model's token; None where it has none."""
        found = queries.unit_of(self._db, "token", model, token)
        if found is None:
            return None
        self._note([found], "disk")
        return GenomeID(found.id)

    def usages(self, count: int) -> list[Usage]:
        """The most frequent words and examples of the most frequent senses, `count` of each: for a lens."""
        return usages(self._db, self._lexicons, count)

    # Compositions

    def decompose(self, text: str) -> Decomposition:
        """The composition of a primitive, a word, a sense, or a text: the mean of its words that say something.

        Raises:
            NotFoundError: the dictionary does not have it, or none of the text's words.
        """
        if (prime := primes_by_name().get(" ".join(text.lower().split()))) is not None:
            return self._primitive(text, prime)
        if (unit := self.find(text)) is not None:
            return self._decomposition(text, unit)
        if len(text.split()) > 1 and (words := split_words(text)):
            return self._mean(text, words)
        raise self._missing(text)

    def _primitive(self, text: str, index: int) -> Decomposition:
        """A name of a primitive that is no single word of the dictionary: all of it is that primitive."""
        weights = np.zeros(len(KEYS), np.float32)
        weights[index] = 1
        told = Explanation(text, (Reason(KEYS[index], 1.0, (_exponent(text, index, 1.0),)),), self._display)
        prime, near = PRIMITIVES[index], partial(self._near, weights, unit=None)
        return Decomposition(
            text, prime.prime, "primitive", GenomeID.pack([prime.number]), weights, "the chart of primes", (),
            lambda primitives: told, near, self._display,
        )  # fmt: skip

    def _mean(self, text: str, words: list[str]) -> Decomposition:
        """The composition of several words; its ID has a path, but no leaf: a text is no stored unit."""
        units = [unit for word in saying(words) if (unit := self.find(word)) is not None]
        if not units:
            raise NotFoundError(f"no word of {quoted(text)} is in the genome database")
        parts = np.stack([self._weights(unit) for unit in units])
        weights = parts.mean(0)
        shares = tuple(
            SenseShare(unit.label, f"a word of the text ({unit.origin})", 1 / len(units)) for unit in units
        )

        def explain(primitives: int) -> Explanation:
            reasons = []
            for index in _leading(weights, primitives):
                carried = parts[:, index] / parts[:, index].sum(dtype=np.float64)
                words = [
                    Branch(float(share), "", False, unit.label, "a word of the text", (), "end")
                    for share, unit in zip(carried, units, strict=True)
                ]
                reasons.append(Reason(KEYS[index], float(weights[index]), _foremost(words)))
            return Explanation(text, tuple(reasons), self._display)

        identity = GenomeID.pack(addresses.path(weights))
        source = f"mean of {len(units)} of {len(words)} words"
        near = partial(self._near, weights, unit=None)
        return Decomposition(text, text, "text", identity, weights, source, shares, explain, near, self._display)

    def compose(self, mixture: Mapping[str, float], k: int = 10, kind: str = "word") -> "pl.DataFrame":
        """The k units nearest to a mixture of primitives: `{"SOMEONE": .5, "DIE": .3, "BECAUSE": .2}`.

        Args:
            mixture: parts by primitive, by its key or a name on the chart; they need not sum to 1.
            k: how many, 1 to 1000.
            kind: `word`, `sense` or `token`.

        Returns:
            label, similarity (cosine of the weights' square roots, 0..1), path, id, kind, origin, frequency.

        Raises:
            NotFoundError: no primitive has such a name.
            Error: a part is negative or no number, all are 0, or k or the kind is none.
        """
        weights = np.zeros(len(KEYS), np.float64)
        for name, part in mixture.items():
            index = KEYS.index(name) if name in KEYS else ({**exponents(), **primes_by_name()}).get(name.lower())
            if index is None:
                raise NotFoundError(
                    f"no primitive is called {quoted(name)}; wanted a key such as KNOW or LONG_TIME"
                )
            if not (isinstance(part, int | float) and 0 <= part < float("inf")):
                raise Error(f"the part of {name} in a mixture is a number from 0 on, got {part!r}")
            weights[index] += part
        if weights.sum() <= 0:
            raise Error('a mixture has at least one part above 0: {"SOMEONE": 0.5, "DIE": 0.5}')
        return self._near((weights / weights.sum()).astype(np.float32), k, unit=None, kind=kind, exact=True)

    def _decomposition(self, text: str, unit: Unit) -> Decomposition:
        weights = self._weights(unit)
        senses = tuple(
            SenseShare(sense.label, self._define(sense.origin, sense.ref), share)
            for sense, share in self._senses(unit)
        )
        source = f"{_METHODS[unit.method]} {unit.origin}"
        return Decomposition(
            text, unit.label, unit.kind, GenomeID(unit.id), weights, source, senses,
            partial(self._explain, text, unit, weights), partial(self._near, weights, unit=unit), self._display,
        )  # fmt: skip

    def _senses(self, word: Unit) -> list[tuple[Unit, float]]:
        found = queries.senses_of_word(self._db, word.id)
        self._note([sense for sense, _ in found], "disk")
        return found

    def _composition(self, unit: Unit) -> np.ndarray | None:
        weights = queries.composition(self._db, unit.id)
        if weights is not None and self._journal is not None:
            stored = len(weights) * _STORED_WEIGHT_BYTES
            self._journal.record([Access(self._name, "composition", unit.id, 1, stored, "disk")])
        return weights

    def _note(self, units: Sequence[Unit], source: str) -> None:
        if self._journal is not None:
            self._journal.record(
                [Access(self._name, "unit", unit.id, 1, len(unit.label.encode()), source) for unit in units]
            )

    def _weights(self, unit: Unit) -> np.ndarray:
        weights = self._composition(unit)
        if weights is None:
            raise Error(f"{unit.label!r} is structure ({GenomeID(unit.id).path}) and has no composition")
        return weights

    def decompose_text(self, text: str) -> "pl.DataFrame":
        """One row a word: word, unit, id, path, leading, weight, weights (65); null where it is not known."""
        words = split_words(text)
        return bulk.by_word(words, self._vocabulary(set(words)))

    def decompose_texts(self, texts: "pl.Series | Iterable[str | None]") -> "pl.DataFrame":
        """One row a text: text, words, known, id, path, leading, weight, weights (65), as `decompose` has them.

        Args:
            texts: a Polars column of strings, or strings.
        """
        import polars as pl

        column = pl.Series("text", texts if isinstance(texts, pl.Series) else list(texts), pl.String)
        split = bulk.split_all(column)
        return bulk.by_text(column, split, self._vocabulary({word for words in split for word in words}))

    def _vocabulary(self, words: set[str]) -> bulk.Vocabulary:
        vocabulary = bulk.Vocabulary(self._db, self._find_all(words))
        self._note(vocabulary.units, "disk")
        return vocabulary

    def neighbours(
        self,
        text: str,
        k: int = 10,
        kind: str = "word",
        *,
        prefix: str = "",
        pos: str = "",
        min_frequency: int = 0,
        exact: bool = False,
    ) -> "pl.DataFrame":
        """The k units of a kind nearest in meaning to a word or a sense, itself left out.

        Without a filter through the prefixes: of the cells of consecutive IDs those are read whose centres are
        nearest, a tenth of all units. With one, or `exact`, through the vector index, in what the filters leave.

        Args:
            text: a word, a sense's key, or a text.
            k: how many, 1 to 1000.
            kind: `word`, `sense` or `token`.
            prefix: only units under it.
            pos: only what can be this part of speech: n, v, a, r.
            min_frequency: only what is tagged so often in the lexicon's corpus.
            exact: miss none.

        Returns:
            label, similarity (cosine of the weights' square roots, 0..1), path, id, kind, origin, frequency.

        Raises:
            NotFoundError: the dictionary does not have the text, or no codon a name in the prefix.
            Error: k is not from 1 to 1000, or the kind or another filter is none.
        """
        filters = {"prefix": prefix, "pos": pos, "min_frequency": min_frequency, "exact": exact}
        return self.decompose(text).neighbours(k, kind, **filters)

    def _near(
        self, weights: np.ndarray, k: int, *, unit: Unit | None, kind: str | None, prefix: str = "", pos: str = "",
        min_frequency: int = 0, exact: bool = False,
    ) -> "pl.DataFrame":  # fmt: skip
        """The units nearest to some weights, without `unit`, whose kind is that of the others unless told."""
        import polars as pl

        kind = kind or (unit.kind if unit else "word")
        own = unit.id if unit else None
        if not 1 <= k <= 1000:
            raise Error(f"k is a number of neighbours from 1 to 1000, got {k}")
        within = _within(prefix, kind, pos, min_frequency)
        if exact or not within.everything:
            found = queries.nearest(self._db, weights, k + 1, within)
        else:
            found = self.nearest(weights, k + 1, kind)
        near = [(u, s) for u, s in found if u.id != own][:k]
        self._note([u for u, _ in near], "disk")
        frame = _frame([u for u, _ in near])
        similarity = pl.Series("similarity", [s for _, s in near], pl.Float64)
        return frame.with_columns(similarity).select(
            "label", "similarity", "path", "id", "kind", "origin", "frequency"
        )

    def nearest(self, weights: np.ndarray, k: int, kind: str) -> list[tuple[Unit, float]]:
        """The k units of a kind nearest to weights (65,), and how near: those of the nearest cells are compared."""
        if kind not in self._cells:
            self._cells[kind] = Cells(self._db, kind)
        root = np.sqrt(weights / weights.sum()).astype(np.float32)
        candidates = queries.compositions(self._db, self._cells[kind].candidates(root, k))
        if not candidates:
            return []
        near = np.sqrt(np.stack([own for _, own in candidates])) @ root
        best = np.argsort(-near, kind="stable")[:k].tolist()
        units = queries.units_numbered(self._db, [candidates[n][0] for n in best])
        return list(zip(units, near[best].tolist(), strict=True))

    # Reasons

    def _explain(self, text: str, unit: Unit, weights: np.ndarray, primitives: int) -> Explanation:
        senses = self._senses(unit) if unit.kind == "word" else [(unit, 1.0)]
        prime = exponents().get(unit.label.lower()) if unit.kind == "word" else None
        explainer = Explainer(self._db, self._define)
        reasons = []
        for index in _leading(weights, primitives):
            branches: list[Branch] = []
            own = 1.0
            if prime is not None:
                own = 1 - EXPONENT_SHARE
            carried = [own * share * float(self._weights(sense)[index]) for sense, share in senses]
            chart = EXPONENT_SHARE if index == prime else 0.0
            total = sum(carried) + chart  # the word's own weight, but for the rounding of stored numbers
            if chart:
                branches.append(_exponent(unit.label, index, chart / total))
            roots = [(sense.id, part / total) for (sense, _), part in zip(senses, carried, strict=True) if part > 0]
            branches += explainer.branches(roots, index + 1)
            reasons.append(Reason(KEYS[index], float(weights[index]), _foremost(branches)))
        return Explanation(text, tuple(reasons), self._display)

    def _define(self, origin: str, ref: int) -> str:
        lexicon = self._lexicons.get(origin)
        return definition_of(lexicon, ref) if lexicon is not None else ""


def _within(prefix: str, kind: str | None, pos: str, min_frequency: int) -> Within:
    """What is asked about.

    Raises:
        NotFoundError: a step of the prefix is no primitive.
        Error: no such kind, no part of speech, or a negative frequency.
    """
    if kind not in (None, "word", "sense", "token"):
        raise Error(f"a kind of unit is word, sense or token, got {kind!r}")
    if len(pos) > 1 or pos not in _PARTS_OF_SPEECH:
        raise Error(f"a part of speech is one letter of {', '.join(_PARTS_OF_SPEECH)}, got {pos!r}")
    if min_frequency < 0:
        raise Error(f"a frequency is a number from 0 on, got {min_frequency}")
    return Within(*prefix_range(prefix), kind, pos, min_frequency)


def _bare(text: str) -> str:
    """A text as labels are written: blanks for underscores, no punctuation around it."""
    return text.replace("_", " ").strip(string.whitespace + string.punctuation + "\u2018\u2019\u201c\u201d\u2026")


def _leading(weights: np.ndarray, count: int) -> list[int]:
    """The indices of the weightiest primitives, as many as have any weight.

    Raises:
        Error: fewer than one is asked for.
    """
    if count < 1:
        raise Error(f"an explanation is of at least 1 primitive, got {count}")
    return [int(i) for i in np.argsort(-weights, kind="stable")[:count] if weights[i] > 0]


def _exponent(text: str, index: int, share: float) -> Branch:
    return Branch(share, "", False, text, f"an exponent of {KEYS[index]} on the chart of primes", (), "end")


def _foremost(branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """The weightiest branches, and what the others carry as one."""
    ordered = sorted(branches, key=lambda branch: -branch.share)
    named, others = ordered[:BRANCHES], ordered[BRANCHES:]
    if others:
        named.append(Branch.others(sum(branch.share for branch in others)))
    return tuple(named)


def _frame(units: list[Unit]) -> "pl.DataFrame":
    """Units as a Polars frame with their paths."""
    import polars as pl

    schema = {
        "id": pl.Int64, "kind": pl.String, "label": pl.String, "ref": pl.Int64, "origin": pl.String,
        "method": pl.String, "frequency": pl.Int64, "pos": pl.String,
    }  # fmt: skip
    paths = pl.Series("path", [GenomeID(unit.id).path for unit in units], pl.String)
    frame = pl.DataFrame(units, schema=schema, orient="row").with_columns(paths)
    return frame.select("id", "path", "label", "kind", "origin", "method", "frequency", "pos")
