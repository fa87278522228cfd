"""What must never happen does not: short runs of the faults that `genome bench data` counts."""

import random
from pathlib import Path

import pytest

from genome.bench import flips, made, measure
from genome.bench.kills import WORKS, kills
from genome.bench.malformed import KINDS, malformed, mutated
from genome.bench.readers import readers
from genome.model import import_gguf


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.db"
    import_gguf(made.model(tmp_path / "model.gguf", tokens=400, width=32, layers=1), path)
    return path


@pytest.mark.slow
def test_killed_processes_leave_the_old_state_or_the_new_one(tmp_path: Path):
    told = kills(tmp_path, 4 * len(WORKS), seed=1)
    assert told["wrong"] == []
    assert told["old"] + told["new"] == told["kills"] == 20


def test_each_flipped_byte_that_changes_data_is_found(model: Path):
    told = measure.run("genome.bench.flips:flips", str(model), 60, 1).value
    assert (told["flips"], told["missed"], told["raw"], told["wrong"]) == (60, [], [], [])
    assert 10 < told["changed"] < 60  # pages are not full: some bytes hold nothing


def test_a_damaged_row_of_weights_is_never_given(model: Path):
    """The pieces of the check itself: a byte in the embedding's rows changes content, is found, and is not read."""
    raw = model.read_bytes()
    at = raw.index(made.weights(400, 32, 1, 65)["token_embd.weight"].tobytes()[12_000:12_064])
    sound, right = flips._content(model), dict(flips._answers(model))
    flips._flip(model, at, 1)
    assert flips._content(model) != sound
    assert flips._noticed(model) is True
    answers = dict(flips._answers(model))
    assert answers["tensors"].startswith("error tensor token_embd.weight: ")
    assert {name for name, answer in answers.items() if answer != right[name]} == {"tensors"}


@pytest.mark.slow
def test_malformed_files_are_refused_in_one_line_or_given_back_byte_for_byte(tmp_path: Path):
    told = malformed(tmp_path, 60, seed=1)
    assert told["wrong"] == []
    assert told["refused"] + told["accepted"] == told["files"] == 60
    assert told["peak_bytes"] < 1 << 30


def test_mutations_change_a_file_and_come_again():
    sound = bytes(range(256)) * 100
    found = [mutated(sound, random.Random(seed)) for seed in range(50)]
    assert found == [mutated(sound, random.Random(seed)) for seed in range(50)]
    assert len({raw for raw in found if raw != sound}) > 40
    assert len(KINDS) == 3


@pytest.mark.slow
def test_readers_see_whole_states_beside_a_writer(tmp_path: Path):
    told = readers(tmp_path, 8, 3)
    assert told["wrong"] == []
    assert told["reads"] > 100
    assert told["changes"] > 4
