"""Runs a template: one SELECT on databases that it can only read, for a bounded time, in bounded memory."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from sys import getsizeof
from threading import Event
from typing import Any, NamedTuple

import apsw

from genome.db.complaints import sqlite_errors
from genome.db.connect import attach, prepare
from genome.db.kinds import schema
from genome.db.layout import lacking, layout
from genome.db.sandbox import LIMITS, Guard
from genome.db.templates import Role, Template, Value, near
from genome.errors import DamagedError, Error, NotFoundError

SECONDS = 10.0
"""How long a query may take unless told otherwise."""

RESULT_BYTES = 256 << 20
"""Of the values that a query gives, in Python's memory."""

Functions = Mapping[str, tuple[int, Callable[..., Value]]]
"""SQL functions by name: how many arguments they take, and what they do; the same for the same arguments."""


class Source(NamedTuple):
    """A database for a role: its file, and the checksum that its header has to have."""

    path: Path
    checksum: str


@dataclass(frozen=True)
class Table:
    """What a query gave: names of columns, the types that the tables declare for them ("" for others), rows."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run(
    template: Template,
    given: Mapping[str, object],
    sources: Mapping[str, Source],
    *,
    journal: Mapping[str, Sequence[Any]] | None = None,
    functions: Functions | None = None,
    seconds: float = SECONDS,
    cancel: Event | None = None,
) -> Table:
    """The answer of a template.

    Each query has a connection of its own, on which databases stand under their roles and whose statement can
    do nothing but read them. All databases are read in the state that they have when the query begins.

    Args:
        template: which query.
        given: values by name.
        sources: databases by role; those that the template does not name are not opened.
        journal: the columns of an activity's accesses (`Journal.columns()`), for templates that ask them.
        functions: what the SQL may call beside SQLite's own.
        seconds: the time limit.
        cancel: ends the query when it is set; so does Ctrl-C, or a notebook's stop button.

    Raises:
        NotFoundError: a role has no database, or the SQL names a table or column that is not there.
        DamagedError: a database is damaged.
        Error: a value is missing or wrong, the SQL is not one SELECT or does what it may not, the query took
            too long or too much memory, or was cancelled.
    """
    values = template.values(given)
    if not 0 < seconds < 1e6:
        raise Error(f"the time limit is {seconds} seconds; wanted more than 0, at most 1,000,000")
    for role in template.roles:
        if role.kind != "journal" and role.name not in sources:
            raise NotFoundError(_lacks(template, role))
        if role.kind == "journal" and journal is None:
            raise NotFoundError(
                f"{template.name} asks the journal of an activity; run it from Python: env.query(…)"
            )
    guard = Guard(seconds, cancel)
    with _connection(template, functions or {}, guard, seconds) as db:
        for role in template.roles:
            if role.kind == "journal":
                _add_journal(db, journal or {})
            else:
                attach(db, role.name, sources[role.name].path, role.kind)
        db.execute("BEGIN")
        for role in template.roles:
            if role.kind != "journal":
                _check_content(db, role, sources[role.name])
                _connect_virtual(db, role)
        guard.close(db, template.roles, {**OWN, **(functions or {})})
        return _run(db, template, values, RESULT_BYTES)


def explain(template: Template, functions: Functions | None = None) -> list[str]:
    """Checks a template on empty databases, and tells how SQLite goes about it: the lines of EXPLAIN QUERY PLAN.

    Raises:
        Error: the SQL is not one SELECT, names what is not there, or does what it may not.
    """
    guard = Guard(SECONDS, None)
    with _connection(template, functions or {}, guard, SECONDS) as db:
        for role in template.roles:
            db.execute(f"ATTACH ':memory:' AS {role.name}")
            db.deserialize(role.name, _blank(role.kind))
            _connect_virtual(db, role)
        guard.close(db, template.roles, {**OWN, **(functions or {})})
        _run(db, template, {}, 0)
        plan = db.execute("EXPLAIN QUERY PLAN " + template.sql, _Nulls())
        return [str(detail) for *_, detail in plan]


@contextmanager
def _connection(
    template: Template, functions: Functions, guard: Guard, seconds: float
) -> Iterator[apsw.Connection]:
    """An empty connection in memory; what goes wrong on it becomes one line."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MEMORY | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(":memory:", flags=flags)
    try:
        with _one_line(db, template, guard):
            prepare(db)
            db.set_busy_timeout(int(min(seconds, 5.0) * 1000))
            for name in (apsw.SQLITE_DBCONFIG_DQS_DML, apsw.SQLITE_DBCONFIG_DQS_DDL):
                db.config(name, 0)  # "a name in quotes" that is not there is an error, not a text
            db.pragma("temp_store", "MEMORY")  # where it is counted; not in files, which nobody counts
            for name, (count, function) in {**OWN, **functions}.items():
                db.create_scalar_function(name, _safe(name, function), count, deterministic=True)
            guard.watch(db)
            yield db
    finally:
        db.close(True)


def _add_journal(db: apsw.Connection, columns: Mapping[str, Sequence[Any]]) -> None:
    db.execute("ATTACH ':memory:' AS journal")
    db.deserialize("journal", _blank("journal"))
    names = [name for _, name, *_ in db.execute("PRAGMA journal.table_info(access)")]
    rows = zip(*(columns[name] for name in names), strict=True)
    with db:
        db.executemany(f"INSERT INTO journal.access VALUES ({', '.join('?' * len(names))})", rows)


def _check_content(db: apsw.Connection, role: Role, source: Source) -> None:
    """From here to the end of the transaction the database stays as it is."""
    with sqlite_errors(source.path):
        if lacks := lacking(db, role.kind, role.name):
            raise DamagedError(
                f"{source.path} lacks the {lacks[0]} of a {role.kind} database; build or copy it again"
            )
        found = db.execute(f"SELECT value FROM {role.name}.meta WHERE key = 'checksum'").get
        if found != source.checksum:
            raise Error(f"{source.path} has been replaced or changed since it was chosen; choose it again")


def _connect_virtual(db: apsw.Connection, role: Role) -> None:
    """sqlite-vec declares its columns when a virtual table is first named, which the guard would refuse."""
    for name, sql in layout(role.kind).items():
        if sql.startswith("CREATE VIRTUAL"):
            db.execute(f"SELECT 1 FROM {role.name}.{name} LIMIT 0")


def _run(db: apsw.Connection, template: Template, values: dict[str, Value], most_bytes: int) -> Table:
    """Executes the template's one statement; with no room for a result, prepares it only."""
    cursor = db.cursor()
    looked_at: list[tuple[str, str]] = []

    def look(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        _check_statement(template, cursor, sql)
        looked_at.extend((name, declared or "") for name, declared in cursor.get_description())
        return most_bytes > 0

    cursor.exec_trace = look
    rows, size = [], 0
    try:
        for row in cursor.execute(template.sql, _Nulls(values)):
            rows.append(row)
            size += 100 + sum(map(getsizeof, row))
            if size > most_bytes:
                raise Error(
                    f"{template.name}: the answer is longer than {most_bytes >> 20} MiB ({len(rows)} rows so far); "
                    "narrow it, or put a LIMIT into the template"
                )
    except apsw.ExecTraceAbort:
        pass
    columns = tuple(name for name, _ in looked_at)
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise Error(f"{template.name}: two columns are called {twice[0]}; name one of them with AS")
    return Table(columns, tuple(declared for _, declared in looked_at), rows)


def _check_statement(template: Template, cursor: apsw.Cursor, sql: str) -> None:
    rest = re.sub(r"--[^\n]*|/\*.*?\*/|;", "", template.sql[len(sql) :], flags=re.DOTALL)
    if rest.strip() or cursor.is_explain or not cursor.is_readonly or not cursor.get_description():
        raise Error(f"{template.name} is not one SELECT; a template holds one, and nothing else")
    used = set(cursor.bindings_names)
    known = {p.name for p in template.parameters}
    if lost := sorted(name for name in used - known if name):
        raise Error(
            f"{template.name}: the SQL uses :{lost[0]}, which the header does not declare; add a line for it"
        )
    if idle := sorted(known - used):
        raise Error(
            f"{template.name}: the header declares :{idle[0]}, which the SQL does not use; remove one of them"
        )


class _Nulls(dict):
    """Values by name; NULL for those that nobody declared, which `_check_statement` then names."""

    def __missing__(self, name: str) -> None:
        return None


@contextmanager
def _one_line(db: apsw.Connection, template: Template, guard: Guard) -> Iterator[None]:
    """Makes one clear line of whatever goes wrong while a template runs."""
    name = template.name
    try:
        yield
    except apsw.InterruptError as error:
        raise Error(f"{name}: {guard.reason or 'was interrupted'}") from error
    except apsw.BindingsError as error:
        raise Error(f"{name}: values have names in a template (:limit), not ?; give each one a name") from error
    except apsw.TooBigError as error:
        most = LIMITS[apsw.SQLITE_LIMIT_LENGTH] >> 10
        raise Error(f"{name}: a text or blob is longer than {most} KiB; ask for less of it") from error
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError) as error:
        raise DamagedError(f"{name}: a database is damaged ({error}); `genome verify NAME` says which") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Error(
            f"{name}: a database is being changed by another process; wait for it, then ask again"
        ) from error
    except UnicodeDecodeError as error:
        raise Error(f"{name}: a column holds text that is not UTF-8; show it with hex(…) or text(…)") from error
    except apsw.NoMemError as error:
        raise Error(f"{name}: no memory left; narrow the query, or close other programs") from error
    except (apsw.SQLError, apsw.AuthError) as error:
        if guard.refused:
            raise Error(f"{name}: {guard.refused}; a template can only read its roles' tables") from error
        raise _sql_error(db, template, str(error)) from error
    except apsw.Error as error:
        raise Error(f"{name}: SQLite says: {' '.join(str(error).split())}") from error


def _sql_error(db: apsw.Connection, template: Template, said: str) -> Error:
    """What SQLite says of wrong SQL, with the names that are there and spelled alike."""
    said = " ".join(said.split())
    found = re.fullmatch(r'no such (table|column|function): "?(.+?)"?(?: - should this .*)?', said)
    if found is None:
        return Error(f"{template.name}: {said}; correct {template.file}")
    what, name = found.groups()
    kinds = {role.name: role.kind for role in template.roles}
    tables = {f"{role}.{table}": _columns(kind, table) for role, kind in kinds.items() for table in _tables(kind)}
    if what == "table":
        begun = name.partition(".")[0]
        if "." in name and begun not in kinds:
            there = f"; the header's line `roles:` does not name {begun}"
        else:
            there = (
                near(name, [*tables, *(t.partition(".")[2] for t in tables)]) or f"; there are {', '.join(tables)}"
            )
    elif what == "column":
        known = sorted({column for columns in tables.values() for column in columns})
        there = near(name.rpartition(".")[2], known)
    else:
        there = "; a template may call SQLite's own functions and those that `genome query --list` names"
    return NotFoundError(f"{template.name}: there is no {what} {name[:80]}{there}")


def _lacks(template: Template, role: Role) -> str:
    if role.name == "other":
        how = "other=NAME in Python, NAME,OTHER in a shell"
        return f"{template.name} asks another {role.kind} database; name it: {how}"
    which = "a" if role.name == role.kind else f"{role.name[-1]} databases of kind"
    return f"{template.name} asks {which} {role.kind}, and that is not here; name one"


def _safe(name: str, function: Callable[..., Value]) -> Callable[..., Value]:
    """A function that says in one line that it was called with the wrong arguments."""

    def called(*arguments: Value) -> Value:
        try:
            return function(*arguments)
        except Error:
            raise
        except Exception as error:
            raise Error(f"{name}() cannot take these arguments ({error}); see the templates that use it") from error

    return called


def _text(value: Value) -> Value:
    """A blob as text, escapes for bytes that are no UTF-8. Other values stay as they are."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _bits(value: Value) -> Value:
    """How many bits of a blob are set."""
    return int.from_bytes(value).bit_count() if isinstance(value, bytes) else None


OWN: Functions = {"text": (1, _text), "bits": (1, _bits)}
"""What every template may call: a blob as text, and how many bits of a blob are set."""


@cache
def _blank(kind: str) -> bytes:
    """An empty database of a kind, as a file's bytes."""
    db = apsw.Connection(":memory:")
    try:
        prepare(db)
        db.execute(schema(kind))
        return db.serialize("main")
    finally:
        db.close(True)


def _tables(kind: str) -> list[str]:
    return [name for name, sql in layout(kind).items() if "INDEX" not in sql.partition("(")[0]]


@cache
def _columns(kind: str, table: str) -> tuple[str, ...]:
    db = apsw.Connection(":memory:")
    try:
        prepare(db)
        db.deserialize("main", _blank(kind))
        return tuple(str(name) for _, name, *_ in db.execute(f"PRAGMA table_info({table})"))
    finally:
        db.close(True)
