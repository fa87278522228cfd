"""The vocabulary of a model: tokens by bytes, merges by pair, as rows of a `model` database."""

import re
from collections.abc import Iterator, Sequence

import apsw
import numpy as np

from genome.errors import DamagedError
from genome.model.bytelevel import unspelled
from genome.model.formats.gguf import GGUF
from genome.model.formats.gguf_form import CODES, Array

TOKENS = "tokenizer.ggml.tokens"
TYPES = "tokenizer.ggml.token_type"
SCORES = "tokenizer.ggml.scores"
MERGES = "tokenizer.ggml.merges"
_NORMAL, _BYTE = 1, 6
_TYPE_COLUMN = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"}


class Tokens:
    """The vocabulary: pieces, and the columns of numbers that belong to them.

    `exact` names the columns whose every number the table `token` gives back as it is in the file.
    """

    def __init__(self, source: GGUF) -> None:
        self.pieces = strings(source, TOKENS)
        columns = {key: array for key in (TYPES, SCORES) if (array := self._column(source, key)) is not None}
        self.columns = {key: _plain_numbers(array.numbers()) for key, array in columns.items()}
        self.exact = [key for key, array in columns.items() if key == TYPES or _is_exact(array.numbers())]
        self._kind = source.text("tokenizer.ggml.model")

    def _column(self, source: GGUF, key: str) -> Array | None:
        field = source.fields.get(key)
        if field is None:
            return None
        wanted = _TYPE_COLUMN if key == TYPES else CODES.keys()
        if not isinstance(field.value, Array) or field.value.type not in wanted:
            what = f"of integers: {', '.join(sorted(wanted))}" if key == TYPES else "of numbers"
            raise DamagedError(f"{source.path}: {key} is of type {field.type}; wanted an array {what}")
        if len(field.value) != len(self.pieces):
            raise DamagedError(
                f"{source.path}: {key} has {len(field.value)} numbers; wanted one a token, {len(self.pieces)}"
            )
        return field.value

    def rows(self) -> Iterator[tuple[int, str | bytes, bytes, int, float | None]]:
        """Rows of the table `token`: number, piece, bytes, type, score."""
        types = self.columns.get(TYPES)
        scores = self.columns.get(SCORES)
        for number, raw in enumerate(self.pieces):
            kind = types[number] if types else _NORMAL
            piece = text_or_bytes(raw)
            yield number, piece, stands_for(piece, kind, self._kind), kind, scores[number] if scores else None


def stands_for(piece: str | bytes, kind: int, tokenizer: str) -> bytes:
    r"""What a token stands for in text.

    Args:
        piece: as the source spells it.
        kind: GGUF's type: 1 normal, 6 byte …
        tokenizer: GGUF's name of the tokenizer's kind: `gpt2` spells bytes, the others blanks (U+2581).

    Example:
        >>> stands_for("Ġthe", 1, "gpt2"), stands_for("▁the", 1, "llama"), stands_for("<0x0A>", 6, "llama")
        (b' the', b' the', b'\n')
    """
    if isinstance(piece, bytes):
        return piece
    if tokenizer == "gpt2":
        return unspelled(piece) if kind == _NORMAL else piece.encode()
    if kind == _BYTE and (found := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", piece)):
        return bytes.fromhex(found[1])
    return piece.replace("\u2581", " ").encode()


def write_merges(db: apsw.Connection, lines: Sequence[bytes], pieces: Sequence[bytes]) -> None:
    """Merges by numbers. A part that is no token becomes a fragment: the source's line can be told again.

    Args:
        db: a model database being built.
        lines: two parts with a blank between, most frequent first.
        pieces: the tokens as the source spells them, by number.
    """
    numbers = {piece: number for number, piece in enumerate(pieces)} if lines else {}
    fragments: dict[bytes, int] = {}

    def number(piece: bytes) -> int:
        known = numbers.get(piece)
        return known if known is not None else fragments.setdefault(piece, -1 - len(fragments))

    def rows() -> Iterator[tuple[int, int, int | None, int | None]]:
        for rank, line in enumerate(lines):
            # The first part may begin with a blank: llama.cpp looks for the separator from the second byte on.
            cut = line.find(b" ", 1)
            if cut < 0:
                yield rank, number(line), None, None
            else:
                left, right = line[:cut], line[cut + 1 :]
                yield rank, number(left), number(right), number(left + right)

    db.executemany("INSERT INTO merge VALUES (?, ?, ?, ?)", rows())
    db.executemany(
        "INSERT INTO fragment VALUES (?, ?)",
        ((number, text_or_bytes(piece)) for piece, number in fragments.items()),
    )


def strings(source: GGUF, key: str) -> tuple[bytes, ...]:
    """An array of strings of the metadata; none where the key is missing."""
    field = source.fields.get(key)
    if field is None:
        return ()
    if not isinstance(field.value, Array) or field.value.type != "string":
        raise DamagedError(f"{source.path}: {key} is of type {field.type}; wanted array[string]")
    return tuple(item for item in field.value.items if isinstance(item, bytes))


def text_or_bytes(raw: bytes) -> str | bytes:
    """Text where it is UTF-8, else the bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _plain_numbers(numbers: np.ndarray) -> list:
    """Numbers that SQLite takes: those of uint64 as REAL."""
    return (numbers.astype("f8") if numbers.dtype == np.uint64 else numbers).tolist()


def _is_exact(numbers: np.ndarray) -> bool:
    """Whether a column of REAL keeps each number: SQLite makes NULL of NaN, and 0.0 of -0.0."""
    changed = np.isnan(numbers) | ((numbers == 0) & np.signbit(numbers)) if numbers.dtype.kind == "f" else True
    return not np.any(changed)
