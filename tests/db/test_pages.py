"""Checksums of pages: no byte of a database changes unnoticed, and what others change is told."""

import contextlib
import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from genome.db import verify
from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.db.pages import checksum, damaged
from genome.errors import DamagedError, Error


def everything(path: Path) -> list[tuple]:
    with opened(path) as db:
        names = [str(n) for (n,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return [row for name in names for row in db.execute(f'SELECT * FROM "{name}"')]


def places(path: Path) -> list[int]:
    with opened(path, checked=False) as db:
        return list(damaged(db))


def test_each_page_ends_in_its_checksum(model: Path):
    data = model.read_bytes()
    assert data[20] == 8  # reserved bytes per page, https://www.sqlite.org/fileformat.html
    for at in range(0, len(data), 16384):
        page = data[at : at + 16384]
        assert page[-8:] == checksum(page, at)
    assert places(model) == []


def test_a_changed_byte_is_never_given(model: Path):
    sound, right, draw = model.read_bytes(), everything(model), random.Random(65)
    for _ in range(200):
        data = bytearray(sound)
        data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        model.write_bytes(data)
        with contextlib.suppress(Error):
            assert verify(model)
        with contextlib.suppress(Error):
            assert everything(model) == right


def test_pages_that_change_places_are_told(model: Path):
    data = bytearray(model.read_bytes())
    one, other = data[5 * 16384 : 6 * 16384], data[6 * 16384 : 7 * 16384]
    data[5 * 16384 : 7 * 16384] = other + one
    model.write_bytes(data)
    assert places(model) == [5 * 16384, 6 * 16384]


def test_a_change_in_place_keeps_them(model: Path):
    db = Connection(DatabaseFile.find(model, "database"), write=True)
    db.execute("UPDATE token SET piece = 'new' WHERE id = 7")
    db.close()
    assert places(model) == []
    assert everything(model)


def test_a_program_without_them_can_read_and_its_changes_are_told(model: Path):
    plain = apsw.Connection(str(model))
    assert plain.execute("SELECT count(*) FROM token").get == 300
    plain.execute("UPDATE token SET piece = 'new' WHERE id = 7")
    plain.close()
    with pytest.raises(DamagedError, match=r"the page at byte \d+ is not what was written"):
        everything(model)


def test_nothing_is_open_when_python_takes_itself_down(model: Path):
    """A connection that outlives apsw's own names asks the layer for a method without one, and the process dies."""
    code = (
        "import atexit, sys, apsw\n"
        "atexit.register(lambda: print(len(apsw.connections())))\n"  # registered first, so called last
        "from genome.db.connect import connect\n"
        "db = connect(sys.argv[1])\n"
        "rows = db.execute('SELECT id FROM token'); next(rows)\n"
        "print(len(apsw.connections()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, timeout=60)
    assert (ended.stdout.split(), ended.returncode, ended.stderr) == (["1", "0"], 0, "")
