"""What a database holds, as digests: written when a build ends, compared when somebody asks."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import apsw

from genome.db.blocks import checksum
from genome.db.connect import opened
from genome.errors import DamagedError

_CHUNK_ROWS = 2048


@dataclass(frozen=True)
class Problem:
    """One damaged place: the table, and what is wrong with which rows."""

    table: str
    text: str


def digest(db: apsw.Connection) -> dict[str, tuple[int, str]]:
    """Rows and SHA-256 of each ordinary table but `meta` and `contents`, from the columns' values in order.

    Bytes that a checksum column already covers are left out.
    """
    return {table: _digest_table(db, table) for table in _tables(db)}


def verify(path: Path, progress: Callable[[str], None] = lambda _: None) -> list[Problem]:
    """Reads a whole database and lists all damage: pages, tables, row blocks.

    Args:
        path: the database.
        progress: told what is being checked.
    """
    problems: list[Problem] = []
    try:
        with opened(path) as db:
            progress("pages")
            problems += [Problem("pages", text) for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
            wanted = {t: (n, sha) for t, n, sha in db.execute("SELECT * FROM contents")}
            for table in sorted(wanted.keys() | set(_tables(db))):
                progress(table)
                problems += _compare(db, table, wanted.get(table))
            if "block" in wanted:
                progress("row blocks")
                problems += _damaged_blocks(db)
    except DamagedError as error:
        problems.append(Problem("file", str(error)))
    return problems


def _tables(db: apsw.Connection) -> list[str]:
    """Ordinary tables: a virtual table is held by its shadow tables, which are ordinary ones."""
    sql = """
        SELECT name FROM sqlite_schema
        WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
            AND name NOT IN ('meta', 'contents')
        ORDER BY name"""
    return [name for (name,) in db.execute(sql)]


def _digest_table(db: apsw.Connection, table: str) -> tuple[int, str]:
    columns = [name for _, name, *_ in db.execute(f'PRAGMA table_info("{table}")')]
    if "checksum" in columns:
        columns.remove("data")
    chosen = ", ".join(f'"{c}"' for c in columns)
    sha, rows = hashlib.sha256(), 0
    cursor = db.execute(f'SELECT {chosen} FROM "{table}"')
    while chunk := list(islice(cursor, _CHUNK_ROWS)):
        sha.update(repr(chunk).encode("utf-8", "surrogatepass"))
        rows += len(chunk)
    return rows, sha.hexdigest()


def _compare(db: apsw.Connection, table: str, wanted: tuple[int, str] | None) -> Iterator[Problem]:
    if wanted is None:
        yield Problem(table, "was not there when the database was built")
        return
    try:
        rows, sha = _digest_table(db, table)
    except apsw.Error as error:
        yield Problem(table, f"cannot be read: {error}")
        return
    if rows != wanted[0]:
        yield Problem(table, f"has {rows} rows, was built with {wanted[0]}")
    elif sha != wanted[1]:
        yield Problem(table, "has other values than it was built with")


def _damaged_blocks(db: apsw.Connection) -> Iterator[Problem]:
    sql = "SELECT array, first_row, row_count, checksum, data FROM block ORDER BY id"
    try:
        for array, first, rows, expected, data in db.execute(sql):
            if checksum(data) != expected:
                yield Problem("block", f"array {array}, rows {first} to {first + rows - 1}: checksum differs")
    except apsw.Error as error:
        yield Problem("block", f"cannot be read: {error}")
