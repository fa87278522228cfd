import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genome.decompose.addresses import SHARE, UNIT_LEAVES, Addresses, path


@st.composite
def weights(draw):
    told = draw(st.lists(st.floats(0, 1, width=32), min_size=65, max_size=65).filter(lambda w: sum(w) > 0.01))
    array = np.array(told, np.float32)
    return array / array.sum()


@given(weights())
def test_a_path_is_the_leading_primitives_by_falling_weight(composition):
    codons = path(composition)
    chosen = composition[np.array(codons) - 1]
    assert 1 <= len(codons) <= 7
    assert len(set(codons)) == len(codons)
    assert (np.diff(chosen) <= 0).all()
    assert (chosen[1:] >= SHARE).all()
    assert composition.max() == chosen[0]


def test_same_units_same_ids_and_no_id_twice():
    rng = np.random.default_rng(0)
    units = [(f"w{n}", rng.dirichlet(np.full(65, 0.05))) for n in range(2000)]
    first, second = Addresses(), Addresses()
    ids = [first.of_composition("word", label, w) for label, w in units]
    assert ids == [second.of_composition("word", label, w) for label, w in units]
    assert len(set(ids)) == len(ids)


def test_a_full_path_goes_on_by_one_primitive():
    composition = np.zeros(65)
    composition[[2, 7]] = 0.96, 0.04
    addresses = Addresses()
    ids = [addresses.of_composition("word", str(n), composition) for n in range(UNIT_LEAVES + 1)]
    assert len(set(ids)) == UNIT_LEAVES + 1
    assert {i.path for i in ids[:UNIT_LEAVES]} == {"SOMEONE"}
    assert all(i.leaf > 0 for i in ids)  # leaf 0 is the path itself
    assert ids[-1].path == "SOMEONE.PART"


def test_a_structural_class_has_its_own_codon():
    assert Addresses().of_class("token", "<|endoftext|>", "SPECIAL").path == "SPECIAL"
