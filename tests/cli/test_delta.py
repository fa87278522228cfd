"""`genome delta`: what its actions print, and what they refuse in one line."""

import json
import shutil

import numpy as np
import pytest

from genome.cli import main

NORM = "output_norm.weight"


@pytest.fixture
def tuned(home, tiny, tiny_db, tmp_path):
    """A workbench with the tiny model, and a file of it with another norm."""
    home.mkdir()
    shutil.copy(tiny_db, home / "tiny.db")
    return tiny.write(tmp_path / "tuned.gguf", weights={**tiny.tensors, NORM: tiny.tensors[NORM] * np.float32(2)})


def told(capsys, *arguments: str) -> str:
    assert main(["delta", *arguments]) == 0
    return capsys.readouterr().out


def test_a_delta_from_a_file_through_its_life(tuned, home, capsys):
    out = told(capsys, "create", "tiny", str(tuned))
    assert out.startswith("tiny-tuned is ready: ")
    assert out.endswith(" bytes, 1 tensors\n")
    assert told(capsys, "list").splitlines()[1].split()[:3] == ["tiny-tuned", "tiny", "difference"]
    line = told(capsys, "diff", "tiny-tuned").splitlines()[1].split()
    assert (line[0], line[2], line[-1]) == (NORM, "1", "1.000")
    assert told(capsys, "list", "tiny") == "no delta was applied to tiny\n"
    assert told(capsys, "apply", "tiny", "tiny-tuned") == (
        "tiny-tuned is applied to tiny; `genome delta undo tiny` takes it back\n"
    )
    assert told(capsys, "list", "tiny").splitlines()[1].startswith("tiny-tuned  ")
    assert told(capsys, "undo", "tiny") == "tiny-tuned is taken back; tiny is what it was before\n"


def test_json(tuned, capsys):
    made = json.loads(told(capsys, "create", "tiny", str(tuned), "--name", "mine", "--json"))
    assert (made["name"], made["kind"], made["base_name"], made["rows"]["change"]) == ("mine", "delta", "tiny", 1)
    (row,) = json.loads(told(capsys, "diff", "mine", "--json"))
    assert (row["tensor"], row["rows"]) == (NORM, 1)
    (applied,) = json.loads(told(capsys, "apply", "tiny", "mine", "--json"))
    assert applied == json.loads(told(capsys, "list", "tiny", "--json"))[0]
    assert json.loads(told(capsys, "undo", "tiny", "--json"))["name"] == "mine"
    assert json.loads(told(capsys, "list", "--json"))[0]["checksum"] == applied["checksum"]


def test_merging(tuned, home, tiny, tmp_path, capsys):
    told(capsys, "create", "tiny", str(tuned), "--name", "one")
    more = tiny.write(tmp_path / "more.gguf", weights={**tiny.tensors, NORM: tiny.tensors[NORM] * np.float32(3)})
    told(capsys, "create", "tiny", str(more), "--name", "two", "--over", "one")
    assert told(capsys, "merge", "both", "one", "two").startswith("both is ready: ")
    assert json.loads(told(capsys, "diff", "both", "--json"))[0]["relative"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ACTION"),
        (["bogus"], "invalid choice: 'bogus'"),
        (["create", "tiny"], "CHANGED"),
        (["create", "tiny", "nowhere"], "neither a model in"),
        (["create", "huge", "tiny"], "no database is called 'huge'"),
        (["apply", "tiny"], "DELTA"),
        (["apply", "tiny", "tiny"], "is a model database; wanted a delta database"),
        (["diff", "tiny"], "is a model database; wanted a delta database"),
        (["undo", "tiny"], "there is nothing to undo"),
        (["merge", "both", "tiny"], "two deltas or more, got 1"),
    ],
)
def test_refusals(tuned, home, refused, arguments, said):
    assert said in refused("delta", *arguments)
    assert [path.name for path in home.iterdir()] == ["tiny.db"]
