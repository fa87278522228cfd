"""Files and folders that appear whole or not at all. How single files fail is in tests/model/test_exporter.py."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genome.db import replace
from genome.db.replace import replacing, replacing_folder
from genome.errors import Error, NotFoundError


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(params=["exchange", "two renames"])
def system(request, monkeypatch) -> None:
    """The two ways to put a folder in another's place; the second one is for systems without the first."""
    if request.param == "two renames":
        monkeypatch.setattr(replace, "_exchanged", lambda one, other: False)


@pytest.mark.usefixtures("system")
def test_a_folder_takes_its_name_when_it_is_full(tmp_path):
    with replacing_folder(tmp_path / "out") as folder:
        assert not (tmp_path / "out").exists()
        (folder / "a").write_text("1")
        (folder / "deep").mkdir()
        (folder / "deep/b").write_text("2")
    assert names(tmp_path) == ["out", "out/a", "out/deep", "out/deep/b"]


@pytest.mark.usefixtures("system")
def test_a_folder_is_replaced_when_told(tmp_path):
    (tmp_path / "out").mkdir()
    with replacing_folder(tmp_path / "out") as folder:  # an empty one needs no force
        (folder / "a").write_text("1")
    with pytest.raises(Error, match="out exists; choose another name, or replace it with --force"):
        fill(tmp_path / "out")
    fill(tmp_path / "out", force=True)
    assert names(tmp_path) == ["out", "out/a", "out/b"]
    assert (tmp_path / "out/a").read_text() == "new"


def fill(path: Path, force: bool = False, meanwhile: Callable[[], object] = lambda: None) -> None:
    with replacing_folder(path, force) as folder:
        for name in "ab":
            (folder / name).write_text("new")
        meanwhile()


def test_files_of_somebody_elses_stay(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/diary.txt").write_text("mine")
    with pytest.raises(Error, match=r"out holds other files \('diary.txt'\); they stay as they are"):
        fill(tmp_path / "out", force=True)
    assert names(tmp_path) == ["out", "out/diary.txt"]


def test_what_appears_meanwhile_stays(tmp_path):
    def appear() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/a").write_text("mine")

    with pytest.raises(Error, match="out exists"):
        fill(tmp_path / "out", meanwhile=appear)
    assert names(tmp_path) == ["out", "out/a"]
    assert (tmp_path / "out/a").read_text() == "mine"


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fill(tmp_path / "out", meanwhile=lambda: 1 / 0)
    assert names(tmp_path) == []


def test_what_is_no_ordinary_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(Error, match=f"{name} cannot be replaced: it is no ordinary folder"):
            fill(tmp_path / name, force=True)
    with pytest.raises(NotFoundError, match="no is not a folder; make it first"):
        fill(tmp_path / "no/out")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(Error, match="here is the folder that you are in"):
        fill(Path())


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folder: what a kill leaves there stays")
def test_what_a_kill_left_is_removed_and_no_live_one(tmp_path):
    code = (
        "import os, pathlib, sys\n"
        "from genome.db.replace import replacing_folder\n"
        "with replacing_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'a').touch()\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False).returncode == 9
    assert len(list(tmp_path.glob(".out.*.exporting"))) == 1
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        fill(tmp_path / "out")
        with pytest.raises(Error, match="out exists"):
            fill(tmp_path / "out")
        (tmp_path / "out/a").unlink()
        (tmp_path / "out/b").unlink()
    assert names(tmp_path) == ["out", "out/a"]


@pytest.mark.skipif(os.name == "nt", reason="Windows holds what is open")
def test_two_that_write_one_file(tmp_path):
    """The inner one is live within the outer one; neither takes the other's hidden file for a leftover."""
    with replacing(tmp_path / "a", force=True) as outer:
        outer.write(b"outer")
        with replacing(tmp_path / "a") as inner:
            inner.write(b"inner")
        assert (tmp_path / "a").read_bytes() == b"inner"
    assert (tmp_path / "a").read_bytes() == b"outer"
    assert names(tmp_path) == ["a"]
