"""Arrays in rows: bytes cut between rows into blocks, each with a checksum that every read compares.

Works on any table `block(id, array, first_row, row_count, checksum, data)` with an index on (array, first_row).
"""

from collections.abc import Iterator

import apsw
import xxhash

from genome.errors import DamagedError, Error, NotFoundError

BLOCK_BYTES = 64 * 1024
_LEAST_UNIT_BYTES = 4096

_ALL_ROWS = 1 << 62

# The block that holds row :first is the last one that begins at or before it.
_BLOCKS = """
    SELECT first_row, row_count, checksum, data FROM block
    WHERE array = :array AND first_row < :beyond AND first_row >= coalesce(
        (SELECT max(first_row) FROM block WHERE array = :array AND first_row <= :first), 0)
    ORDER BY first_row"""


def checksum(data: bytes | memoryview) -> int:
    """XXH3-64 of some bytes as SQLite's signed integer.

    Example:
        >>> checksum(b"")  # 0x2D06800538D394C2, the test vector of the XXH3 specification
        3244421341483603138
    """
    unsigned = xxhash.xxh3_64_intdigest(data)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def write_rows(
    db: apsw.Connection, array: int, data: bytes | memoryview, row_bytes: int, unit_rows: int | None = None
) -> None:
    """Stores an array's bytes as blocks of whole rows, at most 64 KiB each (or one row, where that is longer).

    Args:
        db: a database being built.
        array: the array's number.
        data: all rows, contiguous; a multiple of `row_bytes`.
        row_bytes: the size of one row.
        unit_rows: rows that are wanted together and without their neighbours, such as those of one attention
            head or of one expert: no block holds rows of two such units. Units below 4 KiB are joined, so that
            a block is not smaller than that.

    Raises:
        Error: the bytes are not a whole number of rows, or a unit has no row.
    """
    data = memoryview(data).cast("B")
    if row_bytes < 1 or len(data) % row_bytes:
        raise Error(
            f"array {array} has {len(data)} bytes; wanted whole rows of {row_bytes} bytes: check the source"
        )
    if unit_rows is not None and unit_rows < 1:
        raise Error(f"array {array} has units of {unit_rows} rows; wanted 1 or more: check the source")
    db.executemany(
        "INSERT INTO block (array, first_row, row_count, checksum, data) VALUES (?, ?, ?, ?, ?)",
        (
            (array, first, count, checksum(part), part)
            for first, count in cuts(len(data) // row_bytes, row_bytes, unit_rows)
            for part in [data[first * row_bytes : (first + count) * row_bytes]]
        ),
    )


def cuts(rows: int, row_bytes: int, unit_rows: int | None = None) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each block of an array; the arguments are those of `write_rows`.

    A unit that is too long for one block is cut into blocks of about the same size.

    Example:
        >>> list(cuts(6, 20_000)), list(cuts(12, 20_000, unit_rows=4))
        ([(0, 3), (3, 3)], [(0, 2), (2, 2), (4, 2), (6, 2), (8, 2), (10, 2)])
    """
    most = max(1, BLOCK_BYTES // row_bytes)
    unit, step = rows, most
    if unit_rows is not None and unit_rows < rows:
        unit = unit_rows * max(1, -(-_LEAST_UNIT_BYTES // (unit_rows * row_bytes)))
        step = -(-unit // -(-unit // most))
    for begin in range(0, rows, max(1, unit)):
        end = min(begin + unit, rows)
        for first in range(begin, end, step):
            yield first, min(step, end - first)


def iter_rows(
    db: apsw.Connection, array: int, first: int = 0, count: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """The blocks that hold rows `first` to `first + count` (all without a count), checked.

    Yields:
        first row, number of rows, bytes: of each whole block, in order, one beginning where the last one ended.

    Raises:
        DamagedError: a block's bytes are not those that were written, or one between two others is missing.
    """
    beyond = _ALL_ROWS if count is None else first + count
    wanted = None
    for at, rows, expected, data in db.execute(_BLOCKS, {"array": array, "first": first, "beyond": beyond}):
        if checksum(data) != expected or (wanted is not None and at != wanted):
            raise DamagedError(
                f"{db.filename}: array {array}, rows {at} to {at + rows - 1} are damaged; "
                "`genome verify` lists all damage and says how to make the database again"
            )
        yield at, rows, data
        wanted = at + rows


def starts(db: apsw.Connection, array: int) -> list[int]:
    """The first row of each of an array's blocks, in order; no block is read."""
    sql = "SELECT first_row FROM block WHERE array = ? ORDER BY first_row"
    return [first for (first,) in db.execute(sql, (array,))]


def read_rows(db: apsw.Connection, array: int, first: int, count: int, row_bytes: int) -> bytes:
    """The bytes of some rows, from no other blocks than those that hold them.

    Raises:
        NotFoundError: the array has no such rows.
        DamagedError: a block is damaged or missing.
    """
    if first < 0 or count < 0:
        raise NotFoundError(f"array {array} has no rows {first} to {first + count - 1}; wanted numbers from 0 on")
    parts = []
    for at, _, data in iter_rows(db, array, first, count):
        begin = max(0, first - at) * row_bytes
        parts.append(data[begin : (first + count - at) * row_bytes])
    found = b"".join(parts)
    if len(found) != count * row_bytes:
        raise NotFoundError(
            f"{db.filename}: array {array} has no rows {first} to {first + count - 1}; ask for rows that it has"
        )
    return found
