"""`genome export`: a model that came from a file goes out as that file."""

import hashlib
import json
import struct

import pytest

from genome.cli import main
from genome.workbench import Workbench

CONTENT = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
"""The smallest file: a header alone."""


@pytest.fixture
def pulled(home, tmp_path, capsys):
    """The folder in which a GGUF file lies that the workbench has as `tiny`."""
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    assert main(["pull", str(tmp_path / "tiny.gguf")]) == 0
    capsys.readouterr()
    return tmp_path


def test_in_and_out(pulled, capsys):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert main(["export", "tiny", str(pulled / "a.gguf")]) == 0
    assert capsys.readouterr().out == (
        f"{pulled / 'a.gguf'} is written: 24 bytes, SHA-256 {sha256}, the same as its source\n"
    )
    assert main(["export", "tiny", str(pulled / "a.gguf"), "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    path = str(pulled / "a.gguf")
    assert told == {
        "name": "tiny", "path": path, "changed": False,
        "files": [{"path": path, "size_bytes": 24, "sha256": sha256}],
    }  # fmt: skip
    assert (pulled / "a.gguf").read_bytes() == CONTENT


def test_from_python(pulled, home):
    assert Workbench(home).export("tiny", str(pulled / "a.gguf")).path == pulled / "a.gguf"
    assert (pulled / "a.gguf").read_bytes() == CONTENT


def test_refusals(pulled, refused):
    (pulled / "a.gguf").write_text("mine")
    assert "a.gguf exists; choose another name" in refused("export", "tiny", pulled / "a.gguf")
    assert "no database is called 'tony'" in refused("export", "tony", pulled / "b.gguf")
    assert "is not a folder" in refused("export", "tiny", pulled / "no" / "b.gguf")
    assert sorted(p.name for p in pulled.iterdir()) == ["a.gguf", "home", "tiny.gguf"]
    assert (pulled / "a.gguf").read_text() == "mine"
