"""Many databases over few connections."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from genome.db import Pool, snapshot, writing
from genome.db import pool as pools
from genome.errors import DamagedError, Error, NotFoundError


@pytest.fixture
def many(model: Path) -> list[Path]:
    """Thirty databases that differ in one token."""
    paths = [model.with_name(f"m{i}.db") for i in range(30)]
    for i, path in enumerate(paths):
        shutil.copy(model, path)
        with writing(path) as db:
            db.execute("UPDATE token SET piece = ? WHERE id = 0", (f"of {i}",))
    return paths


def piece(db: apsw.Connection, token: int = 0) -> str:
    return db.execute("SELECT piece FROM token WHERE id = ?", (token,)).get


def descriptors(paths: list[Path]) -> int:
    """How many descriptors of some files this process has; other tests' databases do not count."""
    ours = {str(path.resolve()) for path in paths}
    return sum(os.path.realpath(f"/proc/self/fd/{n}") in ours for n in os.listdir("/proc/self/fd"))


def test_a_message_can_name_the_file_open_or_not(many: list[Path]):
    pool = Pool(connections=1)
    first, second = (pool.connect(path, "model") for path in many[:2])
    assert (first.filename, second.filename) == (str(many[0]), str(many[1]))
    pool.close()


def test_any_number_of_databases_over_a_few_connections(many: list[Path]):
    pool = Pool(connections=4)
    handles = [pool.connect(path, "model") for path in many]
    assert len(pool) == 4
    for _ in range(2):
        assert [piece(handle) for handle in handles] == [f"of {i}" for i in range(30)]
        assert len(pool) == 4
        if os.path.isdir("/proc/self/fd"):
            assert descriptors(many) == 4
    pool.close()
    assert len(pool) == 0
    assert piece(handles[7]) == "of 7"
    pool.close()


def test_the_longest_idle_is_closed_first(many: list[Path]):
    pool = Pool(connections=2)
    a, b = pool.connect(many[0]), pool.connect(many[1])
    piece(a)
    c = pool.connect(many[2])
    assert set(pool._open) == {a, c}
    piece(b)
    assert set(pool._open) == {b, c}
    pool.close()


def test_what_is_being_read_stays_open(many: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pools, "WAIT_S", 0.05)
    pool = Pool(connections=2)
    a, b, c = (pool.connect(path) for path in many[:3])
    rows = a.execute("SELECT id FROM token ORDER BY id")
    assert next(rows) == (0,)
    with snapshot(b), snapshot(b):
        with pytest.raises(Error, match="2 databases are being read at once"):
            piece(c)
        assert piece(b) == "of 1"
    assert piece(c) == "of 2"
    assert len(list(rows)) == 299
    assert piece(b) == "of 1"
    pool.close()


def test_a_snapshot_of_a_pooled_database_is_one_state(many: list[Path]):
    pool = Pool()
    handle = pool.connect(many[3])
    with snapshot(handle):
        assert piece(handle) == "of 3"
        done = threading.Event()

        def change() -> None:
            with writing(many[3]) as db:
                db.execute("UPDATE token SET piece = 'new' WHERE id = 0")
            done.set()

        thread = threading.Thread(target=change)
        thread.start()
        assert not done.wait(0.05)
        assert piece(handle) == "of 3"
    thread.join()
    assert piece(handle) == "new"
    pool.close()


def test_threads_share_a_pool(many: list[Path]):
    pool = Pool(connections=3)
    handles = [pool.connect(path) for path in many[:9]]

    def ask(number: int) -> bool:
        which = number * 7 % 9
        with snapshot(handles[which]):
            return piece(handles[which]) == f"of {which}" and piece(handles[which], 5) == "p5"

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(ask, range(300)))
    assert len(pool) <= 3
    pool.close()


def test_a_replaced_file_is_noticed_and_never_read_instead(many: list[Path], make_model):
    pool = Pool(connections=1)
    a, b = pool.connect(many[0]), pool.connect(many[1])
    piece(a)
    make_model(many[0], source="new")  # under an open connection: what it began with
    assert piece(a) == "of 0"
    piece(b)
    for _ in range(2):
        with pytest.raises(Error, match=r"m0\.db has been replaced since it was opened; open it again"):
            piece(a)
    assert piece(pool.connect(many[0])) == "p0"
    assert piece(b) == "of 1"
    pool.close()


def test_a_removed_file_is_noticed(many: list[Path]):
    pool = Pool(connections=1)
    a, b = pool.connect(many[0]), pool.connect(many[1])
    away = many[0].rename(many[0].with_name("away.db"))
    with pytest.raises(NotFoundError, match=r"m0\.db has been removed or renamed"):
        piece(a)
    away.rename(many[0])
    assert piece(a) == "of 0"
    many[1].write_bytes(b"something else")
    with pytest.raises(DamagedError, match="is not a database"):
        piece(b)
    pool.close()


def test_a_change_in_place_and_a_copy_of_the_same_are_no_other_file(many: list[Path]):
    pool = Pool(connections=1)
    a, b = pool.connect(many[0]), pool.connect(many[1])
    with writing(many[0]) as db:
        db.execute("UPDATE token SET piece = 'new' WHERE id = 0")
        db.execute("UPDATE meta SET value = 'another' WHERE key = 'checksum'")
    assert piece(a) == "new"
    before = a.pragma("data_version")
    assert piece(b) == "of 1"  # which closes the other's connection
    with writing(many[0]) as db:
        db.execute("UPDATE token SET piece = 'newer' WHERE id = 0")
    assert a.pragma("data_version") != before
    copy = many[1].with_name("copy.db")
    shutil.copy(many[1], copy)
    copy.replace(many[1])
    assert piece(b) == "of 1"
    pool.close()


def test_what_cannot_be_opened_is_refused_at_once(tmp_path: Path, model: Path):
    pool = Pool()
    with pytest.raises(NotFoundError):
        pool.connect(tmp_path / "none.db")
    with pytest.raises(Error, match="wanted a genome database"):
        pool.connect(model, "genome")
    with pytest.raises(Error, match="wanted 1 or more"):
        Pool(connections=0)
    handle = pool.connect(model)
    handle.close()
    with pytest.raises(Error, match="this database is closed"):
        piece(handle)
    assert len(pool) == 0
