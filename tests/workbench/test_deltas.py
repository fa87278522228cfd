"""Deltas by name: made, laid over, applied, undone, merged; what does not fit is refused and changes nothing."""

import hashlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genome.errors import Error, NotFoundError
from genome.workbench import Workbench, files

NORM = "output_norm.weight"


@pytest.fixture
def bench(tmp_path, tiny_db) -> Workbench:
    """A workbench with the tiny model."""
    shutil.copy(tiny_db, tmp_path / "tiny.db")
    return Workbench(tmp_path)


@pytest.fixture
def louder(bench) -> np.ndarray:
    """A delta `louder`, and the row that it gives."""
    with bench.envelope("tiny") as env:
        row = env.tensor(NORM)[...] * np.float32(1.5)
    bench.delta.create("tiny", {NORM: row}, "louder")
    return row


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text(env) -> str:
    return "".join(step.text for step in env.generate("mother", max_tokens=4))


def test_a_delta_is_laid_over_and_taken_away(bench, louder):
    before = hashed(bench.path("tiny"))
    with bench.envelope("tiny") as env:
        plain, said = env.tensor(NORM)[...], text(env)
        env.attach("louder")
        assert env.names == ("tiny", "louder")
        np.testing.assert_array_equal(env.tensor(NORM)[...], louder)
        env.detach()
        assert env.names == ("tiny",)
        np.testing.assert_array_equal(env.tensor(NORM)[...], plain)
        assert text(env) == said
    assert hashed(bench.path("tiny")) == before


def test_of_two_threads_that_attach_the_same_delta_one_is_refused(bench, louder, monkeypatch):
    assemble = files.assign

    def slowly(*databases, **how):
        time.sleep(0.05)
        return assemble(*databases, **how)

    monkeypatch.setattr(files, "assign", slowly)
    with bench.envelope("tiny") as env, ThreadPoolExecutor(2) as pool:
        refused = [wait.exception() for wait in [pool.submit(env.attach, "louder") for _ in range(2)]]
        assert [type(error) for error in refused if error] == [Error]
        assert env.names == ("tiny", "louder")


def test_deltas_stack_in_the_order_in_which_they_were_made(bench, louder):
    bench.delta.create("tiny", {NORM: louder * 2}, "twice", over=["louder"])
    with bench.envelope("tiny", "louder", "twice") as env:
        np.testing.assert_array_equal(env.tensor(NORM)[...], louder * 2)
        with pytest.raises(Error, match="twice was made for tiny"):
            env.detach("louder")
        assert env.names == ("tiny", "louder", "twice")
        env.detach("twice")
        np.testing.assert_array_equal(env.tensor(NORM)[...], louder)
    with pytest.raises(Error, match=r"twice was made for .* in the state"):
        bench.envelope("tiny", "twice", "louder")


def test_a_delta_brings_the_model_that_it_was_made_for(bench, louder):
    with bench.envelope("louder") as env:
        assert env.names == ("tiny", "louder")
    bench.path("tiny").unlink()
    with pytest.raises(NotFoundError, match=r"no model here is the base of louder \(tiny"):
        bench.envelope("louder")


def test_a_new_model_lays_the_deltas_of_the_old_one_aside(bench, louder, tiny, tmp_path):
    other = tiny.write(tmp_path / "other.gguf", weights={**tiny.tensors, NORM: tiny.tensors[NORM] + 1})
    bench.pull(other)
    with bench.envelope("tiny", "louder") as env:
        env.swap("other")
        assert env.names == ("other",)
        with pytest.raises(Error, match=r"louder was made for tiny in the state .* not for other"):
            env.attach("louder")
        assert env.names == ("other",)


def test_applied_is_what_is_laid_over_and_undone_is_what_was(bench, louder):
    before = bench.info("tiny")["checksum"]
    with bench.envelope("tiny", "louder") as env:
        over = text(env)
    (made,) = bench.delta.apply("tiny", "louder")
    assert bench.delta.applied("tiny")["name"].to_list() == ["louder"]
    assert bench.info("tiny")["checksum"] == made.result != before
    assert bench.verify("tiny") == []
    with bench.envelope("tiny") as env:
        np.testing.assert_array_equal(env.tensor(NORM)[...], louder)
        assert text(env) == over
    assert bench.delta.undo("tiny").name == "louder"
    assert bench.info("tiny")["checksum"] == before
    assert bench.verify("tiny") == []
    assert bench.delta.applied("tiny").is_empty()


def test_an_open_envelope_says_that_its_model_has_changed(bench, louder):
    with bench.envelope("tiny") as env:
        text(env)
        bench.delta.apply("tiny", "louder")
        with pytest.raises(Error, match=r"tiny\.db has been replaced or changed .* `env\.swap\('tiny'\)` goes on"):
            text(env)
        env.swap("tiny")
        np.testing.assert_array_equal(env.tensor(NORM)[...], louder)


def test_what_a_delta_fits_it_fits_laid_over_or_applied(bench, louder):
    bench.delta.create("tiny", {NORM: louder * 2}, "twice", over=["louder"])
    bench.delta.merge("both", "louder", "twice")
    assert [made.name for made in bench.delta.apply("tiny", "louder", "twice")] == ["louder", "twice"]
    state = bench.info("tiny")["checksum"]
    bench.delta.undo("tiny")
    bench.delta.undo("tiny")
    assert bench.delta.apply("tiny", "both")[0].result == state


def test_a_model_and_a_file_of_a_model_as_the_change(bench, tiny, tmp_path):
    (tmp_path / "files").mkdir()
    file = tiny.write(tmp_path / "files" / "other.gguf", weights={**tiny.tensors, NORM: tiny.tensors[NORM] + 1})
    one = bench.delta.create("tiny", file)
    bench.pull(file)
    two = bench.delta.create("tiny", "other", "two")
    assert (one.stem, two.stem) == ("tiny-other", "two")
    for name in (one.stem, two.stem):
        (row,) = bench.delta.diff(name).rows(named=True)
        assert (row["tensor"], row["rows"], row["row_count"]) == (NORM, 1, 1)
        length = float(np.linalg.norm(tiny.tensors[NORM]))
        assert row["relative"] == pytest.approx(np.sqrt(len(tiny.tensors[NORM])) / length, rel=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "files", "other.db", "tiny-other.db", "tiny.db", "two.db",
    ]  # fmt: skip


def test_the_list_tells_bases_and_sizes(bench, louder):
    frame = bench.delta.list()
    assert frame.select("name", "base", "method", "tensors").row(0) == ("louder", "tiny", "difference", 1)
    assert frame["size_bytes"][0] == bench.path("louder").stat().st_size
    assert frame.schema["size_bytes"] == pl.Int64


def test_refusals_leave_everything_as_it_is(bench, louder, tmp_path):
    before = {path.name: hashed(path) for path in tmp_path.glob("*.db")}
    for ask, said in {
        lambda: bench.delta.create("tiny", "nowhere"): "neither a model in .* nor a file or folder",
        lambda: bench.delta.create("tiny", "tiny"): "do not differ in any row",
        lambda: bench.delta.create("tiny", {NORM: louder}, "louder"): "the database louder exists",
        lambda: bench.delta.create("louder", {NORM: louder}, "x"): "is a delta database; wanted a model",
        lambda: bench.delta.create("tiny", {"no.such": louder}, "x"): "has no tensor 'no.such'",
        lambda: bench.delta.create("tiny", {NORM: louder[:3]}, "x"): NORM,
        lambda: bench.delta.create("tiny", {NORM: louder}, "../x"): "cannot name a database",
        lambda: bench.delta.apply("tiny"): "no delta is named",
        lambda: bench.delta.apply("tiny", "tiny"): "is a model database; wanted a delta",
        lambda: bench.delta.apply("louder", "louder"): "is a delta database; wanted a model",
        lambda: bench.delta.undo("tiny"): "no delta was applied to tiny",
        lambda: bench.delta.merge("both", "louder"): "two deltas or more, got 1",
        lambda: bench.delta.merge("tiny", "louder", "louder"): "the database tiny exists",
    }.items():
        with pytest.raises(Error, match=said):
            ask()
    assert {path.name: hashed(path) for path in tmp_path.glob("*.db")} == before


def test_a_delta_that_is_there_already_says_so(bench, louder):
    bench.delta.apply("tiny", "louder")
    with pytest.raises(Error, match="louder is in tiny already"):
        bench.delta.apply("tiny", "louder")
    with pytest.raises(Error, match="louder is in tiny already"):
        bench.envelope("tiny", "louder")


def test_a_damaged_delta_is_made_again_as_a_delta(bench, louder):
    assert bench.remake("louder") == "genome delta create BASE CHANGED --name louder"
    assert bench.remake("tiny") == "genome pull FILE --name tiny"


def test_an_adapter_is_no_model(bench, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(Error, match="is a LoRA adapter, no model; `genome delta create BASE"):
        bench.pull(tmp_path / "adapter")
