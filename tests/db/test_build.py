"""Atomic builds: complete under the name, or nothing."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from genome.db import building, connect, header, verify
from genome.db.connect import opened
from genome.db.kinds import APPLICATION_ID
from genome.errors import Error


def run(code: str, *arguments: object, wait_for: str = "") -> subprocess.Popen[str]:
    """Another Python process; returns when it has printed `wait_for`."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if wait_for:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == wait_for, process.communicate()[1]
    return process


HALF_BUILT = """
    import sys, time, pathlib
    from genome.db import building
    with building(pathlib.Path(sys.argv[1]), "lexicon") as db:
        for i in range(20000):
            db.execute("INSERT INTO word VALUES (?, ?)", (i, "word %d of a long list of words" % i))
        db.cache_flush()
        print("half", flush=True)
        time.sleep(60)
"""


def test_a_build_appears_whole_with_its_facts(tmp_path: Path):
    path = tmp_path / "deep" / "w.db"
    with building(path, "lexicon", source="here", licence="CC0", edition="3") as db:
        db.execute("INSERT INTO word VALUES (1, 'mother')")
        assert not path.exists()
    facts = header(path)
    assert {k: facts[k] for k in ("kind", "name", "source", "licence", "edition", "source_sha256")} == {
        "kind": "lexicon", "name": "w", "source": "here", "licence": "CC0", "edition": "3", "source_sha256": "",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["created"])
    assert os.listdir(path.parent) == ["w.db"]
    assert verify(path) == []
    with opened(path) as db:
        assert db.pragma("application_id") == APPLICATION_ID == int.from_bytes(b"GNOM", "big")
        assert db.pragma("page_size") == 16384


def test_the_same_content_gives_the_same_identity(tmp_path: Path, make_model):
    one, two = header(make_model(tmp_path / "a.db")), header(make_model(tmp_path / "b.db"))
    other = header(make_model(tmp_path / "c.db", source="elsewhere"))
    assert (one["uuid"], one["checksum"]) == (two["uuid"], two["checksum"])
    assert one["uuid"] != other["uuid"]


def test_identity_does_not_depend_on_the_order_of_insertion(tmp_path: Path):
    words = [(i, f"word{i:04}") for i in range(3000)]
    found = set()
    for name, order in {"up": words, "down": words[::-1]}.items():
        with building(tmp_path / f"{name}.db", "lexicon") as db:
            db.executemany("INSERT INTO word VALUES (?, ?)", order)
        found.add(header(tmp_path / f"{name}.db")["checksum"])
    assert len(found) == 1


def test_an_error_in_the_block_leaves_what_was_there(tmp_path: Path, make_model):
    path = make_model(tmp_path / "m.db")
    before = path.read_bytes()

    def fail() -> None:
        with building(path, "model") as db:
            db.execute("INSERT INTO token (id, piece, bytes, type) VALUES (0, 'x', x'00', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.db"]


def test_a_killed_build_leaves_the_old_database_and_the_next_build_cleans_up(tmp_path: Path):
    path = tmp_path / "w.db"
    with building(path, "lexicon", source="first"):
        pass
    process = run(HALF_BUILT, path, wait_for="half")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert header(path)["source"] == "first"
    assert verify(path) == []
    assert len(os.listdir(tmp_path)) == 2  # what the kill left
    with building(path, "lexicon", source="second"):
        pass
    assert header(path)["source"] == "second"
    assert os.listdir(tmp_path) == ["w.db"]


@pytest.mark.parametrize("left", [b"", b"SQLite format 3\0", b"no database at all" * 100, b"\0" * 5000])
def test_whatever_a_killed_build_left_is_cleaned_up(tmp_path: Path, left: bytes):
    path = tmp_path / "w.db"
    path.with_name(".w.db.0a1b2c3d.building").write_bytes(left)
    with building(path, "lexicon"):
        pass
    assert os.listdir(tmp_path) == ["w.db"]


def test_a_second_build_waits_for_nobody_and_says_so(tmp_path: Path):
    path = tmp_path / "w.db"
    process = run(HALF_BUILT, path, wait_for="half")
    try:
        with pytest.raises(Error, match="is being built by another process"), building(path, "lexicon"):
            raise AssertionError("the block of a refused build runs")
        with building(path.with_name("other.db"), "lexicon"):  # another name is free
            pass
        assert sorted(p for p in os.listdir(tmp_path) if not p.startswith(".")) == ["other.db"]
    finally:
        process.kill()
        process.communicate()


def test_a_file_taken_away_before_the_lock_makes_the_build_start_again(tmp_path: Path, monkeypatch):
    import genome.db.build as build

    create, created = build._create, []

    def unlucky(growing: Path, *rest: Any) -> apsw.Connection:
        db = create(growing, *rest)
        created.append(growing)
        if len(created) == 1:
            growing.unlink()
        return db

    monkeypatch.setattr(build, "_create", unlucky)
    with building(tmp_path / "w.db", "lexicon"):
        pass
    assert len(created) == 2
    assert os.listdir(tmp_path) == ["w.db"]


def test_builds_that_start_together_leave_one_whole_database(tmp_path: Path):
    path, ends = tmp_path / "w.db", []

    def build(source: str) -> None:
        try:
            with building(path, "lexicon", source=source) as db:
                db.executemany("INSERT INTO word VALUES (?, ?)", ((i, f"{source}{i}") for i in range(2000)))
            ends.append("built")
        except Error:
            ends.append("refused")

    threads = [threading.Thread(target=build, args=(f"s{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 8
    assert "built" in ends
    assert verify(path) == []
    assert os.listdir(tmp_path) == ["w.db"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, make_model):
    path = make_model(tmp_path / "m.db")
    before = path.read_bytes()

    def fill() -> None:
        with building(path, "model") as db:
            db.pragma("max_page_count", 40)
            rows = ((i, "piece", bytes(5000), 1) for i in range(1000))
            db.executemany("INSERT INTO token (id, piece, bytes, type) VALUES (?, ?, ?, ?)", rows)

    with pytest.raises(Error, match=r"no space left for .*m\.db; free some, or set GENOME_HOME"):
        fill()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.db"]


def test_a_refusing_disk_is_one_line_and_leaves_nothing(tmp_path: Path):
    """RLIMIT_FSIZE makes write() fail in the middle, as a quota does."""
    pytest.importorskip("resource", reason="the system has no file-size limits")
    code = """
        import pathlib, resource, sys
        from genome.db import building
        from genome.errors import Error
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            with building(pathlib.Path(sys.argv[1]), "lexicon") as db:
                for i in range(100000):
                    db.execute("INSERT INTO word VALUES (?, ?)", (i, "a word of some length, number %d" % i))
        except Error as error:
            print(error)
    """
    process = run(code, tmp_path / "w.db")
    said, complaints = process.communicate(timeout=60)
    assert complaints == ""
    assert said.count("\n") == 1
    assert "w.db" in said
    assert os.listdir(tmp_path) == []


def test_impossible_builds_are_refused_before_they_start(tmp_path: Path):
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "file").write_text("")
    for path, kind, facts, said in [
        (tmp_path / "x.db", "novel", {}, "no kind 'novel' of database; wanted one of model, lexicon, genome"),
        (tmp_path / "folder.db", "model", {}, "is a folder"),
        (tmp_path / "file" / "x.db", "model", {}, "cannot be written"),
        (tmp_path / "x.db", "model", {"uuid": "1"}, "'uuid' is a fact that the build itself writes"),
    ]:
        with pytest.raises(Error, match=said), building(path, kind, **facts):
            raise AssertionError("the block of a refused build runs")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.db"]


def test_what_breaks_the_schema_is_one_line(tmp_path: Path):
    with (
        pytest.raises(Error, match=r"UNIQUE constraint failed: word\.id"),
        building(tmp_path / "w.db", "lexicon") as db,
    ):
        db.execute("INSERT INTO word VALUES (1, 'a'), (1, 'b')")
    assert os.listdir(tmp_path) == []


def test_a_reader_keeps_the_database_that_it_opened(tmp_path: Path, make_model):
    path = make_model(tmp_path / "m.db", source="old")
    db = connect(path)
    make_model(path, source="new")
    assert dict(db.execute("SELECT key, value FROM meta"))["source"] == "old"
    db.close()
    assert header(path)["source"] == "new"
