"""The published tree: a composition's path is its own, and leads back to something like it."""

import numpy as np
import pytest

from genome.decompose.codebook import Codebook, codebook
from genome.decompose.fitting import fit
from genome.primitives import KEYS


@pytest.fixture(scope="module")
def compositions() -> np.ndarray:
    """Sparse mixtures, around 30 centres."""
    rng = np.random.default_rng(65)
    centres = rng.dirichlet(np.full(65, 0.08), size=30)
    return np.stack([rng.dirichlet(centres[n % 30] * 12 + 1e-3) for n in range(3000)]).astype(np.float32)


def test_the_shape_of_the_published_tree():
    tree = codebook()
    rows = len(tree.names)
    assert tree.names[:65].tolist() == list(range(65))
    assert tree.prototypes.shape == (rows, 65)
    inner = np.flatnonzero(tree.count)
    children = np.concatenate([np.arange(tree.first[r], tree.first[r] + tree.count[r]) for r in inner])
    assert sorted(children) == list(range(65, rows))  # each group but the first 65 is the child of one
    for row in inner:
        named = tree.names[tree.first[row] : tree.first[row] + tree.count[row]]
        assert len(set(named)) == len(named)
        assert tree.names[row] not in named


def test_under_know_there_is_say():
    tree, know = codebook(), KEYS.index("KNOW")
    assert KEYS.index("SAY") in tree.names[tree.first[know] : tree.first[know] + tree.count[know]]


def test_a_path_does_not_depend_on_its_company(compositions):
    together = codebook().paths(compositions)
    assert (codebook().paths(compositions[::-1])[::-1] == together).all()
    assert all((codebook().paths(compositions[n : n + 1]) == together[n]).all() for n in range(0, 3000, 100))


def test_the_path_by_hand():
    """Two groups with prototypes along two axes each; the second child is nearer, but names what is not there."""
    prototypes = np.zeros((67, 65), np.uint8)
    prototypes[np.arange(65), np.arange(65)] = 255
    prototypes[65, [0, 1]] = 255, 51
    prototypes[66, [0, 2]] = 255, 255
    names = np.array([*range(65), 1, 2], np.uint8)
    first, count = np.zeros(67, np.uint16), np.zeros(67, np.uint8)
    first[0], count[0] = 65, 2
    tree = Codebook(np.ones(65), names, first, count, prototypes)
    weights = np.zeros((2, 65))
    weights[0, [0, 1, 3]] = 0.5, 0.25, 0.25
    weights[1, [0, 1, 2]] = 0.5, 0.1, 0.4
    assert tree.paths(weights).tolist() == [[1, 2, 4, 0, 0, 0, 0], [1, 3, 2, 0, 0, 0, 0]]
    assert tree.composition((1, 2, 4))[[0, 1]].tolist() == pytest.approx([255 / 306, 51 / 306])


def test_a_tree_that_is_made_and_written_and_read(compositions, tmp_path):
    made = fit(compositions)
    made.write(tmp_path / "tree.npz")
    read = Codebook.read(tmp_path / "tree.npz")
    paths = made.paths(compositions)
    assert (read.paths(compositions) == paths).all()
    back = np.stack([read.composition(tuple(int(c) for c in row if c)) for row in paths])
    cosine = (back * compositions).sum(1) / np.linalg.norm(back, axis=1) / np.linalg.norm(compositions, axis=1)
    others = (np.roll(back, 1, axis=0) * compositions).sum(1)
    others /= np.linalg.norm(np.roll(back, 1, axis=0), axis=1) * np.linalg.norm(compositions, axis=1)
    assert cosine.mean() > 0.9
    assert cosine.mean() > others.mean() + 0.3
