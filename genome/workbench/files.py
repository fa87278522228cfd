"""The files of a workbench: which names are there, and what their headers say."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from genome import db, sources
from genome.db.connect import schema_version
from genome.db.pool import Pool
from genome.envelope import Database, Envelope, Roles, assign
from genome.envelope.roles import stamp
from genome.errors import Error, NotFoundError, quoted
from genome.workbench.naming import valid

if TYPE_CHECKING:
    from genome.db.templates import Template

GENOME = "nsm65"
"""The genome database of the default workbench; it is built from others, not pulled."""


class Files:
    """The databases in a folder: `<folder>/<name>.db`. Headers are read when they are asked for; none stays open.

    Args:
        folder: of the workbench; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Database] = {}
        self._kinds: dict[str, str] = {}
        self._unread: list[str] = []
        self._seen = -1

    def names(self) -> list[str]:
        """The names of the databases, damaged ones too, in alphabetical order."""
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as entries:
            return sorted(e.name[:-3] for e in entries if re.fullmatch(r"[^.].*\.db", e.name) and e.is_file())

    def _has(self, name: str) -> bool:
        if len(name) > 200 or Path(name).name != name or name.startswith("."):
            return False
        if not (self.folder / f"{name}.db").is_file():
            return False
        return (
            sys.platform == "linux" or name in self.names()
        )  # elsewhere a file answers to names in other case too

    def path(self, name: str) -> Path:
        """The file of a database.

        Raises:
            NotFoundError: no database has that name; the text lists those that are there.
        """
        if not self._has(name):
            raise NotFoundError(
                f"no database is called {quoted(name)} in {self.folder}; {self.what_is_there(name)}"
            )
        return self.folder / f"{name}.db"

    def database(self, name: str) -> Database:
        """A database with what its header says now; it is read again when the file has changed.

        Raises:
            NotFoundError, DamagedError: no database has that name, or it cannot be read.
        """
        path = self.path(name)
        if (known := self._read.get(name)) is None or known.stamp != stamp(path):
            known = self._read[name] = Database.read(name, path)
        return known

    def readable(self, *kinds: str) -> Iterator[Database]:
        """The databases of some kinds; damaged files, which some other name may be about, are passed over."""
        for name, kind in self._kinds_now().items():
            if kind in kinds:
                try:
                    found = self.database(name)
                except Error:
                    continue
                if found.kind in kinds:
                    yield found

    def _kinds_now(self) -> dict[str, str]:
        """The kind of each database that can be read; looked up again when a file came, went or was replaced.

        What could not be read is tried each time: it may be a copy that was not at its end.
        """
        seen = self.folder.stat().st_mtime_ns if self.folder.is_dir() else -1
        kinds, unread = ({}, self.names()) if seen != self._seen else (dict(self._kinds), self._unread)
        failed = []
        for name in unread:
            try:
                kinds[name] = self.database(name).kind
            except Error:
                failed.append(name)
        self._kinds, self._unread, self._seen = kinds, failed, seen
        return dict(kinds)

    def facts(self, name: str) -> dict[str, str] | None:
        """What the header of a database says; None if none is there, or one that can only be built again.

        Raises:
            Error: a file in the way that is not this program's, or comes from a newer one.
        """
        if not self._has(name):
            return None
        try:
            return {**self.database(name).meta, "name": name}
        except Error:
            version = schema_version(self.path(name))
            if version is None or version > max(db.SCHEMA_VERSION.values()):
                raise
            return None

    def free(self, name: str, what: str) -> str:
        """A name that a database made from a source or a file may have.

        Raises:
            Error: no database can have it, or it is kept for others, or differs only in case from another's.
        """
        valid(name)
        if what == GENOME:
            raise Error(f"{GENOME} is built from other databases, not pulled: `genome lab --build-only` does it")
        if name != what and name.casefold() in {GENOME, *sources.names()}:
            raise Error(f"the name {name} is kept for Token Genome's own; choose another name with --name")
        if twins := [other for other in self.names() if other != name and other.casefold() == name.casefold()]:
            raise Error(
                f"{name} differs from the database {twins[0]} only in case; choose another name with --name"
            )
        return name

    def what_is_there(self, wanted: str) -> str:
        """The second half of a sentence that says what is missing, with what makes it."""
        there = f"there are {', '.join(self.names())}" if self.names() else "it is empty"
        if wanted in pullable():
            return f"{there}; `genome pull {wanted}` makes it"
        if wanted == GENOME or not self.names():
            return f"{there}; `genome lab --build-only` builds the default ones"
        return there


class Library:
    """What an envelope asks of its workbench.

    Args:
        files: of the workbench.
        pool: of connections, the workbench's own.
    """

    def __init__(self, files: Files, pool: Pool) -> None:
        self._files, self._pool = files, pool

    def find(self, name: str) -> Database:
        """The database of a name."""
        return self._files.database(name)

    def connect(self, database: Database) -> apsw.Connection:
        """A database, to be read; of many, few are open at a time."""
        return self._pool.connect(database.path, database.kind)

    def roles(self, databases: Sequence[Database], keep_genome: bool = True) -> Roles:
        """Gives databases their roles."""
        return assign(databases, self._files.readable("genome", "model"), keep_genome=keep_genome)

    def save(self, name: str, envelope: Envelope) -> None:
        """Keeps an envelope under a name."""
        from genome.envelope.saved import save

        save(self._files.folder, name, envelope.roles.databases, envelope.journal.activity)

    def template(self, name: str) -> "Template":
        """The query template of a name."""
        from genome.workbench.templates import find

        return find(self._files.folder, name)


def pullable() -> list[str]:
    """The named sources that become databases."""
    return sources.names(*db.KINDS)
