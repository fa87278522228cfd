"""Saved envelopes: the same databases with the same content, or one line that says what is not."""

import json
from pathlib import Path

import pytest

from genome.db import building, header
from genome.errors import DamagedError, Error, NotFoundError
from genome.workbench import Workbench


def model(folder: Path, name: str, token: str = "cat") -> None:
    with building(folder / f"{name}.db", "model", source=name) as db:
        db.execute("INSERT INTO token VALUES (0, ?, ?, 1, NULL)", (token, token.encode()))


@pytest.fixture
def bench(tmp_path) -> Workbench:
    """A workbench with one model and an envelope saved as `pilot`."""
    model(tmp_path, "llm")
    bench = Workbench(tmp_path)
    with bench.envelope("llm", activity="reading") as envelope:
        envelope.save("pilot")
    return bench


def test_a_saved_envelope_opens_the_same_databases(bench):
    assert bench.envelopes() == ["pilot"]
    with bench.reopen("pilot") as envelope:
        assert envelope.names == ("llm",)
        assert envelope.journal.activity == "reading"


def test_a_database_that_came_later_is_not_added(bench):
    with building(bench.folder / "late.db", "genome", vocabulary=header(bench.path("llm"))["vocabulary"]):
        pass
    with bench.envelope("llm") as envelope:
        assert envelope.names == ("llm", "late")
    with bench.reopen("pilot") as envelope:
        assert envelope.names == ("llm",)


def test_the_file_is_for_people_too(bench):
    told = json.loads((bench.folder / "envelopes" / "pilot.json").read_bytes())
    (entry,) = told["databases"]
    assert (entry["name"], entry["kind"]) == ("llm", "model")
    assert entry["checksum"] == bench.info("llm")["checksum"]


def test_another_content_is_refused_by_name(bench):
    model(bench.folder, "llm", token="dog")
    with pytest.raises(Error, match="pilot was saved with another content of llm; bring that content back"):
        bench.reopen("pilot")


def test_what_is_gone_or_was_never_there(bench):
    with pytest.raises(NotFoundError, match="no envelope is saved as 'other'; there are: pilot"):
        bench.reopen("other")
    (bench.folder / "llm.db").unlink()
    with pytest.raises(NotFoundError, match="no database is called 'llm'"):
        bench.reopen("pilot")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a\0b"])
def test_names_that_cannot_be(bench, name):
    with pytest.raises(Error, match="cannot name an envelope"):
        bench.reopen(name)
    with bench.envelope("llm") as envelope, pytest.raises(Error, match="cannot name an envelope"):
        envelope.save(name)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b'{"activity": 1, "databases": []}', b'{"activity": "a", "databases": [3]}'],
)
def test_a_file_that_is_no_saved_envelope(bench, content):
    (bench.folder / "envelopes" / "pilot.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"pilot\.json is not a saved envelope; save it again"):
        bench.reopen("pilot")


def test_a_folder_that_cannot_be_written(bench, monkeypatch):
    monkeypatch.setattr(
        Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with bench.envelope("llm") as envelope, pytest.raises(Error, match=r"cannot be made \(Permission denied"):
        envelope.save("pilot")
