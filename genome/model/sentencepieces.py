"""SentencePiece's BPE: characters merged by the scores of tokens, or by ranks of merges; bytes for what is unknown.

Method: Kudo & Richardson 2018 (arXiv 1808.06226). Blanks are spelled U+2581, and in most models one more stands
before the text.
"""

import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from itertools import chain, pairwise

import apsw

from genome.errors import Error
from genome.model import queries
from genome.model.merging import merged

BLANK = "\u2581"
BLANKS = "tokenizer.genome.blanks"
"""Our own key of metadata, for what GGUF has no word for: before which texts a blank is put.

`each` text between special tokens (the usual); `each, unless there is one`; `first, unless there is one`.
"""
_KEPT_PAIRS = 2048
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
        self._piece = lru_cache(_KEPT_PAIRS)(lambda piece: queries.scored_piece(db, piece))
        self._pair = lru_cache(_KEPT_PAIRS)(self._ranked if queries.has_merges(db) else self._scored)

    def words(self, text: str, *, begins: bool) -> Iterable[str]:
        """The words of a text, in order, blanks spelled U+2581.

        Args:
            text: without special tokens.
            begins: it is one before which the model wants a blank.
        """
        spelled = text.replace(" ", BLANK)
        if begins and not (self._lacking and spelled.startswith(BLANK)):
            spelled = BLANK + spelled
        lines = _LINES.findall(spelled) if self._by_lines else [spelled]
        return (found[0] for line in lines for found in self._words.finditer(line))

    def tokens(self, word: str) -> list[tuple[int, int]]:
        """The tokens of a word, each with how many bytes of the text it stands for.

        A character that is no token becomes the tokens of its bytes, or where there are none the unknown token.
        """
        found = []
        for piece, _ in merged(word, self._pair):
            if (row := self._piece(piece)) is not None:
                found.append((row[0], len(piece.replace(BLANK, " ").encode())))
            else:
                found += self._bytes(piece)
        return found

    def _bytes(self, piece: str) -> list[tuple[int, int]]:
        data = piece.replace(BLANK, " ").encode()
        rows = [self._piece(f"<0x{byte:02X}>") for byte in data]
        if all(rows):
            return [(row[0], 1) for row in rows if row is not None]
        unknown = queries.hyperparameter(self._db, "tokenizer.ggml.unknown_token_id")
        return [(unknown, len(data))] if isinstance(unknown, int) else []

    def _scored(self, left: str, right: str) -> tuple[float, str] | None:
        """The higher the score of the whole, the earlier it is merged."""
        row = self._piece(left + right)
        return None if row is None else (-row[1], left + right)

    def _ranked(self, left: str, right: str) -> tuple[float, str] | None:
        first, second = self._piece(left), self._piece(right)
        if first is None or second is None or (found := queries.merge(self._db, first[0], second[0])) is None:
            return None
        return found[0], left + right

    @cached_property
    def _words(self) -> re.Pattern[str]:
        """Blanks and what follows them; of blanks behind a character of `_reaching`, the word goes on."""
        across = "".join(re.escape(sign) for sign in sorted(self._reaching()))
        if not across:
            return re.compile(f"{BLANK}*[^{BLANK}]+|{BLANK}+")
        more = f"(?:(?<=[{across}]){BLANK}+[^{BLANK}]*)*"
        return re.compile(f"{BLANK}*[^{BLANK}]+{more}|{BLANK}+")

    def _reaching(self) -> set[str]:
        """The characters that some token has before a blank: a look at all tokens, 5 to 50 ms, once."""
        pieces = queries.pieces_across(self._db, BLANK)
        pairs = chain.from_iterable(map(pairwise, pieces))
        return {left for left, right in pairs if right == BLANK and left != BLANK}
