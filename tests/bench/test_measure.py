"""Work in processes of its own: what it gives, how it fails, and what is forgotten."""

import sys

import pytest

from genome.bench import measure
from genome.bench.child import tell
from genome.errors import Error


def spend(size_bytes: int) -> int:
    """In the child: takes memory and gives it back."""
    return len(bytearray(size_bytes))


def fail() -> None:
    """In the child."""
    raise ValueError("so it is")


def talk() -> str:
    """In the child: three lines, and what is printed goes nowhere."""
    for number in range(3):
        print("noise")
        tell(number)
    return "end"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """This file as a module that a child imports."""
    monkeypatch.setenv("PYTHONPATH", str(request.path.parent))
    return request.path.stem


def test_a_function_gives_its_value_and_its_memory(here: str):
    small, large = (measure.run(f"{here}:spend", size) for size in (1, 200_000_000))
    assert (small.value, large.value) == (1, 200_000_000)
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    assert 199_000_000 < large.peak_bytes - small.peak_bytes < 210_000_000  # the array, and nothing of the parent's


def test_an_error_is_one_line(here: str):
    with pytest.raises(Error, match=r"^test_measure:fail ended with status 1: ValueError: so it is$"):
        measure.run(f"{here}:fail")


def test_what_a_child_tells_comes_in_order(here: str):
    with measure.begin(f"{here}:talk") as child:
        assert [child.line() for _ in range(3)] == [{"told": number} for number in range(3)]
        assert child.result()["value"] == "end"


def test_a_child_that_takes_too_long_is_ended():
    with pytest.raises(Error, match="ended with status"), measure.begin("time:sleep", 60) as child:
        child.result(timeout_s=0.5)


def test_works_take_turns():
    order: list[str] = []

    def work(name: str) -> measure.Run:
        order.append(name)
        return measure.Run(len(order), len(order), None)

    one, none, other = measure.interleaved([lambda: work("a"), None, lambda: work("b")], 3)
    assert ("".join(order), none) == ("ababab", [])
    assert (measure.seconds(one), measure.peak(other)) == (3, 4)  # medians of 1, 3, 5 and of 2, 4, 6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak since a moment")
def test_the_peak_begins_anew():
    spend(100_000_000)
    before = measure.peak_bytes()
    measure.forget_peak()
    after = measure.peak_bytes()
    assert before is not None
    assert after is not None
    assert before - after > 50_000_000 or before < 100_000_000 + after
