"""Vowel charts as phoneticians draw them: F2 from right to left, F1 from top to bottom; and charts as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genome.errors import Error, quoted
from genome.lab.charts import figure
from genome.lab.palette import FAMILIES
from genome.lab.templating import render
from genome.speech.vowels import ellipse

if TYPE_CHECKING:
    import altair as alt

ENDINGS = (".svg", ".png", ".html")
_TITLES = {"hz": "Hz", "bark": "Bark", "erb": "ERB-rate", "lobanov": "Lobanov", "nearey": "Nearey, log"}
_FEWEST = 4  # points of an ellipse
_PAPER: dict[str, Any] = {"background": "white", "font": "Arial, 'Liberation Sans', sans-serif"}


def vowel_chart(labels: Sequence[str], points: np.ndarray, scale: str = "hz") -> "alt.LayerChart | alt.FacetChart":
    """Points, and of each label the mean and, from four points on, the ellipse of two standard deviations.

    Args:
        labels: (points,) what was said.
        points: (points, 2) F1 and F2.
        scale: what they are on, one of `genome.speech.vowels.SCALES`.
    """
    import altair as alt
    import polars as pl

    said = list(dict.fromkeys(labels))
    of_label = {label: points[np.asarray(labels) == label] for label in said}
    means = {label: there.mean(0) for label, there in of_label.items()}
    around = [
        (label, *corner, number)
        for label, there in of_label.items()
        if len(there) >= _FEWEST
        for number, corner in enumerate(ellipse(there).tolist())
    ]
    dots = pl.DataFrame(
        [(label, *point) for label, point in zip(labels, points.tolist(), strict=True)], _columns(), orient="row"
    )
    centres = pl.DataFrame([(label, *mean.tolist()) for label, mean in means.items()], _columns(), orient="row")
    edges = pl.DataFrame(around, _columns() | {"corner": pl.Int64}, orient="row")
    told = "; ".join(f"{label} {mean[0]:.4g} and {mean[1]:.4g}" for label, mean in means.items())
    colours = alt.Scale(domain=said, range=[family.colour for family in FAMILIES])
    place = {
        "x": alt.X("f2:Q", title=f"F2 ({_TITLES[scale]})", scale=_reversed(), axis=alt.Axis(orient="top")),
        "y": alt.Y("f1:Q", title=f"F1 ({_TITLES[scale]})", scale=_reversed(), axis=alt.Axis(orient="right")),
        "color": alt.Color("label:N", scale=colours, legend=None),
    }
    layers = (
        alt.Chart(dots).mark_circle(size=22, opacity=0.45).encode(**place),
        alt.Chart(edges).mark_line(strokeWidth=1.5).encode(**place, order="corner:Q"),
        alt.Chart(centres).mark_text(fontSize=20, fontWeight="bold").encode(**place, text="label:N"),
    )
    description = f"Vowel chart, means of F1 and F2 ({_TITLES[scale]}): {told}"
    return alt.layer(*layers).properties(width=520, height=400, description=description)


def save(chart: "alt.TopLevelMixin", path: str | Path) -> None:
    """Writes a chart to a file, on white paper, without a network.

    Args:
        chart: of altair.
        path: ends in one of `ENDINGS`.

    Raises:
        Error: another ending.
        OSError: the file cannot be written.
    """
    import altair as alt
    import vl_convert

    path = Path(path)
    ending = checked_ending(path)
    if ending == ".html":
        page = render("chart.html.j2", title=path.stem, figure=figure(chart))  # type: ignore[arg-type]
        path.write_text(page, "utf-8")
        return
    spec = chart.to_dict()
    spec["config"] = spec.get("config", {}) | _PAPER
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    if ending == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(spec, vl_version=version), "utf-8")
    else:
        path.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=version, scale=2))


def checked_ending(path: str | Path) -> str:
    """The ending of a chart's file.

    Raises:
        Error: it is none of `ENDINGS`.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise Error(f"wanted a file that ends in {', '.join(ENDINGS)}, got {quoted(str(path))}")
    return ending


def _columns() -> dict[str, Any]:
    import polars as pl

    return {"label": pl.String, "f1": pl.Float64, "f2": pl.Float64}


def _reversed() -> "alt.Scale":
    import altair as alt

    return alt.Scale(reverse=True, zero=False, nice=True)
