"""Cuts and draws: small cases worked out by hand, shares of many draws."""

import numpy as np
import pytest

from genome.model.sampling import choose, probabilities

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
