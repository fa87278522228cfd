"""All SQL of this room that reads: plain rows by number, text or role. Needs no jax."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import apsw

from genome.errors import Error, NotFoundError

_MOST_ROWS = 1 << 40

Asked = apsw.Connection | apsw.Cursor
"""What answers a question: a connection, or one cursor for many small ones (`genome.db.connection.looking_up`)."""


class TokenRow(NamedTuple):
    """A token: the number the model uses, the source's spelling, the bytes in text, GGUF's type, the score."""

    id: int
    piece: str
    bytes: bytes
    type: int
    score: float | None


class TensorRow(NamedTuple):
    """A tensor: shape has rows first; `row_bytes` as stored."""

    id: int
    name: str
    role: str
    layer: int | None
    dtype: str
    shape: tuple[int, ...]
    row_count: int
    row_bytes: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tensor as stored."""
        return self.row_count * self.row_bytes


class FileRow(NamedTuple):
    """A file that the model came from; `layout` is what its format leaves open."""

    id: int
    name: str
    format: str
    size_bytes: int
    sha256: str
    layout: dict


_TOKEN = "SELECT id, piece, bytes, type, score FROM token "
_TENSOR = "SELECT id, name, role, layer, dtype, shape, row_count, row_bytes FROM tensor "


def find_tokens(
    db: apsw.Connection,
    *,
    exact: str | bytes | None = None,
    prefix: str | bytes | None = None,
    contains: str | bytes | None = None,
    limit: int | None = None,
) -> list[TokenRow]:
    """Tokens by what they stand for in text (not by their spelling), in the order of their numbers.

    Exactly one of `exact`, `prefix`, `contains` is given. `exact` and `prefix` go through an index,
    `contains` looks at every token; none reads a weight.

    Args:
        db: a model database.
        exact: the whole text or bytes.
        prefix: how the text begins, blanks included.
        contains: what stands anywhere in it.
        limit: at most so many rows.

    Raises:
        Error: none or several of the three, an empty text, or a limit below 0.
    """
    texts = (("exact", exact), ("prefix", prefix), ("contains", contains))
    given = [(how, text) for how, text in texts if text is not None]
    if len(given) != 1:
        named = ", ".join(how for how, _ in given)
        raise Error(f"wanted one of exact, prefix or contains, got {named or 'none'}")
    if limit is not None and limit < 0:
        raise Error(f"the limit is {limit}; wanted 0 or more")
    ((how, text),) = given
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if not raw:
        raise Error("the text to look for is empty; wanted at least one character")
    sql, values = _by_bytes(how, raw)
    bound = _MOST_ROWS if limit is None else limit
    rows = db.execute(f"{_TOKEN} {sql} ORDER BY id LIMIT ?", (*values, bound))
    return [_token(row) for row in rows]


def _by_bytes(how: str, raw: bytes) -> tuple[str, tuple]:
    if how == "exact":
        return "WHERE bytes = ?", (raw,)
    if how == "contains":
        return "WHERE instr(bytes, ?)", (raw,)
    stem = raw.rstrip(b"\xff")  # the first bytes beyond all that begin so; none where every byte is 0xFF
    if not stem:
        return "WHERE bytes >= ?", (raw,)
    return "WHERE bytes >= ? AND bytes < ?", (raw, stem[:-1] + bytes([stem[-1] + 1]))


def _token(row: tuple) -> TokenRow:
    number, piece, raw, kind, score = row
    return TokenRow(number, piece if isinstance(piece, str) else piece.decode("utf-8", "replace"), raw, kind, score)


def token_count(db: apsw.Connection) -> int:
    """How many tokens there are: the largest number and one."""
    return next((number + 1 for (number,) in db.execute("SELECT id FROM token ORDER BY id DESC LIMIT 1")), 0)


def token_bytes(db: apsw.Connection, number: int) -> tuple[bytes, int] | None:
    """What a token stands for in text, and its type; None if there is no such token."""
    return next(iter(db.execute("SELECT bytes, type FROM token WHERE id = ?", (number,))), None)


def all_tokens(db: apsw.Connection) -> Iterator[TokenRow]:
    """Every token in the order of numbers, one at a time."""
    return (_token(row) for row in db.execute(_TOKEN + "ORDER BY id"))


def token_texts(db: apsw.Connection) -> Iterator[tuple[int, bytes, int]]:
    """Number, bytes in text and type of every token."""
    return iter(db.execute("SELECT id, bytes, type FROM token ORDER BY id"))


def row_count(db: apsw.Connection, table: Literal["token", "merge"]) -> int:
    """How many rows a table has."""
    return next(number for (number,) in db.execute(f"SELECT count(*) FROM {table}"))


def pieces(db: apsw.Connection) -> Iterator[str | bytes]:
    """Every token as the source spells it; bytes where that is not UTF-8."""
    return (piece for (piece,) in db.execute("SELECT piece FROM token ORDER BY id"))


def token_column(db: apsw.Connection, name: Literal["type", "score"]) -> Iterator[int | float]:
    """A column of numbers in the order of the tokens."""
    return (value for (value,) in db.execute(f"SELECT {name} FROM token ORDER BY id"))


def special_tokens(db: apsw.Connection) -> list[tuple[int, str, int]]:
    """Number, spelling and type of the unknown, control and user-defined tokens."""
    sql = "SELECT id, piece, type FROM token WHERE type <> 1 AND type IN (2, 3, 4) AND typeof(piece) = 'text'"
    return list(db.execute(sql))


def piece_id(db: Asked, piece: str) -> int | None:
    """The number of the token spelled so; the last one where several are."""
    sql = "SELECT id FROM token WHERE piece = ? ORDER BY id DESC LIMIT 1"
    return _first(db.execute(sql, (piece,)).fetchone())


def scored_piece(db: Asked, piece: str) -> tuple[int, float] | None:
    """Number and score (0 where it has none) of the token spelled so; of the last one where several are."""
    sql = "SELECT id, coalesce(score, 0.0) FROM token WHERE piece = ? ORDER BY id DESC LIMIT 1"
    return db.execute(sql, (piece,)).fetchone()


def pieces_across(db: apsw.Connection, sign: str) -> list[str]:
    """The spellings of all tokens that have a sign behind another one."""
    sql = "SELECT piece FROM token WHERE instr(ltrim(piece, :sign), :sign) AND typeof(piece) = 'text'"
    return [piece for (piece,) in db.execute(sql, {"sign": sign})]


def has_merges(db: apsw.Connection) -> bool:
    """Whether the model has merges; one of SentencePiece as GGUF has scores instead."""
    return bool(next(found for (found,) in db.execute("SELECT EXISTS (SELECT 1 FROM merge)")))


def fragment_id(db: Asked, piece: str) -> int | None:
    """The number (below 0) of a part of merges that is no token."""
    return _first(db.execute("SELECT id FROM fragment WHERE piece = ?", (piece,)).fetchone())


def fragment_piece(db: Asked, number: int) -> str:
    """The spelling of a part of merges that is no token."""
    sql = "SELECT piece FROM fragment WHERE id = ?"
    piece = _first(db.execute(sql, (number,)).fetchone()) or ""
    return piece if isinstance(piece, str) else piece.decode("utf-8", "replace")


def merge(db: Asked, left: int, right: int) -> tuple[int, int] | None:
    """Rank and result of a pair of parts; None if they do not merge."""
    # A pair has one result: the order is that of the index, so that nothing is sorted.
    sql = "SELECT rank, result_id FROM merge WHERE left_id = ? AND right_id = ? ORDER BY result_id, rank LIMIT 1"
    return db.execute(sql, (left, right)).fetchone()


def _first(row: tuple | None) -> Any:
    """The one value of a row; None where there is no row."""
    return None if row is None else row[0]


def merge_parts(db: apsw.Connection) -> Iterator[tuple[str | bytes, int, str | bytes | None]]:
    """The source's lines of merges in their order: first part, whether there is a second one, the second one."""
    sql = """
        SELECT coalesce(l.piece, lf.piece), m.right_id IS NOT NULL, coalesce(r.piece, rf.piece)
        FROM merge m
        LEFT JOIN token l ON l.id = m.left_id LEFT JOIN fragment lf ON lf.id = m.left_id
        LEFT JOIN token r ON r.id = m.right_id LEFT JOIN fragment rf ON rf.id = m.right_id
        ORDER BY m.rank"""
    return iter(db.execute(sql))


def tensors(db: apsw.Connection) -> list[TensorRow]:
    """All tensors in the source's order."""
    return [_tensor(row) for row in db.execute(_TENSOR + "ORDER BY id")]


def tensor(db: apsw.Connection, name: str) -> TensorRow:
    """One tensor by its name.

    Raises:
        NotFoundError: the model has no tensor of that name.
    """
    for row in db.execute(_TENSOR + "WHERE name = ?", (name,)):
        return _tensor(row)
    raise NotFoundError(f"{db.filename} has no tensor {name!r}; `genome query NAME tensors` lists them")


def files(db: apsw.Connection) -> list[FileRow]:
    """The files that the model came from, in the order of their set."""
    sql = "SELECT id, name, format, size_bytes, sha256, layout FROM file ORDER BY id"
    return [
        FileRow(n, name, kind, size, sha, _from_json(layout))
        for n, name, kind, size, sha, layout in db.execute(sql)
    ]


def head(db: apsw.Connection, file: int) -> bytes:
    """What is kept of a file beside its tensors, Zstandard; empty where the tables say it."""
    return next((found or b"" for (found,) in db.execute("SELECT head FROM file WHERE id = ?", (file,))), b"")


def tensors_of_file(db: apsw.Connection, file: int) -> list[TensorRow]:
    """The tensors that one file held, in the order of their places in it."""
    return [_tensor(row) for row in db.execute(_TENSOR + "WHERE file_id = ? ORDER BY offset, id", (file,))]


def is_changed(db: apsw.Connection) -> bool:
    """Whether deltas were applied to the model, so that it is not what its source says."""
    return bool(next(found for (found,) in db.execute("SELECT EXISTS (SELECT 1 FROM applied)")))


def places(db: apsw.Connection) -> list[tuple[int, int]]:
    """The file of each tensor and where its data began in it, in bytes; in the order of `tensors`."""
    return list(db.execute("SELECT file_id, offset FROM tensor ORDER BY id"))


def _tensor(row: tuple) -> TensorRow:
    number, name, role, layer, dtype, shape, rows, row_bytes = row
    return TensorRow(number, name, role, layer, dtype, tuple(_from_json(shape)), rows, row_bytes)


def fields(db: apsw.Connection) -> Iterator[tuple[str, str, int | float | str | bytes | None]]:
    """Metadata as stored: key, the source's type, value."""
    return iter(db.execute("SELECT key, type, value FROM hyperparameter ORDER BY position"))


def hyperparameters(db: apsw.Connection) -> dict[str, object]:
    """Metadata in the source's order; arrays as lists, None for what has a table of its own."""
    sql = "SELECT key, type, value FROM hyperparameter ORDER BY position"
    return {key: _value(kind, value) for key, kind, value in db.execute(sql)}


def hyperparameter(db: apsw.Connection, key: str) -> object:
    """One value of the metadata; None where the key is missing or has a table of its own."""
    sql = "SELECT type, value FROM hyperparameter WHERE key = ?"
    return next((_value(kind, value) for kind, value in db.execute(sql, (key,))), None)


def _value(kind: str, value: object) -> object:
    if kind.startswith("array") and isinstance(value, str):
        return _from_json(value)
    return bool(value) if kind == "bool" else value


def _from_json(text: str) -> Any:
    import json  # 2 ms that a tokenizer does not wait for

    return json.loads(text)
