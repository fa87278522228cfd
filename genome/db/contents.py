"""What a database holds, as digests: written when a build ends, compared when somebody asks."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from genome.db.blocks import checksum
from genome.db.connect import meta, opened
from genome.db.layout import inside_virtual, plain, strangers
from genome.errors import DamagedError

Digest = tuple[int, str]
"""How many rows, and the SHA-256 of their values."""

_LONG_BYTES = 64


@dataclass(frozen=True)
class Problem:
    """One damaged place: the table, and what is wrong with which rows."""

    table: str
    text: str


def digests(db: apsw.Connection, tables: Sequence[str] | None = None) -> dict[str, Digest]:
    """The digest of some tables (all ordinary ones but `contents`): of their SQL, then their rows by key.

    Bytes that a checksum column already covers are left out.
    """
    return {table: _digest(db, table) for table in (_tables(db) if tables is None else tables)}


def identity(kind: str, facts: Mapping[str, str], content: Mapping[str, Digest], inside: set[str]) -> str:
    """SHA-256 of what a database says: the same sources give the same, whenever and wherever it is built.

    Args:
        kind: the database's kind.
        facts: its `meta` rows; name, creation time and what follows from the content are left out.
        content: the digests of its tables.
        inside: the tables inside a virtual one, which hold nothing that the others do not say.
    """
    told = {k: v for k, v in facts.items() if k not in ("kind", "name", "created", "checksum", "uuid")}
    tables = {t: d for t, d in content.items() if t != "meta" and t not in inside}
    return hashlib.sha256(repr((kind, sorted(told.items()), sorted(tables.items()))).encode()).hexdigest()


def verify(path: Path, progress: Callable[[str], None] = lambda _: None) -> list[Problem]:
    """Reads a whole database and lists all damage: pages, schema, tables, row blocks.

    Args:
        path: the database.
        progress: told what is being checked.

    Raises:
        Error: no such file, not a database of this program, or of another version.
    """
    problems: list[Problem] = []
    try:
        with opened(path) as db:
            progress("pages")
            problems += [Problem("pages", text) for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
            facts = meta(db)
            problems += [
                Problem(name, "was not there when the database was built") for name in strangers(db, facts["kind"])
            ]
            wanted = {t: (n, sha) for t, n, sha in db.execute("SELECT table_name, row_count, sha256 FROM contents")}
            inside = inside_virtual(db)
            for table in sorted(wanted.keys() | inside):
                progress(table)
                problems += _compare(db, table, wanted.get(table))
            if identity(facts["kind"], facts, wanted, inside) != facts.get("checksum"):
                problems.append(Problem("contents", "is not what the database's checksum says"))
            if "block" in wanted:
                progress("row blocks")
                problems += _damaged_blocks(db)
    except DamagedError as error:
        problems.append(Problem("file", str(error)))
    return problems


def _tables(db: apsw.Connection) -> list[str]:
    """Ordinary tables: a virtual table is held by its shadow tables, which are ordinary ones."""
    sql = r"""
        SELECT name FROM sqlite_schema
        WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
            AND name <> 'contents'
        ORDER BY name"""
    return [name for (name,) in db.execute(sql)]


def _digest(db: apsw.Connection, table: str) -> Digest:
    sql = db.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)).get
    sha, rows = hashlib.sha256(plain(str(sql)).encode("utf-8", "surrogatepass")), 0
    for row in db.execute(_select(db, table)):
        # Long byte strings by their own digest: their repr would be four times as long.
        brief = [hashlib.sha256(v).digest() if type(v) is bytes and len(v) > _LONG_BYTES else v for v in row]
        sha.update(repr(brief).encode("utf-8", "surrogatepass"))
        rows += 1
    return rows, sha.hexdigest()


def _select(db: apsw.Connection, table: str) -> str:
    """Reads a table in the order of its key: without one SQLite may follow any index that holds the columns."""
    about = "SELECT name FROM pragma_table_info(?)"
    columns = [str(name) for (name,) in db.execute(about, (table,))]
    if {"checksum", "data"} <= set(columns):
        columns.remove("data")
    (without_rowid,) = db.execute("SELECT wr FROM pragma_table_list(?)", (table,)).fetchone() or (0,)
    key = [str(name) for (name,) in db.execute(about + " WHERE pk ORDER BY pk", (table,))]
    return f"SELECT {_names(columns)} FROM {_names([table])} ORDER BY {_names(key) if without_rowid else 'rowid'}"


def _names(names: list[str]) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def _compare(db: apsw.Connection, table: str, wanted: Digest | None) -> Iterator[Problem]:
    if wanted is None:
        yield Problem(table, "was not there when the database was built")
        return
    try:
        rows, sha = _digest(db, table)
    except (apsw.Error, UnicodeDecodeError) as error:
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
