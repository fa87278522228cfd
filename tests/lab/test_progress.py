import io
import sys
from types import SimpleNamespace

import pytest

from genome.lab.progress import Bars


class Terminal(io.StringIO):
    """What tqdm draws on, where somebody looks."""

    def isatty(self) -> bool:
        return True


def last_lines(terminal: Terminal) -> list[str]:
    """What stays on the screen: of each line, what came after the last return."""
    return [line.split("\r")[-1].strip() for line in terminal.getvalue().removesuffix("\n").split("\n")]


def test_a_terminal_gets_a_bar_a_stage_with_bytes_rate_and_time() -> None:
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars("smollm2: download", 0, 2_000_000)
        bars("smollm2: download", 2_000_000, 2_000_000)
        bars("smollm2: tensors", 272, 272, "tensors")
    download, tensors = last_lines(terminal)
    assert download.startswith("smollm2: download: 100%")
    assert "2.00M/2.00M" in download
    assert "B/s" in download
    assert "272/272" in tensors
    assert "tensors/s" in tensors


def test_a_total_that_is_known_late_is_taken_up() -> None:
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars("read", 5, 0, "rows")
        bars("read", 10, 10, "rows")
    assert "10/10" in last_lines(terminal)[0]


def test_a_file_gets_a_line_a_stage() -> None:
    log = io.StringIO()
    with Bars(log) as bars:
        for stage in ("download", "download", "tensors"):
            bars(stage, 1, 2)
    assert log.getvalue() == "download\ntensors\n"


def test_a_report_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOME_REPORT", "1")
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars("download", 1, 2)
    assert terminal.getvalue() == ""


def test_a_live_notebook_keeps_no_finished_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        """What IPython's shell is called in a kernel."""

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars("download", 1, 2)
        assert "download" in terminal.getvalue()
    assert last_lines(terminal) == [""]
