import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import polars as pl
import pytest

from genome.lab import charts, ipython
from genome.lab.palette import COLOURS, FAMILIES
from genome.primitives import KEYS, PRIMITIVES

Requests = Callable[[str], list[str]]
SVG = "{http://www.w3.org/2000/svg}"


def one_hot(**weights: float) -> np.ndarray:
    row = np.zeros(65, np.float32)
    for key, weight in weights.items():
        row[KEYS.index(key)] = weight
    return row


def drawing(html: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", html, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def test_every_category_has_one_colour() -> None:
    told = [category for family in FAMILIES for category in family.categories]
    assert sorted(told) == sorted({p.category for p in PRIMITIVES})
    assert len(set(COLOURS.values())) == len([f for f in FAMILIES if f.categories])


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])  # JupyterLab's own papers
def test_every_colour_stands_out_from_light_and_dark(page: str) -> None:
    """WCAG 2.2, success criterion 1.4.11: graphics need a contrast of 3:1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for family in FAMILIES:
        dark, light = sorted((luminance(family.colour), luminance(page)))
        assert (light + 0.05) / (dark + 0.05) >= 3, family


def test_a_composition_is_drawn_and_told() -> None:
    html = charts.figure(charts.composition({"mother": one_hot(SOMEONE=0.7, LIVE=0.3)}))
    assert 'aria-label="Composition by primitives. mother: SOMEONE 70%, LIVE 30%' in html
    labels = {element.text for element in drawing(html).iter(f"{SVG}text")}
    assert set(KEYS) <= labels


def test_a_text_is_drawn_without_its_unknown_words() -> None:
    weights = [one_hot(I=1).tolist(), None, one_hot(SEE=0.5, KNOW=0.5).tolist()]
    schema = {"word": pl.String, "leading": pl.String, "weights": pl.Array(pl.Float32, 65)}
    frame = pl.DataFrame(
        [("I", "I", weights[0]), ("zzx", None, None), ("see", "SEE", weights[2])], schema, orient="row"
    )
    html = charts.figure(charts.text(frame))
    labels = {element.text for element in drawing(html).iter(f"{SVG}text")}
    assert "leading primitives: I: I; see: SEE" in html
    assert not any("zzx" in (label or "") for label in labels)


def test_a_lens_is_drawn_from_the_embeddings_upwards_and_told() -> None:
    told = [
        ("the", 0, 0, "SOME", 0.3, 0.25), (" bank", 1, 0, "MINE", 0.4, 0.25),
        ("the", 0, 1, "ONE", 0.2, 0.5), (" bank", 1, 1, "WHERE", 0.6, 0.5),
    ]  # fmt: skip
    frame = pl.DataFrame(told, ["token", "position", "layer", "leading", "weight", "r2"], orient="row")
    html = charts.figure(charts.lens(frame))
    spoken = "Leading primitives of each token at the layers 0, 1. the: SOME, ONE; bank: MINE, WHERE"
    assert f'aria-label="{spoken}"' in html
    labels = [element.text for element in drawing(html).iter(f"{SVG}text")]
    assert {"1  the", "2  bank", "0   R² 25 %", "1   R² 50 %", "SOME", "MINE", "ONE", "WHERE"} <= set(labels)
    assert labels.index("1   R² 50 %") < labels.index("0   R² 25 %")


def journal(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["step", "database", "object", "row", "rows", "bytes", "source"], orient="row")


def test_accesses_are_added_up_by_step_part_and_source() -> None:
    """0: 3 MB and 1 MB from disk; 1 and 2: 4 MB from memory, and 600 bytes from disk in one of the two."""
    told = [
        (0, "m", "blk.0.ffn_up.weight", 0, 9, 3_000_000, "disk"),
        (0, "m", "blk.1.attn_q.weight", 0, 9, 1_000_000, "disk"),
        *((step, "m", "blk.0.ffn_up.weight", 0, 9, 4_000_000, "memory") for step in (1, 2)),
        (2, "m", "token_embd.weight", 7, 1, 600, "disk"),
    ]
    chart = charts.accesses(journal(*told))
    assert chart.description == (
        "Before the first token: 4.0 MB from disk; at each step: 300 B from disk, 4.0 MB from memory"
    )
    rows = {(r["step"], r["part"], r["source"]): r["megabytes"] for r in chart.data.to_dicts()}
    assert rows == {
        (0, "attention", "from disk"): 1.0,
        (0, "feed-forward", "from disk"): 3.0,
        (1, "feed-forward", "from memory"): 4.0,
        (2, "feed-forward", "from memory"): 4.0,
        (2, "token embeddings", "from disk"): 0.0006,
    }


def test_steps_that_are_only_sums_are_told_and_not_drawn() -> None:
    told = [(None, "m", "blk.0.ffn_up.weight", 0, 9, 5_000_000, "memory"), (8, "m", "token", 3, 1, 4, "disk")]
    chart = charts.accesses(journal(*told))
    assert chart.description == "at each step: 4 B from disk; in earlier steps together: 5.0 MB from memory"
    assert [(r["step"], r["part"]) for r in chart.data.to_dicts()] == [(8, "tokens and units")]


def test_an_empty_journal_is_told_as_such() -> None:
    chart = charts.accesses(journal((0, "m", "x", 0, 1, 1, "disk")).clear())
    assert chart.description == "Nothing was read"


def test_a_figure_escapes_its_description_and_needs_no_network(requests: Requests) -> None:
    html = charts.figure(charts.composition({'<b>"': one_hot(SEE=1)}))
    assert "<b>" not in html
    assert requests(html) == []


def test_two_figures_on_a_page_share_no_identifier() -> None:
    def clipped(height: int) -> alt.Chart:
        return alt.Chart(pl.DataFrame({"a": [1], "b": [height]})).mark_bar(clip=True).encode(x="a:O", y="b")

    drawn = [charts.figure(clipped(height)) for height in (1, 2)]
    first, second = (set(re.findall(r'\bid="([^"]+)"', html)) for html in drawn)
    assert first
    assert not first & second
    for html, ids in zip(drawn, (first, second), strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", html)) <= ids


def test_a_chart_of_the_users_own_keeps_its_own_settings() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": [3, 4]})
    chart = alt.Chart(frame).mark_bar().encode(x="a:O", y="b").configure_axis(labelColor="red")
    fills = {element.get("fill") for element in drawing(charts.figure(chart)).iter(f"{SVG}text")}
    assert fills == {"red", "currentColor"}  # its labels, and our titles


class Formatter:
    """One of IPython's, as far as this program talks to it."""

    def __init__(self) -> None:
        self.known: dict[object, Callable[..., Any]] = {}

    def for_type(self, kind: type, show: Callable[..., Any]) -> None:
        self.known[kind] = show

    def for_type_by_name(self, module: str, name: str, show: Callable[..., Any]) -> None:
        self.known[f"{module}.{name}"] = show


@pytest.fixture
def formatters(monkeypatch: pytest.MonkeyPatch) -> tuple[Formatter, Formatter]:
    html, bundle = Formatter(), Formatter()
    display = SimpleNamespace(formatters={"text/html": html}, mimebundle_formatter=bundle)
    shell = SimpleNamespace(display_formatter=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return html, bundle


def test_in_ipython_altairs_charts_show_as_figures(formatters: tuple[Formatter, Formatter]) -> None:
    ipython.set_up()
    (name,) = formatters[1].known
    module, _, kind = str(name).rpartition(".")
    assert f"{module}.{kind}" in {f"{k.__module__}.{k.__qualname__}" for k in alt.Chart.__mro__}
    chart = charts.composition({"a": one_hot(SEE=1)})
    assert "<figure" in formatters[1].known[name](chart)["text/html"]


def test_whoever_enables_another_renderer_gets_it(formatters: tuple[Formatter, Formatter]) -> None:
    ipython.set_up()
    chart = charts.composition({"a": one_hot(SEE=1)})
    with alt.renderers.enable("png"):
        bundle = next(iter(formatters[1].known.values()))(chart)
    assert "image/png" in repr(bundle)


def test_lists_of_other_things_show_as_ever(formatters: tuple[Formatter, Formatter]) -> None:
    ipython.set_up()
    show = formatters[0].known[list]
    assert [show(things) for things in ([], [1, 2], [object()])] == [None, None, None]


def test_outside_ipython_nothing_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    ipython.set_up()
