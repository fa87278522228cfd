"""Which database has which role in an envelope, and whether they go together."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genome import db
from genome.db.states import state_over
from genome.errors import Error, NotFoundError

ROLES = ("model", "delta", "lexicon", "genome")
"""The kinds of database that have a role in an envelope."""

Stamp = tuple[int, int, int, int]
"""Device, inode, size in bytes, time of the last change in ns: what differs when a file is replaced or changed."""


@dataclass(frozen=True)
class Database:
    """A reference database of the workbench.

    Attributes:
        name: the file's name without `.db`.
        path: the file.
        meta: what its header says: kind, uuid, source, licence, created, checksum and what its kind adds.
        stamp: of the file when its header was read.
    """

    name: str
    path: Path
    meta: dict[str, str] = field(hash=False)
    stamp: Stamp = field(default=(0, 0, 0, 0), compare=False)

    @classmethod
    def read(cls, name: str, path: Path) -> "Database":
        """What a file's header says now.

        Raises:
            NotFoundError, DamagedError: it is not there, or cannot be read.
        """
        found = stamp(path)  # first: a file that changes while it is read is then seen as changed
        return cls(name, path, db.header(path), found or (0, 0, 0, 0))

    @property
    def kind(self) -> str:
        """`model`, `delta`, `lexicon`, `genome`."""
        return self.meta.get("kind", "")

    @property
    def uuid(self) -> str:
        """Its identity, which follows from its content."""
        return self.meta.get("uuid", "")

    @property
    def checksum(self) -> str:
        """SHA-256 of its content, in hexadecimal."""
        return self.meta.get("checksum", "")

    @property
    def vocabulary(self) -> str | None:
        """SHA-256 of a model's tokens; of a genome database, of those that it addresses. None without tokens."""
        return self.meta.get("vocabulary") or None

    @property
    def origins(self) -> dict[str, str]:
        """Of a genome database: the lexicons that it was built from, the names they had then by their uuids."""
        uuids, names = (json.loads(self.meta.get(fact) or "[]") for fact in ("lexicon_uuids", "lexicon_names"))
        return dict(zip(uuids, names, strict=True))

    @property
    def lineage(self) -> frozenset[str]:
        """The uuids of everything it was made from."""
        of = [uuid for fact in ("model_uuid", "base_uuid") if (uuid := self.meta.get(fact))]
        return frozenset(self.origins) | frozenset(of)


def stamp(path: Path) -> Stamp | None:
    """The stamp of a file now; None where there is none."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


@dataclass(frozen=True)
class Roles:
    """Which database has which role in an envelope; deltas in the order in which they lie over the model."""

    model: Database | None = None
    deltas: tuple[Database, ...] = ()
    lexicons: tuple[Database, ...] = ()
    genome: Database | None = None

    @property
    def databases(self) -> tuple[Database, ...]:
        """All of them: model, deltas, lexicons, genome."""
        return tuple(d for d in (self.model, *self.deltas, *self.lexicons, self.genome) if d is not None)


def assign(databases: Iterable[Database], others: Iterable[Database], *, keep_genome: bool = True) -> Roles:
    """Gives each database the role of its kind; adds what they cannot do without, and the genome made from them.

    Args:
        databases: in the order in which they were named; deltas lie over the model in that order.
        others: those that may be added: the model that named deltas were made for; where no genome is named, one
            that fits (of several the one made from the fewest others). Not looked at where nothing is missing.
        keep_genome: refuse a genome database that does not fit; else another one may take its place.

    Raises:
        NotFoundError: deltas without the model that they were made for.
        Error: two databases for one role, a delta of another base, a genome of another vocabulary.
    """
    databases, others = list(databases), list(others)
    named = {kind: list(dict.fromkeys(d for d in databases if d.kind == kind)) for kind in ROLES}
    for kind in ("model", "genome"):
        if len(named[kind]) > 1:
            raise Error(f"an envelope has one {kind}, got {names_of(named[kind])}; name one of them")
    deltas, lexicons = tuple(named["delta"]), tuple(named["lexicon"])
    model = next(iter(named["model"]), None)
    if model is None and deltas:
        model = base_of(deltas[0], others)
    if model is not None:
        _check_deltas(model, deltas)
    genome = next(iter(named["genome"]), None)
    if genome is not None and (reason := _misfit(genome, model, lexicons)) is not None:
        if keep_genome:
            raise Error(reason)
        genome = None
    if genome is None:
        fitting = [g for g in others if g.kind == "genome" and _misfit(g, model, lexicons) is None]
        genome = min(fitting, key=lambda g: (len(g.origins) + bool(g.vocabulary), g.name), default=None)
    return Roles(model, deltas, lexicons, genome)


def base_of(delta: Database, others: Iterable[Database]) -> Database:
    """The model that a delta was made for.

    Raises:
        NotFoundError: it is not among the others, in the state that it was in then.
    """
    for model in others:
        if model.kind == "model" and model.checksum == delta.meta.get("base_checksum"):
            return model
    raise NotFoundError(
        f"no model here is the base of {delta.name} ({delta.meta.get('base_name')}, checksum "
        f"{delta.meta.get('base_checksum', '')[:12]}…); pull it, undo what was applied to it, or name "
        "the model and the deltas that lie between"
    )


def _check_deltas(model: Database, deltas: Sequence[Database]) -> None:
    state, under = model.checksum, model.name
    for delta in deltas:
        state, under = state_over(state, under, {**delta.meta, "name": delta.name}), f"{under} + {delta.name}"


def _misfit(genome: Database, model: Database | None, lexicons: Sequence[Database]) -> str | None:
    """Why a genome database does not go with a model and lexicons; None if it does."""
    repair = "`genome lab --build-only` builds one for the default databases"
    if model is not None and (genome.vocabulary is None or genome.vocabulary != model.vocabulary):
        whose = f"the tokens of {genome.meta.get('model', 'another model')}" if genome.vocabulary else "no tokens"
        return f"{genome.name} addresses {whose}, not those of {model.name} (another vocabulary); {repair}"
    if strangers := [d for d in lexicons if d.uuid not in genome.origins]:
        return f"{genome.name} was not built from {names_of(strangers)}; name its own lexicons, or none; {repair}"
    return None


def names_of(databases: Iterable[Database]) -> str:
    """Names for a sentence."""
    return " and ".join(d.name for d in databases)
