"""Answers of the commands on the default workbench, and their JSON; and what only there can be refused."""

import json
import math
import os
import sys

import pytest

from genome.ids import GenomeID, prefix_range
from genome.primitives import KEYS

LEADING = {
    "mother": {"SOMEONE"},
    "kill": {"DIE"},
    "see": {"SEE"},
    "happy": {"GOOD", "FEEL"},
    "teacher": {"SOMEONE", "KNOW"},
    "yesterday": {"BEFORE"},
    "promise": {"SAY", "WORDS", "DO"},
    "because": {"BECAUSE"},
}


def test_decompose_as_json(answer):
    """The leading primitives are those that a person would accept."""
    told = json.loads(answer("decompose", *LEADING, "--json"))
    assert [one["text"] for one in told] == list(LEADING)
    for one in told:
        assert set(one) == {"text", "id", "path", "weights", "source"}
        assert GenomeID(one["id"]).names == tuple(one["path"])
        assert list(one["weights"]) == list(KEYS)
        assert sum(one["weights"].values()) == pytest.approx(1, abs=1e-5)
        assert max(one["weights"], key=one["weights"].get) in LEADING[one["text"]]


def test_decompose_for_people(answer):
    text = answer("decompose", "mother", "--explain")
    assert "SOMEONE 0." in text
    assert "mother.n.01" in text


def test_decompose_as_json_with_its_reasons(answer):
    (told,) = json.loads(answer("decompose", "mother", "--explain", "--json"))
    reason = told["reasons"][0]
    assert reason["weight"] == pytest.approx(told["weights"][reason["primitive"]])
    assert reason["chains"][0]["key"] == "mother.n.01"
    assert sum(chain["share"] for chain in reason["chains"]) + reason["rest"] == pytest.approx(1)


def test_a_word_of_nonsense(workbench, refused):
    home = ("--home", workbench.folder)
    assert "near it are mother" in refused(*home, "decompose", "mothre")
    assert "'xqzzzv'" in refused(*home, "decompose", "mother", "xqzzzv", "--json")
    assert "''" in refused(*home, "decompose", "")
    assert "'KNWO'" in refused(*home, "units", "KNWO")


def test_a_database_of_another_kind_is_no_model(workbench, refused):
    home = ("--home", workbench.folder)
    assert "wordnet is no model" in refused(*home, "run", "wordnet", "hello")
    assert "nsm65 is no model" in refused(*home, "encode", "hello", "--model", "nsm65")


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are text there")
@pytest.mark.parametrize("name", ["decompose", "encode", "units", "info", "pull"])
def test_bytes_that_are_no_text(workbench, refused, name):
    refused("--home", workbench.folder, name, os.fsdecode(b"\xff"))


def test_a_console_without_the_characters(workbench, command):
    """What it cannot show stands there as an escape; JSON stays JSON."""
    arguments = ("--home", workbench.folder, "tokens", "é", "--limit", "2")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert "\\xe9" in command(*arguments, env=ascii_only).stdout
    told = json.loads(command(*arguments, "--json", env=ascii_only).stdout)
    assert all("é" in token["text"] for token in told)


def test_units_as_json_lie_in_the_range(answer):
    told = json.loads(answer("units", "SOMEONE", "--limit", "20", "--json"))
    first, beyond = prefix_range("SOMEONE")
    ids = [unit["id"] for unit in told]
    assert len(ids) == 20
    assert ids == sorted(ids)
    assert first <= ids[0] <= ids[-1] < beyond
    assert all(unit["path"].startswith("SOMEONE") for unit in told)


def test_tokens_as_json(answer):
    told = json.loads(answer("tokens", "moth", "--json"))
    assert all("moth" in token["text"] and GenomeID(token["id"]).path == token["path"] for token in told)
    exact = json.loads(answer("tokens", " mother", "--exact", "--json"))
    assert [token["text"] for token in exact] == [" mother"]


def test_encode_gives_one_list_a_line(answer, envelope, tmp_path):
    texts = ["My mother sang.", "x = 1\n\ty", "é 日本 🙂", ""]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in texts))
    lines = answer("encode", "--jsonl", str(file)).splitlines()
    assert [json.loads(line) for line in lines] == [envelope.encode(text) for text in texts]
    assert answer("encode", *texts[:3]).splitlines() == lines[:3]


def test_run_as_json(answer, envelope):
    told = json.loads(
        answer("run", "smollm2", "The capital of France is", "--greedy", "--raw", "--max-tokens", "8", "--json")
    )
    assert set(told) == {"prompt", "tokens", "text"}
    assert told["prompt"] == "The capital of France is"
    assert len(told["tokens"]) == 8
    assert told["text"] == envelope.decode(told["tokens"])
    assert told["text"].startswith(" Paris")


def test_run_streams_the_same_text_for_the_same_seed(answer):
    command = [
        "run",
        "smollm2",
        "Say a word.",
        "--seed",
        "7",
        "--max-tokens",
        "5",
        "--top-k",
        "20",
        "--top-p",
        "0.9",
    ]
    first = answer(*command)
    assert first.strip()
    assert answer(*command) == first


def test_run_tells_alternatives(answer, envelope):
    command = ["run", "smollm2", "The capital of France is", "--greedy", "--raw", "--max-tokens", "2", "--json"]
    told = json.loads(answer(*command, "--alternatives", "3"))
    steps = list(envelope.generate("The capital of France is", max_tokens=2, alternatives=3))
    assert told["tokens"] == [step["token"] for step in told["steps"]]
    for one, step in zip(told["steps"], steps, strict=True):
        assert (one["token"], one["text"]) == (step.token, step.text)
        assert one["logprob"] == pytest.approx(step.logprob)
        assert [other["text"] for other in one["alternatives"]] == [other.text for other in step.alternatives]
        assert one["alternatives"][0]["logprob"] == pytest.approx(step.logprob, abs=1e-4)


def test_run_with_penalties_bias_and_stop(answer, envelope):
    """The answer without them begins " Paris."; each option does what it does in Python."""
    first = envelope.encode(" Paris")[0]
    command = ["run", "smollm2", "The capital of France is", "--greedy", "--raw", "--max-tokens", "6", "--json"]
    biased = json.loads(answer(*command, "--logit-bias", f"{first}=-inf", "--repetition-penalty", "1.3"))
    options = {"max_tokens": 6, "logit_bias": {first: -math.inf}, "repetition_penalty": 1.3}
    wanted = list(envelope.generate("The capital of France is", **options))
    assert biased["tokens"] == [step.token for step in wanted]
    assert first not in biased["tokens"]
    assert json.loads(answer(*command, "--stop", "."))["text"] == " Paris"


def test_run_reads_standard_input(answer, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"The capital of France is"), "utf-8"))
    assert answer("run", "smollm2", "--greedy", "--raw", "--max-tokens", "1") == " Paris\n"


def test_a_prompt_that_is_empty(workbench, refused):
    assert "empty" in refused("--home", workbench.folder, "run", "smollm2", "", "--raw")


def test_similarity_beats_its_control(answer, source, tmp_path):
    """The whole measure with 20 controls is the benchmark; here two, and pairs of one's own."""
    own = tmp_path / "own.tsv"
    own.write_text("cat dog 7\ncat democracy 1\nmother father 8\n")
    told = json.loads(answer("bench", "similarity", "--draws", "2", "--pairs", str(own), "--json"))
    assert set(told["primitives"]) == {"simlex999", "wordsim353", str(own)}
    assert told["primitives"]["simlex999"] >= 0.45
    assert told["primitives"]["wordsim353"] >= 0.40
    for name in ("simlex999", "wordsim353"):
        control = told["random_anchors"][name]
        assert set(control) == {"mean", "sd", "n", "p"}
        assert control["n"] == 2
        assert told["primitives"][name] > control["mean"] + control["sd"]
    assert told["random_anchors"][str(own)]["p"] is None or 0 < told["random_anchors"][str(own)]["p"] < 1


def test_pairs_that_are_none(workbench, refused, tmp_path):
    assert "no.tsv" in refused("--home", workbench.folder, "bench", "similarity", "--pairs", tmp_path / "no.tsv")
