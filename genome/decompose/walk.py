"""The absorbing walk, solved in JAX for all senses at once, and what its ends say against the base rate."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse

from genome.decompose.anchors import Anchors
from genome.decompose.graph import Csr, Graph
from genome.primitives import KEYS

STEPS = 20
KEEP = 0.15
"""How much of an anchor's own definition still speaks: the rest of every walk that meets it ends there."""

LOOK = 0.6
"""How often a walk looks one sense further around before it follows a definition. Chosen on the sets of pairs."""

BASE_SHARE = 0.2
"""Smoothing of the log-ratio, in base rates: a primitive met a little less often than usual still counts."""

TEMPER = 0.8
"""Evens weights out a little, so that the leading primitive does not drown the others."""


def absorb(graph: Graph, anchors: Anchors) -> np.ndarray:
    """Where walks from each sense end.

    Method: x = B + F (P x), iterated; P one step over definitions and relations, B the anchors' ends, F the share
    of a sense that walks on (1, or `KEEP` at an anchor). C. M. Grinstead and J. L. Snell, Introduction to
    Probability, section 11.2 (absorbing Markov chains).

    Args:
        graph: one step of the walk, N senses.
        anchors: senses and words where walks end.

    Returns:
        (N, 65) float32, the probability that a walk of at most `STEPS` steps ends in each primitive.
    """
    n, ends = graph.glosses.shape[0], len(KEYS)
    stop = np.zeros((n, ends), np.float32)
    for sense, index in anchors.senses.items():
        stop[sense, index] = 1 - KEEP
    words = np.zeros((len(graph.forms), ends), np.float32)
    for form, (word, _) in enumerate(graph.forms):
        if word in anchors.words:
            words[form, anchors.words[word]] = 1
    speaks: Csr = sp.diags((words.sum(1) == 0).astype(np.float32))  # a word that ends the walk does not go on
    matrices = [
        sparse.BCSR.from_scipy_sparse(m.tocsr()) for m in (graph.glosses, speaks @ graph.meanings, graph.relations)
    ]
    return np.asarray(_iterate(*matrices, jnp.asarray(words), jnp.asarray(stop)))


@jax.jit
def _iterate(glosses, meanings, relations, words, stop):
    on = jnp.where(stop.sum(1, keepdims=True) > 0, KEEP, 1.0)
    said = glosses @ words

    def step(_: int, x: jax.Array) -> jax.Array:
        return stop + on * (glosses @ (meanings @ x) + relations @ x + said)

    return jax.lax.fori_loop(0, STEPS, step, stop)


def look_around(graph: Graph, absorbed: np.ndarray) -> np.ndarray:
    """Where walks end that first look around: at related senses, and at definitions that use the sense.

    A definition says what a thing is, little of what it has to do with (*hour* is used to define *day*). Method:
    y = (1 - L) x + L A y, iterated; x the shares of walks over definitions, A the sense's surroundings, L `LOOK`; a
    sense with none takes x. This is a random walk with restart, seen from its ends: H. Tong, C. Faloutsos,
    J.-Y. Pan, Fast random walk with restart and its applications, ICDM 2006.

    Args:
        graph: N senses.
        absorbed: (N, 65) from `absorb`.

    Returns:
        (N, 65) float32; each row sums to 1, or to less where senses are met whose walks end nowhere.
    """
    around = sparse.BCSR.from_scipy_sparse(graph.around)
    look = np.where(np.diff(graph.around.indptr) > 0, LOOK, 0).astype(np.float32)[:, None]
    return np.asarray(_look(around, jnp.asarray(_to_one(absorbed)), jnp.asarray(look)))


@jax.jit
def _look(around, ends, look):
    return jax.lax.fori_loop(0, STEPS, lambda _, y: (1 - look) * ends + look * (around @ y), ends)


def base_rate(absorbed: np.ndarray) -> np.ndarray:
    """(65,) how often a walk from any sense ends in each primitive, summing to 1."""
    return _to_one(_to_one(absorbed).mean(0, keepdims=True))[0]


def compositions(absorbed: np.ndarray, base: np.ndarray) -> np.ndarray:
    """65 non-negative weights that sum to 1: what the ends say beyond the base rate.

    w = (sqrt(a) max(0, log((a + s b) / b)))^t, with a the share of walks that end in the primitive, b its base
    rate, s `BASE_SHARE` and t `TEMPER`; between the bare log-ratio, which overrates rare primitives, and the
    information gain a log(a / b). Both constants were chosen on SimLex-999 and WordSim-353. A sense whose walks
    end nowhere gets the base rate: nothing is known of it.

    Args:
        absorbed: (n, 65) from `look_around`.
        base: (65,) from `base_rate`.

    Returns:
        (n, 65) float32.
    """
    a = _to_one(absorbed)
    weights = (np.sqrt(a) * np.maximum(np.log((a + BASE_SHARE * base) / base), 0)) ** TEMPER
    unknown = weights.sum(1) <= 0
    weights[unknown] = base
    return _to_one(weights).astype(np.float32)


def _to_one(rows: np.ndarray) -> np.ndarray:
    total = rows.sum(1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
