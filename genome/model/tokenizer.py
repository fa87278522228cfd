"""A tokenizer whose tokens and merges stay in the database: each is looked up by index when it is needed.

Byte-level BPE and SentencePiece's BPE; the result equals llama.cpp's. Needs no jax and loads no vocabulary: the
first encode of a process takes milliseconds at any size.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Generic, SupportsIndex, TypeVar

import apsw

from genome.db.connection import looking_up
from genome.errors import Error
from genome.model import queries
from genome.model.bytepairs import BytePairs
from genome.model.queries import Asked
from genome.model.recent import Recent
from genome.model.sentencepieces import SentencePieces

if TYPE_CHECKING:
    from genome.db.journal import Access, Journal

_KEPT_WORDS = 28672
_KEPT_TOKENS = 4096
_AT_ONCE = 512
"""Words whose look-ups share one lock: some milliseconds where all of them are new."""
_LONGEST_KEPT = 64
"""Characters of a word that is remembered: what is kept has a bound whatever the text."""
_EATS_NOTHING = ("<unk>", "<s>", "<|endoftext|>")
"""Phi-3's special tokens that leave the white space behind them alone; the file format has no place to say it."""
_SPACES = " \t\n\v\f\r"
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4

# llama.cpp ends a generation at these control tokens, whatever the metadata's eos_token_id says.
_ENDS = (
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|end_of_text|>", "<|return|>",
    "<|call|>", "<end_of_turn>", "<turn|>", "<end_of_utterance>", "</s>", "<EOT>", "[EOT]", "<eos>", "[EOS]",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)  # fmt: skip


def token_numbers(ids: Iterable[SupportsIndex]) -> list[int]:
    """Token numbers as plain integers, NumPy's among them.

    Raises:
        Error: a text, bytes, or something in it that is no integer.
    """
    if isinstance(ids, str | bytes | bytearray) or not isinstance(ids, Iterable):
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
        Error: a tokenizer of another kind than byte-level BPE (`gpt2`) and SentencePiece's BPE (`llama`, `gemma4`),
            or whose pre-tokenizer is not known.

    Attributes:
        bos, eos: token numbers, None where the model has none.
        ends: the tokens that end a generation.
        adds_bos: whether the model wants its input to begin with the BOS token.
        size: how many tokens there are.
    """

    def __init__(self, db: apsw.Connection, name: str = "", journal: "Journal | None" = None) -> None:
        self._db, self._name, self._journal = db, name, journal
        self._words = _words_of(db)
        self.size = queries.token_count(db)
        self.bos = self._named("bos")
        self.eos = self._named("eos")
        told = queries.hyperparameter(db, "tokenizer.ggml.add_bos_token")
        self.adds_bos = (self._words.adds_bos if told is None else bool(told)) and self.bos is not None
        special = queries.special_tokens(db)
        # Longest first, as llama.cpp looks for them; of two alike the lower number.
        self._special = sorted(
            ((p, n, _CONTROL if p in _ENDS else t) for n, p, t in special if p),
            key=lambda s: (-len(s[0].encode()), s[1]),
        )
        named = {number for key in ("eos", "eot", "eom") if (number := self._named(key)) is not None}
        self.ends = frozenset(named | {number for number, piece, _ in special if piece in _ENDS})
        name_of_model = str(queries.hyperparameter(db, "general.name") or "").lower()
        self._eats = "phi-3" in name_of_model or "phi3" in name_of_model
        self._recent: Recent[str, _Kept[tuple[int, ...]]] = Recent(_KEPT_WORDS)
        self._plain: Recent[str, int | tuple[int, ...]] = Recent(_KEPT_WORDS)
        self._token = lru_cache(_KEPT_TOKENS)(self._read_token)

    def encode(self, text: str, *, bos: bool = False, special: bool = True, begins: bool = True) -> list[int]:
        """The tokens of a text.

        Args:
            text: any text without lone surrogates.
            bos: put the BOS token before it.
            special: control tokens written in the text (`<|im_start|>`) are these tokens, else plain characters.
                User-defined tokens are always recognised, as in llama.cpp.
            begins: it begins a text: where the model wants a blank before one, it is put there.

        Raises:
            Error: the text has lone surrogates, or a BOS token is wanted and the model has none.
        """
        _check(text)
        found: list[int] = []
        touched: list[Access] = []
        if bos:
            if self.bos is None:
                raise Error(f"{self._db.filename} names no BOS token; encode without bos")
            found.append(self.bos)
            touched += self._token(self.bos).accesses()
        begins = self._words.adds_blank and begins
        for part in self._parts(text, special):
            if isinstance(part, int):
                found.append(part)
                touched += self._token(part).accesses()
                begins = self._words.adds_blank and not self._words.blank_once
                continue
            words = self._words.words(part, begins=begins)
            if self._journal is None:
                for told in self._remembered(words, self._plain, self._encode_word):
                    if isinstance(told, int):
                        found.append(told)
                    else:
                        found += told
            else:
                for kept in self._remembered(words, self._recent, self._encode_noted):
                    found += kept.value
                    touched += kept.accesses()
            begins = False
        self._note(touched)
        return found

    def decode(self, ids: Iterable[SupportsIndex], *, special: bool = True, begins: bool = True) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: token numbers.
            special: show control tokens by their spelling, else leave them out.
            begins: the tokens begin a text: the blank that `encode` puts before it is left out.

        Raises:
            Error: a number that no token has, or what is no number of a token: a text, bytes, a fraction.
        """
        rows = [self._row(number) for number in token_numbers(ids)]
        self._note([access for row in rows for access in row.accesses()])
        shown = self._shown(special, begins)
        return b"".join(shown.bytes(row.value) for row in rows if row.value).decode("utf-8", "replace")

    def bytes(self, number: SupportsIndex, *, special: bool = True) -> bytes:
        """What one token stands for.

        Raises:
            Error: no token has this number, or it is no integer.
        """
        shown = self._shown(special, begins=False)
        return shown.bytes(self._read_row(number))

    def streamer(self, *, special: bool = True, begins: bool = False) -> "Streamer":
        """A decoder for tokens that come one by one, and go on with a text unless it `begins` with them."""
        return Streamer(self._read_row, self._shown(special, begins))

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

    def _parts(self, text: str, special: bool) -> Iterator[str | int]:
        """The text cut at the special tokens in it; longer ones are looked for first, in the whole text."""
        parts: list[str | int] = [text] if text else []
        for piece, number, kind in self._special:
            if (special or kind == _USER_DEFINED) and piece in text:
                eats = self._eats and piece not in _EATS_NOTHING
                parts = [new for part in parts for new in _cut(part, piece, number, eats)]
        return iter(parts)

    def _shown(self, special: bool, begins: bool) -> "_Shown":
        return _Shown(special, self._words.adds_blank, self._words.blank_once, begins)

    def _read_row(self, number: SupportsIndex) -> "_Row":
        row = self._row(_token_number(number))
        self._note(row.accesses())
        assert row.value is not None
        return row.value

    def _row(self, number: int) -> "_Kept[_Row | None]":
        row = self._token(number) if 0 <= number < self.size else None
        if row is None or row.value is None:
            raise Error(f"there is no token {number}; {self._db.filename} has tokens 0 to {self.size - 1}")
        return row

    def _read_token(self, number: int) -> "_Kept[_Row | None]":
        row = queries.token_bytes(self._db, number)
        return _Kept(row, self._read([(number, len(row[0]))] if row else []))

    def _remembered(
        self, words: Iterable[str], recent: Recent[str, "_Value"], encode: Callable[[str, Asked], "_Value"]
    ) -> Iterator["_Value"]:
        """What is remembered of words, in their order; those that are not are encoded."""
        words = iter(words)
        while some := list(islice(words, _AT_ONCE)):
            known = [one for word in some if (one := recent.get(word)) is not None]
            if len(known) == len(some):
                yield from known
                continue
            found: list[_Value] = []
            with looking_up(self._db) as asked:
                for word in some:
                    if (one := recent.get(word)) is None:
                        one = encode(word, asked)
                        if len(word) <= _LONGEST_KEPT:
                            recent.put(word, one)
                    found.append(one)
            yield from found

    def _encode_word(self, word: str, asked: Asked) -> int | tuple[int, ...]:
        """A word's tokens; where it is one, its number alone: most are, and that is a third of the memory."""
        numbers = tuple(number for number, _ in self._words.tokens(word, asked))
        return numbers[0] if len(numbers) == 1 else numbers

    def _encode_noted(self, word: str, asked: Asked) -> "_Kept[tuple[int, ...]]":
        sized = self._words.tokens(word, asked)
        return _Kept(tuple(number for number, _ in sized), self._read(sized))

    def _read(self, sized: Iterable[tuple[int, int]]) -> "tuple[Access, ...]":
        """Tokens and their bytes as the journal wants them."""
        if self._journal is None:
            return ()
        from genome.db.journal import Access

        return tuple(Access(self._name, "token", number, 1, size, "disk") for number, size in sized)

    def _note(self, accesses: "Sequence[Access]") -> None:
        if self._journal is not None:
            self._journal.record(accesses)


_Row = tuple[bytes, int]
"""What a token stands for, and its type."""
_Value = TypeVar("_Value")


class _Kept(Generic[_Value]):
    """What was looked up and is kept, with the rows that it touched: from disk once, from memory since."""

    __slots__ = ("_again", "_first", "value")

    def __init__(self, value: _Value, read: "tuple[Access, ...]") -> None:
        self.value = value
        self._first: tuple[Access, ...] | None = read
        self._again = tuple(access._replace(source="memory") for access in read)

    def accesses(self) -> "tuple[Access, ...]":
        told, self._first = self._again if self._first is None else self._first, None
        return told


class _Shown:
    """What the tokens of one text show, in their order.

    Args:
        special: control tokens by their spelling, else nothing of them.
        blank: before a text the model wants a blank, which is not shown.
        once: only before the first text, not behind special tokens.
        begins: the first token begins a text.
    """

    def __init__(self, special: bool, blank: bool, once: bool, begins: bool) -> None:
        self._special, self._blank, self._once = special, blank, once
        self._begins = begins and blank

    def bytes(self, row: _Row) -> bytes:
        """What the next token shows."""
        raw, kind = row
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED):
            self._begins = self._begins if self._once else self._blank
            return raw if self._special or kind == _USER_DEFINED else b""
        begins, self._begins = self._begins, False
        return raw[1:] if begins and raw.startswith(b" ") else raw


class Streamer:
    """Decodes tokens as they come, and never splits a character.

    The texts of `feed` for each token and of `finish`, joined, are what `Tokenizer.decode` gives for all of them.
    """

    def __init__(self, row: Callable[[SupportsIndex], _Row], shown: _Shown) -> None:
        self._row, self._shown = row, shown
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, number: SupportsIndex) -> str:
        """The characters that are complete with this token; often none, where it ends inside of one.

        Raises:
            Error: no token has this number, or it is no integer.
        """
        return self._decoder.decode(self._shown.bytes(self._row(number)))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never became complete."""
        return self._decoder.decode(b"", final=True)


def _words_of(db: apsw.Connection) -> BytePairs | SentencePieces:
    kind = queries.hyperparameter(db, "tokenizer.ggml.model")
    if kind == "gpt2":
        return BytePairs(db)
    if kind in ("llama", "gemma4"):
        return SentencePieces(db, str(kind))
    what = "no tokenizer" if kind is None else f"a tokenizer of the kind {kind!r:.40}"
    named = {"t5": " (SentencePiece's Unigram)", "bert": " (WordPiece)"}.get(str(kind), "")
    raise Error(f"{db.filename} has {what}{named}; wanted byte-level BPE ('gpt2') or SentencePiece's BPE ('llama')")


def _check(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Error(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; "
            "wanted text that UTF-8 can hold"
        ) from None


def _cut(part: str | int, piece: str, number: int, eats: bool) -> Iterator[str | int]:
    """A text at a piece; `eats`: what is white behind the piece belongs to it."""
    if isinstance(part, int):
        yield part
        return
    for place, text in enumerate(part.split(piece)):
        if place:
            yield number
        if left := text.lstrip(_SPACES) if place and eats else text:
            yield left
