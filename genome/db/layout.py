"""Whether a database has the tables of its kind: its schema's SQL compared with the kind's own."""

import re
from functools import cache

import apsw

from genome.db.kinds import schema


@cache
def layout(kind: str) -> dict[str, str]:
    """The SQL of each table and index of a kind by name, without comments and line breaks."""
    return {_name(sql): sql for part in plain(schema(kind)).split(";") if (sql := part.strip())}


def lacking(db: apsw.Connection, kind: str) -> list[str]:
    """What a database of a kind should have and has not, or has in another form: `table word`."""
    found = _found(db)
    return [f"{_type(sql)} {name}" for name, sql in layout(kind).items() if found.get(name) != sql]


def inside_virtual(db: apsw.Connection) -> set[str]:
    """The ordinary tables in which a virtual table keeps its content (sqlite-vec names them after it)."""
    sql = """
        SELECT t.name FROM sqlite_schema t JOIN sqlite_schema v ON t.name GLOB v.name || '_*'
        WHERE t.type = 'table' AND v.type = 'table' AND v.sql LIKE 'CREATE VIRTUAL%'"""
    return {str(name) for (name,) in db.execute(sql)}


def strangers(db: apsw.Connection, kind: str) -> list[str]:
    """What a database has beyond its kind, by name, but for SQLite's own tables and those inside a virtual one."""
    known = layout(kind).keys() | inside_virtual(db)
    sql = r"SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name"
    return [str(name) for (name,) in db.execute(sql) if name not in known]


def _found(db: apsw.Connection) -> dict[str, str]:
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')")
    return {str(name): plain(str(sql)) for name, sql in rows}


def plain(sql: str) -> str:
    """SQL without comments and line breaks: what it says, not how it is written."""
    return " ".join(re.sub(r"--[^\n]*", "", sql).split())


def _name(sql: str) -> str:
    return re.split(r"[\s(]+", re.sub(r"^CREATE (UNIQUE |VIRTUAL )?(TABLE|INDEX) ", "", sql), maxsplit=1)[0]


def _type(sql: str) -> str:
    return "index" if "INDEX" in sql.split("(")[0] else "table"
