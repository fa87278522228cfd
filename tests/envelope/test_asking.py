"""Queries of an envelope: which database stands under which role, what the journal's templates tell, and frames."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genome.db import building, templates, write_rows
from genome.db.journal import Access
from genome.db.query import Table, explain
from genome.envelope.asking import frame, functions
from genome.errors import Error, NotFoundError
from genome.ids import GenomeID
from genome.workbench import Workbench

TENSORS = {"token_embd.weight": 10, "blk.0.attn_q.weight": 4, "blk.1.attn_q.weight": 4}
"""Rows of each tensor of the small model; a row has 8 bytes."""


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    """A workbench with a small model, two genome databases that disagree about one unit, and a delta's rows."""
    _model(tmp_path / "tiny.db")
    _genome(tmp_path / "one.db", {"mother": {3: 1.0}, "father": {3: 0.5, 4: 0.5}})
    _genome(tmp_path / "two.db", {"mother": {5: 1.0}, "father": {3: 0.5, 4: 0.5}, "uncle": {1: 1.0}})
    with building(tmp_path / "change.db", "delta") as db:
        db.execute("INSERT INTO change VALUES (0, 'blk.0.attn_q.weight', 'F32', 4, 8, NULL)")
        db.execute("INSERT INTO patch VALUES (0, 0, 4, x'09', 'sparse', 4, 0, 0, x'0000')")
        db.execute("INSERT INTO change VALUES (1, 'token_embd.weight', 'F32', 10, 8, 0.5)")
        db.execute("INSERT INTO patch VALUES (1, 2, 3, NULL, 'low_rank', 4, 0, 0, x'')")
        for name in "AB":
            db.execute("INSERT INTO factor VALUES (1, ?, 'F32', 1, 1, 0, zeroblob(600000))", (name,))
    return Workbench(tmp_path)


def _model(path: Path) -> None:
    with building(path, "model") as db:
        db.execute("INSERT INTO file VALUES (0, 'tiny.gguf', 'gguf', 0, '', '{}', NULL)")
        for number, (name, rows) in enumerate(TENSORS.items()):
            layer = int(name.split(".")[1]) if name.startswith("blk") else None
            role = name.removesuffix(".weight").rpartition(".")[2]
            row = (number, name, role, layer, "F32", json.dumps([rows, 2]), rows, 8, 0, 0)
            db.execute("INSERT INTO tensor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            write_rows(db, number, bytes(rows * 8), 8)
        for number in range(10):
            db.execute("INSERT INTO token VALUES (?, ?, ?, 1, NULL)", (number, f"t{number}", f"t{number}".encode()))


def _genome(path: Path, units: dict[str, dict[int, float]]) -> None:
    with building(path, "genome") as db:
        for number, (label, told) in enumerate(units.items()):
            weights = np.zeros(65, np.float16)
            weights[list(told)] = list(told.values())
            identity = GenomeID.pack([int(weights.argmax()) + 1], leaf=number + 1)
            db.execute("INSERT INTO unit VALUES (?, 'word', ?, ?, 'l', 'walk', 0, 'n')", (identity, label, number))
            db.execute("INSERT INTO composition VALUES (?, ?)", (identity, weights.tobytes()))


# Every template of the program


def test_names_are_those_of_the_schema_and_indices_are_used():
    """What a template looks up by a key it finds through an index: what is scanned is meant to be read whole."""
    whole = {
        "accesses_by_activity": {"journal.access"},
        "accesses_by_tensor": {"access"},
        "composition_differences": set(),
        "delta_rows": {"delta.change"},
        "delta_tensors": {"delta.change"},
        "relations_of_word": set(),
        "rows_for_a_delta": {"access", "span", "reach", "island"},
        "rows_never_touched": {"access", "model.tensor", "span", "gap"},
        "senses_of_word": set(),
        "tensor_sizes": {"model.tensor"},
        "tensors": {"model.tensor"},
        "tensors_never_touched": {"model.tensor", "journal.access", "touched"},
        "tokens_by_bytes": set(),
        "tokens_by_id_prefix": set(),
        "tokens_by_prefix": set(),
        "tokens_by_text": set(),
        "tokens_containing": {"model.token"},
        "tokens_near": {"asked", "near", "genome.composition_index"},  # sqlite-vec's own ways
        "tokens_touched": {"access"},
        "units_by_frequency": {"genome.unit"},
        "units_by_weight": {"unit"},
        "units_near_in_range": {"asked"},
    }
    found = {}
    for name in templates.files():
        plan = [line.split() for line in explain(templates.find(name), functions())]
        scanned = {line[1] for line in plan if line[0] == "SCAN" and not line[1].startswith("(")}
        found[name] = scanned
        assert not any("AUTOMATIC" in line for line in plan), name
    assert found == whole


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tokens_by_text", "SEARCH model.token USING INDEX token_by_bytes (bytes=?)"),
        ("tokens_by_bytes", "SEARCH model.token USING INDEX token_by_bytes (bytes=?)"),
        ("tokens_by_prefix", "SEARCH model.token USING INDEX token_by_bytes (bytes>? AND bytes<?)"),
        ("tokens_by_id_prefix", "SEARCH genome.unit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("units_near_in_range", "SEARCH unit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("senses_of_word", "SEARCH lexicon.word USING COVERING INDEX word_by_folded_lemma (lemma=?)"),
        ("relations_of_word", "SEARCH lexicon.relation USING PRIMARY KEY (source_id=?)"),
        ("composition_differences", "SEARCH there USING INDEX unit_by_ref (kind=? AND origin=? AND ref=?)"),
        ("tokens_touched", "SEARCH token USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    ],
)
def test_the_index_that_a_template_is_about(name, index):
    assert index in explain(templates.find(name), functions())


@pytest.mark.parametrize("name", sorted(templates.files()))
def test_comments_say_what_a_template_needs(name):
    template = templates.find(name)
    assert len(template.summary) < 120
    assert template.roles
    assert all(value.meaning for value in template.parameters)
    required = {value.name for value in template.parameters if value.required}
    assert bool(template.example) == bool(template.parameters)
    assert required <= {one.partition("=")[0] for one in template.example.split()}
    assert max(map(len, template.sql.split("\n"))) <= 120


# What the journal's templates tell


@pytest.fixture
def touched(small):
    """An envelope that read rows 2-4 and 4-5 of the embedding, all of one matrix twice, and two tokens."""
    with small.envelope("tiny", activity="study") as env:
        whole = Access("tiny", "blk.0.attn_q.weight", 0, 4, 32, "disk")
        env.journal.record(
            [Access("tiny", "token", 3, 1, 2, "disk"), Access("tiny", "token_embd.weight", 2, 3, 24, "disk")]
        )
        with env.journal.step():
            env.journal.record([whole, whole._replace(source="memory")])
        env.journal.nested("probe").record([Access("tiny", "token_embd.weight", 4, 2, 16, "memory")])
        env.journal.record(
            [
                Access("tiny", "token_embd.weight", 9, 1, 8, "disk"),
                Access("other", "blk.1.attn_q.weight", 0, 4, 32, "disk"),
            ]
        )
        yield env


def test_accesses(touched):
    by_activity = touched.query("accesses_by_activity").rows()
    assert by_activity == [
        ("study", "tiny", 1, 5, 13, 98, 66, 32),  # bytes 2 + 24 + 32 + 32 + 8, of which 32 from memory
        ("study", "other", 0, 1, 4, 32, 32, 0),
        ("study/probe", "tiny", 0, 1, 2, 16, 0, 16),
    ]
    by_tensor = touched.query("accesses_by_tensor").rows()
    assert by_tensor == [
        ("blk.0.attn_q.weight", "attn_q", 0, 2, 8, 64, 32),
        ("token_embd.weight", "token_embd", None, 3, 6, 48, 32),
    ]
    assert touched.query("accesses_by_tensor", step=1)["name"].to_list() == ["blk.0.attn_q.weight"]
    assert touched.query("accesses_by_tensor", activity="study/probe")["bytes"].to_list() == [16]
    assert touched.query("accesses_by_tensor", activity="study/pro").is_empty()


def test_what_was_never_touched(touched):
    assert touched.query("tensors_never_touched")["name"].to_list() == ["blk.1.attn_q.weight"]
    columns = ("name", "first_row", "rows", "bytes")
    gaps = touched.query("rows_never_touched").select(columns).rows()
    assert gaps == [
        ("token_embd.weight", 0, 2, 16), ("token_embd.weight", 6, 3, 24), ("blk.1.attn_q.weight", 0, 4, 32),
    ]  # fmt: skip
    embedding = touched.query("rows_never_touched", tensor="token*", activity="study/probe").select(columns).rows()
    assert embedding == [("token_embd.weight", 0, 4, 32), ("token_embd.weight", 6, 4, 32)]


def test_the_rows_that_a_delta_would_hold(touched):
    columns = ("name", "first_row", "rows", "bytes")
    assert touched.query("rows_for_a_delta").select(columns).rows() == [
        ("token_embd.weight", 2, 4, 32), ("token_embd.weight", 9, 1, 8), ("blk.0.attn_q.weight", 0, 4, 32),
    ]  # fmt: skip
    assert touched.query("rows_for_a_delta", whole="no")["name"].unique().to_list() == ["token_embd.weight"]


def test_tokens_that_were_touched(small):
    with small.envelope("tiny") as env:
        env.journal.record([Access("tiny", "token", 3, 2, 4, "disk"), Access("tiny", "token", 4, 1, 2, "memory")])
        with pytest.raises(NotFoundError, match="asks a genome"):
            env.query("tokens_touched")


# Roles


def test_two_databases_are_compared(small):
    with small.envelope("one") as env:
        told = env.query("composition_differences", other="two")
        assert told.select("label", "similarity").rows() == [("mother", 0.0)]
        with pytest.raises(Error, match="asks another genome, got tiny, a model"):
            env.query("composition_differences", other="tiny")
        with pytest.raises(Error, match="asks no other database"):
            env.query("units_by_frequency", other="two")
        with pytest.raises(NotFoundError, match="no database is called 'three'"):
            env.query("composition_differences", other="three")


def test_a_delta(small):
    from genome.envelope.asking import ask
    from genome.envelope.roles import Database, Roles

    roles = Roles(deltas=(Database.read("change", small.path("change")),))
    with small.envelope("tiny") as env:
        told = ask(small.template("delta_tensors"), {}, roles, env.journal)
        assert told.rows() == [
            ("blk.0.attn_q.weight", "F32", 4, 2, "sparse", 2, 32),
            ("token_embd.weight", "F32", 10, 3, "low_rank", 1_200_000, 80),
        ]
        rows = ask(small.template("delta_rows"), {"tensor": "blk*"}, roles, env.journal)
        assert rows.rows() == [("blk.0.attn_q.weight", 0, 3, 2, "sparse", 2)]


def test_a_database_that_was_replaced(small):
    with small.envelope("tiny") as env:
        assert env.query("tensors").height == 3
        with building(small.path("tiny"), "model"):
            pass
        with pytest.raises(Error, match="has been replaced or changed"):
            env.query("tensors")


def test_ones_own_template(small):
    folder = small.folder / "templates"
    folder.mkdir()
    (folder / "layers.sql").write_text(
        "-- Layers with their tensors.\n-- roles: model\n-- :least count = 1  so many at least\n"
        "SELECT layer, count(*) AS tensors FROM model.tensor GROUP BY layer HAVING tensors >= :least\n"
    )
    with small.envelope("tiny") as env:
        assert env.query("layers").rows() == [(None, 1), (0, 1), (1, 1)]
        assert env.query("layers", least=2).is_empty()
    assert small.templates().filter(name="layers").select("roles", "values").row(0) == (
        ["model"], ["least: count = 1  so many at least"],
    )  # fmt: skip


# Frames


def test_columns_have_the_types_of_their_values():
    rows = [(1, 1, 1.5, "a", b"\xff", None, None), (None, 2.5, None, 2, "t", None, None)]
    columns = ("i", "r", "f", "mixed", "raw", "declared", "unknown")
    told = frame(Table(columns, ("INTEGER", "", "", "", "", "REAL", ""), rows))
    assert list(told.schema.values()) == [
        pl.Int64, pl.Float64, pl.Float64, pl.String, pl.Binary, pl.Float64, pl.Null,
    ]  # fmt: skip
    assert told.row(1) == (None, 2.5, None, "2", b"t", None, None)
    empty = frame(Table(("a", "b"), ("TEXT", "BLOB"), []))
    assert empty.schema == {"a": pl.String, "b": pl.Binary}
