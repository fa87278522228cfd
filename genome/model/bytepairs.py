"""Byte-level BPE: a word's bytes in letters (Radford et al. 2019), merged by the ranks of the table `merge`."""

from collections.abc import Iterable
from functools import lru_cache

import apsw

from genome.model import queries
from genome.model.bytelevel import LETTERS, spelled
from genome.model.merging import merged
from genome.model.pretokenizers import rule

_KEPT_PAIRS = 2048


class BytePairs:
    """How a byte-level BPE cuts and encodes a text.

    Args:
        db: an open `model` database.

    Raises:
        Error: the pre-tokenizer is not known.

    Attributes:
        adds_bos: whether such a model's input begins with BOS, where its metadata does not say.
        adds_blank, blank_once: whether a blank stands before a text; never in this kind.
    """

    adds_blank = blank_once = False

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._rule = rule(str(queries.hyperparameter(db, "tokenizer.ggml.pre") or "default"))
        self.adds_bos = self._rule.adds_bos
        self._letter = lru_cache(256)(self._find_letter)
        self._pair = lru_cache(_KEPT_PAIRS)(lambda left, right: queries.merge(db, left, right))

    def words(self, text: str, *, begins: bool) -> Iterable[str]:
        """The words of a text, in order; joined they are the text. Whether it `begins` is all the same."""
        return self._rule.words(text)

    def tokens(self, word: str) -> list[tuple[int, int]]:
        """The tokens of a word, each with how many of its bytes it stands for.

        A byte whose letter neither is a token nor takes part in a merge is left out, as in llama.cpp.
        """
        data = word.encode()
        if self._rule.whole_words and (number := queries.piece_id(self._db, spelled(data))) is not None:
            return [(number, len(data))]
        parts = [number for byte in data if (number := self._letter(byte)) is not None]
        return [one for part, size in merged(parts, self._pair) for one in self._tokens_of(part, size)]

    def _find_letter(self, byte: int) -> int | None:
        """The number of a byte's letter: a token, or a part of merges that is none."""
        number = queries.piece_id(self._db, LETTERS[byte])
        return queries.fragment_id(self._db, LETTERS[byte]) if number is None else number

    def _tokens_of(self, part: int, size: int) -> list[tuple[int, int]]:
        """Tokens and their bytes: a part that is one, or its letters of a byte each."""
        if part >= 0:
            return [(part, size)]
        letters = queries.fragment_piece(self._db, part)
        return [(number, 1) for letter in letters if (number := queries.piece_id(self._db, letter)) is not None]
