"""Models of several GGUF files: whichever part is named, all are found, and only those of the same set."""

import hashlib
import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_cases import LITTLE, part, split, tensor

from genome.db import header
from genome.db.blocks import read_rows
from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import import_gguf, queries
from genome.model.formats.dispatch import source_sha256
from genome.model.formats.exporter import export_gguf

NAMES = [f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.fixture
def parts(tmp_path) -> Path:
    """A folder with three parts, of one, two and one tensors."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, content in split(LITTLE, (1, 2, 1)).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_any_part_stands_for_the_set(parts, tmp_path, name):
    told = []
    import_gguf(parts / name, tmp_path / "big.db", progress=lambda *a: told.append(a), source=name)
    digests = [hashlib.sha256((parts / n).read_bytes()).hexdigest() for n in NAMES]
    lines = "".join(f"{n} {sha}\n" for n, sha in zip(NAMES, digests, strict=True))
    facts = header(tmp_path / "big.db")
    assert facts["source_sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert facts["source"] == NAMES[0]
    assert told[-1] == ("big: import", 4 * 64 * 64 * 4, 4 * 64 * 64 * 4)
    with opened(tmp_path / "big.db") as db:
        assert [(f.name, f.sha256) for f in queries.files(db)] == list(zip(NAMES, digests, strict=True))
        assert [(t.name, file) for t, (file, _) in zip(queries.tensors(db), queries.places(db), strict=True)] == [
            ("blk.0.attn_q.0.weight", 0), ("blk.1.attn_q.0.weight", 1), ("blk.1.attn_q.1.weight", 1),
            ("blk.2.attn_q.0.weight", 2),
        ]  # fmt: skip
        wanted = {t.name: t.data.tobytes() for n in NAMES for t in gguf.GGUFReader(parts / n).tensors}
        assert {t.name: read_rows(db, t.id, 0, 64, 256) for t in queries.tensors(db)} == wanted


def refusal(path: Path, database: Path) -> str:
    """Imports what must be refused; gives the line."""
    with pytest.raises(Error) as told:
        import_gguf(path, database)
    assert not list(database.parent.glob("*.db"))
    assert "\n" not in str(told.value)
    return f"{type(told.value).__name__}: {told.value}"


@pytest.mark.parametrize("missing", [1, 2])
def test_a_part_is_missing(parts, tmp_path, missing):
    (parts / NAMES[missing]).unlink()
    said = refusal(parts / NAMES[0], tmp_path / "a.db")
    assert said.startswith("NotFoundError: ")
    assert f"{NAMES[missing]} is missing, part {missing + 1} of 3 of a model; put all parts into one folder" in said


def test_the_first_part_is_missing(parts, tmp_path):
    (parts / NAMES[0]).unlink()
    said = refusal(parts / NAMES[1], tmp_path / "a.db")
    assert f"is part 2 of 3 of a model; wanted the first one beside it, named {NAMES[0]}" in said


def test_a_part_of_another_set(parts, tmp_path):
    (parts / NAMES[2]).write_bytes(part(LITTLE, 2, 3, 7, 1))
    said = refusal(parts / NAMES[0], tmp_path / "a.db")
    assert "says that it is part 3 of 3 with 7 tensors; wanted part 3 of 3 with 4 tensors" in said


def test_parts_in_each_others_place(parts, tmp_path):
    shutil.copy(parts / NAMES[2], parts / NAMES[1])
    assert "says that it is part 3 of 3 with 4 tensors; wanted part 2 of 3" in refusal(
        parts / NAMES[0], tmp_path / "a.db"
    )


def test_a_file_alone_in_a_parts_place(parts, tmp_path):
    (parts / NAMES[1]).write_bytes(LITTLE.file([], [tensor("w", (3,), 24)]))
    assert "says that it is part 0 of 0 with -1 tensors" in refusal(parts / NAMES[0], tmp_path / "a.db")
    (parts / NAMES[0]).write_bytes(LITTLE.file([]))
    said = refusal(parts / NAMES[2], tmp_path / "a.db")
    assert f"is named as a part of {NAMES[0]}, which is no part of a set; rename it" in said


def test_too_few_tensors(tmp_path):
    for number in range(2):
        (tmp_path / f"a-{number + 1:05}-of-00002.gguf").write_bytes(part(LITTLE, number, 2, 9, 1))
    assert "have 2 tensors; wanted 9" in refusal(tmp_path / "a-00001-of-00002.gguf", tmp_path / "a.db")


def test_a_tensor_twice(parts, tmp_path):
    twice = [LITTLE.field("split.no", 2, b"\1\0"), LITTLE.field("split.count", 2, b"\3\0")]
    twice.append(LITTLE.field("split.tensors.count", 5, b"\4\0\0\0"))
    same = [tensor("blk.0.attn_q.0.weight", (3,), 24), tensor("w", (3,), 24)]
    (parts / NAMES[1]).write_bytes(LITTLE.file(twice, same))
    said = refusal(parts / NAMES[2], tmp_path / "a.db")
    assert f"has the tensor 'blk.0.attn_q.0.weight', and so has {NAMES[0]}; wanted each name once" in said


def test_files_that_were_renamed(parts, tmp_path):
    for number, name in enumerate(NAMES):
        (parts / name).rename(parts / f"part{number}.gguf")
    said = refusal(parts / "part0.gguf", tmp_path / "a.db")
    assert "is part 1 of 3 of a model; wanted the first one beside it, named NAME-00001-of-00003.gguf" in said


def test_a_truncated_part_leaves_nothing(parts, tmp_path):
    (parts / NAMES[2]).write_bytes((parts / NAMES[2]).read_bytes()[:-1])
    assert "DamagedError" in refusal(parts / NAMES[0], tmp_path / "a.db")


DAMAGE = {
    "a name that leads elsewhere": "UPDATE file SET name = '../x.gguf' WHERE id = 1",
    "an absolute name": "UPDATE file SET name = '/tmp/x.gguf' WHERE id = 1",
    "no name": "UPDATE file SET name = '' WHERE id = 1",
    "no metadata": "UPDATE file SET head = NULL WHERE id = 1",
    "metadata that are not packed": "UPDATE file SET head = x'00' WHERE id = 1",
    "metadata of 4 GiB": "UPDATE file SET head = x'28b52ffda0000000fffd010000' WHERE id = 1",
    "another place": "UPDATE tensor SET file_id = 2 WHERE id = 1",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_leaves_nothing(parts, tmp_path, what):
    import_gguf(parts / NAMES[0], tmp_path / "big.db")
    db = Connection(DatabaseFile.find(tmp_path / "big.db", "database"), write=True)
    db.execute(DAMAGE[what])
    db.close()
    with pytest.raises(DamagedError):
        export_gguf(tmp_path / "big.db", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.db", "parts"]


def test_a_folder_with_other_files_stays(parts, tmp_path):
    import_gguf(parts / NAMES[0], tmp_path / "big.db")
    (parts / "README.md").write_text("mine")
    with pytest.raises(Error, match="parts exists"):
        export_gguf(tmp_path / "big.db", parts)
    with pytest.raises(Error, match="parts holds other files"):
        export_gguf(tmp_path / "big.db", parts, force=True)
    (parts / "README.md").unlink()
    told = export_gguf(tmp_path / "big.db", parts, force=True)
    assert [path for path, _ in told.files] == [parts / name for name in NAMES]


def test_a_folder_that_is_missing(parts, tmp_path):
    import_gguf(parts / NAMES[0], tmp_path / "big.db")
    with pytest.raises(NotFoundError, match="no is not a folder"):
        export_gguf(tmp_path / "big.db", tmp_path / "no/out")


def test_a_set_that_gguf_split_would_write(tiny, tmp_path):
    """ggml's own writer makes the set; our tensors are the model's."""
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama", split_max_tensors=8)
    for name, values in tiny.tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [f"tiny-{n:05}-of-00003.gguf" for n in (1, 2, 3)]
    import_gguf(tmp_path / names[1], tmp_path / "tiny.db")
    with opened(tmp_path / "tiny.db") as db:
        for row in queries.tensors(db):
            stored = read_rows(db, row.id, 0, row.row_count, row.row_bytes)
            assert np.array_equal(np.frombuffer(stored, "<f4").reshape(row.shape), tiny.tensors[row.name])
    export_gguf(tmp_path / "tiny.db", tmp_path / "out")
    assert {n: (tmp_path / "out" / n).read_bytes() for n in names} == {
        n: (tmp_path / n).read_bytes() for n in names
    }


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not text")
def test_names_that_are_not_text(tmp_path):
    raw = os.fsencode(tmp_path)
    for name, content in split(LITTLE, (1, 1), name="b").items():
        with open(raw + b"/\xff" + name.encode(), "wb") as file:
            file.write(content)
    first = Path(os.fsdecode(raw + b"/\xffb-00001-of-00002.gguf"))
    import_gguf(first, tmp_path / "b.db")
    assert header(tmp_path / "b.db")["source_sha256"] == source_sha256(first)
    told = export_gguf(tmp_path / "b.db", tmp_path / "out")
    assert [path.name for path, _ in told.files] == ["\ufffdb-00001-of-00002.gguf", "\ufffdb-00002-of-00002.gguf"]
