"""A delta is applied to its base in place, and taken back: one transaction, and nothing else is written."""

import datetime
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw
import numpy as np

from genome.db.blocks import checksum
from genome.db.connect import writing
from genome.db.contents import Digest, digests, noted, turned
from genome.db.patches import Patch, between, decoded
from genome.errors import DamagedError, Error
from genome.model import queries
from genome.model.deltas.overlay import Overlay
from genome.model.dtypes import element_bytes
from genome.model.queries import TensorRow
from genome.model.weights import Weights

_STATE = ("checksum", "uuid")
_BLOCK = "SELECT id, array, first_row, row_count, checksum, data FROM block "


class Applied(NamedTuple):
    """A delta that was applied in place: its name and checksum, the model's checksum afterwards, when (UTC)."""

    name: str
    checksum: str
    result: str
    created: str


class _Block(NamedTuple):
    id: int
    array: int
    first_row: int
    row_count: int
    checksum: int
    data: bytes

    def rows(self, tensor: TensorRow) -> np.ndarray:
        """Its bytes, checked: uint8, shape (rows, row_bytes)."""
        if checksum(self.data) != self.checksum or len(self.data) != self.row_count * tensor.row_bytes:
            raise DamagedError(
                f"tensor {tensor.name}, rows {self.first_row} to {self.first_row + self.row_count - 1} are damaged;"
                " `genome verify` lists all damage and says how to make the database again"
            )
        return np.frombuffer(self.data, np.uint8).reshape(self.row_count, tensor.row_bytes)


def apply_delta(model: Path, delta: apsw.Connection) -> Applied:
    """Writes a delta's rows into its base, and beside them what takes them back.

    The model is then in the state that it has with the delta laid over it: what was made for one fits the other.
    All is one transaction: killed anywhere, the model is in the old state or in the new one. Blocks keep their
    rows.

    Args:
        model: the model database.
        delta: an open delta that was made for it.

    Raises:
        Error: the delta was made for another state, the file cannot be written, or another program writes it.
        DamagedError: model or delta is damaged; then nothing has changed.
    """
    with writing(model, "model") as db:
        weights = Weights(db, deltas=[delta])
        (overlay,), facts, book = weights.overlays, weights.facts, _Book(db)
        made = Applied(overlay.name, overlay.facts["checksum"], weights.state, _now())
        pairs = [(weights.below(name), weights.tensor(name)) for name in overlay.changes]
        retyped = [(below, above) for below, above in pairs if below.dtype != above.dtype]
        earlier = {
            "meta": {key: facts[key] for key in _STATE},
            "contents": book.digests,
            "tensors": [(below.id, below.dtype, below.row_bytes) for below, _ in retyped],
        }
        number = next(n for (n,) in db.execute("SELECT coalesce(max(id) + 1, 0) FROM applied"))
        db.execute("INSERT INTO applied VALUES (?, ?, ?, ?, ?, ?)", (number, *made, json.dumps(earlier)))
        for below, above in pairs:
            rows = overlay.first_rows(below.name) if below.dtype == above.dtype else weights.starts(below)
            for block in _holding(db, below, rows):
                _change(db, book, number, block, below, above, overlay)
        _set_types(db, [(above.id, above.dtype, above.row_bytes) for _, above in retyped])
        _set_state(db, {"checksum": made.result, "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, made.result))})
        book.close(bool(retyped))
    return made


def undo(model: Path) -> Applied:
    """Takes back the delta that was applied last: all rows have the bytes again that they had, and the old state.

    Raises:
        Error: no delta was applied, the file cannot be written, or another program writes it.
        DamagedError: what takes it back is damaged, or the changed rows are; then nothing has changed.
    """
    with writing(model, "model") as db, _as_damage(model):
        made = lineage(db)
        if not made:
            raise Error(f"no delta was applied to {model.stem}; there is nothing to undo")
        book, tensors = _Book(db), {row.id: row for row in queries.tensors(db)}
        sql = "SELECT id, earlier FROM applied ORDER BY id DESC LIMIT 1"
        number, earlier = next((number, json.loads(text)) for number, text in db.execute(sql))
        types = {tensor: (dtype, row_bytes) for tensor, dtype, row_bytes in earlier["tensors"]}
        sql = (
            "SELECT block_id, " + ", ".join(Patch._fields) + " FROM inverse WHERE applied_id = ? ORDER BY block_id"
        )
        for block_id, *values in db.execute(sql, (number,)):
            block = next(map(_Block._make, db.execute(_BLOCK + "WHERE id = ?", (block_id,))))
            above = tensors[block.array]
            dtype, row_bytes = types.get(above.id, (above.dtype, above.row_bytes))
            _restore(db, book, block, Patch._make(values), above, above._replace(dtype=dtype, row_bytes=row_bytes))
        db.execute("DELETE FROM inverse WHERE applied_id = ?", (number,))
        db.execute("DELETE FROM applied WHERE id = ?", (number,))
        _set_types(db, earlier["tensors"])
        _set_state(db, earlier["meta"])
        book.digests["inverse"] = tuple(earlier["contents"]["inverse"])
        if book.close(bool(types)) != {table: tuple(digest) for table, digest in earlier["contents"].items()}:
            raise DamagedError(f"{model} does not come back as it was; `genome verify` lists all damage")
    return made[-1]


def lineage(db: apsw.Connection) -> list[Applied]:
    """The deltas that were applied to a model in place, in their order."""
    return list(map(Applied._make, db.execute("SELECT name, checksum, result, created FROM applied ORDER BY id")))


@contextmanager
def _as_damage(model: Path) -> Iterator[None]:
    """What a file says about its last change may be a stranger's: whatever does not fit is damage."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise DamagedError(
            f"{model}: what takes back its last delta is damaged ({error!r:.60}); `genome verify` lists all damage"
        ) from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class _Book:
    """The digests of the tables that a change touches, kept up while it goes on."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        sql = "SELECT table_name, row_count, sha256 FROM contents WHERE table_name IN (?, ?, ?, ?, ?)"
        found = db.execute(sql, ("applied", "block", "inverse", "meta", "tensor"))
        self.digests: dict[str, Digest] = {table: (rows, sha) for table, rows, sha in found}

    def turn(self, table: str, gone: tuple, come: tuple) -> None:
        """A row of a table is another one now; empty where there was none."""
        self.digests[table] = turned(self.digests[table], [gone] if gone else [], [come])

    def close(self, types: bool) -> dict[str, Digest]:
        """Writes all of them down; `types` says whether tensors have other types now."""
        self.digests |= digests(self._db, ["applied", "meta", *(["tensor"] if types else [])])
        noted(self._db, self.digests)
        return self.digests


def _holding(db: apsw.Connection, tensor: TensorRow, rows: list[int]) -> Iterator[_Block]:
    """The blocks of a tensor that hold some rows (ascending), each once."""
    sql, beyond = _BLOCK + "WHERE array = ? AND first_row <= ? ORDER BY first_row DESC LIMIT 1", 0
    for row in rows:
        if row < beyond:
            continue
        for block in map(_Block._make, db.execute(sql, (tensor.id, row))):
            beyond = block.first_row + block.row_count
            yield block
        if row >= beyond:
            raise DamagedError(f"{db.filename}: {tensor.name} has no block with row {row}; build it again")


def _change(
    db: apsw.Connection,
    book: _Book,
    number: int,
    block: _Block,
    below: TensorRow,
    above: TensorRow,
    overlay: Overlay,
) -> None:
    """Changes a block's rows, and notes what leads back."""
    old = block.rows(below)
    new = overlay.lay(below, block.first_row, old)
    same = above.dtype == below.dtype
    inverse = between(new if same else None, old, block.first_row, element_bytes(below.dtype, below.row_bytes))
    if inverse is not None:
        db.execute(f"INSERT INTO inverse VALUES ({', '.join('?' * 10)})", (number, block.id, *inverse))
        book.turn("inverse", (), (number, block.id, *inverse[:-1]))
        _write(db, book, block, new)


def _restore(
    db: apsw.Connection, book: _Book, block: _Block, inverse: Patch, above: TensorRow, below: TensorRow
) -> None:
    """Gives a block's rows the bytes that they had."""
    new, at = block.rows(above), inverse.first_row - block.first_row
    old = new.copy() if above.dtype == below.dtype else np.empty((block.row_count, below.row_bytes), np.uint8)
    try:
        if at < 0 or inverse.row_count < 1 or at + inverse.row_count > block.row_count:
            raise DamagedError("it reaches beyond their block")
        changed = at + inverse.changed()
        old[changed] = decoded(inverse, new[changed], below.row_bytes)
    except DamagedError as error:
        raise DamagedError(
            f"{db.filename}: tensor {above.name}, rows {block.first_row} to "
            f"{block.first_row + block.row_count - 1}: what takes them back: {error}; build it again"
        ) from error
    _write(db, book, block, old)


def _write(db: apsw.Connection, book: _Book, block: _Block, rows: np.ndarray) -> None:
    data = rows.tobytes()
    after = block._replace(checksum=checksum(data), data=data)
    db.execute("UPDATE block SET checksum = ?, data = ? WHERE id = ?", (after.checksum, data, block.id))
    book.turn("block", block[:-1], after[:-1])


def _set_types(db: apsw.Connection, types: list[tuple[int, str, int]]) -> None:
    sql = "UPDATE tensor SET dtype = ?, row_bytes = ? WHERE id = ?"
    db.executemany(sql, [(dtype, row_bytes, tensor) for tensor, dtype, row_bytes in types])


def _set_state(db: apsw.Connection, state: dict[str, str]) -> None:
    db.executemany("UPDATE meta SET value = ? WHERE key = ?", [(state[key], key) for key in _STATE])
