import json
import os
from pathlib import Path

import pytest

from genome import resources
from genome.errors import Error, NotFoundError
from genome.lab.notebooks import copy_shipped, find, replace_file


def write(path: Path, *cells: str, outputs: list[object] | None = None) -> None:
    told = [{"cell_type": "code", "source": [cell], "outputs": outputs or [], "metadata": {}} for cell in cells]
    path.write_text(json.dumps({"cells": told, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships one notebook, which a test may change."""
    folder = tmp_path / "package"
    folder.mkdir()
    write(folder / "00_tour.ipynb", "first version")
    monkeypatch.setattr(resources, "folder", lambda name: folder)
    return folder / "00_tour.ipynb"


def test_the_first_time_every_notebook_is_copied(package: Path, tmp_path: Path) -> None:
    assert copy_shipped(tmp_path / "mine").written == ("00_tour.ipynb",)
    assert (tmp_path / "mine" / "00_tour.ipynb").read_bytes() == package.read_bytes()


def test_a_second_time_nothing_is_written(package: Path, tmp_path: Path) -> None:
    copy_shipped(tmp_path)
    again = copy_shipped(tmp_path)
    assert (again.written, again.kept) == ((), ())


def test_an_edited_copy_stays_and_is_told_of_only_when_the_package_has_another(
    package: Path, tmp_path: Path
) -> None:
    copy_shipped(tmp_path)
    write(tmp_path / "00_tour.ipynb", "my own version")
    assert copy_shipped(tmp_path).kept == ()
    write(package, "second version")
    assert copy_shipped(tmp_path).kept == ("00_tour.ipynb",)
    assert "my own version" in (tmp_path / "00_tour.ipynb").read_text()


def test_an_unedited_copy_is_brought_up_to_date(package: Path, tmp_path: Path) -> None:
    copy_shipped(tmp_path)
    write(package, "second version")
    assert copy_shipped(tmp_path).written == ("00_tour.ipynb",)
    assert "second version" in (tmp_path / "00_tour.ipynb").read_text()


def test_a_copy_that_was_only_run_counts_as_unedited(package: Path, tmp_path: Path) -> None:
    copy_shipped(tmp_path)
    write(tmp_path / "00_tour.ipynb", "first version", outputs=[{"output_type": "stream"}])
    write(package, "second version")
    assert copy_shipped(tmp_path).written == ("00_tour.ipynb",)


@pytest.mark.parametrize("damage", ["", "{", "[1]"])
def test_without_a_readable_ledger_a_copy_that_differs_stays(package: Path, tmp_path: Path, damage: str) -> None:
    copy_shipped(tmp_path)
    (tmp_path / ".shipped.json").write_text(damage)
    write(package, "second version")
    assert copy_shipped(tmp_path).written == ()


def test_a_copy_that_is_no_notebook_any_more_stays(package: Path, tmp_path: Path) -> None:
    copy_shipped(tmp_path)
    (tmp_path / "00_tour.ipynb").write_text("notes")
    write(package, "second version")
    assert copy_shipped(tmp_path).kept == ("00_tour.ipynb",)


@pytest.mark.parametrize("name", ["00_tour", "00_tour.ipynb", "notebooks/00_tour.ipynb"])
def test_a_shipped_notebook_is_found_by_name(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(name) == package


def test_a_file_comes_before_a_shipped_notebook_of_the_same_name(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "00_tour.ipynb", "mine")
    assert find("00_tour.ipynb").resolve() == tmp_path / "00_tour.ipynb"


@pytest.mark.parametrize("name", ["01_tour", "elsewhere/00_tour.ipynb", "."])
def test_another_name_is_refused_with_the_known_ones(package: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match=r"no such notebook; wanted a file, or one of .*: 00_tour"):
        find(name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is how Linux simulates a full disk")
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    (tmp_path / f".report.html.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(Error, match=r"report\.html cannot be written \(No space left on device\)"):
        replace_file(target, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert target.read_text() == "old"
