"""Executables that outlive the process: loaded without compiling, and never when somebody else has made them."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from genome.db.connect import opened
from genome.db.journal import Journal
from genome.model import LanguageModel
from genome.model.kernel import executables
from genome.model.kernel.executables import Executables


def _affine(shift: int, x: jax.Array) -> jax.Array:
    return 2 * x + shift


DOUBLED = jax.jit(_affine, static_argnums=0)
ONES = np.ones(4, np.float32)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """As at the start of a process, of a user whose key lies in the cache folder."""
    monkeypatch.setattr(executables, "_ready", {})
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))


def got(folder: Path | None, shift: int = 1, x: np.ndarray = ONES) -> tuple[float, int]:
    """The first number of 2 x + shift, and how many executables had to be compiled, in a new process."""
    executables._ready.clear()
    kept = Executables(folder)
    return float(kept.get(DOUBLED, shift, x)(x)[0]), kept.compiled


def test_what_was_compiled_is_loaded(tmp_path):
    assert got(tmp_path / "kept") == (3.0, 1)
    assert got(tmp_path / "kept") == (3.0, 0)
    assert got(None) == (3.0, 1)


def test_another_constant_or_shape_is_another_executable(tmp_path):
    assert got(tmp_path, shift=1) == (3.0, 1)
    assert got(tmp_path, shift=2) == (4.0, 1)
    assert got(tmp_path, x=np.ones(5, np.float32)) == (3.0, 1)
    assert got(tmp_path, x=np.ones(4, np.int32)) == (3.0, 1)


def test_one_process_compiles_once(tmp_path):
    kept = Executables(tmp_path)
    assert kept.get(DOUBLED, 1, ONES) is kept.get(DOUBLED, 1, ONES) is Executables().get(DOUBLED, 1, ONES)
    assert kept.compiled == 1


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1] + b"x", lambda raw: raw[:20], lambda raw: b""])
def test_damage_is_compiled_again(tmp_path, damage):
    got(tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert got(tmp_path / "kept") == (3.0, 1)
    assert got(tmp_path / "kept") == (3.0, 0)


def test_nothing_of_another_user_is_loaded(tmp_path, monkeypatch):
    """A folder that comes with somebody's signed files: this user's key is another one."""
    got(tmp_path / "kept")
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(executables, "deserialize_and_load", lambda *told: pytest.fail("loaded"))
    assert got(tmp_path / "kept") == (3.0, 1)


def test_a_file_under_another_name_is_not_loaded(tmp_path):
    got(tmp_path, shift=1)
    (one,) = (path for path in tmp_path.iterdir() if path.is_file())
    got(tmp_path, shift=2)
    (two,) = (path for path in tmp_path.iterdir() if path.is_file() and path != one)
    two.write_bytes(one.read_bytes())
    assert got(tmp_path, shift=2) == (4.0, 1)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert got(tmp_path / "file" / "kept") == (3.0, 1)


def test_no_key_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "file" / "cache"))
    assert got(tmp_path / "kept") == (3.0, 1)
    assert not (tmp_path / "kept").exists()


def test_a_model_starts_without_compiling(tmp_path, tiny_db, monkeypatch):
    def tokens() -> list[int]:
        with opened(tiny_db, "model") as db:
            model = LanguageModel(db, "tiny", Journal(), executables=tmp_path / "kept")
            return [step.token for step in model.generate([5], max_tokens=4, past_end=True)]

    first = tokens()
    executables._ready.clear()
    monkeypatch.setattr(Executables, "_keep", lambda *told: pytest.fail("compiled again"))
    assert tokens() == first


def test_what_was_not_asked_for_longest_goes_first(tmp_path, monkeypatch):
    """Other versions of this program leave files under names that nobody asks for any more."""
    monkeypatch.setattr(executables, "_MOST_KEPT", 2)
    for shift in (1, 2):
        got(tmp_path / "kept", shift)
    for age, file in enumerate(sorted((tmp_path / "kept").iterdir())):
        os.utime(file, (1000 + age, 1000 + age))
    assert got(tmp_path / "kept", 1)[1] == 0  # asked for now: not the oldest any more
    left = tmp_path / "kept" / ".of-a-killed-process.1"
    left.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    assert got(tmp_path / "kept", 3)[1] == 1
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert [got(tmp_path / "kept", shift)[1] for shift in (1, 3, 2)] == [0, 0, 1]
