"""A GGUF file, or a set of them, becomes a `model` database from which each comes out again as it was."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import apsw
import zstandard

from genome.db.blocks import write_rows
from genome.db.build import building
from genome.errors import Error
from genome.model.formats.gguf import GGUF, reading
from genome.model.formats.gguf_form import Array, Field, packed, usual_end
from genome.model.formats.names import role_and_layer, unit_rows
from genome.model.formats.splits import first_part, other_parts
from genome.model.formats.vocabulary import MERGES, TOKENS, Tokens, strings, text_or_bytes, write_merges
from genome.progress import Progress, silent

MOST_HEAD_BYTES = 100_000_000
_MOST_PADDING_BYTES = 1 << 20
_MOST_ALIGNMENT_BYTES = 1 << 26


def import_gguf(gguf: Path, database: Path, *, progress: Progress = silent, **facts: str) -> None:
    """Writes a GGUF file's metadata, tensors, tokens and merges into a new `model` database.

    Args:
        gguf: the file, version 2 or 3, little or big endian; of a split model any part, beside which the others
            are found by the names that llama.cpp gives them (NAME-00001-of-00003.gguf).
        database: the database's final name; what stands there is replaced when all is written.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence. `source_sha256` and `architecture` come
            from the file; of a set see `set_sha256`.

    Raises:
        NotFoundError, DamagedError: the file is missing, no GGUF file, truncated or inconsistent.
        Error: a form of GGUF that this program does not read, a part of another set, or the disk is full.
    """
    with reading(first_part(gguf)) as first:
        parts = [first, *other_parts(first, gguf)]
        digests = {_name(part): sha256_of(part.path) for part in parts}
        told = {"source": gguf.name, "licence": first.text("general.license"), **facts}
        if told["source"] == gguf.name:
            told["source"] = _name(first)  # the same for a set, whichever part of it was given
        told |= {"source_sha256": set_sha256(digests.items())}
        told |= {"architecture": first.text("general.architecture", "unknown")}
        with building(database, "model", **told) as db:
            _write_metadata(db, first)
            total_bytes = sum(tensor.size_bytes for part in parts for tensor in part.tensors)
            writer = _Tensors(db, first, total_bytes, partial(progress, f"{database.stem}: import"))
            for number, part in enumerate(parts):
                with reading(part.path) if number else nullcontext(first) as source:
                    _write_file(db, number, source, digests[_name(part)])
                    writer.write(number, source)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        Error: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def set_sha256(files: Iterable[tuple[str, str]]) -> str:
    """What `source_sha256` holds: of one file its SHA-256; of several that of the lines `name sha256`, sorted.

    Args:
        files: each file's name and SHA-256.

    Example:
        >>> set_sha256([("a.gguf", "e3b0c442")]), set_sha256([("b", "1"), ("a", "2")])[:8]
        ('e3b0c442', 'f83064ff')
    """
    told = sorted((_as_text(name), sha256) for name, sha256 in files)
    if len(told) == 1:
        return told[0][1]
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in told)
    return hashlib.sha256(lines.encode()).hexdigest()


def most_padding_bytes(alignment: int) -> int:
    """The longest run of bytes of no tensor that is taken between two tensors, or before or after all."""
    return max(_MOST_PADDING_BYTES, min(alignment, _MOST_ALIGNMENT_BYTES))


def _name(source: GGUF) -> str:
    return _as_text(source.path.name)


def _as_text(name: str) -> str:
    """A file's name as a database can keep it: what is no UTF-8 in it is replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _write_metadata(db: apsw.Connection, source: GGUF) -> None:
    tokens = Tokens(source)
    own_tables = {TOKENS, MERGES, *tokens.exact}
    db.executemany(
        "INSERT INTO hyperparameter VALUES (?, ?, ?, ?)",
        (
            (position, f.key, f.type, None if f.key in own_tables else _cell(f))
            for position, f in enumerate(source.fields.values())
        ),
    )
    db.executemany("INSERT INTO token VALUES (?, ?, ?, ?, ?)", tokens.rows())
    write_merges(db, strings(source, MERGES), tokens.pieces)


def _write_file(db: apsw.Connection, number: int, source: GGUF, sha256: str) -> None:
    """What the file leaves open; of a part that is not the first, header and metadata as well."""
    layout: dict[str, object] = {"version": source.version, "alignment": source.alignment}
    if source.order == ">":
        layout["byte_order"] = "big"
    layout |= _padding(source)
    head = None
    if number:
        if source.fields_end > MOST_HEAD_BYTES:
            raise Error(
                f"{source.path} has {source.fields_end} bytes of metadata; wanted at most {MOST_HEAD_BYTES} in a "
                "part that is not the first: split the model again"
            )
        head = zstandard.compress(source.part(0, source.fields_end))
    db.execute(
        "INSERT INTO file VALUES (?, ?, 'gguf', ?, ?, ?, ?)",
        (number, _name(source), source.size_bytes, sha256, json.dumps(layout), head),
    )


def _padding(source: GGUF) -> dict[str, object]:
    """The layout's `padding`: the file's size and what stands between its parts, where those are not zeros."""
    odd, told, most = {}, 0, most_padding_bytes(source.alignment)
    for begin, end in source.padding():
        raw = source.part(begin, min(end, begin + most + 1))
        if raw.strip(b"\0"):
            odd[begin], told = raw.hex(), told + len(raw)
        if len(raw) > most or told > _MOST_PADDING_BYTES:
            raise Error(
                f"{source.path} has more than {most} bytes outside of tensors, at byte {begin}; "
                "wanted one model and nothing else: convert it again"
            )
    usual = usual_end(source.head_bytes, ((t.offset, t.size_bytes) for t in source.tensors), source.alignment)
    if not odd and source.size_bytes == usual:
        return {}
    return {"padding": {"size_bytes": source.size_bytes, "bytes": odd}}


class _Tensors:
    """Writes the tensors of one file after another, numbered through; heads and experts get blocks of their own."""

    def __init__(
        self, db: apsw.Connection, first: GGUF, total_bytes: int, told: Callable[[int, int], object]
    ) -> None:
        self._db, self._total_bytes, self._told = db, total_bytes, told
        self._number = self._done_bytes = 0
        self._head_rows = _head_rows(first)

    def write(self, file: int, source: GGUF) -> None:
        """Writes a file's tensors; `file` is its number."""
        for tensor in source.tensors:
            role, layer = role_and_layer(tensor.name)
            self._db.execute(
                "INSERT INTO tensor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._number, tensor.name, role, layer, tensor.dtype, json.dumps(tensor.shape),
                 tensor.row_count, tensor.row_bytes, file, tensor.offset),
            )  # fmt: skip
            if tensor.size_bytes:
                unit = unit_rows(role, tensor.shape, self._head_rows.get(role))
                with source.data(tensor) as data:
                    write_rows(self._db, self._number, data, tensor.row_bytes, unit)
            self._number += 1
            self._done_bytes += tensor.size_bytes
            self._told(self._done_bytes, self._total_bytes)


def _head_rows(source: GGUF) -> dict[str, int]:
    """How many rows a head has in the tensors that are cut by heads."""
    attention = f"{source.text('general.architecture')}.attention."
    width = source.number(f"{source.text('general.architecture')}.embedding_length")
    usual = width // max(1, source.number(attention + "head_count"))
    key = source.number(attention + "key_length", usual)
    value = source.number(attention + "value_length", usual)
    rows = {"attn_q": key, "attn_k": key, "attn_v": value, "attn_qkv": key if key == value else 0}
    return {role: count for role, count in rows.items() if count > 0}


def _cell(field: Field) -> int | float | str | bytes:
    """A value as SQLite keeps it; the source's bytes where SQLite would change it."""
    value = field.value
    if isinstance(value, Array):
        try:
            return json.dumps(_plain(value), allow_nan=False)
        except ValueError:
            return value.raw or packed(value)
    if isinstance(value, bytes):
        return text_or_bytes(value)
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
