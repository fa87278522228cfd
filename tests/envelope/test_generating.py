"""What is asked of an envelope's model: texts or numbers, one or several, and what is strange about them."""

import json
import shutil

import numpy as np
import pytest

from genome.errors import DamagedError, Error
from genome.model import import_gguf
from genome.workbench import Workbench

PROMPT = "the mother " * 8


@pytest.fixture
def bench(tmp_path, tiny_db) -> Workbench:
    shutil.copy(tiny_db, tmp_path / "tiny.db")
    return Workbench(tmp_path)


@pytest.fixture
def env(bench):
    with bench.envelope("tiny") as env:
        yield env


def tokens(env, prompt, **options) -> list[int]:
    return [step.token for step in env.generate(prompt, max_tokens=6, past_end=True, **options)]


def test_several_prompts_texts_and_numbers(env):
    prompts = [PROMPT, env.encode("other"), "e"]
    rounds = list(env.generate_batch(prompts, max_tokens=6, past_end=True))
    assert [[step.token for step in column] for column in zip(*rounds, strict=True)] == [
        tokens(env, prompt) for prompt in prompts
    ]
    with pytest.raises(Error, match="wanted several prompts, got str; `generate` takes one"):
        env.generate_batch("the")
    with pytest.raises(Error, match="wanted several prompts, got int"):
        env.generate_batch(5)


def test_json(env):
    told = "".join(step.text for step in env.generate("the", schema={"enum": [{"a": 1}, {"b": [2]}]}))
    assert json.loads(told) in ({"a": 1}, {"b": [2]})


def test_hidden_states_of_each_step(env):
    """Those of all tokens before it, read at once, say the same of the last of them."""
    steps = list(env.generate(PROMPT, max_tokens=3, past_end=True, hidden=True))
    read = env.encode(PROMPT)
    for step in steps:
        assert step.hidden.dtype == np.float32
        np.testing.assert_allclose(step.hidden, env.hidden(read)[:, -1], rtol=1e-3, atol=1e-3)
        read.append(step.token)
    assert [step.token for step in steps] == tokens(env, PROMPT)[:3]
    assert next(env.generate(PROMPT)).hidden is None


def test_what_was_read_belongs_to_the_deltas_that_lay_over_it(env, bench):
    """With a delta attached all is read again, and what it gives is what it gives in an envelope of its own."""
    plain = tokens(env, PROMPT)
    row = env.tensor("output_norm.weight")[:] * np.linspace(-2, 2, 64, dtype=np.float32)
    bench.delta.create("tiny", {"output_norm.weight": row}, "louder")
    env.attach("louder")
    with bench.envelope("tiny", "louder") as other:
        wanted = tokens(other, PROMPT)
    assert tokens(env, PROMPT) == wanted != plain
    env.detach()
    assert tokens(env, PROMPT) == plain


def test_a_nested_activity_goes_on_from_what_was_read(env):
    tokens(env, PROMPT)
    with env.nested(activity="probe") as inner:
        tokens(inner, PROMPT)
        told = inner.accesses()
    rows = told.filter(told["object"] == "token_embd.weight", told["rows"] == 1)
    assert rows.height == 6  # the prompt's last token and the answer's, but for the last one


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ("", {}, "the prompt is empty; wanted at least one token"),
        ([], {}, "the prompt is empty; wanted at least one token"),
        ("x" * 700, {}, "the prompt has 700 tokens; tiny has room for 599: shorten it"),
        (None, {}, "wanted token numbers, got NoneType"),
        (5, {}, "wanted token numbers, got int"),
        (b"the", {}, "wanted token numbers, got bytes"),
        ([5, "the"], {}, "wanted a token number, an integer, got str"),
        ("the", {"temprature": 1}, "there is no option 'temprature'; wanted some of max_tokens, temperature"),
        ("the", {"temperature": "hot"}, "temperature is 'hot'; wanted a number"),
        ("the", {"max_tokens": None}, "max_tokens is None; wanted a whole number"),
        ("the", {"max_tokens": 1.5}, "max_tokens is 1.5; wanted a whole number"),
        ("the", {"top_k": True}, "top_k is True; wanted a whole number"),
        ("the", {"seed": "x"}, "seed is 'x'; wanted a whole number, or None"),
        ("the", {"stop": 5}, "stop is 5; wanted a text or several"),
        ("the", {"stop": [5]}, r"stop is \[5\]; wanted a text or several"),
        ("the", {"logit_bias": [5]}, r"logit_bias is \[5\]; wanted a mapping of token numbers to numbers"),
        ("the", {"logit_bias": {"the": 1}}, "logit_bias has 'the': 1; wanted token numbers and numbers"),
        ("the", {"past_end": "no"}, "past_end is 'no'; wanted True or False"),
        ("the", {"hidden": 1}, "hidden is 1; wanted True or False"),
        ("the", {"cancel": True}, "cancel is True; wanted a threading.Event, or None"),
        ("\ud800", {}, "lone surrogate"),
    ],
)
def test_what_is_wrong_is_one_line(env, prompt, options, said):
    with pytest.raises(Error, match=said) as told:
        env.generate(prompt, **options)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


def test_numbers_of_numpy_are_numbers(env):
    options = {"temperature": np.float32(0.5), "top_k": np.int64(5), "seed": np.int32(1)}
    assert tokens(env, np.array([5, 6]), **options) == tokens(env, [5, 6], temperature=0.5, top_k=5, seed=1)


def test_special_tokens_that_the_model_does_not_have_are_plain_text(env):
    assert env.decode(env.encode("<|nonesuch|>")) == "<|nonesuch|>"
    assert len(env.encode("<|nonesuch|>")) == len("<|nonesuch|>") > len(env.encode("<|im_start|>")) == 1
    assert len(tokens(env, "<|nonesuch|>")) == 6


def test_nan_in_a_block(tmp_path, tiny):
    bad = tiny.tensors["blk.0.attn_k.weight"].copy()
    bad[0, 0] = np.nan
    import_gguf(
        tiny.write(tmp_path / "a.gguf", weights=tiny.tensors | {"blk.0.attn_k.weight": bad}), tmp_path / "bad.db"
    )
    with Workbench(tmp_path).envelope("bad") as env:
        for ask in (lambda: next(env.generate("the")), lambda: next(env.generate_batch(["the", "e"]))):
            with pytest.raises(DamagedError, match=r"tensor blk\.0\.attn_k\.weight holds NaN or infinity"):
                ask()
