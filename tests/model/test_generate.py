"""Generation: the reference's tokens, streams of text, refusals, the journal."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import jax
import numpy as np
import pytest

from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.db.journal import Journal
from genome.errors import DamagedError, Error
from genome.ids import GenomeID
from genome.model import LanguageModel, Step, import_gguf
from genome.model.kernel import executables

GREEDY = json.loads((Path(__file__).parent / "data" / "smollm2_greedy.json").read_text("utf-8"))
NEAR = 0.02


@pytest.fixture(scope="session")
def smollm2(smollm2_db):
    with opened(smollm2_db, "model") as db:
        yield LanguageModel(db, "smollm2", Journal())


@pytest.mark.parametrize("case", GREEDY, ids=[case["prompt"][:24] for case in GREEDY])
def test_greedy_equals_transformers_in_float32(smollm2, case):
    """Until the reference's two best logits are closer than 0.02 (tests/reference/greedy.py)."""
    ids = smollm2.tokenizer.encode(case["prompt"])
    assert ids == case["ids"]
    certain = next((place for place, gap in enumerate(case["gaps"]) if gap < NEAR), len(case["gaps"]))
    found = [step.token for step in smollm2.generate(ids, max_tokens=certain, past_end=True)]
    assert found == case["tokens"][:certain]


def test_the_capital_of_france(smollm2):
    """The first 32 tokens have no near-tie; the model ends its answer with the 30th."""
    case = GREEDY[0]
    assert min(case["gaps"][:32]) > NEAR
    steps = list(smollm2.generate(case["ids"], max_tokens=32))
    assert [step.token for step in steps] == case["tokens"][:30]
    assert steps[-1].token == smollm2.tokenizer.eos
    assert "".join(step.text for step in steps).startswith(" Paris.\n\n")


def tokens(steps) -> list[int]:
    return [step.token for step in steps]


def test_text_is_that_of_the_tokens(model):
    steps = list(model.generate(model.tokenizer.encode(" the"), max_tokens=40, past_end=True))
    assert len(steps) == 40
    assert "".join(step.text for step in steps) == model.tokenizer.decode(tokens(steps), special=False)


def test_a_seed_gives_the_same_tokens(model):
    options = {"max_tokens": 20, "temperature": 1.5, "past_end": True}
    first = tokens(model.generate([5], seed=1, **options))
    assert tokens(model.generate([5], seed=1, **options)) == first
    assert tokens(model.generate([5], seed=2, **options)) != first
    assert tokens(model.generate([5], **options)) != tokens(model.generate([5], **options))


def test_top_k_of_one_is_greedy(model):
    greedy = list(model.generate([5], max_tokens=12, past_end=True))
    drawn = list(model.generate([5], max_tokens=12, temperature=2.0, top_k=1, past_end=True))
    assert tokens(greedy) == tokens(drawn)
    np.testing.assert_allclose([s.logprob for s in greedy], [s.logprob for s in drawn], atol=1e-4)


def test_a_prompt_in_pieces_or_step_by_step(model):
    """300 tokens cross a piece of 256, and the answer crosses the cache's first 256 places."""
    prompt = list(np.random.default_rng(1).integers(3, 260, 300))
    wanted = tokens(model.generate(prompt, max_tokens=5, past_end=True))
    one = tokens(model.generate(prompt[:250], max_tokens=1, past_end=True))
    assert len(one) == 1
    grown = tokens(model.generate(prompt + wanted[:4], max_tokens=1, past_end=True))
    assert grown == wanted[4:]
    long = tokens(model.generate(prompt[:250], max_tokens=12, past_end=True))
    assert tokens(model.generate(prompt[:250] + long[:8], max_tokens=4, past_end=True)) == long[8:]


def test_a_full_context_ends(model):
    assert len(list(model.generate([5] * 598, max_tokens=50, past_end=True))) == 2


def test_nothing_is_compiled_twice(model):
    """Prompts of other lengths are pieces of the same ones: 1 and 32 tokens, these here."""
    list(model.generate([5, 6, 7], max_tokens=3, past_end=True))
    list(model.generate([5] * 20, max_tokens=3, past_end=True))
    before = len(executables._ready)
    list(model.generate([9] * 11, max_tokens=5, temperature=1.0, past_end=True))
    list(model.generate([5, 6], max_tokens=3, past_end=True))
    assert len(executables._ready) == before > 0


def test_stop_strings(model):
    whole = "".join(step.text for step in model.generate([5], max_tokens=30, past_end=True))
    stop = whole[10:13]
    steps = list(model.generate([5], max_tokens=30, stop=stop, past_end=True))
    assert "".join(step.text for step in steps) == whole[: whole.index(stop)]
    assert len(steps) < 30
    assert (
        "".join(s.text for s in model.generate([5], max_tokens=30, stop=["nonesuch", whole[0]], past_end=True))
        == ""
    )
    # A beginning of a stop string is held back, and given when nothing comes of it.
    assert (
        "".join(s.text for s in model.generate([5], max_tokens=30, stop=whole[-2:] + "!", past_end=True)) == whole
    )


def test_an_end_token_is_the_last_step(tmp_path, tiny, journal):
    """Every token of the answer would be `first`, so it is named as the end token."""
    with opened_model(tmp_path, tiny, journal) as model:
        first = tokens(model.generate([5], max_tokens=1))[0]
    with opened_model(tmp_path, tiny, journal, more=lambda w: w.add_eot_token_id(first)) as model:
        assert tokens(model.generate([5], max_tokens=10)) == [first]


@contextmanager
def opened_model(tmp_path, tiny, journal, **options):
    import_gguf(tiny.write(tmp_path / "a.gguf", **options), tmp_path / "a.db")
    with opened(tmp_path / "a.db", "model") as db:
        yield LanguageModel(db, "tiny", journal)


@pytest.mark.parametrize(
    ("ids", "options", "said"),
    [
        ([], {}, "the prompt is empty; wanted at least one token"),
        ([5] * 600, {}, "the prompt has 600 tokens; tiny has room for 599: shorten it"),
        ([5, 266], {}, "there is no token 266; tiny has tokens 0 to 265"),
        ([-1], {}, "there is no token -1"),
        ([1.7], {}, "wanted a token number, an integer, got float"),
        (b"Hi", {}, "wanted token numbers, got bytes"),
        ([5], {"max_tokens": -1}, "max_tokens is -1"),
        ([5], {"temperature": -0.5}, "the temperature is -0.5"),
        ([5], {"temperature": float("nan")}, "the temperature is nan"),
        ([5], {"top_k": -1}, "top_k is -1"),
        ([5], {"top_p": 0.0}, "top_p is 0.0"),
        ([5], {"top_p": 1.5}, "top_p is 1.5"),
        ([5], {"min_p": 1.1}, "min_p is 1.1; wanted a number from 0 to 1"),
        ([5], {"repetition_penalty": 0}, "repetition_penalty is 0"),
        ([5], {"presence_penalty": float("inf")}, "presence_penalty is inf"),
        ([5], {"frequency_penalty": float("nan")}, "frequency_penalty is nan"),
        ([5], {"penalty_window": -1}, "penalty_window is -1"),
        ([5], {"logit_bias": {5: float("nan")}}, "the bias of token 5 is nan"),
        ([5], {"logit_bias": {266: 1.0}}, "there is no token 266 to bias"),
        ([5], {"alternatives": -1}, "alternatives is -1"),
        ([5], {"seed": -1}, "the seed is -1"),
        ([5], {"stop": ["a", ""]}, "a stop string is empty"),
    ],
)
def test_refusals_come_at_once_and_in_one_line(model, ids, options, said):
    with pytest.raises(Error, match=re.escape(said)) as told:
        model.generate(ids, **options)
    assert "\n" not in str(told.value)


def test_alternatives_are_the_model_s_own_probabilities(model):
    """Of all 266 tokens they sum to 1, whatever temperature and bias do to the draw."""
    plain = list(model.generate([5], max_tokens=3, alternatives=266, past_end=True))
    for step in plain:
        chances = [other.logprob for other in step.alternatives]
        assert sorted(chances, reverse=True) == chances
        assert np.exp(chances).sum() == pytest.approx(1.0)
        assert step.alternatives[0].token == step.token
        assert step.logprob == pytest.approx(chances[0], abs=1e-4)
    assert {other.text for other in plain[0].alternatives} >= {"mother", "\N{REPLACEMENT CHARACTER}", "<|im_end|>"}
    options = {"temperature": 2.0, "logit_bias": {plain[0].token: -np.inf}, "seed": 3, "past_end": True}
    (drawn,) = model.generate([5], max_tokens=1, alternatives=266, **options)
    assert drawn.alternatives == plain[0].alternatives
    assert drawn.token != plain[0].token
    assert drawn.logprob == next(o.logprob for o in drawn.alternatives if o.token == drawn.token)
    assert next(iter(model.generate([5]))).alternatives == ()


def test_cancelled_between_two_tokens(model):
    cancel = Event()
    steps = model.generate([5], max_tokens=20, cancel=cancel, past_end=True)
    given = [next(steps).token, next(steps).token]
    cancel.set()
    assert list(steps) == []
    assert given == tokens(model.generate([5], max_tokens=2, past_end=True))


def test_cancelled_inside_a_long_prompt(model, journal):
    """After the first of two pieces: its 512 rows are read, and no others, and nothing is given."""
    list(model.generate([5], max_tokens=1))
    cancel, read = Event(), []
    embedded = model._embedded

    def watched(piece):
        read.append(len(piece))
        cancel.set()
        return embedded(piece)

    model._embedded = watched
    assert list(model.generate([5] * 590, max_tokens=3, cancel=cancel)) == []
    assert read == [512]
    model._embedded = embedded
    assert len(list(model.generate([5] * 590, max_tokens=3, past_end=True))) == 3


def test_hidden_states_from_the_embeddings_to_what_the_head_reads(model, tiny):
    """The first are the embeddings' rows; the last, times the tied embedding, are the scores of `generate`."""
    ids = [5, 6, 77, 8]
    states = model.hidden(ids)
    rows = tiny.tensors["token_embd.weight"]
    assert (states.shape, states.dtype) == ((tiny.layers + 1, 4, rows.shape[1]), np.float32)
    np.testing.assert_array_equal(states[0], rows[ids])
    scores = rows @ states[-1, -1]
    step = next(iter(model.generate(ids, alternatives=5)))
    assert [other.token for other in step.alternatives] == np.argsort(-scores)[:5].tolist()
    np.testing.assert_allclose(model.hidden(ids, every=False), states[-1], atol=1e-5)


def test_hidden_states_look_back_only_and_cross_pieces(model):
    """300 tokens are two pieces; the first of them are what they are without those behind."""
    ids = np.random.default_rng(2).integers(3, 260, 300).tolist()
    states = model.hidden(ids)
    assert states.shape[1] == 300
    np.testing.assert_allclose(model.hidden(ids[:280])[:, 250:], states[:, 250:280], atol=2e-3)


def test_embeddings_of_texts(model, journal):
    texts = ["the mother", "other"]
    states = [model.hidden(model.tokenizer.encode(text), every=False) for text in texts]
    plain = model.embed(texts, normalised=False)
    np.testing.assert_allclose(plain, [s.mean(axis=0) for s in states], atol=1e-5)
    last = model.embed(texts, pooling="last")
    np.testing.assert_allclose(last, [s[-1] / np.linalg.norm(s[-1]) for s in states], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(model.embed(texts), axis=1), 1.0, atol=1e-6)
    assert model.embed([]).shape == (0, plain.shape[1])
    assert journal.steps > 0


def test_texts_that_cannot_be_embedded(model):
    with pytest.raises(Error, match="text 2 of those to embed is empty"):
        model.embed(["x", ""])
    with pytest.raises(Error, match=r"text 1 of those to embed: the prompt has .* tokens; tiny has room for 599"):
        model.embed(["x" * 700])
    assert model.embed(["x" * 700], truncate=True).shape[0] == 1
    with pytest.raises(Error, match="the pooling is 'max'; wanted 'mean' or 'last'"):
        model.embed(["x"], pooling="max")


def test_no_tokens_wanted(model, journal):
    assert list(model.generate([5], max_tokens=0)) == []
    assert journal.frame().height == 0


def test_steps_carry_genome_ids(tiny_db, journal):
    known = GenomeID.pack(["SAY"], leaf=3)
    with opened(tiny_db, "model") as db:
        model = LanguageModel(db, "tiny", journal, identify=lambda token: known if token else None)
        step = next(iter(model.generate([5], max_tokens=1)))
    assert isinstance(step, Step)
    assert step.id == known


def test_the_journal_tells_rows_and_tensors(model, journal):
    step = next(iter(model.generate([5, 6, 5], max_tokens=1, past_end=True)))
    list(model.generate([5, step.token], max_tokens=1, past_end=True))
    frame = journal.frame()
    rows = frame.filter(frame["rows"] == 1, frame["object"] == "token_embd.weight")
    read = rows.select("step", "row", "bytes", "source").rows()
    assert read[:3] == [(1, 5, 256, "disk"), (1, 6, 256, "disk"), (1, 5, 256, "memory")]
    assert read[3] == (2, 5, 256, "memory")
    whole = frame.filter(frame["object"] == "blk.0.attn_q.weight").select("step", "rows", "bytes", "source").rows()
    assert whole == [(0, 64, 16384, "disk"), (1, 64, 16384, "memory"), (2, 64, 16384, "memory")]


def test_weights_that_are_read_again_belong_to_no_step(model, journal):
    for _ in range(2):
        list(model.generate([5], max_tokens=2, past_end=True))
        model.close()
    frame = journal.frame()
    whole = frame.filter(frame["object"] == "blk.0.attn_q.weight").select("step", "source").rows()
    assert whole == [
        (0, "disk"), (1, "memory"), (2, "memory"), (0, "disk"), (3, "memory"), (4, "memory"),
    ]  # fmt: skip


def test_opening_reads_no_weight(tiny_db, journal):
    with opened(tiny_db, "model") as db:
        seen = []
        db.set_exec_trace(lambda cursor, sql, bindings: seen.append(sql) or True)
        model = LanguageModel(db, "tiny", journal)
        assert not [sql for sql in seen if "FROM block" in sql]
        list(model.generate([5], max_tokens=1))
        assert [sql for sql in seen if "FROM block" in sql]


def test_closing_gives_the_weights_back(model):
    first = tokens(model.generate([5], max_tokens=3))
    model.close()
    assert tokens(model.generate([5], max_tokens=3)) == first


def test_nan_in_a_weight(tmp_path, tiny, journal):
    bad = tiny.tensors["blk.1.ffn_down.weight"].copy()
    bad[3, 4] = np.nan
    said = r"tensor blk\.1\.ffn_down\.weight holds NaN or infinity"
    weights = tiny.tensors | {"blk.1.ffn_down.weight": bad}
    with opened_model(tmp_path, tiny, journal, weights=weights) as model, pytest.raises(DamagedError, match=said):
        list(model.generate([5], max_tokens=1))


def test_nan_in_an_embedding(tmp_path, tiny, journal):
    bad = tiny.tensors["token_embd.weight"].copy()
    bad[7, 0] = np.inf
    weights = tiny.tensors | {"token_embd.weight": bad, "output.weight": tiny.tensors["token_embd.weight"]}
    with opened_model(tmp_path, tiny, journal, weights=weights) as model:
        assert len(list(model.generate([5], max_tokens=1))) == 1
        with pytest.raises(DamagedError, match=r"token_embd\.weight, row 7, holds NaN or infinity"):
            list(model.generate([7], max_tokens=1))


def test_a_damaged_block(tmp_path, tiny_db, journal):
    path = tmp_path / "tiny.db"
    shutil.copy(tiny_db, path)
    writable = Connection(DatabaseFile.find(path, "database"), write=True)
    number = "SELECT id FROM tensor WHERE name = 'blk.0.attn_k.weight'"
    writable.execute(f"UPDATE block SET data = zeroblob(length(data)) WHERE array = ({number})")
    writable.close()
    with opened(path, "model") as db:
        model = LanguageModel(db, "tiny", journal)
        with pytest.raises(DamagedError, match=r"tensor blk\.0\.attn_k\.weight: .* are damaged; `genome verify`"):
            list(model.generate([5], max_tokens=1))


def test_import_sets_no_flag_and_needs_no_jax():
    code = (
        "import sys, genome.model; assert 'jax' not in sys.modules\n"
        "import jax; before = dict(jax.config.values)\n"
        "from genome.model import LanguageModel; assert dict(jax.config.values) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert jax.config.jax_enable_x64 is False
