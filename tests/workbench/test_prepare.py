"""Compiling ahead: the first run of a model that was prepared is as a later one."""

import pytest

from genome.cli import main
from genome.errors import Error
from genome.model.kernel import executables
from genome.model.kernel.executables import Executables
from genome.workbench import Workbench, workbench


@pytest.fixture
def bench(tmp_path, tiny_gguf, monkeypatch) -> Workbench:
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(executables, "_ready", {})
    bench = Workbench(tmp_path / "home")
    bench.pull(tiny_gguf, "tiny")
    return bench


def test_a_prepared_model_compiles_nothing_for_its_first_answers(bench, monkeypatch):
    told = []
    bench.prepare("tiny", lambda *now: told.append(now))
    assert told[0][0] == "tiny: compile"
    monkeypatch.setattr(executables, "_ready", {})  # as in another process
    monkeypatch.setattr(Executables, "_keep", lambda *told: pytest.fail("compiled"))
    for prompt in ("the mother", "the mother of all tokens went home " * 3):
        with bench.envelope("tiny") as env:
            assert len(list(env.generate(prompt, max_tokens=2, past_end=True))) == 2
    bench.prepare("tiny")


def test_a_model_that_is_large_for_the_machine_is_left_to_its_first_run(bench, monkeypatch):
    monkeypatch.setattr(workbench, "machine_bytes", lambda: 1000)
    with pytest.raises(Error, match="more than half of this machine's memory; its first run compiles"):
        bench.prepare("tiny")


def test_pull_compiles_ahead_and_says_why_not(bench, tmp_path, tiny_gguf, monkeypatch, capsys):
    pull = ["--home", str(tmp_path / "home"), "pull", str(tiny_gguf), "--name", "tiny"]
    assert main([*pull, "--no-compile"]) == 0
    assert not (tmp_path / "home" / ".executables").exists()
    monkeypatch.setattr(workbench, "machine_bytes", lambda: 1000)
    assert main(pull) == 0
    told = capsys.readouterr()
    assert told.out.count("tiny was already there") == 2
    assert told.err.startswith("genome: nothing was compiled ahead: tiny takes more than half")
    assert len(told.err.splitlines()) == 1
