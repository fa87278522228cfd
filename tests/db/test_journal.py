"""The journal: what was touched, step by step."""

import polars as pl

from genome.db import Journal
from genome.db.journal import Access


def access(name: str, row: int = 0) -> Access:
    return Access("m", name, row, 1, 612, "disk")


def test_accesses_stand_under_their_step():
    journal = Journal()
    journal.record([access("load")])
    for step in (1, 2):
        assert journal.begin() == step
        journal.record([access("a", step), access("b", step)])
    frame = journal.frame()
    assert frame["step"].to_list() == [0, 1, 1, 2, 2]
    assert frame["object"].to_list() == ["load", "a", "b", "a", "b"]
    assert frame.filter(pl.col("step") == 2)["row"].to_list() == [2, 2]


def test_a_step_can_be_told():
    journal = Journal()
    journal.begin()
    journal.record([access("load")], step=0)
    journal.record([access("a")])
    assert journal.frame().select("step", "object").rows() == [(0, "load"), (1, "a")]


def test_an_empty_frame_has_its_columns():
    frame = Journal().frame()
    assert frame.shape == (0, 7)
    assert frame.schema["bytes"] == pl.Int64


def test_nothing_is_noted_while_it_is_off():
    journal = Journal()
    journal.enabled = False
    journal.record([access("a")])
    assert journal.frame().height == 0


def test_a_step_that_repeats_costs_one_reference():
    journal, same = Journal(), tuple(access(f"t{i}") for i in range(300))
    for _ in range(50):
        journal.begin()
        journal.record(same)
    assert all(entry.accesses is same for entry in journal._entries)
    assert journal.frame().height == 15000
