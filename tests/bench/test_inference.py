"""What `genome bench inference` measures, on a tiny model: rows that say what was measured and what was not."""

import shutil
from dataclasses import asdict
from pathlib import Path

import gguf
import numpy as np
import pytest

from genome.bench import made, steps
from genome.bench.area import placed
from genome.bench.experts import mixture
from genome.bench.inference import AREA
from genome.bench.llamacpp import LLAMA
from genome.bench.measure import first_line
from genome.bench.place import Place
from genome.bench.rows import Peer, none
from genome.bench.starts import prompt_of
from genome.bench.strange import strange
from genome.errors import Error, NotFoundError
from genome.workbench import MODEL, Workbench


@pytest.fixture
def bench(tmp_path: Path, tiny_db: Path) -> Workbench:
    """A workbench where the tiny model stands in for SmolLM2."""
    home = Workbench(tmp_path / "bench")
    home.folder.mkdir()
    shutil.copyfile(tiny_db, home.folder / f"{MODEL}.db")
    return home


@pytest.fixture
def place(tmp_path: Path, bench: Workbench) -> Place:
    (folder := tmp_path / "place").mkdir()
    return placed(bench, folder, quick=True)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No peer is installed."""
    monkeypatch.setattr(Peer, "version", None)


def test_parts_have_names_of_their_own_and_say_what_they_measure():
    assert len(set(AREA.names)) == len(AREA.parts)
    assert all(part.__doc__ for part in AREA.parts)


def test_an_unknown_part_is_one_line(bench: Workbench):
    with pytest.raises(
        NotFoundError, match=r"^there is no measurement 'decoding'; wanted some of decode, prefill,"
    ):
        AREA.measured(bench, only=["decode", "decoding"])


def test_what_is_not_installed_is_left_out_and_said_so(bench: Workbench, alone: None):
    told = AREA.measured(bench, only=["prefill", "greedy"], quick=True)
    assert told["machine"]["llama-cpp-python"] is None
    prefill, greedy = told["rows"]
    for row in (prefill, greedy):
        assert (row["peer"], row["peer_value"], row["ratio"], row["met"]) == ("", None, None, None)
        assert "llama-cpp-python is not installed: `pip install 'token-genome[bench]'`" in row["note"]
    assert prefill["value"] > 0
    assert greedy["value"] is None  # without the reference nothing can be said


def test_a_part_that_fails_says_why(bench: Workbench, monkeypatch: pytest.MonkeyPatch):
    def broken(place: Place):
        """It breaks."""
        raise Error("so it is")

    told = type(AREA)((broken,), ()).measured(bench)
    assert [(row["what"], row["value"], row["met"], row["note"]) for row in told["rows"]] == [
        ("It breaks", None, False, "so it is")
    ]


def test_a_row_is_made_of_its_rounds(monkeypatch: pytest.MonkeyPatch):
    """64 tokens in 2, 4 and 8 s are 16 a second in the middle; the peer's 1 s are 64: a quarter."""
    monkeypatch.setattr(Peer, "version", "1.2")
    row = steps.compared("decode", 0.9, 64, [8.0, 2.0, 4.0], [1.0])
    assert (row.value, row.peer_value, row.ratio, row.met) == (16, 64, 0.25, False)
    assert (row.peer, row.unit, row.goal) == ("llama-cpp-python 1.2", "tok/s", "0.9 x llama.cpp")
    assert steps.compared("decode", 0.2, 64, [8.0, 2.0, 4.0], [1.0]).met is True
    assert LLAMA.beside("what", "", 1.0, "s", None, True).ratio is None


def test_a_kernel_that_is_not_there_says_why():
    reasons = {"native": "no C++ compiler was found"}
    one, other = steps._rows("decode", {"pure JAX": 0.9, "native": 1.25}, 64, {"pure JAX": [2.0]}, reasons)
    assert (one.what, one.value) == ("decode, pure JAX", 32)
    assert (other.what, other.value, other.met, other.note) == ("decode, native", None, None, reasons["native"])


def test_what_must_not_happen_is_counted():
    fine, bad = none("w", "none", [], "cases"), none("w", "none", list("abcde"), "cases", "of 9")
    assert (fine.value, fine.met, fine.note) == (0, True, "")
    assert (bad.value, bad.met, bad.note) == (5, False, "of 9; a; b; c; and 2 more")


def test_a_mixture_reads_few_experts_and_gives_the_scores_of_all(place: Place, alone: None):
    """8 of 64 experts are an eighth of nearly all bytes; the rest is attention, router and embeddings."""
    share, gap = mixture(place)
    assert share.value is not None
    assert 1 / 8 < share.value < 0.2
    assert (gap.value, gap.met, gap.note) == (0, True, "after 256 of 256 experts were read")


def test_strange_prompts_end_as_they_should(place: Place):
    (row,) = strange(place)
    assert (row.value, row.met, row.note) == (0, True, "")
    assert row.what.startswith("8 strange prompts")


def test_a_prompt_has_the_tokens_that_are_told(place: Place):
    with place.home.envelope(MODEL) as envelope:
        assert len(envelope.encode(prompt_of(place, 16))) == 16


def test_a_program_is_timed_to_its_first_line():
    told = first_line("import sys, time; print(sys.argv[1], flush=True); time.sleep(1)", "line")
    assert told.value == "line"
    assert told.seconds < 1  # of the sleep behind it nothing
    with pytest.raises(Error, match=r"^a program ended with status 1: ValueError: so$"):
        first_line("raise ValueError('so')")


def test_weights_as_float32_are_those_of_gguf(tiny, tmp_path: Path):
    """Read and dequantised by ggml's own package; the metadata are the source's."""
    dtypes = {"blk.0.attn_q.weight": "Q4_1", "blk.1.ffn_down.weight": "Q8_0", "token_embd.weight": "F16"}
    source, whole = tiny.write(tmp_path / "a.gguf", dtypes=dtypes), tmp_path / "b.gguf"
    made.as_float32(source, whole)
    before, after = gguf.GGUFReader(source), gguf.GGUFReader(whole)
    assert list(before.fields) == list(after.fields)
    assert len(before.tensors) == len(after.tensors) > 9
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert (one.name, other.tensor_type.name) == (other.name, "F32")
        values = gguf.dequantize(one.data, one.tensor_type)
        np.testing.assert_array_equal(other.data.reshape(values.shape), values)


def test_the_columns_of_a_row():
    row = asdict(none("w", "g", [], "cases"))
    assert list(row) == ["what", "goal", "value", "unit", "met", "peer", "peer_value", "ratio", "note"]
