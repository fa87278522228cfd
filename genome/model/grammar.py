"""Answers that keep to a grammar: JSON of a schema, a regular expression, a context-free grammar.

The library llguidance says after each token which ones may come next (github.com/guidance-ai/llguidance tells how).
It needs the bytes of the whole vocabulary, which are read when the first grammar is asked for.
"""

import json
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from genome.db.journal import Access, Journal
from genome.errors import Error
from genome.model import queries
from genome.model.options import Settings
from genome.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_UNKNOWN, _CONTROL = 2, 3
_LAYOUT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, as `json.dumps` writes it: a model that likes line feeds could write them for ever."""
_LONGEST_REASON = 200


class Grammars:
    """The grammars of one model: its vocabulary, as llguidance holds it, once for all of them.

    Args:
        db: an open `model` database.
        name: the database's name in the journal.
        tokens: how many tokens the model scores.
    """

    def __init__(self, db: apsw.Connection, name: str, tokens: int) -> None:
        self._db, self._name, self._tokens = db, name, tokens
        self._vocabulary: LLTokenizer | None = None
        self._making = Lock()

    def constraint(self, settings: Settings, journal: Journal) -> "Constraint | None":
        """What the options ask an answer to keep to; None where they ask for nothing.

        Args:
            settings: with `schema`, `regex` or `grammar`, or none of them.
            journal: told that the vocabulary had to be read.

        Raises:
            Error: the grammar is broken, or of a kind that is not supported: the reason is told.
        """
        if settings.constrained is None:
            return None
        from llguidance import LLMatcher, LLParserLimits

        kind, told = settings.constrained
        try:
            rules = _rules(kind, told)
        except (TypeError, ValueError, RecursionError) as error:
            raise Error(f"the {kind} cannot be used: {_line(error)}") from None
        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(self._read(journal), rules, log_level=0, limits=limits)
        if matcher.is_error():
            raise Error(f"the {kind} cannot be used: {_line(matcher.get_error())}")
        return Constraint(matcher, self._tokens, kind)

    def clear(self) -> None:
        """Gives the vocabulary's memory back."""
        self._vocabulary = None

    def _read(self, journal: Journal) -> "LLTokenizer":
        with self._making:
            if self._vocabulary is None:
                from llguidance import LLTokenizer, TokenizerWrapper

                told = _Vocabulary(self._db)
                size = sum(map(len, told.tokens))
                journal.record([Access(self._name, "token", 0, len(told.tokens), size, "disk")])
                self._vocabulary = LLTokenizer(TokenizerWrapper(told), eos_token=told.ends, slices=[])
            return self._vocabulary


class Constraint:
    """What one answer keeps to.

    Args:
        matcher: of the grammar, at its beginning.
        tokens: how many tokens the model scores.
        kind: what to call it in an error.

    Attributes:
        ended: whether nothing more may come.
    """

    def __init__(self, matcher: "LLMatcher", tokens: int, kind: str) -> None:
        self._matcher, self._tokens, self._kind = matcher, tokens, kind
        self.ended = False

    def allowed(self) -> np.ndarray:
        """Which tokens may come next: bool (V,).

        Raises:
            Error: the grammar is too complex to go on.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        found = np.zeros(self._tokens, bool)
        told = np.unpackbits(bits, count=min(self._tokens, 8 * len(bits)), bitorder="little")
        found[: len(told)] = told
        return found

    def told(self, token: int) -> None:
        """Takes note of the token that came.

        Raises:
            Error: the grammar is too complex to go on.
        """
        self._matcher.consume_token(token)
        self._check()
        self.ended = self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise Error(f"the {self._kind} cannot be kept to any further: {_line(self._matcher.get_error())}")


class _Vocabulary:
    """The tokens as llguidance wants them: their bytes, control tokens behind a byte that no text has."""

    def __init__(self, db: apsw.Connection) -> None:
        self._tokenizer = tokenizer = Tokenizer(db)
        self.tokens = [b""] * tokenizer.size
        self.special_token_ids: list[int] = []
        for number, data, kind in queries.token_texts(db):
            special = kind in (_UNKNOWN, _CONTROL) or number in tokenizer.ends
            self.tokens[number] = b"\xff" + data if special else data
            if special:
                self.special_token_ids.append(number)
        self.ends = sorted(tokenizer.ends)
        if not self.ends:  # one that the model does not have: it stands for "may end here"
            self.ends = [len(self.tokens)]
            self.special_token_ids.append(len(self.tokens))
            self.tokens.append(b"\xff<end>")
        self.eos_token_id, self.bos_token_id = self.ends[0], tokenizer.bos

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, special=False, begins=False)


def _rules(kind: str, told: Any) -> str:
    """A grammar in llguidance's own form."""
    from llguidance import LLMatcher, grammar_from

    if kind != "schema":
        return grammar_from("regex" if kind == "regex" else "grammar", told)
    schema = json.loads(told) if isinstance(told, str) else told
    schema = {} if schema is True else schema
    if not isinstance(schema, Mapping):
        raise ValueError(f"it is {_line(schema)}; wanted an object, or true")
    text = json.dumps(schema, allow_nan=False)
    return LLMatcher.grammar_from_json_schema(text, defaults=_LAYOUT)


def _line(reason: object) -> str:
    """A reason of llguidance's on one line."""
    text = " ".join(str(reason).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."
