"""Dense models within a budget of memory: the same tokens, no more held than was allowed, a truthful journal."""

import re
from pathlib import Path

import numpy as np
import pytest
from test_architectures import MODELS, stored

from genome.db.connect import opened
from genome.db.journal import Journal
from genome.errors import DamagedError, Error
from genome.model import LanguageModel, import_gguf, queries
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.engine import Engine
from genome.model.kernel.executables import Executables
from genome.model.kernel.shelf import Piece, Shelf
from genome.model.kernel.streaming import Streamed
from genome.model.weights import EmbeddingRows, Weights
from genome.sizes import size_bytes

PROMPT = [70, 71, 72, 73] * 5


def least_of(told: str) -> int:
    """The budget that an error's line says would work."""
    found = re.search(r"wanted at least ([\d.]+ [kM]B)", told)
    assert found, told
    return size_bytes(found[1])


def least(db, tokens: int = 64) -> int:
    weights = Weights(db)
    engine = Engine(weights, shape_of(queries.hyperparameters(db), weights.tensors()), Executables())
    with pytest.raises(Error, match="too small") as caught:
        engine.cache(engine.params(1)[0], tokens)
    assert "\n" not in str(caught.value)
    return least_of(str(caught.value))


@pytest.fixture
def one_ahead(monkeypatch):
    """One piece is read ahead, not two: what is made here is so small that three pieces are all of it."""
    monkeypatch.setattr("genome.model.kernel.shelf._AHEAD", 1)


@pytest.mark.usefixtures("one_ahead")
@pytest.mark.parametrize("title", [t for t in ("llama", "qwen3", "gemma3") if t in MODELS])
def test_scores_are_those_of_the_whole_model(title: str, tmp_path: Path):
    """A prompt of 31 tokens and ten single ones, with the smallest budget and with one that holds everything."""
    with opened(stored(title, "gguf", tmp_path)) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        rows = EmbeddingRows(weights)
        x = [rows.row(token)[0] for token in MODELS[title]["tokens"]]
        found = []
        for budget in (None, least(db), 1 << 30):
            engine = Engine(weights, shape, Executables())
            params, _ = engine.params(budget)
            cache, start, scores = engine.cache(params, 64), 0, []
            for count in (31, *[1] * 10):
                piece = x[start : start + count]
                (told, best, chance, cache), touched = engine.step(
                    params, piece, max(1, count + 1 & ~1), start, cache
                )
                scores.append(np.asarray(told))
                assert int(best) == int(np.argmax(told))
                assert float(chance) <= 0
                start += count
            found.append(np.array(scores))
            if isinstance(params, Streamed):
                assert params.peak_bytes <= params.budget_bytes
                sources = {one.tensor.name: one.read for one in touched}
                assert set(sources.values()) == ({True} if budget != 1 << 30 else {False})
                params.close()
        np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("one_ahead")
def test_tokens_are_the_same_and_the_journal_tells_what_was_read(tiny_db: Path):
    """The smallest budget holds no layer, and a prompt of 20 tokens is read one by one: each reads all layers."""
    with opened(tiny_db, "model") as db:
        free = [s.token for s in LanguageModel(db, "tiny", Journal()).generate(PROMPT, max_tokens=6, past_end=True)]
        journal = Journal()
        model = LanguageModel(db, "tiny", journal)
        steps = list(model.generate(PROMPT, max_tokens=6, past_end=True, memory=least(db)))
        assert [s.token for s in steps] == free
        told = journal.columns()
        layers = [
            (told["step"][at], told["source"][at])
            for at, name in enumerate(told["object"])
            if name == "blk.1.ffn_down.weight"
        ]
        assert layers == [(1, "disk")] * len(PROMPT) + [(step, "disk") for step in range(2, 7)]
        journal = Journal()
        roomy = LanguageModel(db, "tiny", journal)
        assert [s.token for s in roomy.generate(PROMPT, max_tokens=6, past_end=True, memory="1 GB")] == free
        told = journal.columns()
        layers = [told["source"][at] for at, name in enumerate(told["object"]) if name == "blk.1.ffn_down.weight"]
        assert layers == ["disk"] + ["memory"] * 5
        roomy.close()
        model.close()


def test_a_budget_may_change_and_go(tiny_db: Path):
    with opened(tiny_db, "model") as db:
        model = LanguageModel(db, "tiny", Journal())
        given: list[str | int | None] = ["1 GB", least(db), None, "2 GB", None]
        found = [
            [s.token for s in model.generate(PROMPT, max_tokens=3, past_end=True, memory=memory)]
            for memory in given
        ]
        assert found == [found[0]] * len(given)
        model.close()


def test_a_conversation_that_outgrows_the_budget_is_one_line(tiny_db: Path):
    """A cache of 512 places is wanted behind the 256th token; what the line says is enough."""
    with opened(tiny_db, "model") as db:
        model = LanguageModel(db, "tiny", Journal())
        with pytest.raises(
            Error, match=r"too small for tiny; wanted at least .* for a cache of 512 tokens"
        ) as caught:
            list(model.generate(PROMPT * 13, max_tokens=2, past_end=True, memory=least(db)))
        enough = least_of(str(caught.value))
        assert len(list(model.generate(PROMPT * 13, max_tokens=2, past_end=True, memory=enough))) == 2
        model.close()


def test_a_budget_that_is_none_is_one_line(tiny_db: Path):
    with opened(tiny_db, "model") as db:
        model = LanguageModel(db, "tiny", Journal())
        for memory, said in (
            ("lots", "'lots' is no size"),
            (True, "memory is True; wanted"),
            (-5, "'-5' is no size"),
        ):
            with pytest.raises(Error, match=said):
                model.generate(PROMPT, memory=memory)


def test_damage_in_what_is_read_ahead_is_told(tmp_path: Path, tiny):
    spoilt = dict(tiny.tensors)
    name = next(name for name in spoilt if name.startswith("blk.1.ffn_down"))
    spoilt[name] = spoilt[name].copy()
    spoilt[name][3, 4] = np.nan
    import_gguf(tiny.write(tmp_path / "spoilt.gguf", weights=spoilt), tmp_path / "spoilt.db")
    with opened(tmp_path / "spoilt.db", "model") as db:
        model = LanguageModel(db, "spoilt", Journal())
        with pytest.raises(DamagedError, match=re.escape(name)):
            list(model.generate(PROMPT, max_tokens=2, memory="1 GB"))
        model.close()


def test_the_first_pieces_that_fit_stay_and_the_next_ones_are_read_ahead():
    """Five pieces of 10 bytes whose reading takes 3 more; two of them stay: 20 + (3 x 10 + 2 x 3)."""
    read = []

    def piece(number: int) -> Piece:
        return Piece(lambda: read.append(number) or number, 10, 3, "kind", ())

    shelf, order = Shelf([piece(number) for number in range(5)]), range(5)
    assert shelf.moving_bytes() == 36
    for number in order:
        assert shelf.get(number, order) == (number, True)
        if number < 2:
            shelf.keep(number, number)
    assert shelf.kept_bytes + shelf.moving_bytes() == 56
    assert [shelf.get(number, order) for number in order] == [(number, number > 1) for number in order]
    shelf.clear()
    assert set(read[:5]) == set(order)
    assert shelf.kept_bytes == 0
