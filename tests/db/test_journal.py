"""The journal: what was touched, step by step, by which activity; bounded, and nothing lost."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import polars as pl
import pytest

from genome.db import Journal
from genome.db import journal as room
from genome.db.journal import COLUMNS, Access
from genome.errors import Error


def access(name: str, row: int = 0, source: str = "disk") -> Access:
    return Access("m", name, row, 1, 612, source)


@pytest.fixture
def small(monkeypatch):
    """Room for 40 accesses step by step, 20 of them objects of their own, and 12 sums."""
    monkeypatch.setattr(room, "MOST_TOLD", 40)
    monkeypatch.setattr(room, "MOST_HELD", 20)
    monkeypatch.setattr(room, "MOST_SUMS", 12)


def sums(frame: pl.DataFrame, *by: str) -> dict:
    """Times and bytes of what the frame's rows have in common."""
    found = frame.group_by(by).agg(pl.col("times").sum(), pl.col("bytes").sum())
    return {row[: len(by)]: row[len(by) :] for row in found.iter_rows()}


def test_accesses_stand_under_their_step():
    journal = Journal()
    journal.record([access("load")])
    for number in (1, 2):
        with journal.step() as step:
            assert step == journal.steps == number
            journal.record([access("a", step), access("b", step)])
    journal.record([access("after")])
    frame = journal.frame()
    assert frame["step"].to_list() == [0, 1, 1, 2, 2, 0]
    assert frame["object"].to_list() == ["load", "a", "b", "a", "b", "after"]
    assert frame.filter(pl.col("step") == 2)["row"].to_list() == [2, 2]
    assert set(frame["activity"]) == {"session"}
    assert set(frame["times"]) == {1}


def test_a_step_that_fails_ends():
    journal = Journal()
    with pytest.raises(ZeroDivisionError), journal.step():
        raise ZeroDivisionError
    journal.record([access("after")])
    assert journal.frame()["step"].to_list() == [0]


def test_an_empty_frame_has_its_columns():
    frame = Journal().frame()
    assert frame.columns == list(COLUMNS)
    assert frame.shape == (0, 9)
    assert frame.schema["bytes"] == pl.Int64


def test_nothing_is_noted_while_it_is_off():
    journal = Journal()
    inner = journal.nested("inner")
    inner.enabled = False
    assert not journal.enabled
    journal.record([access("a")])
    inner.record([access("a")])
    assert journal.frame().height == 0
    journal.enabled = True
    inner.record([access("a")])
    assert journal.frame().height == 1


def test_what_was_handed_in_can_be_changed_afterwards():
    journal, given = Journal(), [access("a")]
    journal.record(given)
    given.clear()
    assert journal.frame()["object"].to_list() == ["a"]


def test_an_outer_activity_sees_what_inner_ones_touch_and_not_the_other_way_round():
    outer = Journal("session")
    one, other = outer.nested("one"), outer.nested("other")
    deep = one.nested("deep")
    for number, journal in enumerate((outer, one, other, deep)):
        journal.record([access("x", number)])

    def told(journal: Journal) -> list[tuple]:
        return journal.frame().select("activity", "row").rows()

    assert told(outer) == [("session", 0), ("session/one", 1), ("session/other", 2), ("session/one/deep", 3)]
    assert told(one) == [("session/one", 1), ("session/one/deep", 3)]
    assert told(other) == [("session/other", 2)]
    assert told(deep) == [("session/one/deep", 3)]


def test_an_activity_is_not_nested_in_one_whose_name_it_begins_with():
    outer = Journal()
    outer.nested("one").record([access("x")])
    outer.nested("one more").record([access("y")])
    assert outer.nested("one").frame()["object"].to_list() == ["x"]


def test_each_activity_counts_its_own_steps():
    outer = Journal()
    inner = outer.nested("probe")
    with outer.step():
        inner.record([access("a")])
        with inner.step():
            inner.record([access("b")])
            outer.record([access("c")])
    with outer.nested("probe").step() as again:
        assert again == 2
    told = outer.frame().select("activity", "step", "object").rows()
    assert told == [("session/probe", 0, "a"), ("session/probe", 1, "b"), ("session", 1, "c")]


def test_an_activity_has_a_name():
    with pytest.raises(Error, match="an activity's name is empty; wanted at least one character"):
        Journal().nested("")


def test_threads_have_steps_of_their_own():
    journal = Journal()

    def generate(thread: int) -> None:
        for _ in range(200):
            with journal.step() as step:
                for _ in range(5):
                    journal.record([access(f"thread {thread}", step)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(generate, range(8)))
    frame = journal.frame()
    assert frame.height == 8 * 200 * 5
    assert frame["step"].to_list() == frame["row"].to_list()
    assert journal.steps == frame["step"].n_unique() == 1600
    assert frame.group_by("step").agg(pl.col("object").n_unique())["object"].to_list() == [1] * 1600


def test_a_step_that_repeats_costs_one_reference():
    journal, same = Journal(), tuple(access(f"t{i}") for i in range(300))
    for _ in range(50):
        with journal.step():
            journal.record(same)
    assert all(accesses is same for _, _, accesses in journal._store._entries)
    assert journal.frame().height == 15000


def test_old_steps_are_added_up(small):
    """The oldest entries go until half of the 40 are left, whenever there are more."""
    journal, same = Journal(), (access("a"), access("b"))
    journal.record([access("load")])
    for _ in range(100):
        with journal.step():
            journal.record(same)
    frame = journal.frame()
    assert sums(frame, "object") == {
        ("load",): (1, 612), ("a",): (100, 61200), ("b",): (100, 61200),
    }  # fmt: skip
    assert frame.height <= 40 + 3
    assert frame.row(0, named=True) == {
        "activity": "session", "step": 0, "database": "m", "object": "load", "row": 0, "rows": 1, "bytes": 612,
        "source": "disk", "times": 1,
    }  # fmt: skip
    older = frame.filter(pl.col("step").is_null())
    assert older["object"].to_list() == ["a", "b"]
    latest = frame.filter(pl.col("step") > 0)["step"].unique().sort().to_list()
    assert latest == list(range(latest[0], 101))
    assert older["times"].to_list() == [latest[0] - 1] * 2


def test_the_object_with_most_rows_is_told_without_them_first(small):
    journal = Journal()
    for row in range(40):
        journal.record([access("many", row)])
        journal.record([access("few", row % 3)])
    frame = journal.frame()
    assert sums(frame, "object") == {("many",): (40, 40 * 612), ("few",): (40, 40 * 612)}
    assert frame.filter(pl.col("row").is_null())["object"].to_list() == ["many"]
    assert sums(frame.filter(pl.col("object") == "few"), "row").keys() == {(0,), (1,), (2,)}


def test_many_activities_are_told_without_their_names_at_last(small):
    journal = Journal()
    for number in range(60):
        journal.nested(f"activity {number}").record([access("a"), access("b")])
    frame = journal.frame()
    assert sums(frame, "object") == {("a",): (60, 60 * 612), ("b",): (60, 60 * 612)}
    assert frame.filter(pl.col("activity").is_null()).height > 0
    assert journal.nested("activity 59").frame().height == 2  # the latest are still told


def test_whatever_comes_the_sums_are_right_and_the_rows_are_few(small):
    draw, journal = Random(65), Journal()
    repeated = [tuple(access(f"t{n}", row) for row in range(n)) for n in range(1, 5)]
    wanted: dict[tuple, int] = {}
    for _ in range(3000):
        inner = draw.choice([journal, journal.nested("one"), journal.nested("two")])
        accesses = draw.choice([*repeated, [access("x", draw.randrange(50), draw.choice(["disk", "memory"]))]])
        if draw.random() < 0.5:
            with inner.step():
                inner.record(accesses)
        else:
            inner.record(accesses)
        for one in accesses:
            wanted[one.object, one.source] = wanted.get((one.object, one.source), 0) + 1
        assert journal._store._held <= 20
    frame = journal.frame()
    assert {key: times for key, (times, _) in sums(frame, "object", "source").items()} == wanted
    assert frame["bytes"].sum() == 612 * sum(wanted.values())
    assert frame.height <= 40 + 2 * 12
