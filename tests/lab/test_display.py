import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from genome import db
from genome.decompose import Branch, Chain, Decomposition, Explanation, Link, Reason, SenseShare
from genome.ids import GenomeID
from genome.lab.display import display
from genome.lab.spectrum import spectrum
from genome.lab.words import around
from genome.model import Step
from genome.model.queries import TensorRow
from genome.model.tensors import TensorView
from genome.primitives import KEYS
from genome.workbench import Workbench

Requests = Callable[[str], list[str]]
HOSTILE = "<script>alert(1)</script>\"'&"

END = Branch(0.25, "", False, "", "", (), "end")
PERSON = Branch(0.25, "hypernym", True, "person.n.01", "a human being", (END,))
WOMAN = Branch(0.25, "woman", False, "woman.n.01", "an adult female person", (PERSON,))
OTHERS = Branch(0.55, "", False, "", "", (), "others")
MOTHER = Branch(0.8, "", False, "mother.n.01", "a woman who has given birth", (OTHERS, WOMAN))
SELDOM = Branch(0.2, "", False, "mother.n.04", "seldom", (), "on")


def weights() -> np.ndarray:
    row = np.zeros(65, np.float32)
    row[[KEYS.index("SOMEONE"), KEYS.index("LIVE")]] = 0.75, 0.25
    return row


@pytest.fixture
def mother() -> Decomposition:
    near = pl.DataFrame({"label": ["father", HOSTILE], "similarity": [0.94, 0.9], "path": ["SOMEONE.DO", HOSTILE]})
    reason = Reason("SOMEONE", 0.75, (MOTHER, SELDOM))
    return Decomposition(
        "mother", "mother", "word", GenomeID.pack(["SOMEONE", "LIVE"], 5), weights(), "senses of wordnet",
        (SenseShare("mother.n.01", "a woman who has given birth", 0.97), SenseShare("mother.n.09", "rare", 0.004)),
        lambda primitives: Explanation("mother", (reason, Reason("LIVE", 0.25, ()))),
        lambda k, kind=None: near, display,
    )  # fmt: skip


class Text(HTMLParser):
    """The text of a page, in order; its style left out. Fails where elements are not closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.parts.append(data)


def text(html: str) -> str:
    page = Text()
    page.feed(html)
    page.close()
    return re.sub(r"\s+", " ", " ".join(page.parts))


def test_a_decomposition_shows_all_that_it_knows(mother: Decomposition) -> None:
    html = mother._repr_html_()
    assert html
    shown = text(html)
    assert f"word · genome ID {int(mother.id)} · from senses of wordnet" in shown
    assert "97% mother.n.01 a woman who has given birth" in shown
    assert "rare" not in shown  # a sense of less than 1 %
    assert "father 0.94 SOMEONE.DO" in shown
    assert 'aria-label="Path: SOMEONE, LIVE"' in html
    assert 'aria-label="Composition of mother: SOMEONE 75%, LIVE 25%"' in html


def test_the_definitions_walked_through_are_a_folding_tree(mother: Decomposition) -> None:
    html = display(mother)
    shown = text(html)
    assert "<details><summary>Why?" in html
    assert (
        "80% mother.n.01 a woman who has given birth 55% all other ways 25% woman → woman.n.01 an adult female "
        "person 25% hypernym → person.n.01 a human being 25% = SOMEONE 20% mother.n.04 seldom … LIVE 25%" in shown
    )
    assert "<mark>woman</mark>" in html
    assert html.count("<details>") == 4  # Why?, and each of the three senses that has ways on
    assert "80% mother.n.01 a woman who" in text(display(mother.explain()))


def test_a_reason_knows_its_whole_ways(mother: Decomposition) -> None:
    """One way of 25 % is told to its end; 55 and 20 % are not."""
    reason = mother.explain().reasons[0]
    links = (
        Link("woman", False, "woman.n.01", "an adult female person"),
        Link("hypernym", True, "person.n.01", "a human being"),
    )
    assert reason.chains == (Chain(0.25, "mother.n.01", "a woman who has given birth", links),)
    assert reason.rest == 0.75
    assert [leaf.share for branch in reason.branches for leaf in branch.leaves] == [0.55, 0.25, 0.2]
    assert "25%    -hypernym-> person.n.01" not in str(mother.explain())
    assert "     25%  -woman-> woman.n.01\n" in str(mother.explain())


def test_everything_that_is_shown_is_escaped(mother: Decomposition, tmp_path: Path, requests: Requests) -> None:
    chain = Branch(0.5, "", False, HOSTILE, HOSTILE, (Branch(0.5, HOSTILE, False, HOSTILE, HOSTILE, (), "on"),))
    hostile = replace(
        mother, text=HOSTILE, label=HOSTILE, kind=HOSTILE, source=HOSTILE,
        senses=(SenseShare(HOSTILE, HOSTILE, 1.0),),
        _explain=lambda primitives: Explanation(HOSTILE, (Reason("SEE", 0.5, (chain,)),)),
    )  # fmt: skip
    step = Step(1, HOSTILE, None, -0.1)
    with db.building(tmp_path / "lexicon.db", "lexicon", source=HOSTILE, licence=HOSTILE):
        pass
    bench = Workbench(tmp_path)
    for thing in (hostile, hostile.explain(), [step], bench, bench.envelope("lexicon"), HOSTILE):
        html = display(thing)
        assert "<script" not in html
        assert "alert(1)" in text(html)
        assert requests(html) == []


def test_a_tensor_shows_what_it_is_and_is_not_read() -> None:
    row = TensorRow(7, f"blk.0.{HOSTILE}", "attn_q", 0, "Q4_1", (576, 576), 576, 360)
    nothing: Any = None
    html = display(TensorView(nothing, row, (64, 576), 128, display=display))
    assert "<script" not in html
    shown = text(html)
    assert "Part rows 128 to 191 Role attn_q Layer 0 Shape 64 \N{MULTIPLICATION SIGN} 576 Stored as Q4_1" in shown
    assert "Size 23 kB, 360 B a row" in shown


def test_an_empty_workbench_says_how_to_fill_it(tmp_path: Path) -> None:
    assert "genome lab --build-only builds the default databases" in text(display(Workbench(tmp_path)))


def test_a_workbench_and_its_envelope_list_their_databases(tmp_path: Path) -> None:
    with db.building(tmp_path / "mine.db", "lexicon", source="my notes", licence="CC0"):
        pass
    bench = Workbench(tmp_path, display=display)
    checksum = db.header(tmp_path / "mine.db")["checksum"]
    for html in (bench._repr_html_(), bench.envelope("mine")._repr_html_()):
        assert "mine" in text(html)
        assert "my notes" in text(html)
        assert f'title="{checksum}"' in html


def test_the_steps_of_a_generation_show_as_coloured_text() -> None:
    """exp(-0.693147) = 0.5, exp(-2.302585) = 0.1."""
    steps = [
        Step(3379, " mother", GenomeID.pack(["SOMEONE"], 1), -0.693147),
        Step(198, "\n", GenomeID.pack(["SPACE"], 1), -2.302585),
        Step(7, "", None, 0.0),
    ]
    html = display(steps)
    assert '--c: #3f7fd9" title="token 3379 · SOMEONE · probability 50%"> mother</span>' in html
    assert 'title="token 198 · SPACE · probability 10%">↵\n</span>' in html
    assert 'title="token 7 · no genome ID · probability 100%">·</span>' in html
    assert "3 tokens with their genome IDs" in text(html)
    assert r"'\n'" in text(html)


def test_a_spectrum_names_its_leading_five() -> None:
    row = np.zeros(65, np.float32)
    row[[3, 9, 20, 30, 40, 50]] = 0.3, 0.25, 0.2, 0.1, 0.1, 0.05
    drawn = spectrum("x", row)
    assert [i for i, bar in enumerate(drawn.bars) if bar.leading] == [3, 9, 20, 30, 40]
    assert drawn.bars[3].y == 14  # the highest touches the head line
    assert drawn.bars[3].height == 84
    assert drawn.bars[20].height == pytest.approx(84 * 0.2 / 0.3, abs=0.01)


def test_no_number_stands_inside_a_higher_bar() -> None:
    row = np.zeros(65, np.float32)
    row[[3, 4, 20]] = 0.2, 0.5, 0.3
    assert [i for i, bar in enumerate(spectrum("x", row).bars) if bar.labelled] == [4, 20]


def test_a_spectrum_of_nothing_has_no_bars() -> None:
    drawn = spectrum("x", np.zeros(65, np.float32))
    assert {bar.height for bar in drawn.bars} == {0.0}


@pytest.mark.parametrize(
    ("definition", "word", "cut"),
    [
        ("Begets a child", "beget", ("", "Begets", " a child")),
        ("a forebear", "bear", ("a forebear", "", "")),  # inside a word is no beginning
        ("costs (a lot)", "(a", ("costs ", "(a", " lot)")),
        ("anything", "", ("anything", "", "")),
    ],
)
def test_the_word_that_leads_on_is_found_in_its_inflected_form(
    definition: str, word: str, cut: tuple[str, str, str]
) -> None:
    assert around(definition, word) == cut
