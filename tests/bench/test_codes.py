"""What is said of prefixes, on codes whose answers are known."""

import numpy as np
import pytest

from genome.bench.codes import Judge, by_pursuit, by_residuals, by_tree, by_weight, purity, shared, unit


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    """Ten groups of eleven: each unit's ten nearest are its group."""
    rng = np.random.default_rng(0)
    return np.repeat(np.eye(65)[:10], 11, axis=0) + rng.random((110, 65)) * 1e-3


def test_codes_that_name_the_group_recall_everything(groups):
    judge = Judge.of(groups, ["a"] * 110, 40, 4000)
    named = np.repeat(np.arange(10), 11)[:, None] + 1
    said = judge.hear(named)
    assert said.recall == pytest.approx(1)
    assert said.shared == 1
    # 11 of 110 random pairs share a group: ranks of two values against ranks that those decide.
    assert said.spearman > 0.4


def test_ties_count_by_their_expectation(groups):
    """One code for all: ten of the other 109 are drawn, and each neighbour is among them with that chance."""
    judge = Judge.of(groups, ["a"] * 110, 40, 100)
    assert judge.recall(np.ones((110, 1), int), judge.near) == pytest.approx(10 / 109)


def test_purity_by_hand():
    """Two of three under 1 are x, one of one under 2; the unit without a category does not count."""
    assert purity(np.array([1, 1, 1, 2, 2]), ["x", "x", "y", "z", ""]) == 3 / 4
    assert shared(np.array([[1, 2], [1, 2], [1, 3]])) == pytest.approx(2 / 3)


def test_other_codes_find_plain_groups(groups):
    named = np.repeat(np.arange(10), 11)
    assert (by_weight(groups)[:, 0] == named + 1).all()
    assert (by_pursuit(groups)[:, 0] == named + 1).all()
    vectors = unit(groups)
    for codes in (by_tree(vectors, (40, 3)), by_residuals(vectors, 2, 40)):
        assert purity(codes[:, 0], [str(n) for n in named]) > 0.9
