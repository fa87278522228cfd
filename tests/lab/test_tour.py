"""The shipped notebooks: clean as files, and executed on the default workbench."""

import html
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from genome.lab.notebooks import shipped
from genome.lab.report import report
from genome.workbench import Workbench

Requests = Callable[[str], list[str]]


@pytest.fixture(params=shipped(), ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    node = nbformat.read(request.param, as_version=nbformat.NO_CONVERT)
    nbformat.validate(node)
    return node


def test_a_shipped_notebook_holds_no_outputs(notebook: nbformat.NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []


def test_a_shipped_notebook_names_its_cells(notebook: nbformat.NotebookNode) -> None:
    """A generated ID (eight hexadecimal digits) would change whenever the file is written anew."""
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert [cell.id for cell in notebook.cells if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", cell.id)] == []


def test_a_shipped_notebook_begins_with_a_title_and_its_parameters(notebook: nbformat.NotebookNode) -> None:
    title, parameters = notebook.cells[:2]
    assert title.source.startswith("# ")
    assert parameters.metadata.tags == ["parameters"]


@pytest.fixture(scope="module")
def tour(workbench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The tour's report for a word, as `genome report` writes it."""
    folder = tmp_path_factory.mktemp("tour")

    def tour(word: str) -> str:
        given = {"word": word, "max_tokens": "8"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
            return report("00_tour", given, folder / "tour.html", home=workbench.folder).read_text("utf-8")

    return tour


@pytest.fixture(scope="module")
def page(tour: Callable[[str], str]) -> str:
    return tour("teacher")


@pytest.mark.slow
def test_the_tours_report_asks_the_network_for_nothing(page: str, requests: Requests) -> None:
    assert requests(page) == []


@pytest.mark.slow
def test_the_tours_report_shows_the_word_that_was_asked_for(page: str) -> None:
    shown = {
        "the parameter": 'word</span> <span class="o">=</span> <span class="s1">\'teacher\'',
        "the decomposition": 'aria-label="Composition of teacher: ',
        "its path": '<span aria-label="Path: SOMEONE',
        "the definitions walked through": "Why? The definitions walked through",
        "the sentence": 'aria-label="Compositions of a text',
        "tokens with their IDs": "8 tokens with their genome IDs",
        "the accesses": 'aria-label="Before the first token: 97 MB from disk',
        "the widgets' settings": "<b>first</b>\N{NO-BREAK SPACE}teacher",
        "the widgets' chart": 'aria-label="Composition by primitives. teacher: ',
    }
    assert [what for what, text in shown.items() if text not in page] == []
    assert page.count('class="dataframe"') >= 7
    assert "Traceback" not in page


@pytest.mark.slow
def test_the_tours_report_ends_with_what_it_was_made_from(page: str, workbench: Workbench) -> None:
    end = page[page.index('id="provenance"') :]
    for row in workbench.databases().iter_rows(named=True):
        if row["name"] in ("smollm2", "wordnet", "webster", "nsm65"):
            told = f'<th scope="row">{row["name"]}</th><td>{row["kind"]}</td><td><code>{row["checksum"]}</code>'
            assert told in end


@pytest.mark.slow
def test_the_same_tour_twice_is_the_same_page(tour: Callable[[str], str], page: str) -> None:
    assert tour("teacher") == page


@pytest.mark.slow
def test_two_rows_change_what_the_model_says(
    workbench: Workbench, requests: Requests, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second notebook, in a workbench of its own: it writes deltas there."""
    folder = tmp_path_factory.mktemp("change")
    for name in ("smollm2", "nsm65"):
        (folder / f"{name}.db").symlink_to(workbench.path(name))
    before = workbench.info("smollm2")["checksum"]
    text = report("01_a_change_of_two_rows", {}, folder / "change.html", home=folder).read_text("utf-8")
    assert "The capital of France is London." in text
    assert text.count("The capital of France is Paris.") == 2
    assert "bytes for the delta, 104," in text
    assert "Traceback" not in text
    assert requests(text) == []
    assert workbench.info("smollm2")["checksum"] == before


@pytest.mark.slow
def test_a_lens_sees_a_sentence_come_in(workbench: Workbench, requests: Requests, tmp_path: Path) -> None:
    """The notebook of the lens with few words: its sentences follow from what was measured."""
    given = {"words": "150"}
    text = report("05_a_lens_on_the_65", given, tmp_path / "lens.html", home=workbench.folder).read_text("utf-8")
    told = html.unescape(text)
    assert "So the layers speak differently" in told
    assert re.search(r"\d+ pairs of sentences\. At the embeddings [45]\d% are matched rightly", told)
    assert re.search(r"They are farthest apart at layer [1-9]\d*, by 0\.\d+; half of that is reached at", told)
    assert told.count("Leading primitives of each token at the layers 0, 15, 30. ") >= 2
    assert "Traceback" not in text
    assert requests(text) == []
