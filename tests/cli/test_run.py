"""`genome run` on a tiny model: what the answer keeps to, and strange prompts; each is defined or one line."""

import json

import jsonschema
import numpy as np
import pytest

from genome.cli import main

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.fixture
def tiny_home(home, tiny_gguf, capsys):
    assert main(["pull", str(tiny_gguf), "--name", "tiny"]) == 0
    capsys.readouterr()
    return home


@pytest.fixture
def run(tiny_home, capsys):
    def told(*arguments: object) -> str:
        assert main(["run", "tiny", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return told


def test_json_of_a_schema_from_a_file_or_as_it_is(run, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(SCHEMA), "utf-8")
    for schema in (json.dumps(SCHEMA), tmp_path / "a.json"):
        text = json.loads(run("the", "--schema", schema, "--seed", 1, "--json"))["text"]
        jsonschema.validate(json.loads(text), SCHEMA)
    assert json.loads(run("the", "--schema", json.dumps(SCHEMA), "--greedy"))


def test_a_regular_expression_and_a_grammar(run, tmp_path):
    assert run("the", "--regex", "yes|no", "--greedy") in ("yes\n", "no\n")
    (tmp_path / "a.gbnf").write_text('root ::= "mother" | "other"', "utf-8")
    assert run("the", "--grammar", tmp_path / "a.gbnf") in ("mother\n", "other\n")


def test_grammars_that_cannot_be_used(tiny_home, refused, tmp_path):
    ask = ("run", "tiny", "the")
    (tmp_path / "latin").write_bytes(b"\xe9")
    assert "Invalid type: x" in refused(*ask, "--schema", '{"type": "x"}')
    assert "the schema cannot be used: Expecting" in refused(*ask, "--schema", '{"type"')
    assert "No such file" in refused(*ask, "--schema", "nonesuch.json")
    assert "No such file" in refused(*ask, "--grammar", "nonesuch.lark")
    assert "is not UTF-8" in refused(*ask, "--grammar", tmp_path / "latin")
    assert "the regex cannot be used: " in refused(*ask, "--regex", "(")


def test_prompts_of_no_tokens_and_of_too_many(tiny_home, refused, run):
    assert "the prompt is empty; wanted at least one token" in refused("run", "tiny", "", "--raw")
    said = refused("run", "tiny", "the " * 700, "--raw")
    assert "tokens; tiny has room for 599: shorten it" in said
    assert run("x" * 599, "--raw", "--greedy", "--max-tokens", 50).count("\n") >= 1


def test_special_tokens_that_the_model_does_not_have(run):
    """They are plain text: as many tokens as characters, and an answer behind them."""
    told = json.loads(run("<|nonesuch|>", "--raw", "--greedy", "--max-tokens", 3, "--json"))
    assert told["prompt"] == "<|nonesuch|>"
    assert 0 < len(told["tokens"]) <= 3


def test_nan_in_a_weight(home, tiny, tmp_path, refused, capsys):
    bad = tiny.tensors["blk.1.ffn_down.weight"].copy()
    bad[3, 4] = np.nan
    path = tiny.write(tmp_path / "bad.gguf", weights=tiny.tensors | {"blk.1.ffn_down.weight": bad})
    assert main(["pull", str(path), "--name", "bad"]) == 0
    capsys.readouterr()
    said = refused("run", "bad", "the", "--raw")
    assert "tensor blk.1.ffn_down.weight holds NaN or infinity" in said
