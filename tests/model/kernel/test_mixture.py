"""Mixtures of experts: transformers' logits, and no more read than the router picks."""

from pathlib import Path

import gguf
import jax
import numpy as np
import pytest
from test_architectures import MODELS, stored

from genome.db.connect import opened
from genome.db.journal import Journal
from genome.errors import DamagedError, Error
from genome.model import LanguageModel, import_gguf, queries
from genome.model.kernel import executables
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.cache import empty_cache
from genome.model.kernel.executables import Executables
from genome.model.kernel.experts import Experts
from genome.model.kernel.layers import logits
from genome.model.kernel.loading import load
from genome.model.kernel.mixture import Mixture
from genome.model.weights import EmbeddingRows, Weights

SPARSE = [title for title, model in MODELS.items() if "num_experts_per_tok" in model["config"]]


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
@pytest.mark.parametrize("title", SPARSE)
def test_logits_are_those_of_transformers(title: str, form: str, tmp_path: Path):
    """A prompt of 31 tokens, filled up to 32, and single tokens behind it."""
    with opened(stored(title, form, tmp_path)) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        params, rows, model = load(weights, shape), EmbeddingRows(weights), Mixture(weights, shape, Executables())
        x = np.stack([rows.row(token)[0] for token in MODELS[title]["tokens"]])
        cache, start, compared = empty_cache(shape, 64), 0, 0
        for count in (31, *[1] * 17):
            piece = np.zeros((32 if count == 31 else 1, shape.width), np.float32)
            piece[:count] = x[start : start + count]
            (scores, best, _, cache), _ = model.advance(params, piece, start, count - 1, cache)
            start += count
            assert int(best) == int(np.argmax(scores))
            if str(start - 1) in MODELS[title]["logits"]:
                wanted = MODELS[title]["logits"][str(start - 1)]
                np.testing.assert_allclose(scores, wanted, rtol=2e-4, atol=2e-4)
                compared += 1
    assert compared == 2


@pytest.mark.parametrize("title", SPARSE)
def test_hidden_states_lead_to_the_logits(title: str, tmp_path: Path):
    """All 49 tokens as one piece of 64: embeddings, what each layer leaves, and the last ones, normed."""
    told = MODELS[title]
    with opened(stored(title, "gguf", tmp_path)) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        params, rows, model = load(weights, shape), EmbeddingRows(weights), Mixture(weights, shape, Executables())
        x = np.zeros((64, shape.width), np.float32)
        x[: len(told["tokens"])] = [rows.row(token)[0] for token in told["tokens"]]
        last = len(told["tokens"]) - 1
        states, cache, touched = model.states(params, x, 0, last, empty_cache(shape, 256), every=True)
        only, *_ = model.states(params, x, 0, last, empty_cache(shape, 256), every=False)
    assert states.shape == (shape.layers + 1, 64, shape.width)
    assert cache.places == 256
    assert {t.read for t in touched} == {True}
    np.testing.assert_array_equal(states[0], x)
    np.testing.assert_array_equal(states[-1], only)
    found = logits(shape, params, states[-1])
    for at, wanted in told["logits"].items():
        np.testing.assert_allclose(found[int(at)], wanted, rtol=2e-4, atol=2e-4)


def mixed(tiny, path: Path, spoilt: int | None = None) -> Path:
    """The tiny model with 64 experts in each layer, of which 8 are used; a NaN in the first layer's expert."""
    draw = np.random.RandomState(64)
    weights = {name: values for name, values in tiny.tensors.items() if ".ffn_" not in name or "norm" in name}
    for layer in range(tiny.layers):
        sizes = {
            "gate_inp": (64, 64),
            "gate_exps": (64, 96, 64),
            "up_exps": (64, 96, 64),
            "down_exps": (64, 64, 96),
        }
        for role, size in sizes.items():
            values = draw.standard_normal(size).astype(np.float32) / 4
            weights[f"blk.{layer}.ffn_{role}.weight"] = values
    if spoilt is not None:
        weights["blk.0.ffn_up_exps.weight"][spoilt, 3, 4] = np.nan

    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_expert_count(64)
        writer.add_expert_used_count(8)

    import_gguf(tiny.write(path.with_suffix(".gguf"), weights=weights, more=more), path)
    return path


def test_a_token_reads_the_experts_that_the_router_picks(tmp_path: Path, tiny):
    """Two layers, 8 of 64 experts, three matrices: 48 reads, and under 20 % of the model's bytes with all else."""
    with opened(mixed(tiny, tmp_path / "a.db")) as db:
        total = sum(t.size_bytes for t in queries.tensors(db))
        journal = Journal()
        (step,) = LanguageModel(db, "mixed", journal).generate([70], max_tokens=1, past_end=True)
        told = journal.columns()
        read = sum(size for size, source in zip(told["bytes"], told["source"], strict=True) if source == "disk")
        from_experts = [at for at, name in enumerate(told["object"]) if name.endswith("_exps.weight")]
        assert len(from_experts) == 2 * 8 * 3
        assert {told["rows"][at] for at in from_experts} == {96, 64}
        assert read < 0.2 * total
        again, *_ = LanguageModel(db, "mixed", Journal()).generate([70, 70, 12, 70], max_tokens=3, past_end=True)
        assert np.isfinite([again.logprob, step.logprob]).all()


def test_an_expert_that_is_damaged_is_named_when_it_is_used(tmp_path: Path, tiny):
    with opened(mixed(tiny, tmp_path / "a.db", spoilt=9)) as db:
        weights = Weights(db)
        experts = Experts(weights, shape_of(queries.hyperparameters(db), weights.tensors()))
        (gate, *_), touched = experts.get(0, 8)
        assert [part.shape for part in jax.tree.leaves(gate)] == [(96, 64)]
        assert [(t.tensor.name, t.first, t.rows, t.read) for t in touched][2] == (
            "blk.0.ffn_down_exps.weight", 512, 64, True,
        )  # fmt: skip
        assert not any(t.read for t in experts.get(0, 8)[1])
        with pytest.raises(DamagedError, match=r"blk\.0\.ffn_up_exps\.weight, rows 864 to 959, holds NaN"):
            experts.get(0, 9)


def answer(path: Path, folder: Path | None = None) -> list[tuple[int, float]]:
    """The tokens that follow a prompt of twenty, and their log probabilities."""
    with opened(path) as db:
        model = LanguageModel(db, "mixed", Journal(), executables=folder)
        return [(s.token, s.logprob) for s in model.generate(range(70, 90), max_tokens=4, past_end=True)]


def test_experts_stay_within_a_bound(tmp_path: Path, tiny):
    """An expert is three matrices of 96 x 64 float32, 73,728 bytes. The one used longest ago goes first."""
    with opened(mixed(tiny, tmp_path / "a.db")) as db:
        weights = Weights(db)
        experts = Experts(weights, shape_of(queries.hyperparameters(db), weights.tensors()))
        experts.bound_bytes = 3 * 73728

        def read(*numbers: int) -> list[bool]:
            return [experts.get(0, number)[1][0].read for number in numbers]

        assert read(1, 2, 3, 1, 4) == [True, True, True, False, True]
        assert experts.held_bytes == 3 * 73728
        assert read(1, 3, 4, 2) == [False, False, False, True]
        experts.bound_bytes = 73727
        assert experts.held_bytes == 0
        assert read(2, 2) == [True, True]
        experts.bound_bytes = None
        assert read(2, 2) == [True, False]


def test_a_bound_changes_no_logits(tmp_path: Path, tiny):
    """One expert at a time in memory, where each layer of a token takes eight."""
    with opened(mixed(tiny, tmp_path / "a.db")) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        params, model = load(weights, shape), Mixture(weights, shape, Executables())
        x = tiny.tensors["token_embd.weight"][70:102]
        (wanted, *_), _ = model.advance(params, x, 0, 31, empty_cache(shape, 256))
        model.experts.bound_bytes = 73728
        (found, *_), touched = model.advance(params, x, 0, 31, empty_cache(shape, 256))
        assert model.experts.held_bytes == 73728
        assert sum(t.read for t in touched) > 0.9 * len(touched)
        np.testing.assert_array_equal(found, wanted)


def test_a_second_start_compiles_nothing(tmp_path: Path, tiny, monkeypatch):
    """Neither a prompt nor an answer, after `prepare` in another process."""
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(executables, "_ready", {})
    path = mixed(tiny, tmp_path / "a.db")
    with opened(path) as db:
        LanguageModel(db, "mixed", Journal(), executables=tmp_path / "kept").prepare()
    executables._ready.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Executables, "_keep", lambda *told: pytest.fail("compiled again"))
        first = answer(path, tmp_path / "kept")
    executables._ready.clear()
    assert answer(path) == first


def test_experts_keep_within_a_budget(tmp_path: Path, tiny):
    """The smallest budget that the error names holds no expert; the tokens are the same."""
    with opened(mixed(tiny, tmp_path / "a.db")) as db:
        model = LanguageModel(db, "mixed", Journal())
        free = [step.token for step in model.generate([70, 71], max_tokens=4, past_end=True)]
        with pytest.raises(Error, match="a budget of 1 kB is too small for mixed; wanted at least") as caught:
            list(model.generate([70, 71], max_tokens=4, memory=1000))
        least = str(caught.value).split("at least ")[1].split(" for")[0]
        journal = Journal()
        tight = LanguageModel(db, "mixed", journal)
        assert [s.token for s in tight.generate([70, 71], max_tokens=4, past_end=True, memory=least)] == free
        told = journal.columns()
        sources = {
            (source, name.endswith("_exps.weight"))
            for name, source, step in zip(told["object"], told["source"], told["step"], strict=True)
            if step and name.startswith("blk.")
        }
        assert sources == {("disk", True), ("memory", False)}
