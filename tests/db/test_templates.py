"""Templates: what their headers say, and what a statement in one may do."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from genome.db import header, query, templates
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.db.query import Source, Table, explain, run
from genome.errors import DamagedError, Error, NotFoundError

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS x FROM n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., templates.Template]:
    """`write(sql, header="roles: model", name="t")` puts a template into a folder and reads it."""

    def made(sql: str, *declared: str, name: str = "t") -> templates.Template:
        lines = ["What it answers.", "", *(declared or ("roles: model",))]
        file = tmp_path / f"{name}.sql"
        file.write_text("".join(f"-- {line}\n" for line in lines) + sql, "utf-8")
        return templates.read(file)

    return made


@pytest.fixture
def ask(write, model) -> Callable[..., Table]:
    """`ask(sql, *header, **options)` runs a statement on the small model."""

    def asked(sql: str, *declared: str, given: dict | None = None, **options) -> Table:
        return run(write(sql, *declared), given or {}, {"model": _source(model)}, **options)

    return asked


def _source(path: Path) -> Source:
    return Source(path, header(path)["checksum"])


# What a header says


def test_a_header_is_read(write):
    found = write(
        "SELECT :text, :limit, :kind, :raw",
        "roles:   model, genome, lexicon2, other genome, journal",
        ":text    text              what stands in it, and more",
        "         of that on a second line",
        ":limit   count = 50        at most so many",
        ":kind    word|token = 'word'  the kind",
        ":raw     bytes = null      some bytes",
        "example: text=moth",
    )
    assert [str(role) for role in found.roles] == ["model", "genome", "lexicon2", "other genome", "journal"]
    assert [role.kind for role in found.roles] == ["model", "genome", "lexicon", "genome", "journal"]
    assert list(map(str, found.parameters)) == [
        "text: text", "limit: count = 50", "kind: word|token = 'word'", "raw: bytes = null",
    ]  # fmt: skip
    assert found.parameters[0].meaning == "what stands in it, and more of that on a second line"
    assert found.values({"text": "a"}) == {"text": "a", "limit": 50, "kind": "word", "raw": None}
    assert (found.name, found.summary, found.example, found.packaged) == (
        "t",
        "What it answers",
        "text=moth",
        False,
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("roles: modle", "'modle' is no role"),
        ("roles: model, model", "declared twice"),
        ("roles: other", "'other' is no role"),
        (":text string  some text", "string is no type"),
        (":text text", "declares no value"),
        (":seconds count  how long", "kept for"),
        (":n count = -1  how many", "whole number from 0 on, got '-1'"),
        (":n count = many  how many", "got 'many'"),
        (":kind a|b = 'c'  which", "one of a, b"),
    ],
)
def test_a_header_that_cannot_be_understood(write, line, said):
    with pytest.raises(DamagedError, match=said) as refused:
        write("SELECT 1", line)
    assert "\n" not in str(refused.value)
    assert "t.sql" in str(refused.value)


def test_text_among_the_declarations(write):
    with pytest.raises(DamagedError, match="line 4: 'and more text'"):
        write("SELECT 1", "roles: model", "and more text")


def test_files_that_are_no_templates(tmp_path: Path):
    cases = {
        "empty": (b"", "does not say what it answers"),
        "bare": (b"SELECT 1", "does not say what it answers"),
        "latin": (b"-- caf\xe9\nSELECT 1", "not UTF-8"),
        "nul": (b"-- a\nSELECT 1\0", "NUL"),
        "huge": (b"-- a\n" + b" " * (1 << 17), "at most 65536"),
        "Upper": (b"-- a\nSELECT 1", "small letters"),
    }
    for name, (content, said) in cases.items():
        file = tmp_path / f"{name}.sql"
        file.write_bytes(content)
        with pytest.raises(Error, match=said):
            templates.read(file)
    (tmp_path / "folder.sql").mkdir()
    with pytest.raises(Error, match="not a file"):
        templates.read(tmp_path / "folder.sql")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes there")
def test_a_pipe_is_no_template(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.sql")
    with pytest.raises(Error, match="not a file"):
        templates.read(tmp_path / "pipe.sql")


def test_names_are_found_and_suggested(write, tmp_path: Path):
    own = write("SELECT 1", name="tokens_by_text")
    assert templates.find("tokens_by_text", tmp_path) == own
    assert templates.find("tokens_by_text").packaged
    with pytest.raises(NotFoundError, match="near it are tokens_by_text"):
        templates.find("token_by_txt")
    with pytest.raises(NotFoundError, match=r"there are .*tokens_by_text"):
        templates.find("zzz")
    with pytest.raises(NotFoundError):
        templates.find("../templates/tokens_by_text")


# Values


def test_values_are_bound_by_their_types(ask):
    declared = ["roles: model", ":t text  a", ":i integer  a", ":r real  a", ":b bytes  a", ":n text = null  a"]
    sql = "SELECT typeof(:t) AS t, typeof(:i) AS i, typeof(:r) AS r, typeof(:b) AS b, typeof(:n) AS n, :t AS said"
    told = {"t": "1'; DROP TABLE token; --", "i": "-7", "r": "2", "b": "0x00fF"}
    assert ask(sql, *declared, given=told).rows == [("text", "integer", "real", "blob", "null", told["t"])]
    python = {"t": "", "i": True.__int__(), "r": 2, "b": b"", "n": None}
    assert ask(sql, *declared, given=python).rows[0][:5] == ("text", "integer", "real", "blob", "null")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("integer", "1.5"), ("integer", 1.5), ("integer", True), ("integer", 1 << 63), ("integer", "9" * 5000),
        ("integer", None), ("count", -1), ("count", ""), ("real", "nan"), ("real", float("inf")), ("real", "x"),
        ("real", 10**400), ("bytes", "0g"), ("bytes", "abc"), ("bytes", 5), ("text", b"a"), ("text", "\ud800"),
        ("text", 1), ("a|b", "c"), ("a|b", 1),
    ],
)  # fmt: skip
def test_values_of_another_type(write, kind, wrong):
    found = write("SELECT :v", "roles: model", f":v {kind}  a")
    with pytest.raises(Error, match=r"^t: v is ") as refused:
        found.values({"v": wrong})
    assert len(str(refused.value)) < 200


def test_values_missing_and_unknown(write):
    found = write("SELECT :text", "roles: model", ":text text  a")
    with pytest.raises(Error, match="wants a value for text; it takes text: text"):
        found.values({})
    with pytest.raises(Error, match="takes no value 'txt'; near it is text"):
        found.values({"text": "a", "txt": "b"})


# One SELECT that only reads


def test_rows_and_columns(ask):
    told = ask("SELECT id, piece, hex(bytes) AS raw FROM model.token WHERE id < 2 ORDER BY id")
    assert told == Table(("id", "piece", "raw"), ("INTEGER", "ANY", ""), [(0, "p0", "7030"), (1, "p1", "7031")])
    assert ask("SELECT id FROM model.token WHERE 0").rows == []


def test_functions_that_are_handed_in(ask):
    doubled = {"twice": (1, lambda value: value * 2)}
    assert ask("SELECT twice(21) AS n", functions=doubled).rows == [(42,)]
    with pytest.raises(Error, match="t: there is no function twice"):
        ask("SELECT twice(21) AS n")
    with pytest.raises(Error, match=r"twice\(\) cannot take these arguments"):
        ask("SELECT twice(NULL) AS n", functions=doubled)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("", "is not one SELECT"),
        ("/* only a comment */", "is not one SELECT"),
        ("SELECT 1 AS a; SELECT 2 AS b", "is not one SELECT"),
        ("SELECT 1 AS a; DROP TABLE model.token", "is not one SELECT"),
        ("EXPLAIN SELECT 1", "is not one SELECT"),
        ("SELECT 1 FROM", "incomplete input"),
        ("SELEC 1", "syntax error"),
        ("DELETE FROM model.token", "holds DELETE"),
        ("INSERT INTO model.token SELECT * FROM model.token", "holds INSERT"),
        ("UPDATE model.token SET type = 2", "holds UPDATE"),
        ("WITH a AS (SELECT 1) DELETE FROM model.token", "holds DELETE"),
        ("DROP TABLE model.token", "holds D"),
        ("CREATE TABLE model.a (b)", "holds INSERT|holds CREATE"),
        ("CREATE TEMP TABLE a (b)", "holds INSERT|holds CREATE"),
        ("CREATE TEMP VIEW a AS SELECT 1", "holds INSERT|holds CREATE"),
        ("CREATE VIRTUAL TABLE temp.a USING fts5(b)", "holds INSERT|holds CREATE"),
        ("ALTER TABLE model.token RENAME TO a", "holds ALTER|holds UPDATE"),
        ("PRAGMA model.journal_mode = WAL", "holds PRAGMA"),
        ("PRAGMA writable_schema = 1", "holds PRAGMA"),
        ("SELECT * FROM pragma_table_info('token')", "reads main.pragma_table_info"),
        ("SELECT count(*) AS n FROM pragma_database_list", "holds PRAGMA"),
        ("SELECT file FROM pragma_database_list", "reads main.pragma_database_list"),
        ("SELECT * FROM dbstat", "reads main.dbstat"),
        ("ATTACH '/etc/passwd' AS a", "holds ATTACH"),
        ("DETACH model", "holds DETACH"),
        ("VACUUM INTO 'a.db'", "VACUUM|ATTACH|is not one SELECT"),
        ("REINDEX model.token", "holds REINDEX"),
        ("ANALYZE model.token", "holds"),
        ("BEGIN", "holds TRANSACTION"),
        ("COMMIT", "holds TRANSACTION"),
        ("SAVEPOINT a", "holds SAVEPOINT"),
        ("SELECT load_extension('a') AS a", "calls load_extension"),
        ("SELECT fts3_tokenizer('simple') AS a", "calls fts3_tokenizer"),
        ("SELECT randomblob(9) AS a", "calls randomblob"),
        ("SELECT vec_debug() AS a", "calls vec_debug"),
        ("SELECT ? AS a", "have names"),
        ("SELECT :lost AS a", ":lost, which the header does not declare"),
        ("SELECT 1 AS a, 2 AS a", "two columns are called a"),
        ("SELECT json('[') AS a", "malformed JSON"),
        ("SELECT abs(-9223372036854775808) AS a", "integer overflow"),
        ("SELECT 1 AS a LIMIT 'x'", "datatype mismatch"),
        ("SELECT CAST(x'ff' AS TEXT) AS a", "not UTF-8"),
        ("SELECT printf('%.*c', 9000000, 'a') AS a", "longer than 128 KiB"),
        ("SELECT " + ", ".join(f"{n} AS a{n}" for n in range(300)), "too many columns"),
    ],
)
def test_what_is_not_one_select(ask, model, sql, said):
    before = model.read_bytes()
    with pytest.raises(Error, match=said) as refused:
        ask(sql)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    assert model.read_bytes() == before
    assert {path.suffix for path in model.parent.iterdir()} == {".db", ".sql"}


def test_a_value_that_is_declared_and_not_used(ask):
    with pytest.raises(Error, match=":idle, which the SQL does not use"):
        ask("SELECT 1 AS a", "roles: model", ":idle text = null  a")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM model.tokn", "no table model.tokn; near it are model.token"),
        ("SELECT * FROM tokens", "no table tokens; near it .*token"),
        ("SELECT * FROM genome.unit", "no table genome.unit; the header's line `roles:` does not name genome"),
        ("SELECT bytez FROM model.token", "no column bytez; near it .*bytes"),
        ('SELECT "bytez" FROM model.token', "no column bytez"),
        ("SELECT t.nmae FROM model.tensor AS t", "no column t.nmae; near it is name"),
        ("SELECT lenght(bytes) AS n FROM model.token", "no function lenght"),
    ],
)
def test_names_are_checked_against_the_schema(write, ask, sql, said):
    """Without any database as well: on empty ones, as `Workbench.templates()` does."""
    with pytest.raises(NotFoundError, match=said):
        ask(sql)
    with pytest.raises(NotFoundError, match=said):
        explain(write(sql))


def test_tables_of_the_query_itself_and_of_json(ask):
    told = ask("WITH a(x) AS (VALUES (1), (2)) SELECT count(*) AS n FROM a")
    assert told.rows == [(2,)]
    assert ask("SELECT value FROM json_each('[3, 4]')").rows == [(3,), (4,)]


def test_the_vector_index_is_read(write, genome):
    """No two units of the small genome have a weight in common: the nearest one to the third is itself."""
    sql = """
        SELECT unit_id >> 56 AS n, round(1 - distance, 6) AS similarity FROM genome.composition_index
        WHERE vector MATCH (SELECT vector FROM genome.composition_index WHERE unit_id = 3 << 56)
          AND k = 1 AND kind = 'word'"""
    assert run(write(sql, "roles: genome"), {}, {"genome": _source(genome)}).rows == [(3, 1.0)]


def test_tables_that_are_none_of_the_kind(write, model):
    db = Connection(DatabaseFile.find(model, "database"), write=True)
    db.execute("CREATE TABLE stranger (a); INSERT INTO stranger VALUES (1)")
    db.close()
    with pytest.raises(Error, match=r"reads model\.stranger"):
        run(write("SELECT a FROM model.stranger"), {}, {"model": _source(model)})


# Roles


def test_roles_are_opened_as_they_are_asked_for(write, model, make_model, tmp_path: Path):
    missing = Source(tmp_path / "none.db", "")
    assert run(write("SELECT 1 AS a"), {}, {"model": _source(model), "genome": missing}).rows == [(1,)]
    with pytest.raises(NotFoundError, match=r"none.db"):
        run(write("SELECT 1 AS a", "roles: genome"), {}, {"genome": missing})
    with pytest.raises(NotFoundError, match="t asks a genome, and that is not here"):
        run(write("SELECT 1 AS a", "roles: genome"), {}, {"model": _source(model)})
    with pytest.raises(NotFoundError, match="another model database; name it: other=NAME"):
        run(write("SELECT 1 AS a", "roles: model, other model"), {}, {"model": _source(model)})
    other = {"model": _source(model), "other": _source(make_model(tmp_path / "o.db", source="elsewhere"))}
    sql = "SELECT m.value <> o.value AS differ FROM model.meta m JOIN other.meta o USING (key) WHERE key = 'source'"
    assert run(write(sql, "roles: model, other model"), {}, other).rows == [(1,)]


def test_a_database_of_another_kind_or_content(write, model, genome):
    with pytest.raises(Error, match="wanted a model database"):
        run(write("SELECT 1 AS a"), {}, {"model": _source(genome)})
    with pytest.raises(Error, match="has been replaced or changed"):
        run(write("SELECT 1 AS a"), {}, {"model": Source(model, "0" * 64)})


def test_the_journal_is_a_table(write):
    told = {
        "activity": ["s"], "step": [1], "database": ["m"], "object": ["t"], "row": [0], "rows": [2], "bytes": [8],
        "source": ["disk"], "times": [1],
    }  # fmt: skip
    template = write("SELECT object, rows FROM journal.access", "roles: journal")
    assert run(template, {}, {}, journal=told).rows == [("t", 2)]
    with pytest.raises(NotFoundError, match=r"run it from Python: env.query"):
        run(template, {}, {})


def test_the_journals_table_has_the_journals_columns():
    from genome.db.journal import COLUMNS
    from genome.db.layout import layout

    db = apsw.Connection(":memory:")
    db.execute(layout("journal")["access"])
    types = {str: "TEXT", int: "INTEGER"}
    found = {name: kind for _, name, kind, *_ in db.execute("PRAGMA table_info(access)")}
    assert found == {name: types[kind] for name, kind in COLUMNS.items()}
    db.close()


# Time and memory


def test_a_query_ends_when_its_time_is_up(ask):
    with pytest.raises(Error, match=r"took longer than 0\.2 seconds"):
        ask(ENDLESS, seconds=0.2)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(Error, match="wanted more than 0"):
            ask("SELECT 1 AS a", seconds=wrong)


def test_a_query_of_few_long_operations_ends_too(ask):
    """Each search is of the worst kind, and 40 of them take longer than the limit."""
    long = "replace(hex(zeroblob(60000)), '0', 'a')"
    searches = (f"instr({long}, substr({long}, 1, 60000) || '{n}') AS n{n}" for n in range(40))
    with pytest.raises(Error, match=r"took longer than 0\.2 seconds"):
        ask("SELECT " + ", ".join(searches), seconds=0.2)


def test_a_query_is_cancelled_by_another_thread(ask):
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(Error, match="t: cancelled"):
        ask(ENDLESS, seconds=60, cancel=cancel)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are other things there")
def test_a_query_is_interrupted_as_a_notebook_does(ask):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ask(ENDLESS, seconds=60)


@pytest.mark.parametrize(
    "select",
    [
        "SELECT count(DISTINCT y) AS n FROM n",  # a temporary index
        "SELECT y FROM n ORDER BY x DESC LIMIT 1 OFFSET 9999999",  # a sorter
        "SELECT group_concat(x || y) AS n FROM n",  # one text, which SQLite lets go when it is too long
        "SELECT " + ", ".join(f"max(y || {n}) AS m{n}" for n in range(100)) + " FROM n",  # many texts at a time
    ],
)
def test_a_query_that_takes_too_much_memory(ask, select):
    endless = "WITH RECURSIVE n(x, y) AS (SELECT 1, '' UNION ALL SELECT x + 1, x || hex(zeroblob(60000)) FROM n) "
    before = apsw.memory_used()
    apsw.memory_high_water(True)
    with pytest.raises(Error, match=r"more than 256 MiB of memory|longer than 2 seconds"):
        ask(endless + select, seconds=2)
    assert apsw.memory_high_water() - before < 1 << 30
    assert apsw.memory_used() - before < 16 << 20


def test_an_answer_that_is_too_long(ask, monkeypatch):
    monkeypatch.setattr(query, "RESULT_BYTES", 1 << 20)
    rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    with pytest.raises(Error, match=r"longer than 1 MiB \(\d+ rows so far\)"):
        ask(rows)


def test_a_single_operation_is_short(ask):
    """What SQLite cannot interrupt: each of these is one operation on the longest texts there can be."""
    long = "replace(hex(zeroblob(60000)), '0', 'a')"
    for sql in (
        f"SELECT instr({long}, substr({long}, 1, 60000) || 'b') AS n",
        f"SELECT {long} LIKE '%' || substr({long}, 1, 900) || 'b%' AS n",
    ):
        assert ask(sql).rows == [(0,)]
    with pytest.raises(Error, match="LIKE or GLOB pattern too complex"):
        ask(f"SELECT 'a' LIKE {long} AS n")
