"""SentencePiece's BPE: characters merged by the scores of tokens, or by ranks of merges; bytes for what is unknown.

Method: Kudo & Richardson 2018 (arXiv 1808.06226). Blanks are spelled U+2581, and in most models one more stands
before the text.
"""

import re
from collections.abc import Iterable
from functools import cached_property, partial
from itertools import chain, pairwise

import apsw

from genome.errors import Error
from genome.model import queries
from genome.model.merging import merged
from genome.model.queries import Asked
from genome.model.recent import Recent

BLANK = "\u2581"
BLANKS = "tokenizer.genome.blanks"
"""Our own key of metadata, for what GGUF has no word for: before which texts a blank is put.

`each` text between special tokens (the usual); `each, unless there is one`; `first, unless there is one`.
"""
_KEPT_PIECES = 4096
_UNCUT = 1024
"""Characters that are encoded in one piece, before it pays to look at all tokens for where texts may be cut."""
_LINES = re.compile(r"\n+|[^\n]+")


class SentencePieces:
    """How a SentencePiece BPE cuts and encodes a text.

    The model knows no words: a text may be cut wherever no token reaches across. Words end before blanks, except
    behind the few characters that some token has before one.

    Args:
        db: an open `model` database.
        kind: GGUF's name: `llama`, which merges by scores, or by ranks where the database has merges (a model from
            Hugging Face); `gemma4`, by ranks, line by line.

    Raises:
        Error: the model was made from a tokenizer that does something else besides.

    Attributes:
        adds_bos: whether such a model's input begins with BOS, where its metadata does not say.
        adds_blank: whether a blank stands before a text, and is left out again when tokens are decoded.
        blank_once: only before the first text, not behind special tokens as well.
    """

    def __init__(self, db: apsw.Connection, kind: str) -> None:
        self._db, self._by_lines = db, kind == "gemma4"
        self.adds_bos = kind == "llama"
        told = queries.hyperparameter(db, "tokenizer.ggml.add_space_prefix")
        self.adds_blank = kind == "llama" if told is None else bool(told)
        how = str(queries.hyperparameter(db, BLANKS) or "each")
        self.blank_once, self._lacking = how.startswith("first"), how.endswith("unless there is one")
        if queries.hyperparameter(db, "tokenizer.ggml.pre") == "other":
            raise Error(
                f"{db.filename} has a SentencePiece tokenizer with a normaliser or pre-tokenizer of its own, which "
                "is not known; wanted one that treats blanks alone, as Llama-2's, Mistral's and Gemma's do"
            )
        self._uncut = _UNCUT
        self._pieces: Recent[str, tuple[int, float] | tuple[()]] = Recent(_KEPT_PIECES)
        self._pair = self._ranked if queries.has_merges(db) else self._scored

    def words(self, text: str, *, begins: bool) -> Iterable[str]:
        """The words of a text, in order; joined they are the text, with a blank before it where it gets one.

        Args:
            text: without special tokens.
            begins: it is one before which the model wants a blank.
        """
        blank = " " if begins and not (self._lacking and text.startswith((" ", BLANK))) else ""
        self._uncut -= len(text)
        if self._uncut > 0 or self._by_lines:
            lines = _LINES.findall(blank + text) if self._by_lines else [blank + text]
            yield from lines if self._uncut > 0 else chain.from_iterable(map(self._words.findall, lines))
            return
        for found in self._words.finditer(text):  # without a copy of the whole text
            yield blank + found[0]
            blank = ""
        if blank:
            yield blank

    def tokens(self, word: str, asked: Asked) -> list[tuple[int, int]]:
        """The tokens of a word, each with how many bytes of the text it stands for.

        A character that is no token becomes the tokens of its bytes, or where there are none the unknown token.

        Args:
            word: one of `words`.
            asked: answers the questions that are not remembered.
        """
        found = []
        for piece, _ in merged(word.replace(" ", BLANK), partial(self._pair, asked)):
            if row := self._piece(asked, piece):
                found.append((row[0], len(piece.replace(BLANK, " ").encode())))
            else:
                found += self._bytes(asked, piece)
        return found

    def _piece(self, asked: Asked, piece: str) -> tuple[int, float] | tuple[()]:
        """Number and score of the token spelled so; nothing where there is none."""
        found = self._pieces.get(piece)
        if found is None:
            found = queries.scored_piece(asked, piece) or ()
            self._pieces.put(piece, found)
        return found

    def _bytes(self, asked: Asked, piece: str) -> list[tuple[int, int]]:
        data = piece.replace(BLANK, " ").encode()
        rows = [self._piece(asked, f"<0x{byte:02X}>") for byte in data]
        if all(rows):
            return [(row[0], 1) for row in rows if row]
        unknown = queries.hyperparameter(self._db, "tokenizer.ggml.unknown_token_id")
        return [(unknown, len(data))] if isinstance(unknown, int) else []

    def _scored(self, asked: Asked, left: str, right: str) -> tuple[float, str] | None:
        """The higher the score of the whole, the earlier it is merged."""
        row = self._piece(asked, left + right)
        return (-row[1], left + right) if row else None

    def _ranked(self, asked: Asked, left: str, right: str) -> tuple[float, str] | None:
        first, second = self._piece(asked, left), self._piece(asked, right)
        if not (first and second and (found := queries.merge(asked, first[0], second[0]))):
            return None
        return found[0], left + right

    @cached_property
    def _words(self) -> re.Pattern[str]:
        """Blanks and what follows them; of blanks behind a character of `_reaching`, the word goes on."""
        blank = f"[ {BLANK}]"
        rest = f"[^ {BLANK}]"
        across = "".join(re.escape(sign) for sign in sorted(self._reaching()))
        more = f"(?:(?<=[{across}]){blank}+{rest}*)*" if across else ""
        return re.compile(f"{blank}*{rest}+{more}|{blank}+")

    def _reaching(self) -> set[str]:
        """The characters that some token has before a blank: a look at all tokens, 5 to 50 ms, once."""
        pieces = queries.pieces_across(self._db, BLANK)
        pairs = chain.from_iterable(map(pairwise, pieces))
        return {left for left, right in pairs if right == BLANK and left != BLANK}
