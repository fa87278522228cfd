"""Atomic builds: a database appears under its name complete, or not at all."""

import datetime
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import apsw

from genome.db.complaints import sqlite_errors
from genome.db.connect import prepare, taking_the_place
from genome.db.contents import add_rows, digests, identity
from genome.db.files import uri
from genome.db.kinds import APPLICATION_ID, FINGERPRINTS, KINDS, SCHEMA_VERSION, indexes, tables
from genome.db.layout import inside_virtual
from genome.db.pages import CHECKSUM_BYTES, parameters
from genome.errors import Error

PAGE_BYTES = 16384
_OWN_FACTS = ("kind", "name", "checksum", "uuid", "created")


@contextmanager
def building(path: Path, kind: str, page_bytes: int = PAGE_BYTES, /, **facts: str) -> Iterator[apsw.Connection]:
    """A new, empty database of a kind, in one transaction; at the end of the block it takes its name.

    It grows in a hidden file beside `path`. When the block raises, that file is removed and whatever was at
    `path` stays; what a killed build left is removed by the next one.

    Args:
        path: the final name; an existing database there is replaced in one step.
        kind: one of `KINDS`.
        page_bytes: of the file: a power of two from 512; small for a database of few rows.
        facts: rows of `meta`: source, source_sha256, licence and what the kind adds.

    Raises:
        Error: another process is building the same database, the disk is full, the folder not writable, a
            folder already has that name, no such kind, or the content breaks the kind's schema.
    """
    if kind not in KINDS:
        raise Error(f"there is no kind {kind!r} of database; wanted one of {', '.join(KINDS)}")
    if taken := [name for name in facts if name in _OWN_FACTS]:
        raise Error(f"{taken[0]!r} is a fact that the build itself writes; choose another name")
    if path.is_dir():
        raise Error(f"{path} is a folder; wanted the name of a database file")
    with sqlite_errors(path):
        growing, db = _begin(path, kind, page_bytes)
        try:
            yield db
            _finish(db, path.stem, kind, {key: str(value) for key, value in facts.items()})
            _publish(db, growing, path)
        except BaseException:
            db.close(True)
            with suppress(FileNotFoundError):
                growing.unlink()
            raise


def _begin(path: Path, kind: str, page_bytes: int) -> tuple[Path, apsw.Connection]:
    """A locked file of a new name. The lock, held to the end, is what tells a live build from a killed one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]+\.building", leftover.name):
                _remove_leftover(leftover, path)
    except OSError as error:
        raise Error(f"{path.parent} cannot be written ({error.strerror}); choose another folder") from error
    while True:
        growing = path.with_name(f".{path.name}.{token_hex(4)}.building")
        db = _create(growing, kind, page_bytes)
        if growing.exists():
            return growing, db
        db.close(True)  # taken for a leftover by another build, in the moment before the lock


def _create(growing: Path, kind: str, page_bytes: int) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(f"{uri(growing.absolute().as_posix())}?{parameters(page_bytes=page_bytes)}", flags)
    try:
        db.reserve_bytes("main", CHECKSUM_BYTES)
        prepare(db)
        # No journal file: a build that fails is thrown away whole. One sync, when it is complete.
        settings = {
            "page_size": page_bytes, "journal_mode": "MEMORY", "synchronous": "FULL", "locking_mode": "EXCLUSIVE",
        }  # fmt: skip
        for name, value in settings.items():
            db.pragma(name, value)
        db.execute("BEGIN EXCLUSIVE")
        db.pragma("application_id", APPLICATION_ID)
        db.pragma("user_version", SCHEMA_VERSION[kind])
        db.execute(tables(kind))
    except BaseException:
        db.close(True)
        growing.unlink(missing_ok=True)
        raise
    return db


def _remove_leftover(leftover: Path, path: Path) -> None:
    """A live build holds its file's lock; without one, the file is what a killed build left."""
    try:
        db = apsw.Connection(str(leftover))
        try:
            db.execute("BEGIN EXCLUSIVE; ROLLBACK")
        finally:
            db.close(True)
    except (apsw.BusyError, apsw.LockedError):
        raise Error(f"{path} is being built by another process; wait for it, or end it") from None
    except apsw.Error:
        pass  # half a page is no database: that is what a kill leaves
    leftover.unlink(missing_ok=True)


def _finish(db: apsw.Connection, name: str, kind: str, facts: dict[str, str]) -> None:
    """The header facts and the digests. The uuid follows from the content: the same sources, the same identity."""
    db.execute(indexes(kind))
    content = digests(db)
    facts = {"source": "", "source_sha256": "", "licence": "", **facts, **_fingerprints(db, kind)}
    checksum = identity(kind, facts, content, inside_virtual(db))
    facts |= {
        "kind": kind,
        "name": name,
        "checksum": checksum,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, checksum)),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(facts.items()))
    content["meta"] = digests(db, ["meta"])["meta"]
    db.executemany(
        "INSERT INTO contents VALUES (?, ?, ?)", [(t, n, sha) for t, (n, sha) in sorted(content.items())]
    )
    db.execute("COMMIT")


def _fingerprints(db: apsw.Connection, kind: str) -> dict[str, str]:
    """The facts of a kind that follow from its rows."""
    found = {}
    for fact, sql in FINGERPRINTS.get(kind, {}).items():
        sha = hashlib.sha256()
        if add_rows(sha, db.execute(sql)):
            found[fact] = sha.hexdigest()
    return found


def _publish(db: apsw.Connection, growing: Path, path: Path) -> None:
    if os.name == "nt":
        db.close()  # Windows moves no open file; elsewhere the lock stays until the file has its name
    try:
        with taking_the_place(path):
            os.replace(growing, path)
    except OSError as error:
        raise Error(
            f"{path} cannot be replaced ({error.strerror}); close what holds it, then build again"
        ) from error
    db.close(True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Asks the disk to keep a folder's entries; where none can be asked, a rename stands as the system keeps it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
