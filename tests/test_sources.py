"""Named sources, on packages made here and served from a folder; no network but where a test says so."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from genome import sources
from genome.errors import Error, NotFoundError
from genome.sources import Source, fetch, find, names, unpack

CONTENT = b"mother: a female parent\n" * 50_000


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Source:
    """A source called demo, in the table, whose wheel lies in the only place where pip may look."""
    wheel = tmp_path / "links" / "genome_demo-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as zipped:
        zipped.writestr("words/a.txt", CONTENT)
        zipped.writestr("words/b.txt", CONTENT)
        zipped.writestr("words/deep/c.txt", b"not wanted")
        about = "genome_demo-1.0.dist-info"
        zipped.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: genome-demo\nVersion: 1.0\n")
        zipped.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        zipped.writestr(f"{about}/RECORD", "")
    archive = wheel.read_bytes()
    source = Source(
        "demo", "genome-demo", "1.0", hashlib.sha256(archive).hexdigest(), len(archive), 2 * len(CONTENT),
        "public domain", "lexicon", ("words/*",), "words",
    )  # fmt: skip
    monkeypatch.setattr(sources, "_table", lambda: {"demo": source})
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return source


def left(source: Source) -> list[str]:
    """What lies in the cache beside the lock."""
    return sorted(p.name for p in source.folder.parent.iterdir() if p.suffix != ".lock")


def refused(name: str = "demo") -> str:
    with pytest.raises(Error) as refusal:
        fetch(name)
    text = str(refusal.value)
    assert "\n" not in text
    assert text.startswith(f"{name}: ")
    return text


def test_a_fetch_unpacks_what_is_wanted_and_nothing_else(demo):
    told = []
    source = fetch("demo", lambda *now: told.append(now))
    assert source.path == demo.folder / "words"
    assert {p.name: p.read_bytes() for p in source.path.iterdir()} == {"a.txt": CONTENT, "b.txt": CONTENT}
    assert left(demo) == [demo.folder.name]
    stages = list(dict.fromkeys(stage for stage, *_ in told))
    assert stages == ["demo: download", "demo: unpack"]
    for stage in stages:
        done = [now[1] for now in told if now[0] == stage]
        assert done == sorted(done)
        assert done[-1] == next(now[2] for now in told if now[0] == stage)


def test_a_second_fetch_asks_nobody(demo, monkeypatch):
    fetch("demo")
    monkeypatch.setattr(sources, "_download", None)
    assert fetch("demo") == demo


def test_two_at_once_fetch_once(demo, monkeypatch):
    download, calls = sources._download, []
    monkeypatch.setattr(sources, "_download", lambda *args: calls.append(1) or download(*args))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fetch, ["demo", "demo"])) == [demo, demo]
    assert calls == [1]


def test_another_file_under_the_same_name_is_refused(demo, monkeypatch):
    wanted = "0" * 64
    monkeypatch.setattr(sources, "_table", lambda: {"demo": replace(demo, sha256=wanted)})
    text = refused()
    assert wanted in text
    assert demo.sha256 in text
    assert left(demo) == []


def test_what_no_index_has_is_one_line(demo, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(demo.folder.parent))
    text = refused()
    assert "genome-demo==1.0" in text
    assert "No matching distribution" in text
    assert left(demo) == []


@pytest.mark.parametrize(
    ("complaints", "said"),
    [
        ("ERROR: Exception:\nTraceback (most recent call last):\nOSError: [Errno 28] No space left on device\n",
         "[Errno 28] No space left on device"),
        ("WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found for x\n",
         "No matching distribution found for x"),
        ("error: incomplete-download\n\n\N{MULTIPLICATION SIGN} Download failed\n\nhint: Do\n", "Download failed"),
        ("ERROR: Exception:\nTraceback\nValueError: what\n", "ValueError: what"),
        ("", "nothing"),
    ],
)  # fmt: skip
def test_of_what_pip_says_the_reason_is_told(demo, complaints, said):
    """Texts as pip 23.2 and 26.3 print them."""
    assert f"which said: {said}; check" in sources._reason(demo, complaints)


def test_without_pip_the_repair_is_named(demo, monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda _: None)
    assert "ensurepip" in refused()


def test_a_cache_that_cannot_be_made(demo, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "file" / "cache"))
    assert "GENOME_CACHE" in refused()


def test_what_the_archive_lacks_is_named(demo, monkeypatch):
    monkeypatch.setattr(sources, "_table", lambda: {"demo": replace(demo, unpack=("words/*", "pictures/*"))})
    assert "pictures/*" in refused()
    assert left(demo) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
def test_a_kill_leaves_at_most_what_the_next_fetch_removes(demo, tmp_path):
    """A stand-in for pip writes a part of the archive and then hangs, so that the kill hits the middle."""
    stand_in = tmp_path / "stand-in" / "pip" / "__main__.py"
    stand_in.parent.mkdir(parents=True)
    (stand_in.parent / "__init__.py").touch()
    started = tmp_path / "started"
    stand_in.write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(os.environ['TMPDIR'], 'part').write_bytes(bytes(1000))\n"
        f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    script = (
        f"from genome import sources; sources._table = lambda: {{'demo': sources.{demo!r}}}; sources.fetch('demo')"
    )
    python_path = os.pathsep.join([str(stand_in.parents[1]), str(Path(sources.__file__).parents[1])])
    child = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": python_path})
    deadline = time.monotonic() + 30
    while not (started.is_file() and started.read_text()):
        assert time.monotonic() < deadline, "the stand-in for pip did not start"
        time.sleep(0.02)
    child.kill()
    child.wait()
    os.kill(int(started.read_text()), signal.SIGKILL)
    assert left(demo) == [f".{demo.folder.name}.staging"]

    fetch("demo")
    assert left(demo) == [demo.folder.name]


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_a_path_that_leads_out_is_refused(demo, tmp_path, form, name):
    archive = tmp_path / f"evil.{form}"
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr(name, b"evil")
    else:
        with tarfile.open(archive, "w") as tarred:
            member = tarfile.TarInfo(f"evil-1.0/{name}")
            member.size = 4
            tarred.addfile(member, io.BytesIO(b"evil"))
    source = replace(demo, unpack=("*/evil.txt", "*evil.txt", "/*"))
    with pytest.raises(Error, match="leads out of its folder"):
        unpack(source, archive, tmp_path / "target")
    assert not (tmp_path / "evil.txt").exists()


def test_a_link_in_an_archive_is_not_followed(demo, tmp_path):
    archive = tmp_path / "links.tar"
    with tarfile.open(archive, "w") as tarred:
        member = tarfile.TarInfo("demo-1.0/words/passwords")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tarred.addfile(member)
    with pytest.raises(Error, match="holds no words"):
        unpack(demo, archive, tmp_path / "target")


def test_the_table_pins_every_source():
    assert names("model", "lexicon") == ["smollm2", "wordnet", "webster"]
    for source in map(find, names()):
        assert len(bytes.fromhex(source.sha256)) == 32
        assert source.size_bytes > 0
        assert source.unpacked_bytes > 0
        assert source.licence
        assert any(source.inside in (pattern, str(Path(pattern).parent.as_posix())) for pattern in source.unpack)


def test_an_unknown_source_is_told_the_known_ones():
    with pytest.raises(NotFoundError, match="smollm2, wordnet, webster"):
        find("wordnett")


@pytest.mark.network
@pytest.mark.parametrize("name", ["webster", "wordnet", "similarity"])
def test_a_real_source_holds_what_the_table_says(source, name):
    found = source(name)
    files = [p for p in found.folder.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) == found.unpacked_bytes
    assert found.path.exists()
