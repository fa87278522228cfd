import os
import sys
from pathlib import Path

import pytest

from genome.lab import launch
from genome.lab.notebooks import shipped
from genome.workbench import Workbench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A workbench whose default databases count as built."""
    monkeypatch.setattr(Workbench, "build_default", lambda self, progress=None: [])
    return Workbench(tmp_path / "bench")


def test_build_only_copies_the_notebooks_and_returns(bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    launch.lab(bench, build_only=True)
    copies = sorted(p.name for p in (bench.folder / "notebooks").glob("*.ipynb"))
    assert copies == [p.name for p in shipped()]
    assert launch.TOUR in copies
    assert f"the workbench is ready in {bench.folder}" in capsys.readouterr().out


def test_this_process_becomes_jupyterlab_on_the_tour(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[object] = []
    monkeypatch.chdir(bench.folder.parent)
    monkeypatch.setattr(os, "name", "posix")
    monkeypatch.setattr(os, "execve", lambda *call: became.extend(call))
    launch.lab(bench, port=8899, browser=False)
    program, command, environment = became
    folder = bench.folder / "notebooks"
    assert program == sys.executable
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={folder}" in command
    assert {"--LabApp.default_url=/lab/tree/00_tour.ipynb", "--ServerApp.port=8899", "--no-browser"} <= set(command)
    assert environment["GENOME_HOME"] == str(bench.folder)
    assert Path.cwd() == folder


@pytest.mark.parametrize(("user", "told"), [(0, True), (1000, False)])
def test_root_in_a_container_is_let_in(monkeypatch: pytest.MonkeyPatch, user: int, told: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in launch.jupyter_command(Path("notebooks"))) is told


def test_jupyters_own_configuration_path_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "mine")
    told = launch.jupyter_environment(tmp_path)["JUPYTER_CONFIG_PATH"]
    assert told == f"{launch.DEFAULTS}{os.pathsep}mine"
    assert (launch.DEFAULTS / "labconfig" / "default_setting_overrides.json").is_file()


def test_an_edited_notebook_is_told_of(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = launch.copy_shipped(bench.folder / "notebooks")
    monkeypatch.setattr(launch, "copy_shipped", lambda folder: type(kept)((), (launch.TOUR,)))
    launch.lab(bench, build_only=True)
    assert "00_tour.ipynb stays as you edited it; rename it to get the newer version" in capsys.readouterr().out
