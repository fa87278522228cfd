"""Envelopes inside of one another and side by side: databases and steps of their own, the weights read once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from genome.errors import Error

PROMPT = "Once upon a time"


def text(envelope) -> str:
    return "".join(step.text for step in envelope.generate(PROMPT, max_tokens=5))


def test_the_inner_one_is_told_to_the_outer_one_and_uses_its_weights(workbench):
    with workbench.envelope(activity="study") as outer:
        said = text(outer)
        read = outer.accesses().filter(source="disk").height
        with outer.nested(activity="probe") as inner:
            assert text(inner) == said
            own = inner.accesses()
        assert set(own["activity"]) == {"study/probe"}
        told = outer.accesses()
        assert set(told["activity"]) == {"study", "study/probe"}
        # The inner one looks tokens up and reads rows of the embedding that are kept by then: no tensor again.
        disk = told.filter(source="disk")
        assert disk.height - read < 30
        assert set(disk.filter(activity="study/probe")["object"]) <= {"token", "unit"}
        assert text(outer) == said


def test_swaps_stay_on_their_side_and_an_end_inside_leaves_the_outer_one_open(workbench):
    with workbench.envelope() as outer:
        outer.decompose("mother")
        with outer.nested("webster") as inner:
            assert "wordnet" not in inner.names
            inner.swap("wordnet")
            assert "webster" not in inner.names
            assert inner.decompose("mother") is not None
        with pytest.raises(Error, match="this envelope is closed"):
            inner.decompose("mother")
        assert outer.names == ("smollm2", "wordnet", "webster", "nsm65")
        assert outer.decompose("mother").path


def test_what_does_not_go_together_is_refused_inside_too(workbench):
    with workbench.envelope() as outer, pytest.raises(Error, match="attach lays deltas over a model"):
        outer.nested().attach("wordnet")


def test_envelopes_side_by_side_give_what_one_alone_gives(workbench):
    with workbench.envelope() as one, workbench.envelope() as two:
        alone = text(one)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(text, [one, two, one, two])) == {alone}
        assert set(one.accesses()["activity"]) == {"session"}
