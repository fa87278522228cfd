"""Whether a database has the tables of its kind: its schema's SQL compared with the kind's own."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache

import apsw

from genome.db.kinds import schema


@cache
def layout(kind: str) -> dict[str, str]:
    """The SQL of each table and index of a kind by name, without comments and line breaks."""
    return {_name(sql): sql for part in plain(schema(kind)).split(";") if (sql := part.strip())}


def said(db: apsw.Connection, schema: str = "main") -> dict[str, str]:
    """The SQL of each table and index of a database by name, without comments and line breaks."""
    told = f"SELECT name, sql FROM {schema}.sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')"
    return {str(name): plain(str(sql)) for name, sql in db.execute(told)}


def lacking(db: apsw.Connection, kind: str, schema: str = "main") -> list[str]:
    """What a database of a kind should have and has not, or has in another form: `table word`."""
    return absent(said(db, schema), kind)


def absent(found: Mapping[str, str], kind: str) -> list[str]:
    """`lacking`, of what `said` gave."""
    return [f"{_type(sql)} {name}" for name, sql in layout(kind).items() if found.get(name) != sql]


def inside_virtual(db: apsw.Connection) -> set[str]:
    """The ordinary tables in which a virtual table keeps its content (sqlite-vec names them after it)."""
    sql = """
        SELECT t.name FROM sqlite_schema t JOIN sqlite_schema v ON t.name GLOB v.name || '_*'
        WHERE t.type = 'table' AND v.type = 'table' AND v.sql LIKE 'CREATE VIRTUAL%'"""
    return {str(name) for (name,) in db.execute(sql)}


def strangers(db: apsw.Connection, kind: str) -> list[str]:
    """What a database has beyond its kind, by name, but for SQLite's own tables and those inside a virtual one.

    By its SQL, not by its name: a row of the schema may bear any name.
    """
    known, inside = layout(kind), inside_virtual(db)
    rows = db.execute("SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
    return [
        str(name)
        for name, type_, sql in rows
        if plain(str(sql)) != known.get(name)
        and name not in _SQLITES_OWN
        and not (type_ == "table" and name in inside)
    ]


_SQLITES_OWN = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")


def plain(sql: str) -> str:
    """SQL without comments and line breaks: what it says, not how it is written."""
    return _plain(sql) if len(sql) < _SHORT else _plain.__wrapped__(sql)


_SHORT = 8192


@lru_cache(256)  # the same tables in every database of a kind
def _plain(sql: str) -> str:
    return " ".join(re.sub(r"--[^\n]*", "", sql).split())


def _name(sql: str) -> str:
    return re.split(r"[\s(]+", re.sub(r"^CREATE (UNIQUE |VIRTUAL )?(TABLE|INDEX) ", "", sql), maxsplit=1)[0]


def _type(sql: str) -> str:
    return "index" if "INDEX" in sql.split("(")[0] else "table"
