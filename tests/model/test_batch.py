"""Several sequences together: each has the tokens that it has alone, whenever the others end."""

from threading import Event

import numpy as np
import pytest
from test_architectures import MODELS, stored

from genome.db.connect import opened
from genome.errors import Error
from genome.model import queries
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.engine import Engine
from genome.model.kernel.executables import Executables
from genome.model.weights import EmbeddingRows, Weights

DRAW = np.random.default_rng(8)
PROMPTS = [DRAW.integers(3, 260, count).tolist() for count in (3, 40, 1, 300, 17, 20, 9, 5, 250)]
SAMPLED = {"temperature": 1.0, "top_k": 40, "repetition_penalty": 1.1}


def alone(model, ids, **options) -> list[int]:
    return [step.token for step in model.generate(ids, reuse=False, **options)]


def together(model, prompts, **options) -> list[list[int]]:
    columns = zip(*model.generate_batch(prompts, **options), strict=True)
    return [[step.token for step in column if step] for column in columns]


@pytest.mark.parametrize("how", [{}, SAMPLED | {"seed": 2}])
def test_nine_prompts_of_different_lengths(model, how):
    """Groups of 4, 4 and 1; one crosses the first 256 places of its cache."""
    options = {"max_tokens": 10, "past_end": True, **how}
    assert together(model, PROMPTS, **options) == [alone(model, ids, **options) for ids in PROMPTS]


def test_some_end_early(model):
    """Each ends at its own end token or stop string; behind it stands None, until the last one ends."""
    first = next(iter(model.generate(PROMPTS[0]))).text
    options = {"max_tokens": 30, **SAMPLED, "stop": [first, "e", "th"], "seed": 4}
    wanted = [alone(model, ids, **options) for ids in PROMPTS[:6]]
    rounds = list(model.generate_batch(PROMPTS[:6], **options))
    assert len({len(tokens) for tokens in wanted}) > 2
    assert len(rounds) == max(map(len, wanted))
    for place, tokens in enumerate(wanted):
        column = [steps[place] for steps in rounds]
        assert [step.token if step else None for step in column] == tokens + [None] * (len(rounds) - len(tokens))
        assert [step.ended is not None for step in column if step] == [False] * (len(tokens) - 1) + [True]


def test_seeds_of_their_own(model):
    options = {"max_tokens": 8, "past_end": True, **SAMPLED}
    found = together(model, [PROMPTS[1]] * 3, seeds=[1, 2, 1], **options)
    assert found == [alone(model, PROMPTS[1], seed=seed, **options) for seed in (1, 2, 1)]
    assert found[0] == found[2] != found[1]


def test_a_schema_for_each(model):
    for column in zip(*model.generate_batch(PROMPTS[:3], schema={"enum": [1, 2]}), strict=True):
        assert "".join(step.text for step in column if step) in "12"


@pytest.mark.parametrize("title", ["gemma3", "olmoe"])
def test_other_architectures(title, tmp_path):
    """With windows, caps and rotations of two kinds; a mixture of experts reads for one after the other."""
    with opened(stored(title, "gguf", tmp_path)) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        engine, rows = Engine(weights, shape, Executables(None)), EmbeddingRows(weights)
        params, _ = engine.params()
        tokens, starts = MODELS[title]["tokens"], [4, 20, 31]

        def begun() -> list:
            told = [[rows.row(token)[0] for token in tokens[:count]] for count in starts]
            return [engine.step(params, one, 32, 0, engine.cache(params, 32))[0][-1] for one in told]

        caches, others = begun(), begun()
        for more in range(3):
            new = [rows.row(tokens[start + more])[0] for start in starts]
            places = [start + more for start in starts]
            found, _ = engine.together(params, new, places, caches)
            caches = [cache for *_, cache in found]
            for n, (scores, best, chance, _) in enumerate(found):
                wanted, _ = engine.step(params, [new[n]], 1, places[n], others[n])
                others[n] = wanted[-1]
                np.testing.assert_allclose(scores, wanted[0], rtol=1e-4, atol=1e-4)
                assert int(best) == int(wanted[1])
                assert float(chance) == pytest.approx(float(wanted[2]), abs=1e-4)


def test_weights_are_told_once_a_step(model, journal):
    list(model.generate([5], max_tokens=1))
    before = journal.steps
    list(model.generate_batch(PROMPTS[:4], max_tokens=3, past_end=True))
    assert journal.steps == before + 3
    frame = journal.frame()
    whole = frame.filter(frame["object"] == "blk.0.attn_q.weight", frame["step"] == before + 2)
    rows = frame.filter(frame["object"] == "token_embd.weight", frame["rows"] == 1, frame["step"] == before + 2)
    assert (whole.height, rows.height) == (1, 4)


def test_cancelled(model):
    cancel = Event()
    rounds = model.generate_batch(PROMPTS[:3], cancel=cancel, past_end=True)
    assert None not in next(rounds)
    cancel.set()
    assert list(rounds) == []
    assert list(model.generate_batch(PROMPTS[:3], cancel=cancel)) == []


def test_what_was_read_together_is_read_on_alone(model, journal):
    """All four are kept; the next turn of one feeds its last token and what is new."""
    found = together(model, PROMPTS[3:7], max_tokens=4, past_end=True)
    before = journal.frame()
    count = before.filter(before["object"] == "token_embd.weight", before["rows"] == 1).height
    list(model.generate([*PROMPTS[3], *found[0], 7], max_tokens=1))
    frame = journal.frame()
    rows = frame.filter(frame["object"] == "token_embd.weight", frame["rows"] == 1)["row"].to_list()
    assert rows[count:] == [found[0][-1], 7]


@pytest.mark.parametrize(
    ("prompts", "options", "said"),
    [
        ([[5], []], {}, "prompt 2: the prompt is empty"),
        ([[5], [5] * 600], {}, "prompt 2: the prompt has 600 tokens"),
        ([[266]], {}, "prompt 1: there is no token 266"),
        ([None], {}, "prompt 1: wanted token numbers, got NoneType"),
        ([[5]], {"seeds": [1, 2]}, "there are 2 seeds for 1 prompts; wanted one for each"),
        ([[5]], {"seeds": [-1]}, "the seed is -1"),
        ([[5]], {"hidden": True}, "several sequences together give no hidden states"),
        ([[5]], {"top_p": 2}, "top_p is 2"),
    ],
)
def test_refusals_come_at_once(model, prompts, options, said):
    with pytest.raises(Error, match=said):
        model.generate_batch(prompts, **options)


def test_no_prompts_and_no_tokens(model):
    assert list(model.generate_batch([])) == []
    assert list(model.generate_batch([[5]], max_tokens=0)) == []
