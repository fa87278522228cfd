"""What `genome.open()` tells IPython, so that charts and generated text show themselves."""

import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from genome.lab.display import are_steps, display

if TYPE_CHECKING:
    import altair as alt


def set_up() -> None:
    """In IPython, shows altair's charts as SVG and lists of steps as text with IDs; elsewhere does nothing.

    Nothing is imported for it: a chart's own display is asked for when there is a chart. Whoever enables
    another of altair's renderers gets that one.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    formatter = shell.display_formatter
    formatter.formatters["text/html"].for_type(list, lambda things: display(things) if are_steps(things) else None)
    api = f"altair.vegalite.v{metadata.version('altair').partition('.')[0]}.api"
    formatter.mimebundle_formatter.for_type_by_name(api, "TopLevelMixin", _chart)


def _chart(chart: "alt.Chart", include: Any = None, exclude: Any = None) -> Any:
    import altair as alt

    from genome.lab.charts import figure

    if alt.renderers.active != "default":
        return chart._repr_mimebundle_(include, exclude)
    return {"text/html": figure(chart), "text/plain": repr(chart)}
