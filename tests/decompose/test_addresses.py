import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genome.decompose.addresses import UNIT_LEAVES, Addresses, path


@st.composite
def weights(draw):
    told = draw(st.lists(st.floats(0, 1, width=16), min_size=65, max_size=65).filter(lambda w: sum(w) > 0.01))
    array = np.array(told, np.float32)
    return array / array.sum()


@given(weights())
def test_a_path_names_primitives_that_the_composition_has(composition):
    codons = path(composition)
    stored = composition.astype(np.float16)
    assert 1 <= len(codons) <= 7
    assert len(set(codons)) == len(codons)
    assert all(stored[codon - 1] > 0 for codon in codons)
    assert len(codons) == min(7, (stored > 0).sum())


def test_same_units_same_ids_and_no_id_twice():
    rng = np.random.default_rng(0)
    units = [(f"w{n}", path(rng.dirichlet(np.full(65, 0.05)))) for n in range(500)]
    first, second = Addresses(), Addresses()
    ids = [first.of_path("word", label, codons) for label, codons in units]
    assert ids == [second.of_path("word", label, codons) for label, codons in units]
    assert len(set(ids)) == len(ids)


def test_a_full_path_gives_its_last_codon_to_others():
    addresses = Addresses()
    ids = [addresses.of_path("word", str(n), [3, 8, 5, 6, 7, 10, 9]) for n in range(UNIT_LEAVES + 1)]
    assert len(set(ids)) == UNIT_LEAVES + 1
    assert {i.codons for i in ids[:UNIT_LEAVES]} == {(3, 8, 5, 6, 7, 10, 9)}
    assert all(i.leaf > 0 for i in ids)  # leaf 0 is the path itself
    assert ids[-1].codons == (3, 8, 5, 6, 7, 10, 1)


def test_a_structural_class_has_its_own_codon():
    assert Addresses().of_class("token", "<|endoftext|>", "SPECIAL").path == "SPECIAL"
