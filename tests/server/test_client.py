"""What Ollama's own client gets is what the workbench gives."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from ollama import ResponseError

from genome import __version__

README = (Path(__file__).parent.parent.parent / "README.md").read_text("utf-8")
PROMPT = "The capital of France is"
QUESTION = [{"role": "user", "content": "Name a colour."}]
GREEDY = {"temperature": 0, "num_predict": 12}


@pytest.fixture(scope="module")
def raw_text(envelope) -> str:
    return text_of(envelope, PROMPT)


@pytest.fixture(scope="module")
def chat_text(envelope) -> str:
    return text_of(envelope, envelope.chat(QUESTION))


def text_of(envelope, prompt, count: int = 12) -> str:
    return "".join(step.text for step in envelope.generate(prompt, max_tokens=count, temperature=0))


def test_a_raw_prompt(client, envelope, raw_text):
    told = client.generate("smollm2", PROMPT, raw=True, options=GREEDY)
    assert told.response == raw_text
    assert (told.model, told.done, told.done_reason) == ("smollm2", True, "length")
    assert (told.prompt_eval_count, told.eval_count) == (len(envelope.encode(PROMPT)), 12)


def test_a_prompt_in_the_chat_template_with_and_without_system(client, envelope, chat_text):
    question = QUESTION[0]["content"]
    assert client.generate("smollm2", question, options=GREEDY).response == chat_text
    system = {"role": "system", "content": "You speak like a pirate."}
    wanted = text_of(envelope, envelope.chat([system, *QUESTION]))
    assert client.generate("smollm2", question, system=system["content"], options=GREEDY).response == wanted
    assert client.chat("smollm2", [system, *QUESTION], options=GREEDY).message.content == wanted


def test_chat(client, chat_text):
    told = client.chat("smollm2:latest", QUESTION, options=GREEDY)
    assert (told.message.role, told.message.content) == ("assistant", chat_text)
    assert told.model == "smollm2:latest"


def test_a_conversation(client, envelope):
    spoken = [*QUESTION, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "Another one."}]
    wanted = text_of(envelope, envelope.chat(spoken))
    assert client.chat("smollm2", spoken, options=GREEDY).message.content == wanted


def test_pieces_join_to_the_whole(client, raw_text, chat_text):
    parts = list(client.generate("smollm2", PROMPT, raw=True, stream=True, options=GREEDY))
    assert "".join(part.response for part in parts) == raw_text
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 5
    parts = list(client.chat("smollm2", QUESTION, stream=True, options=GREEDY))
    assert "".join(part.message.content for part in parts) == chat_text
    assert parts[-1].done_reason == "length"


def test_times_are_measured(client):
    """All are nanoseconds; loading, prompt and answer happen one after the other within the whole."""
    told = client.generate("smollm2", PROMPT, raw=True, options=GREEDY)
    parts = (told.load_duration, told.prompt_eval_duration, told.eval_duration)
    assert min(parts) > 0
    assert sum(parts) <= told.total_duration < 60e9


def test_characters_of_several_tokens_stay_whole(client, envelope):
    """A prompt that the model goes on with in signs of more than one token each."""
    prompt, options = "🙂🙃 日本語 🙂🙃 日本語 🙂🙃", {"temperature": 0, "num_predict": 24}
    parts = list(client.generate("smollm2", prompt, raw=True, stream=True, options=options))
    joined = "".join(part.response for part in parts)
    assert joined == text_of(envelope, prompt, 24)
    assert any(ord(sign) > 0x7F for sign in joined)


def test_a_stop_string_ends_the_answer(client, raw_text):
    stop = raw_text.split()[-1]
    for stops in (stop, ["no such text", stop]):
        told = client.generate("smollm2", PROMPT, raw=True, options={**GREEDY, "stop": stops})
        assert told.response == raw_text[: raw_text.index(stop)]
        assert told.done_reason == "stop"


def test_an_end_token_ends_the_answer(client, envelope):
    """The model repeats a conversation's turn and ends it; no limit is set."""
    spoken = [{"role": "user", "content": "Say only: yes"}, {"role": "assistant", "content": "yes"}] * 4
    spoken.append({"role": "user", "content": "Say only: yes"})
    told = client.chat("smollm2", spoken, options={"temperature": 0})
    steps = list(envelope.generate(envelope.chat(spoken), max_tokens=200, temperature=0))
    assert steps[-1].token in envelope.tokenizer.ends
    assert told.message.content == "".join(step.text for step in steps)
    assert (told.done_reason, told.eval_count) == ("stop", len(steps))


def test_logprobs(client, envelope):
    """Each token's, the same as in Python, whether the answer comes whole or in lines."""
    steps = list(envelope.generate(PROMPT, max_tokens=12, alternatives=3))
    asked = {"raw": True, "options": GREEDY, "logprobs": True, "top_logprobs": 3}
    whole = client.generate("smollm2", PROMPT, **asked).logprobs
    assert [one.token for one in whole] == [envelope.decode([step.token]) for step in steps]
    assert [one.logprob for one in whole] == pytest.approx([step.logprob for step in steps])
    for one, step in zip(whole, steps, strict=True):
        assert [other.token for other in one.top_logprobs] == [other.text for other in step.alternatives]
    parts = client.generate("smollm2", PROMPT, stream=True, **asked)
    assert [one.token for part in parts for one in part.logprobs or ()] == [one.token for one in whole]
    plain = client.chat("smollm2", QUESTION, options=GREEDY, logprobs=True)
    assert len(plain.logprobs) == 12
    assert plain.logprobs[0].top_logprobs is None
    assert client.chat("smollm2", QUESTION, options=GREEDY).logprobs is None


COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "share": {"type": "integer", "maximum": 100}},
    "required": ["colour", "share"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 1.0, "seed": 4}])
def test_json_of_a_schema(client, options):
    """Whole and in pieces, of a chat and of a prompt; an answer that is complete has the reason `stop`."""
    for told in (
        client.chat("smollm2", QUESTION, format=COLOUR, options=options),
        client.generate("smollm2", "Name a colour.", format=COLOUR, options=options),
        client.generate("smollm2", PROMPT, raw=True, format=COLOUR, options=options),
    ):
        text = told.message.content if "message" in told else told.response
        jsonschema.validate(json.loads(text), COLOUR)
        assert told.done_reason == "stop"
    parts = list(client.chat("smollm2", QUESTION, stream=True, format=COLOUR, options=options))
    jsonschema.validate(json.loads("".join(part.message.content for part in parts)), COLOUR)


def test_any_json(client, envelope):
    told = client.generate("smollm2", PROMPT, raw=True, format="json", options=GREEDY)
    steps = list(envelope.generate(PROMPT, max_tokens=12, schema={"type": "object"}))
    assert told.response == "".join(step.text for step in steps)
    assert told.response.startswith("{")
    assert told.done_reason == ("length" if steps[-1].ended == "length" else "stop")


def test_penalties_and_min_p(client, envelope):
    options = {**GREEDY, "repeat_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.5}
    own = {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.5, "penalty_window": 64}
    wanted = "".join(step.text for step in envelope.generate(PROMPT, max_tokens=12, **own))
    assert client.generate("smollm2", PROMPT, raw=True, options=options).response == wanted
    drawn = {"num_predict": 6, "temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0.2, "seed": 3}
    own = {"temperature": 1.5, "min_p": 0.2, "seed": 3}
    wanted = "".join(step.text for step in envelope.generate(PROMPT, max_tokens=6, **own))
    assert client.generate("smollm2", PROMPT, raw=True, options=drawn).response == wanted


def test_embeddings(client, envelope):
    texts = ["My mother sang.", "Mother sang to me.", "x = [1, 2, 3]"]
    told = client.embed("smollm2", texts)
    np.testing.assert_allclose(told.embeddings, envelope.embed(texts), atol=1e-6)
    assert told.prompt_eval_count == sum(len(envelope.encode(text)) for text in texts)
    (short,) = client.embed("smollm2", texts[0], dimensions=8).embeddings
    whole = np.array(told.embeddings[0][:8])
    np.testing.assert_allclose(short, whole / np.linalg.norm(whole), atol=1e-6)
    plain = client.embeddings("smollm2", texts[0]).embedding
    np.testing.assert_allclose(plain, envelope.embed(texts[0], normalised=False)[0], rtol=1e-5, atol=1e-5)
    assert client.embed("smollm2", []).embeddings == []


def test_embeddings_that_are_refused(client):
    for ask, said in (
        (lambda: client.embed("smollm2", ["x", ""]), "text 2 of those to embed is empty"),
        (lambda: client.embed("smollm2", "x", options={"bogus": 1}), "no option bogus"),
        (lambda: client.embed("smollm2", "word " * 9000, truncate=False), "room for 8191"),
        (lambda: client.embed("smollm2", "x", dimensions=-1), "dimensions is -1"),
    ):
        with pytest.raises(ResponseError, match=said) as refused:
            ask()
        assert refused.value.status_code == 400


def test_the_same_seed_gives_the_same_text(client, envelope):
    options = {"seed": 7, "num_predict": 8, "temperature": 1.2, "top_k": 50, "top_p": 0.95}
    first, second = (client.generate("smollm2", PROMPT, raw=True, options=options).response for _ in range(2))
    sampling = {"temperature": 1.2, "top_k": 50, "top_p": 0.95, "seed": 7}
    assert first == second == "".join(s.text for s in envelope.generate(PROMPT, max_tokens=8, **sampling))


def test_models_are_listed_and_shown(client, workbench):
    (listed,) = client.list().models
    path = workbench.path("smollm2")
    assert (listed.model, listed.size) == ("smollm2:latest", path.stat().st_size)
    assert listed.digest == workbench.info("smollm2")["checksum"]
    assert (listed.details.family, listed.details.parameter_size) == ("llama", "134.52M")  # its model card: 135M
    assert listed.details.quantization_level == "Q4_1"
    shown = client.show("smollm2")
    assert "<|im_start|>" in shown.template
    assert shown.modelinfo["llama.context_length"] == 8192
    assert shown.capabilities == ["completion"]
    assert shown.license == "Apache-2.0"


def test_loading_and_unloading(client, until):
    assert client.generate("smollm2").done_reason == "load"
    (held,) = client.ps().models
    assert (held.model, held.context_length) == ("smollm2:latest", 8192)
    assert client.chat("smollm2", [], keep_alive=0).done_reason == "unload"
    assert list(client.ps().models) == []
    client.chat("smollm2", keep_alive="300ms")
    assert len(client.ps().models) == 1
    until(lambda: not client.ps().models)
    assert client.generate("smollm2", PROMPT, raw=True, options=GREEDY, keep_alive=-1).eval_count == 12
    assert client.ps().models[0].expires_at.year > 2100


@pytest.mark.parametrize("name", ["llama9", "smollm2:7b", "wordnet", "../smollm2", "Smollm2"])
def test_an_unknown_model_is_404(client, name):
    for ask in (
        lambda: client.generate(name, "x"),
        lambda: list(client.generate(name, "x", stream=True)),
        lambda: client.chat(name, QUESTION),
        lambda: client.show(name),
    ):
        with pytest.raises(ResponseError, match="not found") as refused:
            ask()
        assert refused.value.status_code == 404


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.pull("llama3"),
        lambda client: client.push("smollm2"),
        lambda client: client.create("mine", from_="smollm2"),
        lambda client: client.copy("smollm2", "mine"),
        lambda client: client.delete("smollm2"),
        lambda client: client.create_blob(__file__),
    ],
)
def test_what_is_not_served_is_501(client, ask):
    with pytest.raises(ResponseError) as refused:
        ask(client)
    assert refused.value.status_code == 501
    assert refused.value.error.startswith("this server changes no model")


def test_the_readme_s_example(url, capsys):
    found = re.search(r"^## Serve it\n.*?^```python\n(.*?)^```", README, re.M | re.S)
    assert found
    exec(found[1].replace("http://127.0.0.1:11434", url), names := {})
    names["client"].close()
    assert capsys.readouterr().out == " Paris.\n\nThe answer is:"
    assert "` Paris.`, and `The answer is:` two lines below" in README


def test_probes(http):
    assert http.get("/").text == "Ollama is running"
    assert http.head("/").status_code == 200
    assert http.get("/api/version").json() == {"version": __version__}
