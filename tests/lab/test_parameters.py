import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from genome.errors import Error, NotFoundError
from genome.lab.parameters import inject

DECLARED = (
    "word = 'mother'  # any word\nmax_tokens: int = 32\nshare = 0.5\nloud = False\nnames = ['a']\nother = None"
)


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    cells = [new_code_cell("import genome"), new_code_cell(DECLARED, metadata={"tags": ["parameters"]})]
    return new_notebook(cells=[*cells, new_code_cell("word")])


def test_given_values_stand_in_a_cell_behind_the_declaring_one(notebook: nbformat.NotebookNode) -> None:
    inject(notebook, {"word": "kill", "max_tokens": "8"}, "tour.ipynb")
    assert [cell.source for cell in notebook.cells[1:]] == [DECLARED, "word = 'kill'\nmax_tokens = 8", "word"]
    assert notebook.cells[2].metadata.tags == ["injected-parameters"]


def test_without_values_the_notebook_stays_as_it_is(notebook: nbformat.NotebookNode) -> None:
    inject(notebook, {}, "tour.ipynb")
    assert len(notebook.cells) == 3


def test_every_parameter_in_force_is_told(notebook: nbformat.NotebookNode) -> None:
    assert inject(notebook, {"word": "it's"}, "tour.ipynb") == {
        "word": '"it\'s"', "max_tokens": "32", "share": "0.5", "loud": "False", "names": "['a']", "other": "None",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("word", "123", "'123'"),  # a word stays a word
        ("word", "'quoted'", repr("'quoted'")),
        ("word", "a\nb", r"'a\nb'"),
        ("max_tokens", "-3", "-3"),
        ("share", "1", "1.0"),
        ("loud", "yes", "True"),
        ("names", "['b', 'c']", "['b', 'c']"),
        ("other", "7", "7"),  # None leaves the choice to the text
        ("other", "seven", "'seven'"),
    ],
)
def test_a_value_is_of_its_defaults_type(notebook: nbformat.NotebookNode, name: str, text: str, value: str) -> None:
    assert inject(notebook, {name: text}, "tour.ipynb")[name] == value


@pytest.mark.parametrize(
    ("name", "text"), [("max_tokens", "many"), ("max_tokens", "1.5"), ("loud", "loud"), ("share", "half")]
)
def test_a_value_of_another_type_is_refused_with_the_default(
    notebook: nbformat.NotebookNode, name: str, text: str
) -> None:
    with pytest.raises(Error, match=f"{name}={text} is not of the wanted type .*; the default is"):
        inject(notebook, {name: text}, "tour.ipynb")


def test_an_unknown_name_is_refused_with_the_known_ones(notebook: nbformat.NotebookNode) -> None:
    with pytest.raises(
        NotFoundError, match=r"tour.ipynb has no parameter wrod; its parameters: word, max_tokens, "
    ):
        inject(notebook, {"wrod": "kill"}, "tour.ipynb")


def test_a_notebook_without_the_tag_has_no_parameters() -> None:
    with pytest.raises(NotFoundError, match="none \\(no cell is tagged `parameters`\\)"):
        inject(new_notebook(cells=[new_code_cell("word = 1")]), {"word": "kill"}, "plain.ipynb")


def test_a_second_injection_replaces_the_first(notebook: nbformat.NotebookNode) -> None:
    for word in ("kill", "see"):
        inject(notebook, {"word": word}, "tour.ipynb")
    assert [cell.source for cell in notebook.cells[2:]] == ["word = 'see'", "word"]
