import numpy as np
import pytest
import scipy.sparse as sp

from genome.decompose.anchors import Anchors, exponents, random_anchors
from genome.decompose.graph import Graph, build_graph
from genome.decompose.walk import KEEP, absorb, base_rate, compositions
from genome.primitives import KEYS

SOMEONE, SAY, CAN = KEYS.index("SOMEONE"), KEYS.index("SAY"), KEYS.index("CAN")


def anchors():
    return Anchors({0: SOMEONE, 1: SAY}, {"can": CAN})


def test_each_step_is_a_whole_one(small):
    graph = build_graph(small, frozenset({"can"}))
    total = np.asarray(graph.glosses.sum(1) + graph.relations.sum(1)).ravel()
    # `human being`, `utter aloud` and `zzz yyy` use no word that the dictionary has
    assert total == pytest.approx([0, 0, 1, 1, 0], abs=1e-6)
    assert dict(zip(graph.forms, np.asarray(graph.meanings.sum(1)).ravel(), strict=True)) == pytest.approx(
        {("person", ""): 1, ("can", ""): 0, ("say", ""): 1}
    )


def test_walk_ends_by_hand(small):
    """Teacher's only known word is person, where 1 - KEEP of the walks end and the rest finds nothing to go on.

    Speaker is a definition that counts 1 beside a hypernym that counts 1.5, so 0.4 and 0.6 of the step. Its words
    are person (weight sqrt(ln 5/2), in two definitions of five), can and say (sqrt(ln 5/1)), each 0.97 of the
    place before it: places 0, 2 and 3 (`who` is not known here and says nothing).
    """
    absorbed = absorb(build_graph(small, frozenset({"can"})), anchors())
    person, can, say = np.sqrt(np.log(5 / 2)), 0.97**2 * np.sqrt(np.log(5)), 0.97**3 * np.sqrt(np.log(5))
    total = person + can + say
    end = 1 - KEEP
    assert absorbed[2, SOMEONE] == pytest.approx(end, abs=1e-6)
    assert absorbed[3, SOMEONE] == pytest.approx(0.4 * person / total * end + 0.6 * end, abs=1e-6)
    assert absorbed[3, CAN] == pytest.approx(0.4 * can / total, abs=1e-6)
    assert absorbed[3, SAY] == pytest.approx(0.4 * say / total * end, abs=1e-6)
    assert not absorbed[4].any()


def test_walk_equals_the_linear_system():
    """Against numpy's direct solution of (I - F P) x = B + F W, on a random graph whose walks end soon."""
    rng = np.random.default_rng(1)
    n, f = 40, 60
    glosses, meanings = (sp.random(a, b, 0.1, "csr", np.float32, rng) for a, b in ((n, f), (f, n)))
    glosses, meanings = (sp.csr_matrix(m / np.maximum(m.sum(1), 1e-9) * 0.8) for m in (glosses, meanings))
    relations = sp.csr_matrix((n, n), dtype=np.float32)
    forms = [(f"w{i}", "") for i in range(f)]
    graph = Graph(
        glosses.astype(np.float32), meanings.astype(np.float32), relations, [], relations, np.zeros(0), forms, {}
    )
    ends = Anchors({s: s % 65 for s in range(8)}, {"w3": 20, "w5": 21})
    words = np.zeros((f, 65))
    words[3, 20] = words[5, 21] = 1
    stop = np.zeros((n, 65))
    stop[np.arange(8), np.arange(8)] = 1 - KEEP
    on = np.where(stop.sum(1) > 0, KEEP, 1.0)[:, None]
    speaks = (words.sum(1) == 0)[:, None]
    step = glosses.toarray() @ (speaks * meanings.toarray())
    exact = np.linalg.solve(np.eye(n) - on * step, stop + on * (glosses.toarray() @ words))
    assert absorb(graph, ends) == pytest.approx(exact, abs=2e-4)  # 0.64 of a walk goes on each step: 0.64^20 = 1e-4


def test_the_same_bits_twice(small):
    graph = build_graph(small, frozenset({"can"}))
    assert absorb(graph, anchors()).tobytes() == absorb(graph, anchors()).tobytes()


def test_compositions_are_shares_beyond_the_base_rate():
    absorbed = np.zeros((3, 65), np.float32)
    absorbed[0, [3, 4]] = 0.5, 0.25
    absorbed[1, 4] = 0.1
    base = base_rate(absorbed)
    assert base.sum() == pytest.approx(1)
    weights = compositions(absorbed, base + 1e-3)
    assert (weights >= 0).all()
    assert weights.sum(1) == pytest.approx([1, 1, 1], abs=1e-6)
    # a of the first: 2/3 and 1/3; their b are 2/3 of a third and 4/3 of a third, scaled to sum to 1
    b = base + 1e-3
    told = [(np.sqrt(a) * max(0, np.log((a + 0.2 * b[i]) / b[i]))) ** 0.8 for i, a in ((3, 2 / 3), (4, 1 / 3))]
    assert weights[0, [3, 4]] == pytest.approx(np.array(told) / sum(told), abs=1e-5)
    assert weights[2] == pytest.approx(b / b.sum(), abs=1e-6)  # nothing known: the base rate


def test_random_anchors_match_in_number_and_frequency():
    degrees = np.arange(1000.0)
    counts = {f"w{i}": i for i in range(200)}
    ends = Anchors({s: s % 65 for s in range(100, 200)}, {"w50": 1, "w60": 2})
    drawn = random_anchors(ends, degrees, counts, np.random.default_rng(3))
    assert sorted(drawn.senses.values()) == sorted(ends.senses.values())
    assert not drawn.senses.keys() & ends.senses.keys()
    assert sorted(drawn.words.values()) == [1, 2]
    assert not drawn.words.keys() & ends.words.keys()
    assert drawn == random_anchors(ends, degrees, counts, np.random.default_rng(3))


def test_exponents_come_from_the_chart():
    assert {w: KEYS[i] for w, i in exponents().items() if w in ("time", "who", "don't")} == {
        "time": "WHEN", "who": "SOMEONE", "don't": "NOT",
    }  # fmt: skip
