"""Readers and writers beside each other: whole states only, whatever is killed, replaced or removed."""

import multiprocessing
import multiprocessing.process
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw
import pytest

from genome.db import building, connect, header, snapshot, verify, writing
from genome.db import connection as waits
from genome.db.connect import is_database, opened, schema_version
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError

FORK = multiprocessing.get_context("fork")


@contextmanager
def process(work: Callable[..., None], *arguments: object) -> Iterator[multiprocessing.process.BaseProcess]:
    """Another process; the block begins when it has said that it is ready, and ends with its end."""
    mine, its = FORK.Pipe()
    child = FORK.Process(target=work, args=(its, *arguments))
    child.start()
    try:
        assert mine.poll(30)
        assert mine.recv() == "ready"
        yield child
    finally:
        child.kill()
        child.join()


def hold(pipe, path: Path) -> None:
    """A writer that has changed every block, also on the disk, and waits to be killed."""
    with writing(path) as db:
        db.execute("UPDATE token SET piece = 'half'")
        db.execute("UPDATE block SET data = zeroblob(length(data))")
        db.cache_flush()
        pipe.send("ready")
        time.sleep(60)


def reserve(pipe, path: Path) -> None:
    """A writer that has written nothing to the disk yet."""
    with writing(path) as db:
        db.execute("UPDATE token SET piece = 'half' WHERE id = 7")
        pipe.send("ready")
        time.sleep(60)


def kill(path: Path, work: Callable[..., None] = hold) -> None:
    with process(work, path) as child:
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    assert path.with_name(path.name + "-journal").exists()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "READ_WAIT_S", 0.5)
    monkeypatch.setattr(waits, "WRITE_WAIT_S", 0.1)


def piece(db: apsw.Connection, token: int = 7) -> str:
    return db.execute("SELECT piece FROM token WHERE id = ?", (token,)).get


def test_a_change_is_there_whole_at_the_end_of_its_block(model: Path):
    with opened(model) as reader:
        with writing(model, "model") as db:
            db.execute("UPDATE token SET piece = 'new'")
            assert piece(db) == "new"
            assert piece(reader) == "p7"
        assert piece(reader) == "new"
    assert os.listdir(model.parent) == ["m.db"]


def test_a_change_that_fails_is_not_there(model: Path):
    before = model.read_bytes()

    def fail() -> None:
        with writing(model) as db:
            db.execute("UPDATE token SET piece = 'new'")
            next(db.execute("SELECT * FROM token"))  # a statement that is not at its end stops no rollback
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.read_bytes() == before
    assert os.listdir(model.parent) == ["m.db"]


def test_one_change_at_a_time(model: Path):
    with process(reserve, model):
        with pytest.raises(Error, match="is in use by another process"), writing(model):
            raise AssertionError("the block of a refused change runs")
        assert header(model)["kind"] == "model"
        with opened(model) as db:
            assert piece(db) == "p7"


def test_looking_at_a_file_does_not_end_its_writers_locks(model: Path):
    """POSIX: closing any descriptor of a file ends all locks that the process holds on it."""

    def try_to_write(pipe) -> None:
        pipe.send("ready")
        try:
            with writing(model):
                pipe.send("wrote")
        except Error as error:
            pipe.send(str(error))

    with writing(model) as db:
        db.execute("UPDATE token SET piece = 'new' WHERE id = 7")
        assert is_database(model)
        assert schema_version(model) == 2
        assert header(model)["kind"] == "model"
        with opened(model) as reader:
            assert piece(reader) == "p7"
        assert verify(model) == []
        mine, its = FORK.Pipe()
        child = FORK.Process(target=try_to_write, args=(its,))
        child.start()
        assert mine.recv() == "ready"
        assert "in use by another process" in mine.recv()
        child.join()


def test_a_killed_change_is_taken_back_by_who_opens_next(model: Path):
    before = model.read_bytes()
    kill(model)
    assert model.read_bytes() != before
    assert header(model)["kind"] == "model"
    assert model.read_bytes() == before
    assert os.listdir(model.parent) == ["m.db"]
    assert verify(model) == []


def test_a_killed_change_is_taken_back_under_an_open_reader(model: Path):
    with opened(model) as reader:
        assert piece(reader) == "p7"
        kill(model)
        assert piece(reader) == "p7"
        with snapshot(reader):
            assert piece(reader, 8) == "p8"
    assert verify(model) == []


def test_a_killed_change_is_taken_back_by_the_next_writer(model: Path):
    kill(model)
    with writing(model) as db:
        assert piece(db) == "p7"
        db.execute("UPDATE token SET piece = 'new' WHERE id = 8")
    with opened(model) as db:
        assert (piece(db), piece(db, 8)) == ("p7", "new")


def test_a_killed_change_does_not_enter_what_replaces_the_database(model: Path, make_model):
    kill(model)
    make_model(model, source="a new build")
    assert header(model)["source"] == "a new build"
    assert os.listdir(model.parent) == ["m.db"]
    assert verify(model) == []


def test_a_journal_left_alone_does_not_enter_a_new_database(model: Path, make_model):
    kill(model)
    model.unlink()
    make_model(model, source="a new build")
    assert header(model)["source"] == "a new build"
    assert verify(model) == []


def test_a_build_does_not_replace_what_is_being_changed(model: Path):
    with (
        process(reserve, model),
        pytest.raises(Error, match="is in use by another process"),
        building(model, "model"),
    ):
        pass
    assert header(model)["source"] == "made by a test"


@pytest.mark.parametrize("short", [False, True])
def test_the_journal_of_several_files_is_not_rolled_back(model: Path, tmp_path: Path, short: bool):
    """SQLite would remove the file that such a journal names: https://www.sqlite.org/fileformat.html, 3.2."""
    precious = tmp_path / "precious"
    precious.write_text("not a super-journal")
    kill(model)
    if short:
        model.with_name("m.db-journal").write_bytes(b"x")
    name = str(precious).encode()
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    with model.with_name("m.db-journal").open("ab") as journal:
        journal.write(b"\0\0\0\1" + end)
    for attempt in (lambda: connect(model), lambda: writing(model).__enter__()):
        with pytest.raises(DamagedError, match="belongs to several files"):
            attempt()
    assert precious.exists()
    assert model.with_name("m.db-journal").exists()


def test_an_unfinished_change_beside_a_read_only_file_is_told(model: Path):
    kill(model)
    model.chmod(0o444)
    with pytest.raises(DamagedError, match=r"unfinished change beside it \(m\.db-journal\).*make it writable once"):
        connect(model)
    model.chmod(0o644)
    assert header(model)["kind"] == "model"


def test_a_read_only_file_is_read_without_locks_and_not_written(model: Path):
    model.chmod(0o444)
    with opened(model) as db:
        assert db.readonly("main")
    assert DatabaseFile.find(model, "").address().endswith("?immutable=1&vfs=genome")
    with pytest.raises(Error, match="is read-only; make it writable"), writing(model):
        raise AssertionError("the block of a refused change runs")


def test_a_reader_of_a_replaced_file_stays_with_the_old_one(model: Path, make_model):
    """The journal of the new file's writer has the name that the old file's would have: it is waited for."""
    with opened(model) as reader:
        assert piece(reader) == "p7"
        make_model(model, source="new")
        with process(hold, model) as child:
            threading.Timer(0.1, child.kill).start()
            assert piece(reader) == "p7"
        assert meta_source(reader) == "made by a test"
    assert header(model)["source"] == "new"
    assert verify(model) == []


def test_a_reader_of_a_replaced_file_does_not_wait_for_ever(model: Path, make_model):
    with opened(model) as reader:
        make_model(model, source="new")
        with (
            process(hold, model),
            pytest.raises(Error, match="is in use by another process"),
        ):
            piece(reader)


def watch(pipe, path: Path, until: float) -> None:
    """Reads whole states: every token and the mark beside them, which a change writes together."""
    said: list[object] = []
    states = 0
    try:
        with opened(path) as db:
            pipe.send("ready")
            while time.time() < until:
                with snapshot(db):
                    seen = {str(mark) for (mark,) in db.execute("SELECT value FROM meta WHERE key = 'licence'")}
                    seen |= {str(mark) for (mark,) in db.execute("SELECT DISTINCT piece FROM token")}
                    seen |= {bytes(data[:8]).decode() for (data,) in db.execute("SELECT data FROM block")}
                if len(seen) != 1:
                    said.append(seen)
                if header(path)["kind"] != "model":
                    said.append("header")
                states += 1
    except BaseException as error:  # told to the test
        said.append(repr(error))
    pipe.send((states, said[:2]))


def change(db: apsw.Connection, number: int) -> None:
    mark = f"{number:08}"
    db.execute("UPDATE token SET piece = ?", (mark,))
    db.execute("UPDATE block SET data = CAST(? || printf('%.*c', length(data) - 8, 'x') AS BLOB)", (mark,))
    db.execute("UPDATE meta SET value = ? WHERE key = 'licence'", (mark,))


def test_eight_readers_see_whole_states_while_a_writer_changes_and_is_killed(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waits, "READ_WAIT_S", 30)
    monkeypatch.setattr(waits, "WRITE_WAIT_S", 30)
    with writing(model) as db:
        change(db, 0)
    until = time.time() + 5
    with ExitStack() as stack:
        pipes = []
        for _ in range(8):
            mine, its = FORK.Pipe()
            child = FORK.Process(target=watch, args=(its, model, until))
            child.start()
            stack.callback(child.join)
            stack.callback(child.kill)
            pipes.append(mine)
        assert [pipe.recv() for pipe in pipes] == ["ready"] * 8
        number = 0
        while time.time() < until - 0.5:
            number += 1
            if number % 5 == 0:
                with process(hold, model) as child:
                    os.kill(child.pid or 0, signal.SIGKILL)
            with writing(model) as db:
                change(db, number)
        seen = [pipe.recv() for pipe in pipes]
    assert [said for _, said in seen] == [[]] * 8
    assert all(states for states, _ in seen)
    assert number > 5
    with opened(model) as db:
        assert piece(db) == f"{number:08}"
    assert os.listdir(model.parent) == ["m.db"]


def meta_source(db: apsw.Connection) -> str:
    return db.execute("SELECT value FROM meta WHERE key = 'source'").get


def test_a_removed_file_stays_open_and_cannot_be_opened(model: Path):
    with opened(model) as reader:
        model.unlink()
        assert piece(reader) == "p7"
        with pytest.raises(NotFoundError):
            connect(model)


def test_a_file_cut_short_while_it_is_open_is_one_line(model: Path):
    """With a memory map the process would end here: SIGBUS."""

    def read() -> None:
        with opened(model) as reader:
            assert piece(reader) == "p7"
            os.truncate(model, 3 * 16384)
            reader.execute("SELECT sum(length(data)) FROM block").fetchall()

    with pytest.raises(DamagedError, match="is damaged"):
        read()


def test_a_snapshot_is_one_state(model: Path):
    with opened(model) as reader:
        with snapshot(reader), snapshot(reader):
            assert piece(reader) == "p7"
            with pytest.raises(Error, match="is in use"), writing(model) as db:
                db.execute("UPDATE token SET piece = 'new'")
            assert piece(reader) == "p7"
        with writing(model) as db:
            db.execute("UPDATE token SET piece = 'new'")
        assert piece(reader) == "new"


def test_snapshots_within_a_change_do_not_end_it(model: Path):
    def fail() -> None:
        with writing(model) as db:
            with snapshot(db), snapshot(db):
                db.execute("UPDATE token SET piece = 'new'")
            with opened(model) as reader:
                assert piece(reader) == "p7"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with opened(model) as reader:
        assert piece(reader) == "p7"


def test_snapshots_that_overlap_without_end_let_a_writer_in(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waits, "WRITE_WAIT_S", 30)
    done = threading.Event()
    with opened(model) as db:

        def ask() -> None:
            while not done.is_set():
                with snapshot(db):
                    first = piece(db)
                    assert all(piece(db) == first for _ in range(20))

        with ThreadPoolExecutor(8) as threads:
            asking = [threads.submit(ask) for _ in range(8)]
            try:
                for number in range(3):
                    with writing(model) as change:
                        change.execute("UPDATE token SET piece = ?", (f"new {number}",))
            finally:
                done.set()
            assert [one.result() for one in asking] == [None] * 8
        assert piece(db) == "new 2"


def test_a_stranger_takes_no_part_in_a_change(model: Path):
    db = Connection(DatabaseFile.find(model, "database"), write=True)
    db.execute("CREATE INDEX spy ON token (hex(piece))")
    db.close()
    with pytest.raises(DamagedError, match="has 'spy', which is none of its kind"), writing(model):
        raise AssertionError("the block of a refused change runs")
