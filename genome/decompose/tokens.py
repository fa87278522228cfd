"""Which of a model's tokens are words, which are structure, and a map from embeddings for the rest."""

import unicodedata
from dataclasses import dataclass

import numpy as np

RIDGE = 1.0
HELD_OUT = 10
"""Every so-many-th word token is kept from the fit and measures it."""


@dataclass(frozen=True)
class TokenTable:
    """A model's vocabulary, handed in by whoever has the model open.

    Attributes:
        name: of the model's database.
        bytes: what each token stands for in text, by token number.
        types: GGUF's token types: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
        embeddings: (tokens, width) float32.
    """

    name: str
    bytes: list[bytes]
    types: list[int]
    embeddings: np.ndarray


def structural_class(data: bytes, token_type: int) -> str | None:
    r"""The structural codon of a token, or None for one that holds a letter.

    Example:
        >>> [structural_class(b, 1) for b in (b" 42", b"...", b" \n", b"\xc3", " €".encode(), b" mother")]
        ['DIGIT', 'PUNCTUATION', 'SPACE', 'BYTE', 'SYMBOL', None]
    """
    if token_type == 2:
        return "UNKNOWN"
    if token_type in (3, 4, 5):
        return "SPECIAL"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "BYTE"
    if token_type == 6:
        return "BYTE"
    kinds = {unicodedata.category(c)[0] for c in text if not c.isspace()}
    if "L" in kinds:
        return None
    for kind, name in (("N", "DIGIT"), ("P", "PUNCTUATION"), ("S", "SYMBOL"), ("M", "SYMBOL")):
        if kind in kinds:
            return name
    return "SPACE"


def word_in(data: bytes, spaced: frozenset[bytes]) -> str | None:
    """The word that a token spells, if it spells a whole one.

    A token that begins with a space does; one without does where its twin with a space is a token too (*mother*
    beside * mother*), else it is more often a piece of a longer word.

    Args:
        data: the token's bytes.
        spaced: the bytes of all tokens that begin with a space.

    Example:
        >>> word_in(b" Mother", frozenset()), word_in(b"ing", frozenset()), word_in(b"sun", frozenset({b" sun"}))
        ('Mother', None, 'sun')
    """
    text = data.decode("utf-8", "replace")
    if text.startswith(" "):
        text = text[1:]
    elif b" " + data not in spaced:
        return None
    return text if len(text) > 1 and text.replace("'", "").isalpha() else text if text in ("I", "a") else None


@dataclass(frozen=True)
class EmbeddingMap:
    """A linear map from token embeddings to compositions, and how well it foretells those that it has not seen.

    Attributes:
        matrix: (width + 1, 65), the last row the intercept; gives square roots of weights.
        r2: on held-out word tokens, the share of variance explained, over all 65.
        fitted: number of word tokens that it was fitted to.
    """

    matrix: np.ndarray
    r2: float
    fitted: int

    def compositions(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, 65) weights that sum to 1, of (n, width) embeddings."""
        weights = np.square(np.maximum(_design(embeddings) @ self.matrix, 1e-4))
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def fit_embedding_map(embeddings: np.ndarray, compositions: np.ndarray) -> EmbeddingMap:
    """Ridge regression from the embeddings of word tokens to the square roots of their compositions.

    Args:
        embeddings: (n, width) of word tokens.
        compositions: (n, 65) of the same, from the dictionary.
    """
    r2, _ = held_out(embeddings, compositions)
    return EmbeddingMap(_ridge(_design(embeddings), np.sqrt(compositions)), r2, len(embeddings))


def held_out(embeddings: np.ndarray, compositions: np.ndarray, near: int = 10) -> tuple[float, float]:
    """How well a map that has not seen every tenth token foretells those.

    Returns:
        R2, the share of variance explained over all 65; and the share of those tokens whose own composition is
        among the `near` of them all that are nearest to what was foretold, by the cosine of square roots.
    """
    X, Y = _design(embeddings), np.sqrt(compositions)
    held = np.arange(len(X)) % HELD_OUT == 0
    told = X[held] @ _ridge(X[~held], Y[~held])
    error = np.square(Y[held] - told).sum()
    spread = np.square(Y[held] - Y[~held].mean(0)).sum()
    likeness = told @ Y[held].T
    rank = (likeness > np.diagonal(likeness)[:, None]).sum(1)
    return float(1 - error / spread), float((rank < near).mean())


def _ridge(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    return np.linalg.solve(X.T @ X + RIDGE * np.eye(X.shape[1]), X.T @ Y)


def _design(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings of length sqrt(width), and a column of ones for the intercept."""
    X = embeddings.astype(np.float64)
    X *= np.sqrt(X.shape[1]) / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-9)
    return np.concatenate([X, np.ones((len(X), 1))], axis=1)
