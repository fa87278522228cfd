"""The loop of byte-pair encoding in its two forms, and the memory of what was asked."""

from hypothesis import given
from hypothesis import strategies as st

from genome.model.merging import _few_merged, _many_merged
from genome.model.recent import Recent

# Ranks of all texts of two to four letters over a small alphabet; equal ones are told apart by their place.
ranks = st.dictionaries(st.text("abc", min_size=2, max_size=4), st.integers(0, 5), max_size=40)


@given(text=st.text("abc", max_size=60), ranks=ranks)
def test_few_parts_merge_as_many_do(text, ranks):
    def pair(left: str, right: str) -> tuple[float, str] | None:
        rank = ranks.get(left + right)
        return None if rank is None else (rank, left + right)

    found = _few_merged(text, pair)
    assert found == _many_merged(text, pair)
    assert "".join(part for part, _ in found) == text
    assert [size for _, size in found] == [len(part) for part, _ in found]


@given(keys=st.lists(st.integers(0, 30), max_size=200), most=st.integers(2, 10))
def test_what_is_remembered_is_bounded_and_right(keys, most):
    recent: Recent[int, str] = Recent(most)
    for key in keys:
        assert recent.get(key) in (None, str(key))
        recent.put(key, str(key))
        assert recent.get(key) == str(key)
        assert len(recent) <= most
