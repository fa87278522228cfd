"""Damage is found wherever it is, and nothing else is called damage."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from genome.db import verify
from genome.db.connect import prepare
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import Error


def said(path: Path) -> dict[str, str]:
    return {problem.table: problem.text for problem in verify(path)}


def rows(path: Path) -> list[tuple]:
    """All that the tables and the header say, read without this program's checks."""
    db = Connection(DatabaseFile.find(path, "database"), write=True)
    prepare(db)
    try:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        found = [(n, sorted(map(repr, db.execute(f'SELECT * FROM "{n}"')))) for n in names]
        return [db.pragma("user_version"), db.pragma("application_id"), *found]
    finally:
        db.close()


def test_sound_databases_have_no_problems(model: Path, genome: Path):
    assert verify(model) == []
    assert verify(genome) == []


def test_stages_are_told(model: Path):
    stages = []
    verify(model, stages.append)
    assert stages[0] == "pages"
    assert {"token", "block", "meta", "row blocks"} <= set(stages)


def test_a_flipped_bit_in_a_block_names_its_rows(model: Path, pattern: Callable[..., bytes]):
    """Rows of 612 bytes, 107 a block (65,536 // 612): row 150 is in the block of rows 107 to 213."""
    data = bytearray(model.read_bytes())
    at = data.find(pattern(300 * 612)[150 * 612 + 100 :][:256])
    assert at > 0
    data[at] ^= 4
    model.write_bytes(data)
    assert said(model) == {
        "block": "tensor t0, rows 107 to 213: checksum differs",
        "pages": f"the page at byte {at // 16384 * 16384} is not what was written",
    }


@pytest.mark.parametrize(
    ("sql", "table", "text"),
    [
        ("UPDATE token SET score = score + 1e-9 WHERE id = 299", "token", "has other values"),
        ("UPDATE token SET bytes = x'00' WHERE id = 5", "token", "has other values"),
        ("DELETE FROM token WHERE id = 0", "token", "has 299 rows, was built with 300"),
        ("UPDATE block SET checksum = checksum + 1 WHERE id = 2", "block", ""),
        ("UPDATE meta SET value = 'MIT' WHERE key = 'licence'", "meta", "has other values"),
        ("UPDATE meta SET value = '1999' WHERE key = 'created'", "meta", "has other values"),
        ("UPDATE contents SET row_count = row_count + 1 WHERE table_name = 'merge'", "merge", "has 0 rows"),
        ("DELETE FROM contents WHERE table_name = 'merge'", "contents", "is not what the database's checksum says"),
    ],
)
def test_altered_rows_are_told(model: Path, sql: str, table: str, text: str):
    db = Connection(DatabaseFile.find(model, "database"), write=True)
    db.execute(sql)
    db.close()
    assert text in said(model)[table]


def test_an_altered_vector_index_is_told(genome: Path):
    db = Connection(DatabaseFile.find(genome, "database"), write=True)
    db.execute("UPDATE composition_index_vector_chunks00 SET vectors = zeroblob(length(vectors))")
    db.close()
    assert said(genome) == {"composition_index_vector_chunks00": "has other values than it was built with"}


@pytest.mark.parametrize("kind", ["model", "genome"])
def test_bit_flips_anywhere_are_found_or_change_nothing(request: pytest.FixtureRequest, kind: str):
    """400 single-bit flips all over the file: silence is right only where every table still says the same."""
    path: Path = request.getfixturevalue(kind)
    good, chance, silent = path.read_bytes(), random.Random(65), 0
    wanted = rows(path)
    for _ in range(400):
        at, bit = chance.randrange(len(good)), 1 << chance.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([good[at] ^ bit]))
        try:
            found = bool(verify(path))
        except Error:
            found = True
        if not found:
            assert rows(path) == wanted, f"byte {at}, bit {bit}"
            silent += 1
        with path.open("r+b") as file:
            file.seek(at)
            file.write(good[at : at + 1])
    assert verify(path) == []
    assert silent < 400
