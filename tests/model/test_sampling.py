"""Cuts and draws: small cases worked out by hand, shares of many draws."""

import numpy as np
import pytest

from genome.errors import Error
from genome.model.options import Options, Settings
from genome.model.sampling import (
    Sampler,
    biased,
    choose,
    log_probabilities,
    most_probable,
    penalised,
    probabilities,
)

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def test_temperature():
    """At temperature 1/2 the shares are squared: .01, .16, .04, .09 of .30."""
    tokens, shares = probabilities(LOGITS, 0.5, 0, 1.0)
    assert tokens.tolist() == [1, 3, 2, 0]
    np.testing.assert_allclose(shares, np.array([16, 9, 4, 1]) / 30, rtol=1e-6)


def test_top_k():
    tokens, shares = probabilities(LOGITS, 1.0, 2, 1.0)
    assert tokens.tolist() == [1, 3]
    np.testing.assert_allclose(shares, [4 / 7, 3 / 7], rtol=1e-6)


@pytest.mark.parametrize(("top_p", "kept"), [(0.05, 1), (0.4, 1), (0.41, 2), (0.7, 2), (0.71, 3), (1.0, 4)])
def test_top_p(top_p, kept):
    tokens, shares = probabilities(LOGITS.astype(np.float64), 1.0, 0, top_p - 1e-7)
    assert tokens.tolist() == [1, 3, 2, 0][:kept]
    assert shares.sum() == pytest.approx(1.0)


def test_equal_scores_keep_the_order_of_numbers():
    assert probabilities(np.zeros(5, np.float32), 1.0, 0, 1.0)[0].tolist() == [0, 1, 2, 3, 4]


def test_large_scores_do_not_overflow():
    _, shares = probabilities(np.array([1e4, 0.0], np.float32), 0.01, 0, 1.0)
    assert shares.tolist() == [1.0]


def test_draws_follow_the_shares():
    """100,000 draws: a share's standard error is at most .0016; five of them are allowed."""
    random = np.random.default_rng(65)
    tokens, shares = probabilities(LOGITS, 1.0, 0, 1.0)
    drawn = np.bincount([choose(tokens, shares, random) for _ in range(100_000)], minlength=4) / 100_000
    np.testing.assert_allclose(drawn, np.exp(LOGITS), atol=0.008)


@pytest.mark.parametrize(("min_p", "kept"), [(0.0, 4), (0.24, 4), (0.26, 3), (0.51, 2), (0.76, 1), (1.0, 1)])
def test_min_p(min_p, kept):
    """Shares .4 .3 .2 .1 are 1, 3/4, 1/2 and 1/4 of the first."""
    tokens, shares = probabilities(LOGITS, 1.0, 0, 1.0, min_p)
    assert tokens.tolist() == [1, 3, 2, 0][:kept]
    np.testing.assert_allclose(shares, np.array([4, 3, 2, 1][:kept]) / sum([4, 3, 2, 1][:kept]), rtol=1e-6)


def test_min_p_looks_at_shares_after_temperature():
    """At temperature 1/2 the last but one has (2/4)^2 = 1/4 of the first's share, at 1 it has 1/2."""
    assert probabilities(LOGITS, 0.5, 0, 1.0, 0.3)[0].tolist() == [1, 3]
    assert probabilities(LOGITS, 1.0, 0, 1.0, 0.3)[0].tolist() == [1, 3, 2]


def test_what_may_not_come_is_never_among_them():
    scores = np.where(np.arange(4) == 1, -np.inf, LOGITS).astype(np.float32)
    tokens, shares = probabilities(scores, 1.0, 0, 1.0)
    assert tokens.tolist() == [3, 2, 0]
    np.testing.assert_allclose(shares, [3 / 6, 2 / 6, 1 / 6], rtol=1e-6)


def test_repetition_divides_what_is_above_zero_and_multiplies_what_is_below():
    scores = np.array([2.0, -2.0, 0.0, 5.0], np.float32)
    assert penalised(scores, [0, 1, 2, 1], repetition=2.0).tolist() == [1.0, -4.0, 0.0, 5.0]
    assert scores.tolist() == [2.0, -2.0, 0.0, 5.0]


def test_presence_counts_once_and_frequency_each_time():
    """Token 1 was there three times: 0.5 + 3 x 0.25 = 1.25 off."""
    scores = np.zeros(3, np.float32)
    assert penalised(scores, [1, 2, 1, 1], presence=0.5, frequency=0.25).tolist() == [0.0, -1.25, -0.75]
    assert penalised(scores, []).tolist() == [0.0, 0.0, 0.0]


def test_bias_adds_and_bans():
    assert biased(np.zeros(3, np.float32), {1: 2.5, 2: -np.inf}).tolist() == [0.0, 2.5, -np.inf]


def test_log_probabilities_of_large_scores():
    np.testing.assert_allclose(log_probabilities(LOGITS + np.float32(500)), np.log([0.1, 0.4, 0.2, 0.3]), atol=1e-4)


def sampler(prompt=(), **options) -> Sampler:
    return Sampler(Settings(**options), prompt, 4)


def test_greedy_follows_bias_and_penalties():
    assert sampler().next(LOGITS) == 1
    assert sampler().greedy
    assert sampler(logit_bias={1: -np.inf}).next(LOGITS) == 3
    assert sampler(logit_bias={0: 9.0}).next(LOGITS) == 0
    assert sampler(prompt=[1], presence_penalty=1.0).next(LOGITS) == 3
    assert not sampler(presence_penalty=1.0).greedy


def test_penalties_count_the_answer_and_forget_what_is_out_of_the_window():
    """Two tokens back: 1, then 3, then 2, then again 1."""
    one = sampler(presence_penalty=5.0, penalty_window=2)
    drawn = []
    for _ in range(4):
        drawn.append(one.next(LOGITS))
        one.told(drawn[-1])
    assert drawn == [1, 3, 2, 1]
    assert sampler(prompt=[1], presence_penalty=5.0, penalty_window=0).next(LOGITS) == 1


def test_when_no_token_may_come():
    with pytest.raises(Error, match="no token may come next"):
        sampler(logit_bias=dict.fromkeys(range(4), -np.inf)).next(LOGITS)
    with pytest.raises(Error, match="there is no token 4 to bias; the model has tokens 0 to 3"):
        sampler(logit_bias={4: 1.0})


def test_options_and_settings_have_the_same_fields():
    fields = Settings.__dataclass_fields__
    assert {name: field.type for name, field in fields.items()} == Options.__annotations__
    assert Settings() == Settings(**{name: getattr(Settings(), name) for name in fields})


def test_the_most_probable_of_equals_are_the_first():
    scores = np.array([0, 2, 1, 2, 1, 1], np.float32)
    assert most_probable(scores, 3) == [1, 3, 2]
    assert most_probable(scores, 9) == [1, 3, 2, 4, 5, 0]
    assert most_probable(scores, 0) == []
