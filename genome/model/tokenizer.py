"""Byte-pair encoding whose tokens and merges stay in the database: each is looked up by index when it is needed.

Method: Sennrich, Haddow & Birch 2016 (arXiv 1508.07909) over bytes (Radford et al. 2019); the result equals
llama.cpp's. Needs no jax and loads no vocabulary: the first encode of a process takes milliseconds at any size.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from operator import index
from typing import Generic, SupportsIndex, TypeVar

import apsw

from genome.db.connection import snapshot
from genome.db.journal import Access, Journal
from genome.errors import Error
from genome.model import queries
from genome.model.bytelevel import LETTERS, spelled
from genome.model.pretokenizers import rule

_KEPT_WORDS = 16384
_KEPT_PAIRS = 16384
_KEPT_TOKENS = 8192
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4

# llama.cpp ends a generation at these control tokens, whatever the metadata's eos_token_id says.
_ENDS = (
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|end_of_text|>", "<|return|>",
    "<end_of_turn>", "</s>", "<EOT>", "<eos>",
)  # fmt: skip


def token_numbers(ids: Iterable[SupportsIndex]) -> list[int]:
    """Token numbers as plain integers, NumPy's among them.

    Raises:
        Error: a text, bytes, or something in it that is no integer.
    """
    if isinstance(ids, str | bytes | bytearray):
        raise Error(f"wanted token numbers, got {type(ids).__name__}; `encode` gives the numbers of a text")
    return [_token_number(number) for number in ids]


def _token_number(number: SupportsIndex) -> int:
    try:
        return index(number)
    except TypeError:
        raise Error(f"wanted a token number, an integer, got {type(number).__name__}") from None


class Tokenizer:
    """A model's tokenizer, from its database.

    Args:
        db: an open `model` database.
        name: the database's name in the journal.
        journal: told the rows of the table `token` that texts and numbers touch; None where nobody asks.

    Raises:
        Error: a tokenizer that is not byte-level BPE, or whose pre-tokenizer is not known.

    Attributes:
        bos, eos: token numbers, None where the model has none.
        ends: the tokens that end a generation.
        adds_bos: whether the model wants its input to begin with the BOS token.
        size: how many tokens there are.
    """

    def __init__(self, db: apsw.Connection, name: str = "", journal: Journal | None = None) -> None:
        kind = queries.hyperparameter(db, "tokenizer.ggml.model")
        if kind != "gpt2":
            what = "no tokenizer" if kind is None else f"a tokenizer of the kind {kind!r}"
            raise Error(f"{db.filename} has {what}; wanted byte-level BPE ('gpt2')")
        self._db, self._name, self._journal = db, name, journal
        self._rule = rule(str(queries.hyperparameter(db, "tokenizer.ggml.pre") or "default"))
        self.size = queries.token_count(db)
        self.bos = self._named("bos")
        self.eos = self._named("eos")
        told = queries.hyperparameter(db, "tokenizer.ggml.add_bos_token")
        self.adds_bos = (self._rule.adds_bos if told is None else bool(told)) and self.bos is not None
        special = queries.special_tokens(db)
        # Longest first, as llama.cpp looks for them; of two alike the lower number.
        self._special = sorted(((p, n, t) for n, p, t in special if p), key=lambda s: (-len(s[0].encode()), s[1]))
        named = {number for key in ("eos", "eot", "eom") if (number := self._named(key)) is not None}
        self.ends = frozenset(named | {number for number, piece, _ in special if piece in _ENDS})
        self._letters = [self._part(letter) for letter in LETTERS]
        self._word = lru_cache(_KEPT_WORDS)(self._encode_word)
        self._pair = lru_cache(_KEPT_PAIRS)(lambda left, right: queries.merge(db, left, right))
        self._token = lru_cache(_KEPT_TOKENS)(self._read_token)

    def encode(self, text: str, *, bos: bool = False, special: bool = True) -> list[int]:
        """The tokens of a text.

        Args:
            text: any text without lone surrogates.
            bos: put the BOS token before it.
            special: control tokens written in the text (`<|im_start|>`) are these tokens, else plain characters.
                User-defined tokens are always recognised, as in llama.cpp.

        Raises:
            Error: the text has lone surrogates, or a BOS token is wanted and the model has none.
        """
        found: list[int] = []
        touched: list[Access] = []
        if bos:
            if self.bos is None:
                raise Error(f"{self._db.filename} names no BOS token; encode without bos")
            found.append(self.bos)
            touched += self._token(self.bos).accesses()
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Error(
                f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; "
                "wanted text that UTF-8 can hold"
            ) from None
        for part in self._parts(text, special):
            if isinstance(part, int):
                found.append(part)
                touched += self._token(part).accesses()
            else:
                for word in map(self._word, self._rule.words(part)):
                    found += word.value
                    touched += word.accesses()
        self._note(touched)
        return found

    def decode(self, ids: Iterable[SupportsIndex], *, special: bool = True) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: token numbers.
            special: show control tokens by their spelling, else leave them out.

        Raises:
            Error: a number that no token has, or what is no number of a token: a text, bytes, a fraction.
        """
        rows = [self._row(number) for number in token_numbers(ids)]
        self._note([access for row in rows for access in row.accesses()])
        return b"".join(_shown(row.value, special) for row in rows).decode("utf-8", "replace")

    def bytes(self, number: SupportsIndex, *, special: bool = True) -> bytes:
        """What one token stands for.

        Raises:
            Error: no token has this number, or it is no integer.
        """
        row = self._row(_token_number(number))
        self._note(row.accesses())
        return _shown(row.value, special)

    def streamer(self, *, special: bool = True) -> "Streamer":
        """A decoder for tokens that come one by one."""
        return Streamer(self, special=special)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation as the model's own template writes it, up to where the assistant's answer begins.

        Args:
            messages: each with `role` (system, user, assistant) and `content`.

        Raises:
            Error: the model has no chat template, or the template refuses the messages.
        """
        from genome.model.chat import render

        template = queries.hyperparameter(self._db, "tokenizer.chat_template")
        if not isinstance(template, str):
            raise Error(f"{self._db.filename} has no chat template; give the prompt as plain text")
        tokens = {f"{name}_token": self.decode([n]) if n is not None else "" for name, n in self._marks().items()}
        return render(template, messages, add_generation_prompt=True, **tokens)

    def _marks(self) -> dict[str, int | None]:
        return {"bos": self.bos, "eos": self.eos}

    def _named(self, name: str) -> int | None:
        number = queries.hyperparameter(self._db, f"tokenizer.ggml.{name}_token_id")
        return number if isinstance(number, int) and 0 <= number < self.size else None

    def _part(self, piece: str) -> int | None:
        number = queries.piece_id(self._db, piece)
        return queries.fragment_id(self._db, piece) if number is None else number

    def _parts(self, text: str, special: bool) -> Iterator[str | int]:
        """The text cut at the special tokens in it; longer ones are looked for first, in the whole text."""
        parts: list[str | int] = [text] if text else []
        for piece, number, kind in self._special:
            if (special or kind == _USER_DEFINED) and piece in text:
                parts = [new for part in parts for new in _cut(part, piece, number)]
        return iter(parts)

    def _row(self, number: int) -> "_Kept[tuple[bytes, int] | None]":
        row = self._token(number) if 0 <= number < self.size else None
        if row is None or row.value is None:
            raise Error(f"there is no token {number}; {self._db.filename} has tokens 0 to {self.size - 1}")
        return row

    def _read_token(self, number: int) -> "_Kept[tuple[bytes, int] | None]":
        row = queries.token_bytes(self._db, number)
        return _Kept(row, self._read([(number, len(row[0]))] if row else []))

    def _encode_word(self, word: str) -> "_Kept[tuple[int, ...]]":
        data = word.encode()
        if self._rule.whole_words and (number := queries.piece_id(self._db, spelled(data))) is not None:
            sized = [(number, len(data))]
        else:
            # A byte whose letter neither is a token nor takes part in a merge is left out, as in llama.cpp.
            parts = [number for byte in data if (number := self._letters[byte]) is not None]
            with snapshot(self._db):  # one lock for a word's look-ups
                sized = [one for part, size in _merge(parts, self._pair) for one in self._tokens_of(part, size)]
        return _Kept(tuple(number for number, _ in sized), self._read(sized))

    def _tokens_of(self, part: int, size: int) -> list[tuple[int, int]]:
        """Tokens and their bytes: a part that is one, or its letters of a byte each."""
        if part >= 0:
            return [(part, size)]
        letters = queries.fragment_piece(self._db, part)
        return [(number, 1) for letter in letters if (number := queries.piece_id(self._db, letter)) is not None]

    def _read(self, sized: Iterable[tuple[int, int]]) -> tuple[Access, ...]:
        """Tokens and their bytes as the journal wants them."""
        if self._journal is None:
            return ()
        return tuple(Access(self._name, "token", number, 1, size, "disk") for number, size in sized)

    def _note(self, accesses: Sequence[Access]) -> None:
        if self._journal is not None:
            self._journal.record(accesses)


_Value = TypeVar("_Value")


class _Kept(Generic[_Value]):
    """What was looked up and is kept, with the rows that it touched: from disk once, from memory since."""

    __slots__ = ("_again", "_first", "value")

    def __init__(self, value: _Value, read: tuple[Access, ...]) -> None:
        self.value = value
        self._first: tuple[Access, ...] | None = read
        self._again = tuple(access._replace(source="memory") for access in read)

    def accesses(self) -> tuple[Access, ...]:
        told, self._first = self._again if self._first is None else self._first, None
        return told


def _shown(row: tuple[bytes, int] | None, special: bool) -> bytes:
    return b"" if row is None or (row[1] in (_CONTROL, _UNKNOWN) and not special) else row[0]


class Streamer:
    """Decodes tokens as they come, and never splits a character.

    The texts of `feed` for each token and of `finish`, joined, are what `Tokenizer.decode` gives for all of them.
    """

    def __init__(self, tokenizer: Tokenizer, *, special: bool = True) -> None:
        self._tokenizer, self._special = tokenizer, special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, number: SupportsIndex) -> str:
        """The characters that are complete with this token; often none, where it ends inside of one."""
        return self._decoder.decode(self._tokenizer.bytes(number, special=self._special))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never became complete."""
        return self._decoder.decode(b"", final=True)


def _cut(part: str | int, piece: str, number: int) -> Iterator[str | int]:
    if isinstance(part, int):
        yield part
        return
    for place, text in enumerate(part.split(piece)):
        if place:
            yield number
        if text:
            yield text


def _merge(parts: list[int], pair: Callable[[int, int], tuple[int, int] | None]) -> list[tuple[int, int]]:
    """Merges neighbours, lowest rank first and of equal ones the leftmost, until no pair merges.

    Gives what is left, and of how many of the parts each is made.

    A heap of pairs over a linked list: n parts take O(n log n), so that a long word costs no more than its length.
    """
    last = len(parts) - 1
    following = list(range(1, last + 2))
    before = list(range(-1, last))
    heap = [
        (found[0], place, parts[place], parts[place + 1], found[1])
        for place in range(last)
        if (found := pair(parts[place], parts[place + 1]))
    ]
    heapify(heap)
    gone = -(1 << 62)
    while heap:
        _, place, left, right, result = heappop(heap)
        beyond = following[place]
        if parts[place] != left or beyond > last or parts[beyond] != right:
            continue  # one of the two was merged with another neighbour in the meantime
        parts[place], parts[beyond] = result, gone
        following[place] = after = following[beyond]
        if after <= last:
            before[after] = place
            if found := pair(result, parts[after]):
                heappush(heap, (found[0], place, result, parts[after], found[1]))
        if (previous := before[place]) >= 0 and (found := pair(parts[previous], result)):
            heappush(heap, (found[0], previous, parts[previous], result, found[1]))
    return [(part, following[place] - place) for place, part in enumerate(parts) if part != gone]
