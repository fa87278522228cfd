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


def described(shape: list[int]) -> bytes:
    """A safetensors file with one tensor of zeros."""
    size = 4 * shape[0]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def test_a_hugging_face_folder(home, tmp_path, capsys, refused):
    folder = tmp_path / "My.Model-1.7B"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(described([3]))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert main(["pull", str(folder)]) == 0
    assert "My.Model-1.7B is ready" in capsys.readouterr().out
    assert main(["pull", str(folder)]) == 0
    assert "was already there" in capsys.readouterr().out
    assert main(["export", "My.Model-1.7B", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("the same as its source\n") == 2
    for file in folder.iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    (folder / "config.json").write_text("{}")
    assert "comes from My.Model-1.7B, not from" in refused("pull", folder)


def test_a_safetensors_file(home, tmp_path, capsys):
    (tmp_path / "tiny.safetensors").write_bytes(described([3]))
    assert main(["pull", str(tmp_path / "tiny.safetensors")]) == 0
    assert main(["export", "tiny", str(tmp_path / "b"), "--format", "safetensors"]) == 0
    assert (tmp_path / "b").read_bytes() == described([3])


def test_another_format_is_refused_in_one_line(pulled, refused):
    line = refused("export", "tiny", pulled / "hf", "--format", "safetensors")
    assert "a model of no named architecture cannot be converted; wanted llama" in line
    assert "invalid choice: 'onnx'" in refused("export", "tiny", pulled / "hf", "--format", "onnx")
