"""A delta laid over its base: a block of rows goes in, the same rows as the delta's maker left them come out."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import apsw
import numpy as np

from genome.db.blocks import checksum
from genome.db.connect import meta
from genome.db.patches import LOW_RANK, Patch, decoded, unpacked
from genome.db.states import state_over
from genome.errors import DamagedError
from genome.model.deltas.lowrank import DTYPES, added, most_rank
from genome.model.dtypes import numbers, row_bytes
from genome.model.queries import TensorRow

_KEPT_FACTORS = 4

_PATCHES = """
    SELECT first_row, row_count, iif(length(rows) > :most_rows, x'', rows), encoding, element_bytes, result,
        checksum, iif(length(data) > :most_data, NULL, data)
    FROM patch WHERE change_id = :change AND first_row >= :first AND first_row < :beyond ORDER BY first_row"""


class Change(NamedTuple):
    """A tensor that a delta changes; the columns of the table `change`."""

    id: int
    tensor: str
    dtype: str
    row_count: int
    row_bytes: int
    scale: float | None


def columns(row: TensorRow) -> int:
    """How many numbers a row of a tensor has."""
    return row.shape[-1] if row.shape else 1


class Overlay:
    """A delta, ready to be laid over its base.

    Args:
        db: an open `delta` database; it stays the caller's.

    Attributes:
        name: the delta's.
        facts: its `meta`.
        changes: the tensors that it changes, by name.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.facts = meta(db)
        if missing := sorted({"name", "checksum", "base_checksum"} - self.facts.keys()):
            raise DamagedError(f"{db.filename} does not say its {missing[0]}; build or copy it again")
        self.name = self.facts["name"]
        sql = "SELECT id, tensor, dtype, row_count, row_bytes, scale FROM change ORDER BY id"
        self.changes = {change.tensor: change for change in map(Change._make, db.execute(sql))}
        self._factors: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def over(self, state: str, under: str) -> str:
        """The state that it leads to.

        Args:
            state: the checksum of what it is to lie over.
            under: what that is called.

        Raises:
            Error: it was made for another state.
        """
        return state_over(state, under, self.facts)

    def after(self, row: TensorRow) -> TensorRow:
        """A tensor's description once the delta lies over it.

        Raises:
            DamagedError: the delta describes a tensor that the base cannot have.
        """
        change = self.changes.get(row.name)
        if change is None:
            return row
        wanted = row.row_bytes if change.dtype == row.dtype else row_bytes(change.dtype, columns(row))
        if (change.row_count, change.row_bytes) != (row.row_count, wanted):
            raise DamagedError(
                f"{self._db.filename}: {row.name} has {change.row_count} rows of {change.row_bytes} bytes there; "
                f"wanted {row.row_count} of {wanted}: make the delta again"
            )
        return row._replace(dtype=change.dtype, row_bytes=change.row_bytes)

    def lay(self, before: TensorRow, first: int, block: np.ndarray) -> np.ndarray:
        """A block of the base with the changed rows in it.

        Args:
            before: the tensor as it is below this delta.
            first: the block's first row.
            block: uint8, shape (rows, row_bytes), below this delta; it stays as it is.

        Returns:
            uint8, shape (rows, row_bytes afterwards).

        Raises:
            DamagedError: the delta is damaged: tensor and rows are named.
        """
        change = self.changes[before.name]
        same = change.dtype == before.dtype
        found = block.copy() if same else np.empty((len(block), change.row_bytes), np.uint8)
        filled = end = 0
        try:
            for patch in self.patches(change, first, len(block)):
                at = patch.first_row - first
                if at < end or patch.row_count < 1 or at + patch.row_count > len(block):
                    raise DamagedError("patches overlap, or reach beyond a block of the base")
                changed = at + patch.changed()
                found[changed] = decoded(patch, self._given(patch, before, first, block, changed), change.row_bytes)
                end, filled = at + patch.row_count, filled + len(changed)
            if not same and filled != len(block):
                raise DamagedError(f"{len(block) - filled} rows of another type are missing")
        except (DamagedError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{self._db.filename}: {before.name}, rows {first} to {first + len(block) - 1}: {error}; "
                "make or copy the delta again"
            ) from error
        return found

    def first_rows(self, tensor: str) -> list[int]:
        """Where the patches of a tensor begin, ascending."""
        sql = "SELECT first_row FROM patch WHERE change_id = ? ORDER BY first_row"
        found = [row for (row,) in self._db.execute(sql, (self.changes[tensor].id,))]
        if not all(type(row) is int and row >= 0 for row in found):
            raise DamagedError(f"{self._db.filename}: {tensor} has patches of no row; make the delta again")
        return found

    def patches(self, change: Change, first: int, count: int) -> Iterator[Patch]:
        """The patches that begin within some rows.

        Raises:
            DamagedError: one is longer than all of these rows afterwards: it is not read.
        """
        named = {
            "change": change.id, "first": first, "beyond": first + count,
            "most_rows": -(-count // 8), "most_data": count * change.row_bytes,
        }  # fmt: skip
        for row in self._db.execute(_PATCHES, named):
            if row[-1] is None:
                raise DamagedError(f"the patch of row {row[0]} is longer than the rows of its block")
            yield Patch._make(row)

    def told(self, tensor: str) -> tuple[int, int, tuple[str, ...]]:
        """What the delta holds of a tensor: how many rows change, in how many bytes, in which encodings."""
        number = self.changes[tensor].id
        sql = "SELECT row_count, rows, encoding, length(data) FROM patch WHERE change_id = ?"
        rows, size, encodings = 0, 0, set()
        for count, bits, encoding, length in self._db.execute(sql, (number,)):
            rows += count if bits is None else int.from_bytes(bits).bit_count()
            size += length
            encodings.add(encoding)
        sql = "SELECT coalesce(sum(length(data)), 0) FROM factor WHERE change_id = ?"
        return rows, size + next(n for (n,) in self._db.execute(sql, (number,))), tuple(sorted(encodings))

    def rows_of(self, tensor: str, number: int) -> Iterator[tuple[str, tuple]]:
        """What the delta's tables say about a tensor, under another number.

        Yields:
            The table; the row's values.

        Raises:
            DamagedError: they are not what was written.
        """
        change = self.changes[tensor]
        yield "change", (number, *change[1:])
        columns = {
            "patch": "first_row, row_count, rows, encoding, element_bytes, result",
            "factor": "name, dtype, row_count, column_count",
        }
        for table, names in columns.items():
            sql = f"SELECT {names}, checksum, data FROM {table} WHERE change_id = ? ORDER BY 1"
            for row in self._db.execute(sql, (change.id,)):
                if checksum(row[-1]) != row[-2]:
                    raise DamagedError(f"{self._db.filename}: {tensor}: a {table} is damaged; copy the delta again")
                yield table, (number, *row)

    def _given(
        self, patch: Patch, before: TensorRow, first: int, block: np.ndarray, changed: np.ndarray
    ) -> np.ndarray:
        """What a patch begins with: the rows as they were, or the product's."""
        if patch.encoding != LOW_RANK:
            return block[changed]
        change = self.changes[before.name]
        left, right = self._product(change, columns(before))
        base = numbers(block[changed], before.dtype)
        return added(base, left[first + changed], right, change.scale or 0.0, change.dtype)

    def _product(self, change: Change, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The factors (rows, rank) and (rank, columns) of a change."""
        if (kept := self._factors.get(change.id)) is None:
            most = most_rank(change.row_count, width)
            left = self._factor(change, "B", change.row_count, most)
            right = self._factor(change, "A", most, width)
            if len(left) != change.row_count or left.shape[1] != len(right) or right.shape[1] != width:
                raise DamagedError(f"factors of shape {left.shape} and {right.shape}")
            kept = self._factors[change.id] = left, right
            if len(self._factors) > _KEPT_FACTORS:
                self._factors.popitem(last=False)
        return kept

    def _factor(self, change: Change, name: str, most_rows: int, most_columns: int) -> np.ndarray:
        sql = """
            SELECT dtype, row_count, column_count, checksum, CASE WHEN length(data) <= :most THEN data END
            FROM factor WHERE change_id = :change AND name = :name"""
        named = {
            "change": change.id,
            "name": name,
            "most": 9 * most_rows * most_columns + 1024,
        }  # as float64, not compressible
        for dtype, rows, width, expected, data in self._db.execute(sql, named):
            size = DTYPES.get(dtype)
            if not (size and 0 < rows <= most_rows and 0 < width <= most_columns and data is not None):
                raise DamagedError(f"its factor {name} is {rows} x {width} numbers of type {dtype!r:.40}")
            if checksum(data) != expected:
                raise DamagedError(f"its factor {name} is not what was written")
            return numbers(unpacked(data, (rows, width * size), size), dtype)
        raise DamagedError(f"its factor {name} is missing")
