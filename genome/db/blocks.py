"""Arrays in rows: bytes cut between rows into blocks, each with a checksum that every read compares.

Works on any table `block(id, array, first_row, row_count, checksum, data)`.
"""

from collections.abc import Iterator

import apsw
import xxhash

from genome.errors import DamagedError

BLOCK_BYTES = 64 * 1024


def checksum(data: bytes | memoryview) -> int:
    """XXH3-64 of some bytes as SQLite's signed integer."""
    unsigned = xxhash.xxh3_64_intdigest(data)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def write_rows(db: apsw.Connection, array: int, data: memoryview, row_bytes: int) -> None:
    """Stores an array's bytes as blocks of whole rows, about 64 KiB each.

    Args:
        db: a database being built.
        array: the array's number.
        data: all rows, contiguous; a multiple of `row_bytes`.
        row_bytes: the size of one row.
    """
    rows = max(1, BLOCK_BYTES // row_bytes)
    step = rows * row_bytes
    db.executemany(
        "INSERT INTO block (array, first_row, row_count, checksum, data) VALUES (?, ?, ?, ?, ?)",
        (
            (array, at // row_bytes, len(part) // row_bytes, checksum(part), part)
            for at in range(0, len(data), step)
            if (part := data[at : at + step])
        ),
    )


def iter_rows(
    db: apsw.Connection, array: int, first: int = 0, count: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """The blocks that hold rows `first` to `first + count` (all without a count), checked.

    Yields:
        first row, number of rows, bytes: of each whole block, in order.

    Raises:
        DamagedError: a block's bytes are not those that were written.
    """
    # The block that holds `first` is the last one that begins at or before it.
    sql = """
        SELECT first_row, row_count, checksum, data FROM block
        WHERE array = :array AND first_row < :beyond AND first_row >= coalesce(
            (SELECT max(first_row) FROM block WHERE array = :array AND first_row <= :first), 0)
        ORDER BY first_row"""
    beyond = (1 << 62) if count is None else first + count
    for at, rows, expected, data in db.execute(sql, {"array": array, "first": first, "beyond": beyond}):
        if checksum(data) != expected:
            raise DamagedError(
                f"{db.filename}: array {array}, rows {at} to {at + rows - 1} are damaged; "
                "`genome verify` lists all damage, `genome pull` builds the database again"
            )
        yield at, rows, data


def read_rows(db: apsw.Connection, array: int, first: int, count: int, row_bytes: int) -> bytes:
    """The bytes of some rows, from no other blocks than those that hold them.

    Raises:
        DamagedError: a block is damaged, or rows are missing.
    """
    parts = []
    for at, _, data in iter_rows(db, array, first, count):
        begin = max(0, first - at) * row_bytes
        parts.append(data[begin : (first + count - at) * row_bytes])
    found = b"".join(parts)
    if len(found) != count * row_bytes:
        raise DamagedError(
            f"{db.filename}: array {array} lacks rows between {first} and {first + count - 1}; build it again"
        )
    return found
