"""Strange prompts and damaged models over the wire, on tiny models; and a conversation that grows."""

import shutil

import httpx
import jsonschema
import numpy as np
import pytest
from ollama import Client, ResponseError

from genome.model import import_gguf
from genome.workbench import Workbench

OPTIONS = {"temperature": 0, "num_predict": 12}


@pytest.fixture(scope="module")
def bench(tiny, tiny_db, tmp_path_factory) -> Workbench:
    """The tiny model, one with blanks of SentencePiece, one with a NaN."""
    folder = tmp_path_factory.mktemp("edges")
    shutil.copy(tiny_db, folder / "tiny.db")
    import_gguf(tiny.write(folder / "b.gguf", blanks=True), folder / "blanks.db")
    bad = tiny.tensors["blk.0.attn_k.weight"].copy()
    bad[0, 0] = np.nan
    weights = tiny.tensors | {"blk.0.attn_k.weight": bad}
    import_gguf(tiny.write(folder / "c.gguf", weights=weights), folder / "bad.db")
    return Workbench(folder)


@pytest.fixture(scope="module")
def client(bench, running):
    with running(bench) as server, Client(server.url) as official:
        yield official


def refused(ask) -> tuple[int, str]:
    with pytest.raises(ResponseError) as told:
        ask()
    assert "\n" not in told.value.error
    return told.value.status_code, told.value.error


def test_prompts_of_no_tokens_load_and_too_long_ones_are_refused(client):
    assert client.generate("tiny", "", raw=True).done_reason == "load"
    status, said = refused(lambda: client.generate("tiny", "x" * 700, raw=True))
    assert (status, said) == (400, "the prompt has 700 tokens; tiny has room for 599: shorten it")
    told = client.generate("tiny", "x" * 599, raw=True, options=OPTIONS)
    assert (told.prompt_eval_count, told.eval_count) == (599, 1)


def test_special_tokens_that_the_model_does_not_have(client):
    told = client.generate("tiny", "<|nonesuch|>", raw=True, options=OPTIONS)
    assert told.prompt_eval_count == len("<|nonesuch|>")


def test_nan_in_a_weight_is_500_and_one_line(client):
    status, said = refused(lambda: client.generate("bad", "the", raw=True))
    assert status == 500
    assert "tensor blk.0.attn_k.weight holds NaN or infinity" in said
    assert refused(lambda: list(client.generate("bad", "the", raw=True, stream=True)))[0] == 500


def test_a_stop_string_at_the_beginning_with_its_blank(client):
    """SentencePiece's blank before a word belongs to an answer: where that is a stop string, it stops there."""
    whole = client.generate("blanks", "the", raw=True, options=OPTIONS)
    assert whole.done_reason == "length"
    told = client.generate("blanks", "the", raw=True, options=OPTIONS | {"stop": whole.response[:1]})
    assert (told.response, told.done_reason) == ("", "stop")


@pytest.mark.parametrize("name", ["tiny", "blanks"])
def test_json_whole_and_in_pieces(client, name):
    schema = {"type": "array", "items": {"enum": ["a", "\u00e9", 3]}, "minItems": 2, "maxItems": 4}
    asked = {"raw": True, "format": schema, "options": {"seed": 1, "temperature": 1.0}}
    whole = client.generate(name, "the", **asked)
    parts = list(client.generate(name, "the", stream=True, **asked))
    assert "".join(part.response for part in parts) == whole.response
    jsonschema.validate(httpx.Response(200, text=whole.response).json(), schema)
    assert whole.done_reason == parts[-1].done_reason == "stop"


def test_a_conversation_that_grows(client, bench):
    """Each turn is what Python gives that reads all of it anew."""
    spoken = []
    with bench.envelope("tiny") as env:
        for said in ("the mother", "other", "e"):
            spoken.append({"role": "user", "content": said})
            told = client.chat("tiny", spoken, options=OPTIONS)
            steps = list(env.generate(env.chat(spoken), max_tokens=12, reuse=False))
            assert told.message.content == "".join(step.text for step in steps)
            spoken.append({"role": "assistant", "content": told.message.content})
