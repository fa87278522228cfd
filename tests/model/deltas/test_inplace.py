"""Deltas applied in place: what a reader then finds is what lies over the base, and undo brings back every byte."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genome.db import verify
from genome.db.connect import meta, opened, writing
from genome.db.journal import Journal
from genome.errors import DamagedError, Error
from genome.model import LanguageModel, import_gguf
from genome.model.deltas.inplace import apply_delta, lineage, undo
from genome.model.deltas.making import create
from genome.model.weights import Weights

EMBEDDING = "token_embd.weight"


def told(path: Path) -> dict[str, list[tuple]]:
    """All that the tables say."""
    with opened(path) as db:
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        ]
        return {name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def tensors(path: Path, *deltas: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor, deltas laid over."""
    if not deltas:
        with opened(path) as db:
            return _everything(Weights(db))
    with opened(path) as db, opened(deltas[0]) as first:
        if len(deltas) == 1:
            return _everything(Weights(db, deltas=[first]))
        with opened(deltas[1]) as second:
            return _everything(Weights(db, deltas=[first, second]))


def _everything(weights: Weights) -> dict[str, tuple[str, bytes]]:
    return {row.name: (row.dtype, weights.read(row).tobytes()) for row in weights.tensors()}


@pytest.fixture
def model(tmp_path, tiny_db) -> Path:
    """A copy of the tiny model."""
    return Path(shutil.copy(tiny_db, tmp_path / "model.db"))


@pytest.fixture
def first(tmp_path, tiny, model) -> Path:
    """A delta of some rows in two tensors."""
    rows = {
        EMBEDDING: ([7, 9, 260], tiny.tensors[EMBEDDING][:3]),
        "output_norm.weight": tiny.tensors["output_norm.weight"] + 1,
    }
    with opened(model) as db:
        create(db, rows, tmp_path / "first.db")
    return tmp_path / "first.db"


@pytest.fixture
def second(tmp_path, tiny, model, first) -> Path:
    """One over the first: a tensor in another type, and a row that the first has changed."""
    import_gguf(tiny.write(tmp_path / "o.gguf", dtypes={"blk.0.ffn_up.weight": "Q4_0"}), tmp_path / "o.db")
    with opened(model) as db, opened(first) as under, opened(tmp_path / "o.db") as other:
        create(db, other, tmp_path / "second.db", deltas=[under])
    return tmp_path / "second.db"


def applied(model: Path, delta: Path):
    with opened(delta) as db:
        return apply_delta(model, db)


def test_applied_is_what_lies_over(model, first):
    before, wanted = told(model), tensors(model, first)
    made = applied(model, first)
    assert tensors(model) == wanted
    assert verify(model) == []
    with opened(model) as db, opened(first) as delta:
        assert lineage(db) == [made]
        assert (made.name, made.checksum) == ("first", meta(delta)["checksum"])
        assert meta(db)["checksum"] == made.result
        assert meta(db)["source_sha256"] == dict(before["meta"])["source_sha256"]
    assert undo(model) == made
    assert told(model) == before
    assert verify(model) == []


def test_a_stack_is_applied_and_undone_in_turn(model, first, second):
    """What was made over the first delta laid over the model fits once that one is applied."""
    states = [(told(model), tensors(model))]
    wanted = [tensors(model, first), tensors(model, first, second)]
    for delta, told_so in zip((first, second), wanted, strict=True):
        applied(model, delta)
        assert tensors(model) == told_so
        assert verify(model) == []
        states.append((told(model), told_so))
    assert [row.dtype for row in _rows(model) if row.name == "blk.0.ffn_up.weight"] == ["Q4_0"]
    for state, told_so in states[1::-1]:
        undo(model)
        assert (told(model), tensors(model)) == (state, told_so)
        assert verify(model) == []
    with pytest.raises(Error, match="no delta was applied to model"):
        undo(model)


def _rows(path: Path):
    with opened(path) as db:
        return Weights(db).tensors()


def test_only_the_pages_that_change_are_written(tmp_path, tiny, model):
    """Of one row: the header, meta, contents, applied, inverse, the block's leaf, and the page with its bytes."""
    with opened(model) as db:
        page = db.pragma("page_size")
        create(db, {EMBEDDING: ([7], tiny.tensors[EMBEDDING][:1])}, tmp_path / "d.db")
    before = model.read_bytes()
    applied(model, tmp_path / "d.db")
    after = model.read_bytes()
    assert len(after) == len(before)
    differ = sum(before[at : at + page] != after[at : at + page] for at in range(0, len(before), page))
    assert differ <= 7


def test_a_delta_that_does_not_fit_changes_nothing(model, first, second):
    before = model.read_bytes()
    with pytest.raises(Error, match=r"second was made for .* \+ first in the state"):
        applied(model, second)
    assert model.read_bytes() == before
    applied(model, first)
    with pytest.raises(Error, match="first is in tiny already"):
        applied(model, first)


def test_a_damaged_block_is_not_changed(model, first, tiny):
    data = bytearray(model.read_bytes())
    at = data.index(tiny.tensors[EMBEDDING][20].tobytes())
    data[at] ^= 1
    model.write_bytes(data)
    with pytest.raises(DamagedError, match=r"is damaged \(the page at byte \d+ is not what was written\)"):
        applied(model, first)
    assert model.read_bytes() == bytes(data)


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE inverse SET data = zeroblob(length(data)) WHERE block_id = 1", "inverse"),
        ("UPDATE inverse SET first_row = first_row + 1 WHERE block_id = 1", "inverse"),
        ("UPDATE applied SET result = 'x'", "applied"),
        ("UPDATE applied SET earlier = '{}'", "applied"),
        ("DELETE FROM inverse", "inverse"),
    ],
)
def test_what_takes_back_is_checked(model, first, sql, table):
    applied(model, first)
    with writing(model) as db:
        db.execute(sql)
    assert table in {problem.table for problem in verify(model)}


def test_a_damaged_inverse_undoes_nothing(model, first):
    applied(model, first)
    with writing(model) as db:
        db.execute("UPDATE inverse SET data = zeroblob(length(data)) WHERE block_id = 1")
    before = told(model)
    with pytest.raises(
        DamagedError, match=r"token_embd\.weight, rows 0 to 255: what takes them back: the patch's checksum differs"
    ):
        undo(model)
    assert told(model) == before


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE applied SET earlier = '{}'",
        "UPDATE applied SET earlier = 'no JSON'",
        """UPDATE applied SET earlier = json_set(earlier, '$.tensors', json('[[0, "F64"]]'))""",
        "UPDATE applied SET earlier = json_set(earlier, '$.contents.block[1]', 'ff')",
        "DELETE FROM inverse",
    ],
)
def test_what_cannot_lead_back_undoes_nothing(model, first, sql):
    applied(model, first)
    with writing(model) as db:
        db.execute(sql)
    before = told(model)
    with pytest.raises(DamagedError, match="`genome verify` lists all damage"):
        undo(model)
    assert told(model) == before


def test_a_reader_never_mixes_two_states(model, first):
    """Weights opened before a change say so; what changed and came back is read as it was."""
    with opened(model) as db:
        weights = Weights(db)
        tensor, old = weights.tensor(EMBEDDING), weights.read(weights.tensor(EMBEDDING))
        applied(model, first)
        with pytest.raises(Error, match=r"tiny was changed by another program: .* open it again"):
            weights.read(tensor, 0, 1)
        undo(model)
        np.testing.assert_array_equal(weights.read(tensor), old)


def test_a_killed_apply_leaves_the_old_state(model, first):
    """The process ends inside of the transaction, after the rows are written."""
    code = f"""
import os
from pathlib import Path
from genome.db.connect import opened
from genome.model.deltas import inplace
inplace._set_state = lambda *_: os._exit(9)
with opened({str(first)!r}) as delta:
    inplace.apply_delta(Path({str(model)!r}), delta)
"""
    before = told(model)
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 9
    assert told(model) == before
    applied(model, first)
    assert verify(model) == []


def test_a_model_speaks_the_same_with_a_delta_over_it_and_in_it(model, first, second):
    """The second delta leaves one layer's matrix in another type than the others'."""

    def spoken(*deltas) -> list[tuple[int, float]]:
        steps = LanguageModel(db, "m", Journal(), deltas=deltas).generate([5, 70, 12], max_tokens=8, past_end=True)
        return [(step.token, step.logprob) for step in steps]

    with opened(model) as db, opened(first) as one, opened(second) as two:
        plain, over = spoken(), spoken(one, two)
    assert plain != over
    applied(model, first)
    applied(model, second)
    with opened(model) as db:
        assert spoken() == over


def test_a_generation_ends_where_the_model_is_changed_under_it(model, first):
    """Its weights are in memory, but tokens that it has not met are read from the file: not of another state."""
    with opened(model) as db:
        language_model = LanguageModel(db, "m", Journal())
        next(language_model.generate([5], max_tokens=2, past_end=True))
        applied(model, first)
        with pytest.raises(Error, match="m was changed by another program"):
            list(language_model.generate(list(range(20, 30)), max_tokens=1))
