"""Notebooks made on the spot, and a search for what would ask the network in a page."""

import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

Write = Callable[..., Path]

_LOADS = {"src", "srcset", "poster", "data", "background", "action", "formaction", "manifest", "ping"}
_REMOTE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
_CSS = re.compile(r"@import\b[^;]*|url\(\s*['\"]?\s*(?:https?:)?//[^)]*", re.IGNORECASE)


class _Requests(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        if tag in ("script", "iframe", "object", "embed"):
            self.found.append(tag)
        for name, value in attrs:
            loads = name in _LOADS or (name.endswith("href") and tag != "a")
            if loads and _REMOTE.match(value or ""):
                self.found.append(f"{tag} {name}={value}")
            if name == "style":
                self.found += _CSS.findall(value or "")

    def handle_data(self, data: str) -> None:
        if self._style:
            self.found += _CSS.findall(data)


def _requests(html: str) -> list[str]:
    """Every element, attribute and style rule of a page that loads something from elsewhere, or may (scripts)."""
    page = _Requests()
    page.feed(html)
    page.close()
    return page.found


@pytest.fixture(scope="session")
def new_notebook_file() -> Write:
    """Writes a notebook into a folder: cells are code, but those that begin with # and a space are Markdown."""

    def write(folder: Path, *cells: str, parameters: str | None = None, language: str = "python") -> Path:
        kernel = {"name": "python3", "display_name": "Python 3", "language": language}
        notebook = new_notebook(metadata={"kernelspec": kernel})
        if parameters is not None:
            tagged = {"tags": ["parameters"]}
            notebook.cells.append(new_code_cell(parameters, id="parameters", metadata=tagged))
        for number, text in enumerate(cells):
            new = new_markdown_cell if text.startswith("# ") else new_code_cell
            notebook.cells.append(new(text, id=f"cell-{number}"))
        path = folder / "small.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def write(tmp_path: Path, new_notebook_file: Write) -> Write:
    """The same, into this test's folder."""
    return partial(new_notebook_file, tmp_path)


@pytest.fixture
def requests() -> Callable[[str], list[str]]:
    """The search, as a function of a page."""
    return _requests
