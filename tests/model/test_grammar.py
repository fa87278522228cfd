"""Answers that keep to a grammar: what comes parses and validates, whatever the model would have said."""

import json
import re

import jsonschema
import numpy as np
import pytest

from genome.db.connect import opened
from genome.errors import Error
from genome.model import LanguageModel, import_gguf

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["mother", "é"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SAMPLED = {"temperature": 1.5, "seed": 3, "repetition_penalty": 1.2}


@pytest.fixture(scope="module", params=["byte-level BPE", "SentencePiece"])
def path(request, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grammar")
    import_gguf(tiny.write(folder / "a.gguf", blanks=request.param == "SentencePiece"), folder / "a.db")
    return folder / "a.db"


@pytest.fixture
def model(path, journal):
    with opened(path, "model") as db:
        yield LanguageModel(db, "tiny", journal)


def text(steps) -> str:
    return "".join(step.text for step in steps)


@pytest.mark.parametrize("how", [{}, SAMPLED, {"temperature": 1.0, "top_k": 3, "seed": 1}])
@pytest.mark.parametrize("form", [dict, json.dumps])
def test_json_of_a_schema(model, how, form):
    steps = list(model.generate([5], max_tokens=300, schema=form(PERSON), **how))
    jsonschema.validate(json.loads(text(steps)), PERSON)
    assert [step.ended for step in steps] == [None] * (len(steps) - 1) + ["grammar"]


@pytest.mark.parametrize("how", [{}, SAMPLED])
def test_regular_expressions_and_context_free_grammars(model, how):
    assert re.fullmatch(
        r"(the|mother) [0-9]{3}é?", text(model.generate([5], regex=r"(the|mother) [0-9]{3}é?", **how))
    )
    lark = 'start: "(" start ")" | "the"\n'
    gbnf = 'root ::= "(" root ")" | "the"\n'
    for grammar in (lark, gbnf):
        steps = list(model.generate([5], max_tokens=60, grammar=grammar, **how))
        nested = text(steps)
        depth = nested.count("(")
        assert nested == ("(" * depth + "the" + ")" * depth if steps[-1].ended == "grammar" else "(" * 60)


def test_an_end_token_ends_where_the_grammar_lets_it(model):
    """One digit or more: the end tokens may come behind the first one, and do when all digits are banned."""
    digits = [number for sign in "0123456789" for number in model.tokenizer.encode(sign)]
    biased = dict.fromkeys(digits, -30.0)
    steps = list(model.generate([5], max_tokens=40, regex="[0-9]+", logit_bias=biased))
    assert steps[-1].token in model.tokenizer.ends
    assert steps[-1].ended == "end"
    assert re.fullmatch("[0-9]+", text(steps))


def test_a_model_without_an_end_token(tmp_path, tiny, journal):
    """It may still stop where the grammar is complete and goes no further."""
    pieces = [p if not p.startswith("<|") else f"[{p}]" for p in tiny.pieces]
    path = tiny.write(tmp_path / "a.gguf", more=lambda w: w.kv_data[0].update(unended(w, pieces)))
    import_gguf(path, tmp_path / "a.db")
    with opened(tmp_path / "a.db", "model") as db:
        model = LanguageModel(db, "tiny", journal)
        assert not model.tokenizer.ends
        assert re.fullmatch("[0-9]{3}", text(model.generate([5], regex="[0-9]{3}")))


def unended(writer, pieces) -> dict:
    """Metadata of the tiny model in which no token is an end token."""
    (told,) = writer.kv_data
    told["tokenizer.ggml.tokens"].value = pieces  # the list itself is every test's
    del told["tokenizer.ggml.eos_token_id"]
    return {}


def test_logprobs_are_those_of_the_model(model):
    plain = next(model.generate([5], alternatives=5))
    kept = next(model.generate([5], alternatives=5, schema=PERSON))
    assert kept.alternatives == plain.alternatives
    assert kept.text == "{"
    whole = next(model.generate([5], alternatives=266))
    assert kept.logprob == pytest.approx(
        next(a.logprob for a in whole.alternatives if a.token == kept.token), abs=1e-5
    )


def test_max_tokens_cuts_inside(model):
    steps = list(model.generate([5], max_tokens=6, schema=PERSON))
    assert len(steps) == 6
    assert steps[-1].ended == "length"
    assert text(steps).startswith("{")
    assert not text(steps).endswith("}")


def test_streaming_and_stop_strings(model):
    """Pieces join to the whole, and a stop string still ends it."""
    whole = text(model.generate([5], max_tokens=300, schema=PERSON))
    assert text(model.generate([5], max_tokens=300, schema=PERSON, stop='"age"')) == whole[: whole.index('"age"')]


def test_json_stands_on_one_line(model):
    """A model that only wants line feeds and blanks gets through all the same."""
    wanted = dict.fromkeys([n for sign in " \n\t" for n in model.tokenizer.encode(sign)], 1000.0)
    schema = {"type": "object", "properties": {"a": {"enum": [[1, 1]]}}, "required": ["a"]}
    steps = model.generate([5], max_tokens=200, logit_bias=wanted, schema=schema | {"additionalProperties": False})
    assert text(steps) == '{"a": [1, 1]}'


def test_the_vocabulary_is_read_once_and_told(model, journal):
    list(model.generate([5], max_tokens=1))
    frame = journal.frame()
    assert not frame.filter(frame["object"] == "token", frame["rows"] > 1).height
    for _ in range(2):
        list(model.generate([5], max_tokens=2, schema=True))
    frame = journal.frame()
    (read,) = frame.filter(frame["object"] == "token", frame["rows"] > 1).select("row", "rows", "source").rows()
    assert read == (0, model.tokenizer.size, "disk")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schema": {"type": "nonsense"}}, "the schema cannot be used: Invalid type: nonsense"),
        ({"schema": {"type": "object", "if": {}}}, 'the schema cannot be used: Unimplemented keys: ["if"]'),
        ({"schema": {"type": "string", "pattern": "("}}, "the schema cannot be used: regex parse error"),
        ({"schema": "{"}, "the schema cannot be used: "),
        ({"schema": "[1]"}, "the schema cannot be used: it is [1]; wanted an object, or true"),
        ({"schema": False}, "the schema cannot be used: it is False; wanted an object, or true"),
        ({"schema": {"enum": [object()]}}, "the schema cannot be used: Object of type object is not JSON"),
        ({"schema": {"maximum": float("nan")}}, "the schema cannot be used: Out of range"),
        ({"schema": 5}, "schema is 5; wanted a mapping, its JSON text, or True"),
        ({"regex": "[a-"}, "the regex cannot be used: "),
        ({"grammar": "start: foo"}, 'the grammar cannot be used: at 1(8): unknown name: "foo"'),
        ({"grammar": "root ::= ("}, "the grammar cannot be used: "),
        ({"grammar": ""}, "the grammar cannot be used: "),
        ({"grammar": 5}, "grammar is 5; wanted a text"),
        ({"schema": {}, "regex": "a"}, "schema and regex are given; wanted one of schema, regex, grammar"),
    ],
)
def test_what_cannot_be_used_is_one_line(model, options, said):
    with pytest.raises(Error, match=re.escape(said)) as told:
        model.generate([5], **options)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


def test_nothing_may_come(model):
    with pytest.raises(Error, match="no token may come next; allow more of them in logit_bias, or in the grammar"):
        list(model.generate([5], regex="a", logit_bias=dict.fromkeys(range(266), -np.inf)))
