"""Atomic builds: a database appears under its name complete, or not at all."""

import datetime
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from genome.db.connect import prepare, sqlite_errors
from genome.db.contents import digest
from genome.db.kinds import APPLICATION_ID, SCHEMA_VERSION, schema
from genome.errors import Error

PAGE_BYTES = 16384


@contextmanager
def building(path: Path, kind: str, **facts: str) -> Iterator[apsw.Connection]:
    """A new, empty database of a kind, in one transaction; at the end of the block it takes its name.

    It grows in a hidden file beside `path`. When the block raises, that file is removed and whatever was at
    `path` stays; what a killed build left is removed by the next one.

    Args:
        path: the final name; an existing database there is replaced in one step.
        kind: one of `KINDS`.
        facts: rows of `meta`: source, source_sha256, licence and what the kind adds.

    Raises:
        Error: another process is building the same database, the disk is full, the folder not writable.
    """
    growing = path.with_name(f".{path.name}.building")
    with sqlite_errors(path):
        db = _begin(growing, kind)
        try:
            yield db
            _finish(db, path.stem, kind, facts)
        except BaseException:
            db.close(True)
            with suppress(FileNotFoundError):
                growing.unlink()
            raise
    _sync(growing)
    os.replace(growing, path)
    _sync(path.parent)


def _begin(growing: Path, kind: str) -> apsw.Connection:
    try:
        growing.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"{growing.parent} cannot be made ({error.strerror}); choose another folder") from error
    if growing.exists():
        _remove_leftover(growing)
    db = apsw.Connection(str(growing))
    try:
        prepare(db)
        settings = {
            "page_size": PAGE_BYTES, "journal_mode": "OFF", "synchronous": "OFF", "locking_mode": "EXCLUSIVE",
            "application_id": APPLICATION_ID, "user_version": SCHEMA_VERSION[kind],
        }  # fmt: skip
        for name, value in settings.items():
            db.pragma(name, value)
        db.execute("BEGIN EXCLUSIVE")
        db.execute(schema(kind))
    except BaseException:
        db.close(True)
        raise
    return db


def _remove_leftover(growing: Path) -> None:
    """A live builder holds the file's lock; without one, the file is what a killed build left."""
    try:
        db = apsw.Connection(str(growing))
        try:
            db.execute("BEGIN EXCLUSIVE; ROLLBACK")
        finally:
            db.close(True)
    except (apsw.BusyError, apsw.LockedError):
        raise Error(f"{growing} is being built by another process; wait for it, or end it") from None
    except apsw.Error:
        pass  # half a page is no database: that is what a kill leaves
    growing.unlink(missing_ok=True)


def _finish(db: apsw.Connection, name: str, kind: str, facts: dict[str, str]) -> None:
    """Digests, then the header facts. The uuid follows from the content: the same sources, the same identity."""
    content = digest(db)
    db.executemany("INSERT INTO contents VALUES (?, ?, ?)", [(t, n, sha) for t, (n, sha) in content.items()])
    told = repr((kind, sorted(facts.items()), sorted(content.items())))
    checksum = hashlib.sha256(told.encode()).hexdigest()
    facts = {
        "source": "", "source_sha256": "", "licence": "", **facts,
        "kind": kind,
        "name": name,
        "checksum": checksum,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, checksum)),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(facts.items()))
    db.execute("COMMIT")
    db.pragma("optimize")
    db.close()


def _sync(path: Path) -> None:
    """Asks the disk to keep a file or a folder's entries; where folders cannot be opened, the rename stands."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
