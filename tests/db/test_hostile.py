"""Databases of a stranger: opening one runs nothing of it, asks little of the machine, and says one line."""

import time
import tracemalloc
from pathlib import Path

import apsw
import pytest

from genome.db import connect, header, verify, writing
from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error

ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"


def alter(path: Path, sql: str) -> None:
    """What a stranger can do with a program of their own."""
    db = Connection(DatabaseFile.find(path, "database"), write=True)
    db.pragma("writable_schema", 1)
    db.execute(sql)
    db.close()


def refused(path: Path) -> str:
    """The one line with which it is refused, soon and without much memory; `verify` is no weaker."""
    began = time.monotonic()
    tracemalloc.start()
    with pytest.raises(DamagedError) as caught:
        connect(path)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - began < 20  # a hang is minutes
    assert memory < 100 << 20
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300
    assert verify(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE VIEW meta AS {ENDLESS} SELECT 'kind' AS key, x AS value FROM c",
        "CREATE VIEW meta AS SELECT * FROM not_there",
        "CREATE VIRTUAL TABLE meta USING fts5 (key, value)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value AS (hex(zeroblob(400000000))))",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ],
)
def test_another_table_in_the_place_of_the_facts(model: Path, sql: str):
    alter(model, f"DROP TABLE meta; {sql}")
    assert "table meta" in refused(model)


def test_more_facts_than_any_database_has(model: Path):
    """Only so many are read; what is beyond them, `verify` tells."""
    rows = "SELECT 'a' || x, 'b' FROM c LIMIT 300000"
    alter(model, f"INSERT INTO meta {ENDLESS} {rows}")
    assert "does not say which kind" in refused(model)


def test_a_fact_of_a_hundred_megabytes(model: Path):
    alter(model, "UPDATE meta SET value = hex(zeroblob(5000000)) WHERE key = 'source'")
    assert "larger schema, or more facts" in refused(model)


def test_a_schema_of_very_many_tables(model: Path):
    rows = "SELECT 'table', 't' || x, 't' || x, 2, 'CREATE TABLE t' || x || ' (a)' FROM c LIMIT 50000"
    alter(model, f"INSERT INTO sqlite_schema {ENDLESS} {rows}")
    assert "larger schema, or more facts" in refused(model)


def test_a_table_with_a_very_long_definition(model: Path):
    alter(model, "CREATE TABLE long (a /*" + "x" * 900_000 + "*/)")
    assert refused(model)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sqlite_schema SET rootpage = 0 WHERE name = 'meta'",
        "UPDATE sqlite_schema SET rootpage = 999999 WHERE name = 'meta'",
        "UPDATE sqlite_schema SET rootpage = -1 WHERE name = 'token'",
        "UPDATE sqlite_schema SET rootpage = 'two' WHERE name = 'token'",
        "UPDATE sqlite_schema SET sql = NULL WHERE name = 'token'",
        "UPDATE sqlite_schema SET sql = x'00ff' WHERE name = 'token'",
        "UPDATE sqlite_schema SET type = 'view' WHERE name = 'token'",
        "UPDATE sqlite_schema SET name = 'nekot' WHERE name = 'token'",
        "DELETE FROM sqlite_schema WHERE name = 'token'",
        "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 'token'",
        "INSERT INTO sqlite_schema VALUES ('index', 'token', 'token', 2, 'CREATE INDEX token ON block (data)')",
        "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (a CHECK (load_extension(a)))')",
        "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'SELECT 1')",
        "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'ATTACH ''/tmp/y'' AS y')",
    ],
)
def test_a_schema_that_is_not_what_it_says(model: Path, change: str):
    """A row that SQLite cannot make sense of is damage, or it is a table that does not belong there."""
    alter(model, change)
    try:
        with opened(model) as db:
            db.execute("SELECT count(*) FROM token").fetchall()
    except Error as error:
        assert "\n" not in str(error)  # noqa: PT017 - some are harmless, so no error is fine too
    assert verify(model)


STRANGERS = {
    "trigger": "CREATE TRIGGER trigger_ BEFORE UPDATE ON token BEGIN UPDATE token SET piece = 'x'; END",
    "recursive trigger": "CREATE TRIGGER r AFTER UPDATE ON token BEGIN UPDATE token SET id = id + 1; END",
    "view over nothing": "CREATE VIEW v AS SELECT * FROM not_there",
    "view over itself": "CREATE VIEW v AS SELECT * FROM v",
    "endless view": f"CREATE VIEW v AS {ENDLESS} SELECT x FROM c",
    "check": "CREATE TABLE t (a CHECK (hex(a) > 'a'))",
    "generated column": "CREATE TABLE t (a, b AS (hex(zeroblob(a))))",
    "partial index with a function": "CREATE INDEX i ON token (piece) WHERE hex(piece) > 'a'",
    "index on an expression": "CREATE INDEX i ON token (hex(piece))",
    "full text": "CREATE VIRTUAL TABLE f USING fts5 (a)",
    "r-tree": "CREATE VIRTUAL TABLE r USING rtree (id, a, b)",
    "pages as a table": "CREATE VIRTUAL TABLE d USING dbstat",
    "name like a schema's": 'CREATE TABLE "main.token" (a)',
    "name like a command": """CREATE TABLE "x'; ATTACH '/tmp/y' AS y; --" (a)""",
    "name like SQLite's": "INSERT INTO sqlite_schema VALUES ('trigger', 'sqlite_t', 'token', 0, "
    "'CREATE TRIGGER sqlite_t AFTER UPDATE ON token BEGIN DELETE FROM token; END')",
    "trigger under a name of ours": "INSERT INTO sqlite_schema VALUES ('trigger', 'token', 'token', 0, "
    "'CREATE TRIGGER token AFTER UPDATE ON token BEGIN DELETE FROM token; END')",
    "module that is not there": "INSERT INTO sqlite_schema VALUES ('table', 'm', 'm', 0, "
    "'CREATE VIRTUAL TABLE m USING evil (a)')",
}


@pytest.mark.parametrize("sql", STRANGERS.values(), ids=STRANGERS.keys())
def test_what_does_not_belong_there_is_not_run_told_and_keeps_the_file_from_changes(model: Path, sql: str):
    alter(model, sql)
    before = model.read_bytes()
    with opened(model) as db:
        assert db.execute("SELECT piece FROM token WHERE id = 7").get == "p7"
    assert any("was not there when the database was built" in problem.text for problem in verify(model))
    with pytest.raises(DamagedError, match="which is none of its kind"), writing(model):
        raise AssertionError("the block of a refused change runs")
    assert model.read_bytes() == before


def test_a_module_that_is_not_there_harms_nobody_who_does_not_ask_it(genome: Path):
    alter(
        genome, "INSERT INTO sqlite_schema VALUES ('table', 'm', 'm', 0, 'CREATE VIRTUAL TABLE m USING evil (a)')"
    )
    with opened(genome) as db:
        assert db.execute("SELECT count(*) FROM unit").get == 40


def test_statistics_of_a_stranger_do_not_hold_up_opening(model: Path):
    """SQLite reads sqlite_stat1 with the schema; an endless one is cut, and changes plans, not answers."""
    alter(model, f"ANALYZE; INSERT INTO sqlite_stat1 {ENDLESS} SELECT 'token', 'a' || x, '1 1' FROM c LIMIT 200000")
    with opened(model) as db:
        assert db.execute("SELECT id FROM token WHERE piece = 'p7'").get == 7


def test_a_value_beyond_all_measure_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setattr(sys.modules["genome.db.connect"], "LONGEST_BYTES", 1 << 16)
    with pytest.raises(Error, match="a value is too large"), opened(model) as db:
        db.execute("SELECT data FROM block WHERE array = 1").fetchall()


def test_a_reader_opens_nothing_else_and_loads_nothing(genome: Path, tmp_path: Path):
    with opened(genome) as db:
        with pytest.raises(apsw.SQLError, match="not authorized"):
            db.execute("SELECT load_extension('x')").fetchall()
        with pytest.raises(apsw.SQLError, match="too many attached"):
            db.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
    assert not (tmp_path / "other.db").exists()


def test_a_hostile_name_of_a_kind_is_cut(model: Path):
    alter(model, "UPDATE meta SET value = replace(hex(zeroblob(20000)), '0', 'line\n') WHERE key = 'kind'")
    with pytest.raises(Error) as caught:
        header(model)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(model)) + 200
