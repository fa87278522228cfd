"""Small databases with known content."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from genome.db import building, write_rows


def _add_array(db: apsw.Connection, number: int, data: bytes, row_bytes: int) -> None:
    """A tensor of F32 rows, as the model schema wants it, and its blocks."""
    columns = "id, name, role, dtype, shape, row_count, row_bytes, file_id, offset"
    row = (number, f"t{number}", "t", "F32", "[]", len(data) // row_bytes, row_bytes, 0, 0)
    db.execute(f"INSERT INTO tensor ({columns}) VALUES ({', '.join('?' * len(row))})", row)
    write_rows(db, number, data, row_bytes)


def _pattern(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes in which no stretch of 256 comes twice within 16 MiB."""
    return b"".join((i * 2654435761 + seed & 0xFFFFFFFF).to_bytes(4, "little") for i in range(-(-size_bytes // 4)))[
        :size_bytes
    ]


def _make_model(path: Path, source: str = "made by a test") -> Path:
    """Two arrays: 3 blocks of rows of 612 bytes, and one row longer than a block; 300 tokens."""
    with building(path, "model", source=source, licence="none") as db:
        db.execute("INSERT INTO file VALUES (0, 't.gguf', 'gguf', 0, '', '{}', NULL)")
        _add_array(db, 0, _pattern(300 * 612), 612)
        _add_array(db, 1, _pattern(70_000, seed=7), 70_000)
        tokens = ((i, f"p{i}", f"p{i}".encode(), 1, -i / 7) for i in range(300))
        db.executemany("INSERT INTO token (id, piece, bytes, type, score) VALUES (?, ?, ?, ?, ?)", tokens)
    return path


def _make_genome(path: Path) -> Path:
    """Forty units, each with a composition that has one peak, in the vec0 index too."""
    with building(path, "genome", source="made by a test") as db:
        for i in range(40):
            unit = (i + 1) << 56
            weights = bytearray(65 * 4)
            weights[4 * i : 4 * i + 4] = b"\0\0\x80\x3f"  # float32 1.0
            columns = {"id": unit, "kind": "word", "label": f"w{i}", "ref": i, "origin": "l", "method": "walk"}
            names = [c for _, c, *_ in db.execute("PRAGMA table_info(unit)")]
            row = [columns.get(name, 0) for name in names]
            db.execute(f"INSERT INTO unit VALUES ({', '.join('?' * len(row))})", row)
            db.execute("INSERT INTO composition VALUES (?, ?)", (unit, bytes(weights)))
            db.execute("INSERT INTO composition_index VALUES (?, 'word', ?)", (unit, bytes(weights)))
    return path


Maker = Callable[..., Path]


@pytest.fixture
def pattern() -> Callable[..., bytes]:
    """`pattern(size_bytes, seed=0)`: the bytes that the arrays hold."""
    return _pattern


@pytest.fixture
def make_model() -> Maker:
    """`make_model(path, source=...)` builds the small model."""
    return _make_model


@pytest.fixture
def make_genome() -> Maker:
    """`make_genome(path)` builds the small genome database."""
    return _make_genome


@pytest.fixture
def add_array() -> Callable[[apsw.Connection, int, bytes, int], None]:
    """`add_array(db, number, data, row_bytes)` fills an array of a model under construction."""
    return _add_array


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The small model, built."""
    return _make_model(tmp_path / "m.db")


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    """The small genome database, built."""
    return _make_genome(tmp_path / "g.db")
