"""What a database holds, as digests: written when a build ends, compared when somebody asks."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import apsw

from genome.db.blocks import checksum
from genome.db.connect import meta, opened
from genome.db.connection import snapshot
from genome.db.layout import inside_virtual, plain, strangers
from genome.db.pages import damaged
from genome.errors import DamagedError

Digest = tuple[int, str]
"""How many rows, and in hexadecimal the SHA-256 of their values by key.

Of a table whose bytes have checksums (row blocks, patches) it is the sum of the SHA-256 of each row, and of the
table's SQL, modulo 2**256: one that changes with a row without a look at the others.
"""

_LONG_BYTES = 1024
_ROWS = 1024


@dataclass(frozen=True)
class Problem:
    """One damaged place: the table, and what is wrong with which rows."""

    table: str
    text: str


def digests(db: apsw.Connection, tables: Sequence[str] | None = None) -> dict[str, Digest]:
    """The digest of some tables (all ordinary ones but `contents`): of their SQL and their rows.

    Bytes that a checksum column already covers are left out.
    """
    return {table: _digest(db, table) for table in (_tables(db) if tables is None else tables)}


def noted(db: apsw.Connection, content: Mapping[str, Digest]) -> None:
    """Puts digests of changed tables where `verify` will look for them."""
    sql = "UPDATE contents SET row_count = ?, sha256 = ? WHERE table_name = ?"
    db.executemany(sql, [(rows, sha, table) for table, (rows, sha) in content.items()])


def turned(digest: Digest, gone: Iterable[Sequence], come: Iterable[Sequence]) -> Digest:
    """The digest of a table whose bytes have checksums, once some rows are others.

    Args:
        digest: before.
        gone: rows that are no longer there: their columns in the table's order, without `data`.
        come: rows that are new.
    """
    rows, total = digest[0], int(digest[1], 16)
    for row in gone:
        rows, total = rows - 1, total - _number(row)
    for row in come:
        rows, total = rows + 1, total + _number(row)
    return rows, _hexadecimal(total)


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
        with opened(path, checked=False) as db, snapshot(db):
            progress("pages")
            problems += [Problem("pages", f"the page at byte {at} is not what was written") for at in damaged(db)]
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
            problems += _unlike_its_checksum(db, facts, wanted, inside)
            for table in _with_checksums(db):
                progress("row blocks" if table == "block" else f"{table}: bytes")
                problems += _damaged_bytes(db, table)
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
    sha = hashlib.sha256(plain(str(sql)).encode("utf-8", "surrogatepass"))
    if table in _with_checksums(db):
        return turned((0, sha.hexdigest()), (), db.execute(_select(db, table)))
    rows = add_rows(sha, db.execute(_select(db, table)), _said if _has_long(db, table) else repr)
    return rows, sha.hexdigest()


def add_rows(sha: "hashlib._Hash", rows: Iterable[tuple], say: Callable[[tuple], str] = repr) -> int:
    """Adds rows to a digest, one by one as something says them, and gives their number."""
    count, rows = 0, iter(rows)
    while some := list(islice(rows, _ROWS)):
        sha.update("".join(map(say, some)).encode("utf-8", "surrogatepass"))
        count += len(some)
    return count


def _has_long(db: apsw.Connection, table: str) -> bool:
    """Whether a table holds long byte strings; a look at all of its rows that is a tenth of `_said`."""
    long = " OR ".join(
        f"typeof({c}) = 'blob' AND length({c}) > {_LONG_BYTES}" for c in map(_quoted, _columns(db, table))
    )
    return bool(db.execute(f"SELECT EXISTS (SELECT 1 FROM {_quoted(table)} WHERE {long})").get)


def _said(row: Sequence) -> str:
    """A row as `repr` says it; of long byte strings their digest, as they would be four times as long."""
    return repr(tuple(hashlib.sha256(v).digest() if type(v) is bytes and len(v) > _LONG_BYTES else v for v in row))


def _number(row: Sequence) -> int:
    said = _said(row).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(said).digest(), "big")


def _hexadecimal(total: int) -> str:
    return f"{total % (1 << 256):064x}"


def _columns(db: apsw.Connection, table: str) -> list[str]:
    return [str(name) for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _with_checksums(db: apsw.Connection) -> list[str]:
    """The tables whose column `checksum` covers their column `data`."""
    return [table for table in _tables(db) if {"checksum", "data"} <= set(_columns(db, table))]


def _select(db: apsw.Connection, table: str) -> str:
    """Reads a table in the order of its key: without one SQLite may follow any index that holds the columns."""
    columns = _columns(db, table)
    if {"checksum", "data"} <= set(columns):
        columns.remove("data")
    (without_rowid,) = db.execute("SELECT wr FROM pragma_table_list(?)", (table,)).fetchone() or (0,)
    key = [
        str(name) for (name,) in db.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,))
    ]
    return f"SELECT {_names(columns)} FROM {_names([table])} ORDER BY {_names(key) if without_rowid else 'rowid'}"


def _names(names: list[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _compare(db: apsw.Connection, table: str, wanted: Digest | None) -> Iterator[Problem]:
    if wanted is None:
        yield Problem(table, "was not there when the database was built")
        return
    try:
        rows, sha = _digest(db, table)
    except (apsw.Error, DamagedError) as error:
        yield Problem(table, f"cannot be read: {error}")
        return
    if rows != wanted[0]:
        yield Problem(table, f"has {rows} rows, was built with {wanted[0]}")
    elif sha != wanted[1]:
        yield Problem(table, "has other values than it was built with")


def _unlike_its_checksum(
    db: apsw.Connection, facts: Mapping[str, str], content: Mapping[str, Digest], inside: set[str]
) -> Iterator[Problem]:
    """Whether a database is what its checksum says: as it was built, and what was applied to it since."""
    content, checksum = dict(content), facts.get("checksum")
    try:
        if "applied" in content:
            for result, text in db.execute("SELECT result, earlier FROM applied ORDER BY id DESC"):
                earlier = json.loads(text)
                if result != checksum:
                    yield Problem("applied", "does not lead to what the database's checksum says")
                content |= {table: (rows, sha) for table, (rows, sha) in earlier["contents"].items()}
                checksum = earlier["meta"]["checksum"]
    except (apsw.Error, DamagedError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Problem("applied", f"cannot be read: {error}")
        return
    if identity(facts["kind"], facts, content, inside) != checksum:
        yield Problem("contents", "is not what the database's checksum says")


def _damaged_bytes(db: apsw.Connection, table: str) -> Iterator[Problem]:
    columns = _columns(db, table)
    owner, name_of = _owner(db, table, columns)
    rows = "first_row, row_count" if {"first_row", "row_count"} <= set(columns) else "NULL, NULL"
    sql = f"SELECT {_names([owner])}, {rows}, checksum, data FROM {_names([table])}"
    try:
        for number, first, count, expected, data in db.execute(sql):
            if checksum(data) != expected:
                at = "" if first is None else f", rows {first} to {first + count - 1}"
                yield Problem(table, f"{name_of(number)}{at}: checksum differs")
    except (apsw.Error, DamagedError, TypeError) as error:
        yield Problem(table, f"cannot be read: {error}")


def _owner(db: apsw.Connection, table: str, columns: list[str]) -> tuple[str, Callable[[int], str]]:
    """The column that says whose a row is (the first that refers to another table), and how to name that owner."""
    sql = 'SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)'
    keys = {str(column): (str(other), str(key)) for column, other, key in db.execute(sql, (table,))}
    column = next((name for name in columns if name in keys), columns[0])
    other, key = keys.get(column, (table, column))
    label = next((name for name in ("tensor", "name") if name in _columns(db, other)), key)
    kind = label if label == "tensor" else other

    def name_of(number: int) -> str:
        found = db.execute(f"SELECT {_names([label])} FROM {_names([other])} WHERE {_names([key])} = ?", (number,))
        return f"{kind} {next((str(name) for (name,) in found), number)}"

    return column, name_of
