import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from genome.lab.freeze import STATE, VIEW, freeze

Models = dict[str, dict[str, object]]


def frozen(models: Models, root: str = "root") -> list[nbformat.NotebookNode]:
    """The outputs of a cell that shows the widget `root`."""
    state = {name: {"state": model} for name, model in models.items()}
    view = new_output("display_data", {VIEW: {"model_id": root}, "text/plain": "interactive(…)"})
    notebook = new_notebook(
        cells=[new_code_cell("", outputs=[view])], metadata={"widgets": {STATE: {"state": state}}}
    )
    freeze(notebook)
    assert "widgets" not in notebook.metadata
    return notebook.cells[0].outputs


def box(*children: str) -> dict[str, object]:
    return {"_model_name": "VBoxModel", "children": [f"IPY_MODEL_{child}" for child in children]}


@pytest.mark.parametrize(
    ("control", "told"),
    [
        ({"_model_name": "IntSliderModel", "description": "size", "value": 4}, "<b>size</b>&nbsp;4"),
        ({"_model_name": "TextModel", "description": "word", "value": "<i>"}, "<b>word</b>&nbsp;&lt;i&gt;"),
        ({"_model_name": "CheckboxModel", "value": False}, "<b>value</b>&nbsp;False"),
        ({"_model_name": "DropdownModel", "_options_labels": ["a", "b"], "index": 1}, "&nbsp;b"),
        ({"_model_name": "SelectMultipleModel", "_options_labels": ["a", "b"], "index": [0, 1]}, "&nbsp;a, b"),
    ],
)
def test_a_control_becomes_its_setting(control: dict[str, object], told: str) -> None:
    (output,) = frozen({"root": control})
    assert told in output.data["text/html"]


def test_what_a_widget_drew_stands_behind_its_settings() -> None:
    drawn = {"output_type": "stream", "name": "stdout", "text": "42"}
    models: Models = {
        "root": box("slider", "output"),
        "slider": {"_model_name": "IntSliderModel", "description": "size", "value": 21},
        "output": {"_model_name": "OutputModel", "outputs": [drawn]},
    }
    settings, output = frozen(models)
    assert "<b>size</b>&nbsp;21" in settings.data["text/html"]
    assert output == drawn


def test_text_in_widgets_stays() -> None:
    models: Models = {
        "root": box("label", "html"),
        "label": {"_model_name": "LabelModel", "value": "a < b"},
        "html": {"_model_name": "HTMLModel", "value": "<b>c</b>"},
    }
    label, html = frozen(models)
    assert (label.data, html.data) == ({"text/plain": "a < b"}, {"text/html": "<b>c</b>"})


@pytest.mark.parametrize(
    "model",
    [
        {"_model_name": "ButtonModel", "description": "Run"},
        {"_model_name": "FloatProgressModel", "value": 3.0},
        {"_model_name": "ImageModel", "value": None},
    ],
)
def test_what_can_only_be_pressed_or_watched_vanishes(model: dict[str, object]) -> None:
    assert frozen({"root": model}) == []


def test_other_outputs_stay_as_they_are() -> None:
    plain = new_output("stream", name="stdout", text="1")
    notebook = new_notebook(cells=[new_code_cell("", outputs=[plain])])
    freeze(notebook)
    assert notebook.cells[0].outputs == [plain]
