"""Query templates on the databases of an envelope, and their answers as Polars frames."""

from collections.abc import Mapping
from threading import Event
from typing import TYPE_CHECKING, Any

from genome.db.query import SECONDS, Functions, Source, Table, run
from genome.db.templates import Template
from genome.envelope.roles import Database, Roles
from genome.errors import Error

if TYPE_CHECKING:
    import polars as pl

    from genome.db import Journal


def ask(
    template: Template,
    values: Mapping[str, object],
    roles: Roles,
    journal: "Journal",
    *,
    other: Database | None = None,
    seconds: float = SECONDS,
    cancel: Event | None = None,
) -> "pl.DataFrame":
    """What a template answers on the databases of some roles.

    Args:
        template: which query.
        values: what it takes, by name.
        roles: the envelope's databases.
        journal: for templates about what was touched.
        other: the second database of a template that compares two.
        seconds: the time limit.
        cancel: ends the query when it is set.

    Raises:
        NotFoundError, DamagedError, Error: as `genome.db.query.run` says; or `other` is of the wrong kind, or not
            asked for.
    """
    given = {name: Source(d.path, d.checksum) for name, d in _by_role(roles).items()}
    if other is not None:
        kind = next((role.kind for role in template.roles if role.name == "other"), None)
        if kind != other.kind:
            wanted = f"another {kind}" if kind else "no other database"
            raise Error(f"{template.name} asks {wanted}, got {other.name}, a {other.kind}")
        given["other"] = Source(other.path, other.checksum)
    asked = any(role.kind == "journal" for role in template.roles)
    columns = journal.columns() if asked else None
    return frame(
        run(template, values, given, journal=columns, functions=functions(roles), seconds=seconds, cancel=cancel)
    )


def functions(roles: Roles | None = None) -> Functions:
    """What the SQL of templates may call beside SQLite's own, about genome IDs, compositions and roles.

    `database(role)` is the name of the database that has a role, as the journal tells it.
    """
    from genome.decompose.sql import FUNCTIONS

    names: Mapping[Any, str] = {r: d.name for r, d in _by_role(roles).items()} if roles else {}
    return {**FUNCTIONS, "database": (1, names.get)}


def frame(table: Table) -> "pl.DataFrame":
    """A table as a Polars frame.

    A column has the type of its values: integers, numbers (integers among them), text, bytes (text among them); of
    numbers and text together all become text. Where every value is null, the type that the database declares.
    """
    import polars as pl

    declared = {"INTEGER": pl.Int64, "REAL": pl.Float64, "TEXT": pl.String, "BLOB": pl.Binary}
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    series = []
    for name, said, values in zip(table.columns, table.types, columns, strict=True):
        found = {type(value) for value in values} - {type(None)}
        if found <= {int}:
            kind = pl.Int64 if found else declared.get(said.upper(), pl.Null)
        elif found <= {int, float}:
            kind, values = pl.Float64, [None if v is None else float(v) for v in values]
        elif bytes in found:
            kind, values = pl.Binary, [v if v is None or isinstance(v, bytes) else str(v).encode() for v in values]
        else:
            kind, values = pl.String, [None if v is None else str(v) for v in values]
        series.append(pl.Series(name, values, kind))
    return pl.DataFrame(series)


def _by_role(roles: Roles) -> dict[str, Database]:
    """Databases by the names that templates have for them: a second lexicon is `lexicon2`."""
    named: dict[str, Database] = {}
    for database in roles.databases:
        count = sum(d.kind == database.kind for d in named.values())
        named[f"{database.kind}{count + 1}" if count else database.kind] = database
    return named
