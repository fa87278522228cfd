"""Charts of compositions, of a lens and of a model's accesses: altair, as SVG in labelled figures, offline.

altair's own renderers fetch scripts from the network, or need an extension that knows this Vega-Lite. SVG
needs neither, and looks the same in JupyterLab, in a saved notebook and in a report.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genome.lab.palette import COLOURS, FAMILIES
from genome.lab.templating import render
from genome.lab.words import size
from genome.primitives import PRIMITIVES

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

_VISIBLE = 0.01
_PARTS = {
    "attention": "^attn_[qkvo]",
    "feed-forward": "^ffn_(up|down|gate)",
    "token embeddings": "^(token_embd|output)",
    "norms": "norm",
    "tokens and units": "^(token|unit|composition)$",
}
_PRIMES: Any = {"labelAngle": -90, "labelFontSize": 9}
_INK = "currentColor"  # the page's own, be it dark or light
_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "Arial, 'Liberation Sans', Helvetica, sans-serif",  # of one width: vl-convert measures with the second
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK, "titleColor": _INK, "domainColor": _INK, "tickColor": _INK, "gridColor": _INK,
        "gridOpacity": 0.12, "domainOpacity": 0.4, "tickOpacity": 0.4, "titleFontWeight": "normal",
    },
    "header": {"labelColor": _INK, "titleColor": _INK, "labelFontSize": 13, "labelFontWeight": "bold"},
    "legend": {"labelColor": _INK, "titleColor": _INK, "titleFontWeight": "normal"},
    "title": {"color": _INK, "anchor": "start", "fontSize": 14},
}  # fmt: skip


def composition(weights: Mapping[str, Sequence[float] | np.ndarray]) -> "alt.Chart":
    """A bar for each of the 65 primitives, in the order of the chart of primes, a row for each name.

    Args:
        weights: name -> 65 non-negative weights that sum to 1.
    """
    import altair as alt
    import polars as pl

    rows = [
        (name, p.key, p.category, float(weight))
        for name, row in weights.items()
        for p, weight in zip(PRIMITIVES, row, strict=True)
    ]
    frame = pl.DataFrame(rows, schema=["unit", "primitive", "category", "weight"], orient="row")
    chart = alt.Chart(frame, width=820, height=90, description=_spoken(weights))
    return chart.mark_bar().encode(
        x=alt.X("primitive:N", sort=None, title=None, axis=_PRIMES),
        y=alt.Y("weight:Q", title="weight", axis=alt.Axis(format="%", tickCount=3)),
        color=alt.Color("category:N", scale=_colours(), legend=None),
        row=alt.Row(
            "unit:N", sort=list(weights), title=None, header=alt.Header(labelOrient="top", labelAnchor="start")
        ),
    )


def text(frame: "pl.DataFrame") -> "alt.Chart":
    """A text's words as rows, the 65 primitives as columns; the fuller a square, the more of the primitive.

    Args:
        frame: what `Envelope.decompose_text()` gives; words that no lexicon knows stay out.
    """
    import altair as alt
    import polars as pl

    known = frame.filter(pl.col("weights").is_not_null())
    labels = [f"{number}  {word}" for number, word in enumerate(known["word"], start=1)]
    rows = [
        (label, p.key, p.category, float(weight))
        for label, weights in zip(labels, known["weights"], strict=True)
        for p, weight in zip(PRIMITIVES, weights, strict=True)
        if weight >= _VISIBLE
    ]
    squares = pl.DataFrame(rows, schema=["word", "primitive", "category", "weight"], orient="row")
    told = "; ".join(f"{word}: {key}" for word, key in zip(known["word"], known["leading"], strict=True))
    chart = alt.Chart(
        squares,
        width=820,
        height=alt.Step(20),
        description=f"Compositions of a text's words, leading primitives: {told}",
    )
    return chart.mark_rect(cornerRadius=2).encode(
        x=alt.X("primitive:N", scale=alt.Scale(domain=[p.key for p in PRIMITIVES]), title=None, axis=_PRIMES),
        y=alt.Y("word:N", sort=labels, title=None, axis=alt.Axis(labelFontSize=12, ticks=False, labelPadding=6)),
        color=alt.Color("category:N", scale=_colours(), legend=None),
        opacity=alt.Opacity("weight:Q", scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0.1, 1]), legend=None),
    )


def lens(frame: "pl.DataFrame") -> "alt.LayerChart":
    """A text's tokens as columns, the model's layers as rows from the embeddings upwards: the leading primitives.

    The fuller a square, the more of its primitive; beside each layer stands the R2 of its map, on words held out.

    Args:
        frame: what `Envelope.lens()` gives.
    """
    import altair as alt
    import polars as pl

    category = {p.key: p.category for p in PRIMITIVES}
    rows = frame.sort("layer", "position").select(
        layer=pl.format("{}   R² {} %", "layer", (pl.col("r2") * 100).round().cast(pl.Int64)),
        token=pl.format("{}  {}", pl.col("position") + 1, pl.col("token").str.strip_chars()),
        primitive="leading",
        category=pl.col("leading").replace_strict(category, return_dtype=pl.String),
        weight="weight",
    )
    layers = rows["layer"].unique(maintain_order=True).reverse().to_list()
    tokens = rows["token"].unique(maintain_order=True).to_list()
    square = alt.Chart(rows).encode(
        x=alt.X("token:N", sort=tokens, title=None, axis=alt.Axis(labelAngle=0, labelFontSize=12, orient="top")),
        y=alt.Y("layer:N", sort=layers, title="layer", axis=alt.Axis(ticks=False)),
    )
    filled = square.mark_rect(cornerRadius=2).encode(
        color=alt.Color("category:N", scale=_colours(), legend=None),
        opacity=alt.Opacity("weight:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 0.9]), legend=None),
    )
    named = square.mark_text(fontSize=9, color=_INK).encode(text="primitive:N")
    both = alt.LayerChart(layer=[filled, named])
    return both.properties(width=alt.Step(88), height=alt.Step(17), description=_seen(frame))


def accesses(journal: "pl.DataFrame") -> "alt.Chart":
    """Megabytes touched at each step of a generation, on disk and in memory, by part of the model.

    Args:
        journal: what `Envelope.accesses()` gives. Steps so long ago that the journal has only their sums are told
            in words, and not drawn.
    """
    import altair as alt
    import polars as pl

    role = pl.col("object").str.replace(r"^blk\.\d+\.", "")
    part = pl.lit("other")
    for name, pattern in _PARTS.items():
        part = pl.when(role.str.contains(pattern)).then(pl.lit(name)).otherwise(part)
    frame = (
        journal.filter(pl.col("step").is_not_null())
        .with_columns(part=part, source=pl.lit("from ") + pl.col("source"))
        .group_by("step", "part", "source")
        .agg(megabytes=pl.col("bytes").sum() / 1e6)
        .sort("step", "source", "part")
    )
    chart = alt.Chart(frame, width=700, height=110, description=_told(journal))
    return chart.mark_bar().encode(
        x=alt.X("step:O", title="step (0: before the first token)", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("megabytes:Q", title="MB"),
        color=alt.Color(
            "part:N", title=None, scale=alt.Scale(domain=list(_PARTS), range=[f.colour for f in FAMILIES])
        ),
        row=alt.Row("source:N", title=None, header=alt.Header(labelOrient="top", labelAnchor="start")),
    )


def figure(chart: "alt.Chart | alt.LayerChart") -> str:
    """A chart as an HTML figure: SVG inline, its description as alternative text and caption."""
    import altair as alt
    import vl_convert

    spec = chart.to_dict()
    spec["config"] = _laid_over(_CONFIG, spec.get("config", {}))
    svg = vl_convert.vegalite_to_svg(spec, vl_version=".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2]))
    # Every chart calls its clip paths clip0, clip1 …; on one page they have to differ.
    mark = "g" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{mark}-", svg)
    return render("figure.html.j2", svg=svg, description=spec.get("description", ""))


def _colours() -> "alt.Scale":
    import altair as alt

    return alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))


def _told(journal: "pl.DataFrame") -> str:
    """What the journal says, in words."""
    import polars as pl

    told = []
    step = pl.col("step")
    parts = {
        "Before the first token": step == 0,
        "at each step": step > 0,
        "in earlier steps together": step.is_null(),
    }
    for when, chosen in parts.items():
        part = journal.filter(chosen)
        steps = max(1, part["step"].n_unique())
        sums = dict(part.group_by("source").agg(pl.col("bytes").sum() / steps).sort("source").iter_rows())
        if sums:
            told.append(f"{when}: " + ", ".join(f"{size(round(b))} from {source}" for source, b in sums.items()))
    return "; ".join(told) or "Nothing was read"


def _seen(frame: "pl.DataFrame") -> str:
    """What a chart of the lens shows, in words: each token's leading primitive below, in the middle, at the top."""
    import polars as pl

    layers = frame["layer"].unique().sort().to_list()
    three = dict.fromkeys((layers[0], layers[len(layers) // 2], layers[-1]))
    told = []
    for _, rows in (
        frame.filter(pl.col("layer").is_in(list(three))).sort("layer").group_by("position", maintain_order=True)
    ):
        told.append(f"{rows['token'][0].strip()}: " + ", ".join(rows["leading"]))
    names = ", ".join(str(layer) for layer in three)
    return f"Leading primitives of each token at the layers {names}. " + "; ".join(told)


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of two levels; a chart's own win."""
    both = {key: base[key] | own[key] for key in base.keys() & own.keys() if isinstance(base[key], dict)}
    return {**base, **own, **both}


def _spoken(weights: Mapping[str, Sequence[float] | np.ndarray]) -> str:
    """What a bar chart of compositions shows, in words: the three leading primitives of each."""
    told = []
    for name, row in weights.items():
        leading = np.argsort(np.asarray(row))[::-1][:3]
        told.append(f"{name}: " + ", ".join(f"{PRIMITIVES[i].prime} {row[i]:.0%}" for i in leading))
    return "Composition by primitives. " + "; ".join(told)
