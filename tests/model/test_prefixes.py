"""What was read is not read again: the same tokens, fewer of them fed, bounded, by several threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import jax
import numpy as np
import pytest

from genome.db.connect import opened
from genome.errors import DamagedError
from genome.model import LanguageModel, import_gguf
from genome.model.kernel.engine import PREFILL
from genome.model.prefixes import FEWEST, Prefixes

DRAW = np.random.default_rng(4)
PROMPT = DRAW.integers(3, 260, 300).tolist()


def tokens(model, ids, **options) -> list[int]:
    return [step.token for step in model.generate(ids, past_end=True, **options)]


def fed(journal) -> list[int]:
    """The tokens whose embeddings were looked up, in order."""
    frame = journal.frame()
    return frame.filter(frame["object"] == "token_embd.weight", frame["rows"] == 1)["row"].to_list()


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0, "seed": 5}])
def test_a_conversation_that_grows(model, journal, how):
    """Each turn begins with all that was there; only what is new is fed, and nothing but that is told."""
    said = PROMPT[:40]
    for new in ([], [7, 8, 9], PROMPT[:20], PROMPT[:250]):
        answered = len(fed(journal))
        said = said + new
        found = tokens(model, said, max_tokens=9, **how)
        again = fed(journal)[answered:]
        assert again[: len(again) - 8] == said[-len(again) + 8 :]
        assert len(again) - 8 == (len(new) + 1 if new else 40)  # the last token of an answer was never fed
        assert found == tokens(model, said, max_tokens=9, reuse=False, **how)
        said = said + found


def test_the_same_beginning_and_another_end(model, journal):
    first, second = [*PROMPT[:100], 5, 6], [*PROMPT[:100], 7, 8]
    wanted = [tokens(model, ids, max_tokens=6, reuse=False) for ids in (first, second)]
    for _ in range(2):
        for ids, found in zip((first, second), wanted, strict=True):
            assert tokens(model, ids, max_tokens=6) == found
    before = len(fed(journal))
    assert tokens(model, second, max_tokens=6) == wanted[1]
    assert fed(journal)[before:] == [8, *wanted[1][:-1]]


def test_few_tokens_are_read_again(model, journal):
    for _ in range(2):
        tokens(model, PROMPT[: FEWEST - 1], max_tokens=1)
    assert len(fed(journal)) == 2 * (FEWEST - 1)


def test_what_is_cancelled_or_left_is_kept_too(model, journal):
    cancel = Event()
    steps = model.generate(PROMPT, cancel=cancel, past_end=True)
    first = next(steps).token
    cancel.set()
    assert list(steps) == []
    before = len(fed(journal))
    left = model.generate([*PROMPT, first], past_end=True)
    second = next(left).token
    left.close()
    assert fed(journal)[before:] == [first]
    assert tokens(model, PROMPT, max_tokens=2, reuse=False) == [first, second]


def test_what_fails_keeps_nothing_wrong(tmp_path, tiny, journal):
    """A token whose embedding is damaged: what was read before it is whole."""
    bad = tiny.tensors["token_embd.weight"].copy()
    bad[7, 0] = np.nan
    weights = tiny.tensors | {"token_embd.weight": bad, "output.weight": tiny.tensors["token_embd.weight"]}
    ids = ([token for token in PROMPT if token != 7] * 2)[: PREFILL[-1]]  # a whole piece
    import_gguf(tiny.write(tmp_path / "a.gguf", weights=weights), tmp_path / "a.db")
    with opened(tmp_path / "a.db", "model") as db:
        model = LanguageModel(db, "tiny", journal)
        wanted = tokens(model, [*ids, 9], max_tokens=5, reuse=False, logit_bias={7: -np.inf})
        with pytest.raises(DamagedError, match="row 7"):
            tokens(model, [*ids, 7])
        before = len(fed(journal))
        assert tokens(model, [*ids, 9], max_tokens=5, logit_bias={7: -np.inf}) == wanted
        assert fed(journal)[before:] == [9, *wanted[:-1]]


def test_closing_forgets(model, journal):
    tokens(model, PROMPT, max_tokens=1)
    model.close()
    before = len(fed(journal))
    tokens(model, PROMPT, max_tokens=1)
    assert len(fed(journal)) - before == len(PROMPT)


def test_threads(model):
    """Four conversations at once, each with its own end: nobody uses up another one's cache."""
    prompts = [PROMPT[:60] + [n] * 3 for n in range(5, 9)]
    wanted = [tokens(model, ids, max_tokens=8, reuse=False) for ids in prompts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda ids: tokens(model, ids, max_tokens=8), prompts)) == wanted


def test_few_are_kept_and_their_bytes_are_bounded():
    """64 MB beside the latest one, which is dropped too when something else begins."""

    def cache(megabytes: int):
        return jax.numpy.zeros(megabytes << 18, jax.numpy.float32)

    prefixes = Prefixes()
    for n in range(6):
        prefixes.keep([n] * 20, cache(1))
    assert [one.tokens[0] for one in prefixes._kept] == [2, 3, 4, 5]
    prefixes.keep([9] * 20, cache(40))
    prefixes.keep([8] * 20, cache(70))
    assert [one.tokens[0] for one in prefixes._kept] == [4, 5, 9, 8]
    taken = prefixes.take([8] * 30)
    assert taken is not None
    assert taken[1] == 20
    prefixes.keep([8] * 30, cache(70))
    assert prefixes.take([8] * 25 + [1]) is not None  # too large for a copy
    assert [one.tokens[0] for one in prefixes._kept] == [4, 5, 9]
    prefixes.keep([8] * 30, cache(70))
    assert prefixes.take([1] * 30) is None
    assert [one.tokens[0] for one in prefixes._kept] == [4, 5, 9]
    prefixes.keep([4] * 40, cache(40))
    prefixes.keep([3] * 20, cache(1))
    assert [one.tokens[0] for one in prefixes._kept] == [4, 3]
    prefixes.keep([3] * 40, cache(1))
    assert [len(one.tokens) for one in prefixes._kept] == [40, 40]
