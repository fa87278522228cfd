"""Rows in, rows out: the right bytes, from the right blocks only."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome.db import iter_rows, read_rows, write_rows
from genome.db.blocks import _BLOCKS, BLOCK_BYTES, checksum, cuts
from genome.db.connect import opened, prepare
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError

TABLE = """
    CREATE TABLE block (id INTEGER PRIMARY KEY, array INTEGER NOT NULL, first_row INTEGER NOT NULL,
        row_count INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (array, first_row))"""


@pytest.fixture(scope="module")
def memory():
    db = apsw.Connection(":memory:")
    prepare(db)
    db.execute(TABLE)
    yield db
    db.close()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_rows_come_back(memory: apsw.Connection, data: st.DataObject):
    row_bytes = data.draw(
        st.integers(1, 70_000) | st.sampled_from([1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
    )
    count = data.draw(st.integers(0, max(1, 300_000 // row_bytes)))
    whole = (bytes(range(256)) * (row_bytes * count // 256 + 1))[: row_bytes * count]
    memory.execute("DELETE FROM block")
    unit = data.draw(st.none() | st.integers(1, count + 2))
    write_rows(memory, 3, memoryview(whole), row_bytes, unit)
    first = data.draw(st.integers(0, count))
    some = data.draw(st.integers(0, count - first))
    assert read_rows(memory, 3, first, some, row_bytes) == whole[first * row_bytes : (first + some) * row_bytes]
    assert b"".join(block for _, _, block in iter_rows(memory, 3)) == whole
    sizes = [len(block) for _, _, block in iter_rows(memory, 3)]
    assert all(size <= max(BLOCK_BYTES, row_bytes) for size in sizes)
    if unit and unit * row_bytes >= 4096:
        assert all(at // unit == (at + rows - 1) // unit for at, rows, _ in iter_rows(memory, 3))


@pytest.mark.parametrize(
    ("rows", "row_bytes", "unit", "wanted"),
    [
        (192, 360, 64, [(0, 64), (64, 64), (128, 64)]),  # three heads of SmolLM2, 23,040 bytes each
        (10, 100, 1, [(0, 10)]),  # 41 rows are the fewest of 4 KiB
        (100, 100, 1, [(0, 41), (41, 41), (82, 18)]),
        (6, 40_000, 3, [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]),
        (8, 20_000, 4, [(0, 2), (2, 2), (4, 2), (6, 2)]),  # two and two, not three and one
        (5, 20_000, 2, [(0, 2), (2, 2), (4, 1)]),
        (0, 7, 3, []),
    ],
)
def test_units_share_no_block(rows, row_bytes, unit, wanted):
    assert list(cuts(rows, row_bytes, unit)) == wanted


def test_only_the_blocks_that_hold_the_rows_are_read(model: Path):
    """Damage everywhere else goes unseen: rows 0..106 | 107..213 | 214..299 are the blocks of array 0."""
    with opened(model) as db:
        wanted = read_rows(db, 0, 110, 50, 612)
        assert [at for at, *_ in iter_rows(db, 0, 110, 50)] == [107]
        assert [at for at, *_ in iter_rows(db, 0, 213, 2)] == [107, 214]
        assert [at for at, *_ in iter_rows(db, 0, 106, 1)] == [0]
    other = Connection(DatabaseFile.find(model, "database"), write=True)
    other.execute("UPDATE block SET data = zeroblob(length(data)) WHERE NOT (array = 0 AND first_row = 107)")
    other.close()
    with opened(model) as db:
        assert read_rows(db, 0, 110, 50, 612) == wanted
        with pytest.raises(DamagedError, match="array 0, rows 0 to 106 are damaged; `genome verify`"):
            read_rows(db, 0, 106, 2, 612)


def test_a_row_costs_two_searches_and_its_own_pages(model: Path):
    with opened(model) as db:
        plan = db.execute("EXPLAIN QUERY PLAN " + _BLOCKS, {"array": 0, "first": 110, "beyond": 111}).fetchall()
        steps = [text for *_, text in plan]
        assert sum("SCAN" in step for step in steps) == 0, steps
        assert any("SEARCH block USING INDEX" in s and "first_row>? AND first_row<?" in s for s in steps), steps
        assert any("SEARCH block USING COVERING INDEX" in step for step in steps), steps
        assert not any("TEMP B-TREE" in step for step in steps), steps

        db.pragma("mmap_size", 0)
        db.release_memory()
        db.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, True)
        read_rows(db, 0, 110, 1, 612)
        pages, _ = db.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, False)
    # 65,484 bytes of data are 4 overflow pages of 16 KiB (or 5 with the leaf that begins them); the rest are the
    # schema, the index and the table's root.
    assert pages <= 9


def test_missing_rows_and_missing_blocks(model: Path):
    with opened(model) as db:
        for first, count in [(299, 2), (300, 1), (-1, 1), (0, 301)]:
            with pytest.raises(NotFoundError, match=f"array 0 has no rows {first} to {first + count - 1}"):
                read_rows(db, 0, first, count, 612)
        with pytest.raises(NotFoundError):
            read_rows(db, 9, 0, 1, 612)
        assert read_rows(db, 0, 300, 0, 612) == b""
    other = Connection(DatabaseFile.find(model, "database"), write=True)
    other.execute("DELETE FROM block WHERE array = 0 AND first_row = 107")
    other.close()
    with opened(model) as db, pytest.raises(DamagedError, match="rows 214 to 299 are damaged"):
        read_rows(db, 0, 0, 300, 612)


def test_arrays_of_other_item_sizes_are_bytes(memory: apsw.Connection):
    memory.execute("DELETE FROM block")
    words = memoryview(bytes(range(240))).cast("f")
    write_rows(memory, 0, words, 24)
    assert read_rows(memory, 0, 2, 1, 24) == bytes(range(48, 72))


def test_half_rows_are_refused(memory: apsw.Connection):
    for data, row_bytes in [(b"12345", 2), (b"12345", 0), (b"1", -1)]:
        with pytest.raises(Error, match="wanted whole rows"):
            write_rows(memory, 0, data, row_bytes)


def test_checksums_are_xxh3_64(pattern: Callable[..., bytes]):
    """The reference implementation's own vectors (xxHash, cli/xsum_sanity_check.c, seed 0): the empty input, and
    one byte, which its generator makes 0x00."""
    assert checksum(b"") == 0x2D06800538D394C2
    assert checksum(b"\0") == 0xC44BDFF4074EECDB - (1 << 64)
    assert checksum(memoryview(pattern(1000))) == checksum(pattern(1000))
