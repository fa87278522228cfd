"""Byte-level BPE: a word's bytes in letters (Radford et al. 2019), merged by the ranks of the table `merge`."""

from collections.abc import Iterable
from functools import partial

import apsw

from genome.model import queries
from genome.model.bytelevel import LETTERS, spelled
from genome.model.merging import merged
from genome.model.pretokenizers import rule
from genome.model.queries import Asked
from genome.model.recent import Recent

_KEPT_PAIRS = 4096


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
        self._rule = rule(str(queries.hyperparameter(db, "tokenizer.ggml.pre") or "default"))
        self.adds_bos = self._rule.adds_bos
        self._letters: dict[int, int | None] = {}
        self._pairs: Recent[int, tuple[int, int] | tuple[()]] = Recent(_KEPT_PAIRS)

    def words(self, text: str, *, begins: bool) -> Iterable[str]:
        """The words of a text, in order; joined they are the text. Whether it `begins` is all the same."""
        return self._rule.words(text)

    def tokens(self, word: str, asked: Asked) -> list[tuple[int, int]]:
        """The tokens of a word, each with how many of its bytes it stands for.

        A byte whose letter neither is a token nor takes part in a merge is left out, as in llama.cpp.

        Args:
            word: one of `words`.
            asked: answers the questions that are not remembered.
        """
        data = word.encode()
        if self._rule.whole_words and (number := queries.piece_id(asked, spelled(data))) is not None:
            return [(number, len(data))]
        parts = [number for byte in data if (number := self._letter(asked, byte)) is not None]
        found = merged(parts, partial(self._pair, asked))
        return [one for part, size in found for one in _tokens_of(asked, part, size)]

    def _letter(self, asked: Asked, byte: int) -> int | None:
        """The number of a byte's letter: a token, or a part of merges that is none."""
        if byte not in self._letters:
            number = queries.piece_id(asked, LETTERS[byte])
            self._letters[byte] = queries.fragment_id(asked, LETTERS[byte]) if number is None else number
        return self._letters[byte]

    def _pair(self, asked: Asked, left: int, right: int) -> tuple[int, int] | None:
        """Rank and result of two parts; None where they do not merge."""
        key = (left << 32) + right  # one number takes half of a pair's memory
        found = self._pairs.get(key)
        if found is None:
            found = queries.merge(asked, left, right) or ()
            self._pairs.put(key, found)
        return found or None


def _tokens_of(asked: Asked, part: int, size: int) -> list[tuple[int, int]]:
    """Tokens and their bytes: a part that is one, or its letters of a byte each."""
    if part >= 0:
        return [(part, size)]
    letters = queries.fragment_piece(asked, part)
    return [(number, 1) for letter in letters if (number := queries.piece_id(asked, letter)) is not None]
