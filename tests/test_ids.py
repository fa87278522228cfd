"""Genome IDs: what is packed comes back, and a prefix is a range."""

import copy
import json
import pickle

import apsw
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome.errors import Error, NotFoundError
from genome.ids import CODONS, LEAVES, GenomeID, prefix_range

codons = st.lists(st.integers(1, 127), max_size=CODONS)
leaves = st.integers(0, LEAVES - 1)
named = st.lists(st.integers(1, 72), max_size=CODONS)


def test_the_layout_by_hand():
    """KNOW is 23, SAY 29 on the chart: 23 << (14 + 6 * 7) | 29 << (14 + 5 * 7) | 5."""
    assert int(GenomeID.pack(["KNOW", "SAY"], 5)) == 23 * 2**56 + 29 * 2**49 + 5
    assert int(GenomeID.pack([127] * 7, LEAVES - 1)) == 2**63 - 1
    assert int(GenomeID.pack([])) == 0


@given(codons, leaves)
def test_what_is_packed_comes_back(path: list[int], leaf: int):
    packed = GenomeID.pack(path, leaf)
    assert packed.codons == tuple(path)
    assert packed.leaf == leaf
    assert 0 <= packed < 2**63
    assert GenomeID(int(packed)) == packed


@given(named, leaves)
def test_names_and_representations_come_back(path: list[int], leaf: int):
    packed = GenomeID.pack(path, leaf)
    assert GenomeID.pack(packed.path, leaf) == packed == GenomeID.pack(packed.names, leaf)
    assert eval(repr(packed)) == packed
    assert str(packed) == f"{packed}" == json.dumps(packed) == str(int(packed))
    assert pickle.loads(pickle.dumps(packed)) == packed == copy.deepcopy(packed)


@given(st.lists(st.sampled_from([0, 0, 1, 127]), min_size=CODONS, max_size=CODONS), leaves)
def test_a_codon_after_the_stop_is_refused(path: list[int], leaf: int):
    value = sum(step << 14 + 7 * place for place, step in enumerate(reversed(path))) + leaf
    stop = path.index(0) if 0 in path else CODONS
    if any(path[stop:]):
        with pytest.raises(Error, match="a codon follows the stop"):
            GenomeID(value)
    else:
        assert GenomeID(value).codons == tuple(path[:stop])


@given(st.integers(0, 2**63 - 1))
def test_an_integer_is_an_id_or_refused(value: int):
    try:
        one = GenomeID(value)
    except Error as error:
        assert "a codon follows the stop" in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert GenomeID.pack(one.codons, one.leaf) == value


@given(codons, leaves, codons)
def test_a_prefix_is_the_range_of_what_begins_with_it(path: list[int], leaf: int, prefix: list[int]):
    first, beyond = prefix_range(prefix)
    assert (first <= GenomeID.pack(path, leaf) < beyond) == (path[: len(prefix)] == prefix)


@given(codons, codons)
def test_ids_sort_like_their_paths(one: list[int], other: list[int]):
    assert (GenomeID.pack(one) < GenomeID.pack(other)) == (one < other)


def test_prefixes_as_people_type_them():
    assert prefix_range("know.say") == prefix_range(" KNOW . SAY ") == prefix_range([23, "SAY"])
    assert prefix_range("") == prefix_range([]) == (0, 2**63)
    first, beyond = prefix_range("KNOW.SAY.DO.SEE.I.YOU.ONE")
    assert beyond - first == LEAVES


@pytest.mark.parametrize(
    ("path", "leaf", "said"),
    [
        ([0], 0, "from 1 to 127, got 0"),
        ([128], 0, "from 1 to 127, got 128"),
        ([1] * 8, 0, "holds 7 codons, got 8"),
        (["KNOW"], LEAVES, "from 0 to 16383, got 16384"),
        (["KNOW"], -1, "from 0 to 16383, got -1"),
        ("KNOW..SAY", 0, "no primitive is called ''"),
        ("KNOW.", 0, "no primitive is called ''"),
        ("LOVE", 0, "no primitive is called 'LOVE'; near it are MOVE, LIVE, ABOVE"),
    ],
)
def test_what_cannot_be_packed_is_one_line(path: object, leaf: int, said: str):
    with pytest.raises(Error, match=said) as caught:
        GenomeID.pack(path, leaf)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1, 2**63, 2**64])
def test_integers_that_do_not_fit(value: int):
    with pytest.raises(Error, match=r"wanted an integer from 0 to 2\*\*63 - 1"):
        GenomeID(value)


def test_only_integers_are_ids():
    assert GenomeID(np.int64(5)) == 5
    for value in (5.0, "5", None):
        with pytest.raises(TypeError):
            GenomeID(value)  # pyright: ignore[reportArgumentType]


def test_an_unassigned_codon_has_a_representation_but_no_name():
    one = GenomeID.pack([99], 1)
    assert repr(one) == "GenomeID.pack((99,), leaf=1)"
    with pytest.raises(NotFoundError, match="codon 99 has no name"):
        _ = one.path


def test_sqlite_takes_an_id_as_its_integer():
    db = apsw.Connection(":memory:")
    largest = GenomeID.pack([127] * 7, LEAVES - 1)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT")
    db.execute("INSERT INTO t VALUES (?)", (largest,))
    assert db.execute("SELECT id, typeof(id) FROM t").fetchall() == [(2**63 - 1, "integer")]
    db.close()
