"""Charts of compositions and of a model's accesses: altair, drawn as SVG in labelled figures, without a network.

altair's own renderers fetch scripts from the network, or need an extension that knows this Vega-Lite. SVG
needs neither, and looks the same in JupyterLab, in a saved notebook and in a report.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genome.lab.palette import COLOURS
from genome.lab.templating import render
from genome.primitives import PRIMITIVES

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

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
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    chart = alt.Chart(frame, width=820, height=90, description=_spoken(weights))
    return chart.mark_bar().encode(
        x=alt.X("primitive:N", sort=None, title=None, axis=alt.Axis(labelAngle=-90, labelFontSize=9)),
        y=alt.Y("weight:Q", title="weight", axis=alt.Axis(format="%", tickCount=3)),
        color=alt.Color("category:N", scale=colours, legend=None),
        row=alt.Row(
            "unit:N", sort=list(weights), title=None, header=alt.Header(labelOrient="top", labelAnchor="start")
        ),
    )


def accesses(journal: "pl.DataFrame") -> "alt.Chart":
    """Bytes read at each step of a generation, by what was read and whether it came from disk or memory.

    Args:
        journal: what `Envelope.accesses()` gives: step, database, object, row, rows, bytes, source.
    """
    import altair as alt
    import polars as pl

    layer = r"^blk\.\d+\."
    frame = (
        journal.with_columns(read=pl.col("object").str.replace(layer, "").str.replace(r"\.weight$", ""))
        .group_by("step", "read", "source")
        .agg(reads=pl.len(), megabytes=pl.col("bytes").sum() / 1e6)
        .sort("step", "read", "source")
    )
    steps, total = frame["step"].n_unique(), frame["megabytes"].sum()
    chart = alt.Chart(
        frame, width=620, height=220, description=f"Megabytes read at each of {steps} steps, {total:,.1f} MB in all"
    )
    return chart.mark_bar().encode(
        x=alt.X("step:O", title="step (0: before the first token)", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("megabytes:Q", title="MB read"),
        color=alt.Color("read:N", title="what was read", scale=alt.Scale(scheme="tableau20")),
        opacity=alt.Opacity("source:N", title="from", scale=alt.Scale(domain=["disk", "memory"], range=[1, 0.55])),
    )


def figure(chart: "alt.Chart") -> str:
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
