"""What the README shows is what the program prints."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SCRIPT = runpy.run_path(str(ROOT / ".ci" / "readme"))

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def test_help_texts_are_in_step():
    assert SCRIPT["updated"](README) == README, "run `python .ci/readme --update`"


def test_examples_print_what_the_readme_says(workbench, monkeypatch: pytest.MonkeyPatch):
    """Word for word, and the numbers within 2 %: another processor adds floats up in another order."""
    monkeypatch.setenv("GENOME_HOME", str(workbench.folder))
    told, now = README.splitlines(), SCRIPT["examples"](README).splitlines()
    assert [re.sub(r"[ ─]+", " ", NUMBER.sub("#", line)) for line in now] == [
        re.sub(r"[ ─]+", " ", NUMBER.sub("#", line)) for line in told
    ]
    for one, other in zip(now, told, strict=True):
        found, wanted = ([float(n) for n in NUMBER.findall(line)] for line in (one, other))
        assert found == pytest.approx(wanted, rel=0.02, abs=0.002), f"{one}\n{other}"


def test_the_first_commands_are_the_ones_that_ci_runs():
    lines = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
    assert lines[0] == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/genome lab\n"
    assert lines[1].startswith(".venv/bin/genome lab --build-only && .venv/bin/genome report 00_tour.ipynb")
    assert re.fullmatch(r"python3 -m venv \.venv && .* && \.venv/bin/pytest\n", lines[2])
    assert len(re.findall(r"^python3 -m venv .* && \S*pytest$", README, re.M)) == 1  # `.ci/run` looks for it
