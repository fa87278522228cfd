"""What a request's JSON means; no server, no model. Defaults are Ollama's: DefaultOptions in its api/types.go."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome.errors import Error
from genome.server.requests import FOREVER_S, UNLIMITED, Ask, chat_ask, generate_ask, json_object


def generate(**fields) -> Ask:
    return generate_ask(json.dumps({"model": "m", "prompt": "p", **fields}).encode())


def chat(*messages, **fields) -> Ask:
    return chat_ask(json.dumps({"model": "m", "messages": messages, **fields}).encode())


def test_defaults():
    ask = generate()
    assert ask.sampling == {
        "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0,
        "frequency_penalty": 0, "penalty_window": 64, "seed": None, "max_tokens": UNLIMITED, "stop": (),
        "alternatives": 0,
    }  # fmt: skip
    assert (ask.stream, ask.chat, ask.raw, ask.keep_alive_s, ask.empty) == (True, False, None, 300, False)
    assert ask.messages == ({"role": "user", "content": "p"},)


def test_the_tag():
    assert (generate(model="m:latest").model, generate(model="m:latest").told_model) == ("m", "m:latest")
    assert generate(model="m:7b").model == "m:7b"


def test_raw():
    ask = generate(raw=True)
    assert (ask.raw, ask.messages) == ("p", ())
    with pytest.raises(Error, match="raw prompt takes no system"):
        generate(raw=True, system="s")


def test_nothing_to_answer():
    assert all(ask.empty for ask in (generate(prompt=""), generate(prompt="", raw=True), chat()))
    assert generate(prompt="", system="s").empty


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (None, 300), (0, 0), ("0", 0), (1.5, 1.5), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("300ms", 0.3),
        ("10", 10), (-1, FOREVER_S), ("-1", FOREVER_S), ("-1m", FOREVER_S), (1e300, FOREVER_S),
    ],
)  # fmt: skip
def test_keep_alive(told, seconds):
    assert generate(keep_alive=told).keep_alive_s == pytest.approx(seconds)


@pytest.mark.parametrize("told", ["soon", "5 m", "m", "", True, [], "5m1", "1d"])
def test_keep_alive_that_is_none(told):
    with pytest.raises(Error, match=r"keep_alive is .*; wanted seconds, or a duration such as 5m"):
        generate(keep_alive=told)


def test_options_as_ollama_reads_them():
    options = {"seed": -1, "top_k": -1, "num_predict": -2, "stop": "x", "temperature": None, "num_ctx": 4096}
    sampling = generate(options=options).sampling
    assert (sampling["seed"], sampling["top_k"], sampling["max_tokens"]) == (None, 0, UNLIMITED)
    assert (sampling["stop"], sampling["temperature"]) == (("x",), 0.8)
    assert generate(options={"num_predict": 3.0}).sampling["max_tokens"] == 3
    options = {"min_p": 0.1, "repeat_penalty": 1.2, "presence_penalty": 1, "frequency_penalty": -1}
    sampling = generate(options={**options, "repeat_last_n": -1}).sampling
    assert (sampling["min_p"], sampling["repetition_penalty"]) == (0.1, 1.2)
    assert (sampling["presence_penalty"], sampling["frequency_penalty"]) == (1, -1)
    assert sampling["penalty_window"] is None  # the whole context


def test_samplers_that_change_nothing_are_let_pass():
    """A Go client sends every field, empty ones too."""
    generate(options={"repeat_penalty": 1.0, "min_p": 0, "mirostat": 0, "mirostat_tau": 5, "typical_p": 1})
    generate(suffix="", system="", template="", format="", images=None, context=[], think=False, options=None)
    chat({"role": "user", "content": "x", "images": None, "tool_calls": []}, tools=[], truncate=True)


def test_format():
    assert all("schema" not in generate(format=told).sampling for told in (None, ""))
    assert generate(format="json").sampling["schema"] == {"type": "object"}
    assert chat({"role": "user", "content": "x"}, format={"type": "string"}).sampling["schema"] == {
        "type": "string"
    }
    for wrong in ("yaml", 5, True, [], "JSON"):
        with pytest.raises(Error, match='wanted "json" or a JSON Schema'):
            generate(format=wrong)


def test_logprobs():
    assert (generate().logprobs, generate(top_logprobs=5).sampling["alternatives"]) == (False, 0)
    ask = chat({"role": "user", "content": "x"}, logprobs=True, top_logprobs=5)
    assert (ask.logprobs, ask.sampling["alternatives"]) == (True, 5)
    for wrong in (21, -1, 1.5, True, "5"):
        with pytest.raises(Error, match=r"top_logprobs is .*; wanted a whole number from 0 to 20"):
            generate(logprobs=True, top_logprobs=wrong)


@pytest.mark.parametrize("name", ["typical_p", "tfs_z", "mirostat"])
def test_samplers_that_change_something_are_refused(name):
    with pytest.raises(Error, match=f"the option {name} is not supported; leave it out"):
        generate(options={name: 2})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 1.5}, "wanted a whole number"),
        ({"seed": True}, "seed is true"),
        ({"num_predict": "12"}, 'num_predict is "12"'),
        ({"stop": [1]}, "wanted a text or a list of texts"),
        ([], None),
        ([1], "options is"),
    ],
)
def test_options_of_the_wrong_type(options, said):
    if said is None:
        generate(options=options)
        return
    with pytest.raises(Error, match=said):
        generate(options=options)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("x", "a message is"),
        ({"content": "x"}, "role is null"),
        ({"role": "tool", "content": "x"}, "wanted one of system, user, assistant"),
        ({"role": "user", "content": ["x"]}, "content is"),
        ({"role": "user", "content": "x", "images": ["aGk="]}, "images of a message is not supported"),
        ({"role": "assistant", "content": "", "tool_calls": [{}]}, "the model calls no tools"),
    ],
)
def test_messages_that_are_none(message, said):
    with pytest.raises(Error, match=said):
        chat(message)


def test_fields_that_are_not_known():
    with pytest.raises(Error, match="promt is not supported: generate takes format, keep_alive, logprobs, model, "):
        generate(promt="x")
    with pytest.raises(Error, match="prompt is not supported: chat takes"):
        chat(prompt="x")


def answer(read, body: bytes):
    """What a reader gives, or the line with which it refuses."""
    try:
        return read(body)
    except Error as error:
        return str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["model", "prompt", "messages", "options", "stream", "keep_alive", "raw", "system", "images", "name", "x"]
)
OPTIONS = st.dictionaries(st.sampled_from(["temperature", "top_k", "seed", "stop", "num_predict", "min_p"]), JSON)


@given(st.dictionaries(NAMES, JSON | OPTIONS))
def test_any_json_is_read_or_refused_in_one_line(fields):
    body = json.dumps(fields).encode()
    for read in (generate_ask, chat_ask):
        told = answer(read, body)
        assert isinstance(told, Ask) or "\n" not in told


@given(st.binary())
def test_any_bytes_are_read_or_refused(body):
    told = answer(json_object, body)
    assert isinstance(told, dict) or told.startswith("the request's body is")
