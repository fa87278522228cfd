"""Widgets in a report: their settings as text, and what they had drawn as ordinary output.

nbconvert's HTML loads widgets from the network or loses them. nbclient, which executes the notebook, knows
every widget's state, so a report can show the state that a reader of the live notebook sees first.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output

from genome.lab.templating import render

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
_REFERENCE = "IPY_MODEL_"


def freeze(notebook: NotebookNode) -> None:
    """Puts ordinary outputs in the place of widgets; changes the executed notebook."""
    states = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [frozen for output in cell.outputs for frozen in _frozen(output, states)]


def _frozen(output: NotebookNode, states: Mapping[str, Any]) -> Iterator[NotebookNode]:
    view = output.get("data", {}).get(VIEW)
    if view is None:
        yield output
        return
    settings: list[tuple[str, str]] = []
    drawn = list(_walk(view["model_id"], states, settings))
    if settings:
        yield new_output("display_data", {"text/html": render("settings.html.j2", settings=settings)})
    yield from drawn


def _walk(model: str, states: Mapping[str, Any], settings: list[tuple[str, str]]) -> Iterator[NotebookNode]:
    """What a widget and those inside it have drawn; adds the controls' values to `settings`."""
    state = states.get(model.removeprefix(_REFERENCE), {}).get("state", {})
    name = state.get("_model_name", "")
    if name == "OutputModel":
        for output in state.get("outputs", []):
            yield from _frozen(NotebookNode(output), states)
    elif name in ("HTMLModel", "HTMLMathModel", "LabelModel"):
        yield new_output("display_data", {"text/html" if name != "LabelModel" else "text/plain": state["value"]})
    elif "children" in state:
        for child in state["children"]:
            yield from _walk(child, states, settings)
    elif (value := _value(state)) is not None:
        settings.append((state.get("description") or "value", value))


def _value(state: Mapping[str, Any]) -> str | None:
    """What a control is set to; None for what holds no value (a button) or only shows how far work is (a bar)."""
    if "_options_labels" in state:
        chosen = state.get("index")
        places = [chosen] if isinstance(chosen, int) else list(chosen or ())
        return ", ".join(state["_options_labels"][place] for place in places)
    if state.get("_model_name") == "FloatProgressModel" or isinstance(state.get("value"), dict | type(None)):
        return None
    return str(state["value"])
