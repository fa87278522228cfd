"""The one door: what is let in, and what a stranger's file cannot do."""

import os
import shutil
import stat
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

import apsw
import pytest

from genome.db import connect, header, is_database, verify
from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile, uri
from genome.db.kinds import APPLICATION_ID
from genome.errors import DamagedError, Error, NotFoundError


def edit(path: Path, sql: str) -> None:
    """What a stranger can do to a file with a program of their own."""
    db = Connection(DatabaseFile.find(path, "database"), write=True)
    db.pragma("writable_schema", 1)
    db.execute(sql)
    db.close()


def refused(path: Path, kind: str | None = None) -> str:
    """The error's text, after a look that it is one line and that `header` and `verify` say no less."""
    with pytest.raises(Error) as caught:
        connect(path, kind)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_good_database_is_read_only(model: Path):
    with opened(model, "model") as db:
        assert db.execute("SELECT piece FROM token WHERE id = 7").get == "p7"
        with pytest.raises(apsw.ReadOnlyError):
            db.execute("DELETE FROM token")


def test_vectors_are_loaded_where_a_kind_has_them(genome: Path):
    with opened(genome, "genome") as db:
        assert db.execute("SELECT vec_version()").get.startswith("v")


def test_reading_leaves_no_trace(model: Path):
    model.chmod(stat.S_IRUSR)
    before = model.read_bytes()
    with opened(model) as db:
        db.execute("SELECT count(*) FROM token").fetchall()
        assert os.listdir(model.parent) == ["m.db"]
    assert model.read_bytes() == before


def test_names_with_signs_that_mean_something_in_auri(model: Path):
    for name in ("a b.db", "100%41.db", "what?.db", "x#y.db", "é字.db", "mode=rw&.db"):
        shutil.copy(model, model.with_name(name))
        assert header(model.with_name(name))["kind"] == "model"


def test_the_address_of_a_file_has_no_host():
    """SQLite takes an address with an authority for an error: https://www.sqlite.org/uri.html#the_uri_path"""
    assert uri(PureWindowsPath(r"\\server\share\a b.db").as_posix()) == "file:////server/share/a%20b.db"
    assert uri(PureWindowsPath(r"C:\a.db").as_posix()) == "file:///C:/a.db"
    assert uri("/a.db") == "file:///a.db"


def test_what_is_no_database_of_ours(tmp_path: Path):
    db = apsw.Connection(str(tmp_path / "theirs.db"))
    db.execute("CREATE TABLE meta (key, value)")
    db.close()
    (tmp_path / "text.db").write_text("SQLite format 3? No: a text.\n" * 50)
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "short.db").write_bytes(b"SQLite format 3\0")
    for name in ("theirs.db", "text.db", "empty.db", "short.db"):
        assert "is not a database of Token Genome; `genome pull`" in refused(tmp_path / name)
        assert not is_database(tmp_path / name)
    assert "is not a file" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "none.db")
    assert "cannot be read" in refused(tmp_path / ("n" * 300))
    assert not is_database(tmp_path / ("n" * 300))
    with pytest.raises(NotFoundError):
        connect(tmp_path / "none.db")


def test_another_kind_or_version(model: Path):
    assert "is a model database; wanted a genome database" in refused(model, "genome")
    with pytest.raises(Error, match="no kind 'novel'"):
        connect(model, "novel")
    edit(model, "PRAGMA user_version = 99")
    assert "schema version 99, newer than this program; update" in refused(model)
    edit(model, "PRAGMA user_version = 0")
    assert "schema version 0, wanted 2; `genome pull` builds it again" in refused(model)


@pytest.mark.parametrize("rest", [99, 100, 5000, 16384, 0.5, -1])
def test_truncated(model: Path, rest: float):
    size = model.stat().st_size
    with model.open("r+b") as file:
        file.truncate(int(rest * size) if 0 < rest < 1 else int(rest) % size)
    with pytest.raises(DamagedError, match="is truncated"):
        connect(model)


def test_a_write_ahead_log_is_not_replayed(model: Path):
    """A reference database is one file: a log that somebody lays beside it does not change what it says."""
    other = Connection(DatabaseFile.find(model, "database"), write=True)
    other.pragma("journal_mode", "WAL")
    other.execute("UPDATE meta SET value = 'stolen' WHERE key = 'licence'")
    assert model.with_name("m.db-wal").stat().st_size
    assert "write-ahead log beside it (m.db-wal)" in refused(model)
    other.close()
    assert "set to write-ahead logging by another program" in refused(model)
    other = Connection(DatabaseFile.find(model, "database"), write=True)
    other.pragma("journal_mode", "DELETE")
    other.close()
    assert header(model)["licence"] == "stolen"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP TABLE token", "lacks the table token"),
        ("DROP INDEX token_by_piece", "lacks the index token_by_piece"),
        ("ALTER TABLE token RENAME COLUMN piece TO part", "lacks the table token"),
        ("DROP TABLE token; CREATE VIEW token AS SELECT 1 AS id", "lacks the table token"),
        (
            "DROP TABLE block; CREATE VIRTUAL TABLE block USING vec0(id INTEGER PRIMARY KEY, data FLOAT[4])",
            "table block",
        ),
        ("DROP TABLE meta; CREATE VIEW meta AS SELECT 'kind' AS key, 'model' AS value", "lacks the table meta"),
        ("DROP TABLE meta", "lacks the table meta"),
        ("DELETE FROM meta WHERE key = 'kind'", "does not say which kind"),
        (
            "UPDATE meta SET value = 'novel' WHERE key = 'kind'",
            "is a 'novel' database; this program knows model",
        ),
        (
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE nonsense' WHERE name = 'token'",
            "SQLite refused|is damaged",
        ),
    ],
)
def test_altered_schemas_are_refused(model: Path, sql: str, said: str):
    from genome.db.connect import prepare

    db = Connection(DatabaseFile.find(model, "database"), write=True)
    prepare(db)
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    db.pragma("writable_schema", 1)
    db.execute(sql)
    db.close()
    text = refused(model)
    assert any(part in text for part in said.split("|")), text
    assert verify_says_or_refuses(model)


def verify_says_or_refuses(path: Path) -> str:
    try:
        return "; ".join(problem.text for problem in verify(path))
    except Error as error:
        return str(error)


def test_triggers_and_views_of_a_stranger_do_nothing_and_are_told(model: Path):
    edit(
        model,
        "CREATE TRIGGER t BEFORE INSERT ON token BEGIN DELETE FROM block; END;"
        "CREATE VIEW v AS SELECT * FROM token;"
        "CREATE TABLE extra (x);",
    )
    with opened(model) as db, pytest.raises(apsw.SQLError, match="access to view"):
        db.execute("SELECT * FROM v").fetchall()
    assert {p.table: p.text for p in verify(model)} == dict.fromkeys(
        ("t", "v", "extra"), "was not there when the database was built"
    )


def test_text_that_is_not_utf8_is_damage(model: Path):
    edit(model, "UPDATE token SET piece = CAST(x'ff41' AS TEXT) WHERE id = 3")
    with pytest.raises(DamagedError, match="is damaged"), opened(model) as db:
        db.execute("SELECT piece FROM token").fetchall()
    assert [p.table for p in verify(model) if p.table != "pages"] == ["token"]


def test_every_page_of_noise_is_one_line_or_harmless(model: Path):
    """Each page in turn replaced by noise: a clear error, or nothing that the kind holds was on it."""
    good = model.read_bytes()
    noise = bytes((i * 197 + 13) % 251 for i in range(16384))
    for page in range(1, len(good) // 16384):
        model.write_bytes(good[: page * 16384] + noise + good[(page + 1) * 16384 :])
        assert verify_says_or_refuses(model), f"page {page}"


def test_header_fields_of_noise_are_one_line(model: Path):
    good = model.read_bytes()
    for at in range(16, 100):
        model.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            with opened(model) as db:
                db.execute("SELECT sum(id) FROM token").fetchall()
        except Error as error:
            assert "\n" not in str(error)  # noqa: PT017 - some fields are harmless, so no error is fine too


def test_the_mark_is_where_file_1_looks_for_it(model: Path):
    assert struct.unpack_from(">I", model.read_bytes(), 68) == (APPLICATION_ID,)


def test_a_file_that_may_not_be_read(model: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", denied)
    assert "cannot be read (Permission denied)" in refused(model)
    assert not is_database(model)


def test_several_threads_take_turns(model: Path):
    """apsw itself refuses the second of two threads; results left before their last row are ended in turn too."""
    with opened(model) as db, ThreadPoolExecutor(4) as pool:

        def ask(number: int) -> int:
            next(db.execute("SELECT piece FROM token"))
            pairs = "SELECT count(*) FROM token a, token b, token c WHERE a.id < 50 AND b.id >= ?"
            return db.execute(pairs, (number,)).fetchall()[0][0]

        assert list(pool.map(ask, range(8))) == [50 * 300 * (300 - number) for number in range(8)]


def test_a_closed_connection_says_so(model: Path):
    db = connect(model)
    rows = db.execute("SELECT piece FROM token")
    db.close(True)
    with pytest.raises(Error, match="this database is closed"):
        next(rows)
    with pytest.raises(Error, match="this database is closed"):
        db.execute("SELECT 1")
