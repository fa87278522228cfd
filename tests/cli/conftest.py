"""What the command line's tests share: a folder of their own, and commands that must refuse or answer."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genome.cli import main


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty workbench, and an empty cache."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GENOME_HOME", str(folder))
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def one_line() -> Callable[..., str]:
    """Checks what a command that refuses left behind: exit status 2, nothing printed, one line; gives the line."""

    def check(status: object, out: str, err: str) -> str:
        assert (status, out) == (2, "")
        assert err.startswith("genome: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert len(err) < 600
        return err

    return check


@pytest.fixture
def refused(capsys, one_line) -> Callable[..., str]:
    """Runs a command that must refuse; gives its one line."""

    def run(*arguments: object) -> str:
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as end:
            status = end.code
        printed = capsys.readouterr()
        return one_line(status, printed.out, printed.err)

    return run


@pytest.fixture
def answer(workbench, capsys) -> Callable[..., str]:
    """Runs a command on the default workbench; gives what it prints."""

    def run(*arguments: str) -> str:
        assert main(["--home", str(workbench.folder), *arguments]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return run


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a process of its own."""

    def run(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "genome", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, **options)

    return run
