"""A lens from a model and a dictionary: what the model reads for it, and what an envelope answers."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from genome.db import Journal
from genome.db.connect import opened
from genome.decompose.usages import Usage
from genome.envelope.lensing import fitted
from genome.errors import Error
from genome.model import LanguageModel
from genome.primitives import KEYS
from genome.progress import silent
from genome.workbench import Workbench

WORDS = 100


@pytest.fixture
def tiny_model(tiny_db):
    with opened(tiny_db) as db:
        yield LanguageModel(db, "tiny", Journal())


@pytest.fixture
def usages() -> list[Usage]:
    """Sixty made-up words, by themselves and in a sentence."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(60):
        word = "".join(chr(97 + digit) for digit in (number // 8, number % 8, (number * 5) % 26))
        for begin, rest in (("", ""), ("the ", " was here")):
            found.append(Usage(word, begin + word, rest, rng.dirichlet(np.ones(65)).astype(np.float32)))
    return found


def test_the_states_are_those_of_each_words_last_token(tiny_model, usages):
    """The model is asked for whole texts; a stand-in gives each token's own number as its state."""
    texts, told = [], []

    def hidden(ids: list[int]) -> np.ndarray:
        texts.append(list(ids))
        states = np.zeros((2, len(ids), len(KEYS)), np.float32)
        states[:, np.arange(len(ids)), np.array(ids) % len(KEYS)] = 1
        return states

    tokenizer = tiny_model.tokenizer
    model = SimpleNamespace(hidden=hidden, tokenizer=tokenizer, context=200)
    lens = fitted(model, usages, lambda *given: told.append(given))  # pyright: ignore[reportArgumentType]
    assert lens.usages == len(usages)
    assert lens.matrices.shape == (2, len(KEYS) + 1, 65)
    assert all(len(ids) < 200 and tokenizer.decode(ids).startswith("\n") for ids in texts)
    read = "".join(tokenizer.decode(ids) for ids in texts)
    assert all(f" the {usage.word} was here\n" in read for usage in usages)
    assert told[-1] == ("lens: fit", 2, 2, "layers")
    assert told[0] == ("lens: read words in use", 1, len(texts), "texts")


def test_a_tiny_models_lens(tiny_model, usages, tiny):
    """Made-up compositions: no layer explains anything, and the lens says so."""
    lens = fitted(tiny_model, usages, silent)
    assert len(lens.r2) == tiny.layers + 1
    assert (lens.r2 < 0.05).all()
    with pytest.raises(Error, match="no word of the genome database is in use"):
        fitted(tiny_model, [], silent)


@pytest.fixture(scope="module")
def env(workbench):
    with workbench.envelope(activity="lens") as env:
        yield env


def test_an_envelopes_lens(env):
    stages = []
    seen = env.lens("My mother sang", words=WORDS, progress=lambda stage, *_: stages.append(stage))
    layers = env.hidden("x").shape[0]
    assert seen.height == 3 * layers
    assert seen["token"].head(3).to_list() == ["My", " mother", " sang"]
    assert seen["weights"].to_numpy().sum(1) == pytest.approx(np.ones(3 * layers), abs=1e-4)
    assert set(stages) == {"lens: read words in use", "lens: fit"}
    quality = env.lens_quality(words=WORDS, progress=lambda *_: pytest.fail("the lens was fitted again"))
    assert quality["layer"].to_list() == list(range(layers))
    assert (quality["r2"] > quality["shuffled"]).all()
    assert seen["r2"].head(1).item() == quality["r2"][0]
    with env.nested() as inner:
        inner.lens("again", words=WORDS, progress=lambda *_: pytest.fail("the lens was fitted again"))


def test_what_no_lens_can_be_fitted_to_is_refused(env):
    with pytest.raises(Error, match="the text under the lens is empty"):
        env.lens("")
    with pytest.raises(Error, match="fitted to at least 100 words, got 5"):
        env.lens("mother", words=5)
    with pytest.raises(Error, match="fitted to at least 100 words, got '100'"):
        env.lens_quality(words="100")


def test_a_lens_belongs_to_the_weights_that_it_was_fitted_to(tiny_db, tmp_path):
    """With a delta attached the model is another one, and so is its lens; an envelope inside uses the same."""
    shutil.copy(tiny_db, tmp_path / "tiny.db")
    bench = Workbench(tmp_path)
    bench.delta.create("tiny", {"output_norm.weight": np.full(64, 2, np.float32)}, "louder")
    with bench.envelope("tiny") as env:
        fitted_before = env._open._lenses
        with env.nested() as inner:
            assert inner._open._lenses is fitted_before
        env.attach("louder")
        assert env._open._lenses is not fitted_before
        with pytest.raises(Error, match="no genome database goes with tiny"):
            env.lens("the mother")
