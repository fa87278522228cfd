"""How the published tree of named groups was made, and is made again: `python -m genome.decompose.fitting`.

Nothing here runs when units get their IDs: those follow the table in `data/codebook.npz`. Making it anew is a
decision, as it renumbers every unit.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from genome.decompose.codebook import PRIMES, Codebook

CHILDREN = (32, 16, 8, 6, 4, 4)
"""At most so many children below the first codon, the second, and so on."""

SMALLEST = 24
"""A group of so few reference words is not divided further."""

PER_CHILD = 4
ROUNDS = 10
SAMPLE = 12_000
SPREAD = 0.65
"""How much the first codon prefers few large groups to many tight ones: the exponent of the odds that two words
share it. .5 would be their correlation with the cosine; with a little more, prefixes say more about far pairs."""

PRIOR = 0.25
"""The first sketch of children: by weight times the group's mean to this power."""

HAS = 0.02
"""A member has a primitive from this weight on, when a child is named."""


def fit(weights: np.ndarray) -> Codebook:
    """A tree for reference compositions.

    First codon: groups seeded by w_p mean_p^1.25, three times re-assigned by their prototypes; then `bias` climbs,
    one primitive at a time, towards groups whose members are near and whose strangers are far. Below: spherical
    k-means (I. S. Dhillon and D. S. Modha, 2001, section 3) from named seeds, and each child named by what most of
    its members have more of than the group.

    Args:
        weights: (n, 65) compositions.
    """
    weights = weights.astype(np.float16).astype(np.float32)
    vectors = _unit(weights)
    groups, bias, prototypes = _roots(weights, vectors)
    names, rows = list(range(PRIMES)), [_packed(row) for row in prototypes]
    first, count = [0] * PRIMES, [0] * PRIMES
    waiting: list[tuple[int, np.ndarray, tuple[int, ...]]] = [
        (p, np.flatnonzero(groups == p), (p,)) for p in range(PRIMES)
    ]
    for row, members, path in waiting:  # grows while it is walked: groups in the order of their depth
        if len(path) > len(CHILDREN) or len(members) <= SMALLEST:
            continue
        named, centres, chosen = _children(weights[members], vectors[members], path)
        first[row], count[row] = len(rows), len(named)
        for child, (name, centre) in enumerate(zip(named, centres, strict=True)):
            waiting.append((len(rows), members[chosen == child], (*path, int(name))))
            names, rows = [*names, int(name)], [*rows, centre]
            first, count = [*first, 0], [*count, 0]
    return Codebook(
        bias.astype(np.float64), np.array(names, np.uint8), np.array(first, np.uint16), np.array(count, np.uint8),
        np.stack(rows),
    )  # fmt: skip


def _roots(weights: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First codons (n,), bias (65,) and prototypes (65, 65)."""
    mean = weights.mean(0) + 1e-6
    bias = 1.5 * np.log(mean)
    groups = (weights * mean**1.25).argmax(1)
    scores = prototypes = np.zeros((0, PRIMES))
    for _ in range(3):
        prototypes = np.stack(
            [
                _unit(vectors[groups == p].mean(0)) if (groups == p).any() else np.eye(PRIMES)[p]
                for p in range(PRIMES)
            ]
        )
        scores = 2 * np.log(vectors @ _unit(_packed(prototypes)).T + 1e-9) + np.log(weights + 1e-9)
        groups = (scores + bias).argmax(1)
    sample = np.linspace(0, len(weights) - 1, min(SAMPLE, len(weights))).astype(int)
    near, chosen = vectors[sample], scores[sample]
    best = _parting(near, (chosen + bias).argmax(1))
    for step in (0.6, 0.4, 0.2, 0.1):
        for p in np.argsort(-mean):
            for by in (step, -step):
                trial = bias + by * np.eye(PRIMES)[p]
                if (gain := _parting(near, (chosen + trial).argmax(1))) > best:
                    best, bias = gain, trial
    return (scores + bias).argmax(1), np.exp(bias - bias.max()), prototypes


def _parting(vectors: np.ndarray, groups: np.ndarray) -> float:
    """How much nearer two of one group are than two of any, times the odds of meeting such a pair to `SPREAD`."""
    n = len(vectors)
    member = np.zeros((n, PRIMES), np.float32)
    member[np.arange(n), groups] = 1
    size, total = member.sum(0), member.T @ vectors
    pairs = max(float((size * (size - 1)).sum()), 1.0)
    within = (float(np.square(total).sum()) - n) / pairs
    overall = float(np.square(vectors.mean(0)).sum())
    share = min(pairs / (n * (n - 1)), 1 - 1e-9)
    return (within - overall) * (share / (1 - share)) ** SPREAD


def _children(
    weights: np.ndarray, vectors: np.ndarray, path: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names (k,), packed prototypes (k, 65) of a group's children, and which one each member goes to."""
    k = min(CHILDREN[len(path) - 1], max(2, len(weights) // PER_CHILD))
    mean = weights.mean(0)
    sketch = weights * (mean + 1e-6) ** PRIOR
    sketch[:, path] = -1
    led = np.bincount(sketch.argmax(1), minlength=PRIMES)
    seeds = np.argsort(-led, kind="stable")[:k]
    seeds = seeds[led[seeds] > 0]
    centres = vectors[:0]
    chosen = sketch[:, seeds].argmax(1)
    for _ in range(ROUNDS):
        centres = np.stack(
            [_unit(vectors[chosen == c].sum(0) if (chosen == c).any() else mean) for c in range(len(seeds))]
        )
        chosen = (vectors @ centres.T).argmax(1)
    more = np.zeros((len(seeds), PRIMES))
    for c in range(len(seeds)):
        if len(own := weights[chosen == c]):
            more[c] = (own > HAS).mean(0) * (own.mean(0) - mean)
    more[:, path] = -99
    names = linear_sum_assignment(-more)[1]
    packed = _packed(centres)
    near = vectors @ _unit(packed.astype(np.float32)).T
    near[weights[:, names] <= 0] = -1
    return names, packed, near.argmax(1)


def _packed(vectors: np.ndarray) -> np.ndarray:
    return np.round(vectors / vectors.max(-1, keepdims=True) * 255).astype(np.uint8)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True), 1e-12)
