"""A GGUF file becomes a `model` database: nothing of it is lost, and nothing of it has to be read whole again."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import numpy as np

from genome.db.blocks import write_rows
from genome.db.build import building
from genome.errors import DamagedError, Error
from genome.model.bytelevel import unspelled
from genome.model.gguf import GGUF, reading
from genome.model.gguf_form import CODES, Array, Field, TensorInfo, packed, usual_end
from genome.model.names import role_and_layer
from genome.progress import Progress, silent

TOKENS = "tokenizer.ggml.tokens"
TYPES = "tokenizer.ggml.token_type"
SCORES = "tokenizer.ggml.scores"
MERGES = "tokenizer.ggml.merges"
MOST_PADDING_BYTES = 1 << 20
_NORMAL, _BYTE = 1, 6
_TYPE_COLUMN = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"}


def import_gguf(gguf: Path, database: Path, *, progress: Progress = silent, **facts: str) -> None:
    """Writes a GGUF file's metadata, tensors, tokens and merges into a new `model` database.

    Args:
        gguf: the file, version 2 or 3, little endian, in one part.
        database: the database's final name; what stands there is replaced when all is written.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence. `source_sha256` and `architecture` come
            from the file.

    Raises:
        NotFoundError, DamagedError: the file is missing, no GGUF file, truncated or inconsistent.
        Error: a form of GGUF that this program does not read, or the disk is full.
    """
    with reading(gguf) as source:
        if (parts := _number(source, "split.count")) > 1:
            raise Error(
                f"{gguf} is one of {parts} parts of a model; wanted one file: join them with gguf-split --merge"
            )
        told = {"source": gguf.name, "licence": source.text("general.license"), **facts}
        sha256 = sha256_of(gguf)
        told |= {"source_sha256": sha256, "architecture": source.text("general.architecture", "unknown")}
        layout = {"version": source.version, "alignment": source.alignment, **_padding(source)}
        tokens = _Tokens(source)
        with building(database, "model", **told) as db:
            db.execute(
                "INSERT INTO file VALUES (0, ?, 'gguf', ?, ?, ?, NULL)",
                (gguf.name, source.size_bytes, sha256, json.dumps(layout)),
            )
            own_tables = {TOKENS, MERGES, *tokens.exact}
            db.executemany(
                "INSERT INTO hyperparameter VALUES (?, ?, ?, ?)",
                (
                    (position, f.key, f.type, None if f.key in own_tables else _cell(f))
                    for position, f in enumerate(source.fields.values())
                ),
            )
            db.executemany("INSERT INTO token VALUES (?, ?, ?, ?, ?)", tokens.rows())
            write_merges(db, _strings(source, MERGES), tokens.pieces)
            _write_tensors(db, source, progress, f"{database.stem}: import")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits: what `source_sha256` holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _padding(source: GGUF) -> dict[str, object]:
    """The layout's `padding`: the file's size and what stands between its parts, where those are not zeros."""
    odd, told = {}, 0
    for begin, end in source.padding():
        raw = source.part(begin, min(end, begin + MOST_PADDING_BYTES + 1))
        if raw.strip(b"\0"):
            odd[begin], told = raw.hex(), told + len(raw)
        if max(len(raw), told) > MOST_PADDING_BYTES:
            raise Error(
                f"{source.path} has more than {MOST_PADDING_BYTES} bytes outside of tensors, at byte {begin}; "
                "wanted one model and nothing else: convert it again"
            )
    usual = usual_end(source.head_bytes, ((t.offset, t.size_bytes) for t in source.tensors), source.alignment)
    if not odd and source.size_bytes == usual:
        return {}
    return {"padding": {"size_bytes": source.size_bytes, "bytes": odd}}


def _number(source: GGUF, key: str) -> int:
    field = source.fields.get(key)
    return field.value if field and isinstance(field.value, int) else 0


def _write_tensors(db: apsw.Connection, source: GGUF, progress: Progress, stage: str) -> None:
    total, done = sum(t.size_bytes for t in source.tensors), 0
    for number, tensor in enumerate(source.tensors):
        role, layer = role_and_layer(tensor.name)
        db.execute(
            "INSERT INTO tensor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, tensor.name, role, layer, tensor.dtype, json.dumps(tensor.shape),
             tensor.row_count, tensor.row_bytes, 0, tensor.offset),
        )  # fmt: skip
        if tensor.size_bytes:
            _write_data(db, source, number, tensor)
        done += tensor.size_bytes
        progress(stage, done, total)


def _write_data(db: apsw.Connection, source: GGUF, number: int, tensor: TensorInfo) -> None:
    with source.data(tensor) as data:
        write_rows(db, number, data, tensor.row_bytes)


def _cell(field: Field) -> int | float | str | bytes:
    """A value as SQLite keeps it; the source's bytes where SQLite would change it."""
    value = field.value
    if isinstance(value, Array):
        try:
            return json.dumps(_plain(value), allow_nan=False)
        except ValueError:
            return value.raw or packed(value)
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else field.raw
    return value if math.isfinite(value) and (value or math.copysign(1, value) > 0) else field.raw


def _plain(array: Array) -> list:
    """An array for JSON. Bytes that are not UTF-8 become lone surrogates; an inner array carries its type."""
    if array.type == "string":
        return [item.decode("utf-8", "surrogateescape") for item in array.items if isinstance(item, bytes)]
    if array.type == "array":
        return [{"type": item.type, "items": _plain(item)} for item in array.items if isinstance(item, Array)]
    return array.numbers().tolist()


def _text(raw: bytes) -> str | bytes:
    """Text where it is UTF-8, else the bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class _Tokens:
    """The vocabulary: pieces, and the columns of numbers that belong to them.

    `exact` names the columns whose every number the table `token` gives back as it is in the file.
    """

    def __init__(self, source: GGUF) -> None:
        self.pieces = _strings(source, TOKENS)
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
        types = self.columns.get(TYPES)
        scores = self.columns.get(SCORES)
        for number, raw in enumerate(self.pieces):
            kind = types[number] if types else _NORMAL
            piece = _text(raw)
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


def _plain_numbers(numbers: np.ndarray) -> list:
    """Numbers that SQLite takes: those of uint64 as REAL."""
    return (numbers.astype("f8") if numbers.dtype == np.uint64 else numbers).tolist()


def _is_exact(numbers: np.ndarray) -> bool:
    """Whether a column of REAL keeps each number: SQLite makes NULL of NaN, and 0.0 of -0.0."""
    changed = np.isnan(numbers) | ((numbers == 0) & np.signbit(numbers)) if numbers.dtype.kind == "f" else True
    return not np.any(changed)


def _strings(source: GGUF, key: str) -> tuple[bytes, ...]:
    field = source.fields.get(key)
    if field is None:
        return ()
    if not isinstance(field.value, Array) or field.value.type != "string":
        raise DamagedError(f"{source.path}: {key} is of type {field.type}; wanted array[string]")
    return tuple(item for item in field.value.items if isinstance(item, bytes))


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
        "INSERT INTO fragment VALUES (?, ?)", ((number, _text(piece)) for piece, number in fragments.items())
    )
