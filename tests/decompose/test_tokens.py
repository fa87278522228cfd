import numpy as np
import pytest

from genome.decompose.tokens import fit_embedding_map, held_out, structural_class, word_in


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b"<|im_start|>", 3, "SPECIAL"),
        (b"<tool>", 4, "SPECIAL"),
        (b"<unk>", 2, "UNKNOWN"),
        (b"a", 6, "BYTE"),
        (b"\xf0\x9f", 1, "BYTE"),
        (b"7", 1, "DIGIT"),
        ("½".encode(), 1, "DIGIT"),
        (b"\n\n\t", 1, "SPACE"),
        (b"", 1, "SPACE"),
        (b"\x01", 1, "SPACE"),
        (b"!?", 1, "PUNCTUATION"),
        (b" +=", 1, "SYMBOL"),
        ("🙂".encode(), 1, "SYMBOL"),
        (b" x1", 1, None),
        ("é".encode(), 1, None),
        ("中".encode(), 1, None),
    ],
)
def test_structure(data, kind, expected):
    assert structural_class(data, kind) == expected


def test_a_piece_is_no_word():
    spaced = frozenset({b" mother", b" I"})
    assert word_in(b" mother", spaced) == "mother"
    assert word_in(b"mother", spaced) == "mother"
    assert word_in(b"ing", spaced) is None
    assert word_in(b" I", spaced) == "I"
    assert word_in(b" x", spaced) is None
    assert word_in(b" don't", spaced) == "don't"
    assert word_in(b" snake_case", spaced) is None


def test_map_finds_a_linear_law_and_measures_noise():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(4000, 20)).astype(np.float32)
    X *= np.sqrt(20) / np.linalg.norm(X, axis=1, keepdims=True)  # the map sees directions only
    roots = 0.5 + 0.02 * X @ rng.normal(size=(20, 65))
    lawful = fit_embedding_map(X, np.square(roots))
    shuffled = fit_embedding_map(X, np.square(rng.permutation(roots)))
    assert lawful.r2 == pytest.approx(1, abs=1e-3)
    assert abs(shuffled.r2) < 0.03
    found = lawful.compositions(X[:5])
    assert found == pytest.approx(np.square(roots[:5]) / np.square(roots[:5]).sum(1, keepdims=True), abs=1e-4)
    assert found.sum(1) == pytest.approx(np.ones(5), abs=1e-6)


def test_what_is_held_out_is_told_from_chance():
    """Compositions that embeddings decide are foretold; of shuffled embeddings nothing is."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(2000, 32))
    matrix = np.abs(rng.normal(size=(32, 65)))
    roots = np.abs(embeddings) @ np.eye(32, 65) + 0.01 * np.abs(embeddings @ matrix)
    compositions = np.square(roots) / np.square(roots).sum(1, keepdims=True)
    features = np.abs(embeddings)
    r2, near = held_out(features, compositions)
    chance_r2, chance_near = held_out(features[rng.permutation(2000)], compositions)
    assert r2 > 0.8
    assert near > 0.9
    assert chance_r2 < 0.05
    assert chance_near == pytest.approx(10 / 200, abs=0.06)
