"""The command `query`: named questions in SQL about databases."""

import argparse
import math
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from genome import db
from genome.cli.shared import Add, add_json, print_json, print_table, workbench
from genome.db.query import OWN
from genome.envelope.asking import functions
from genome.errors import Error, quoted
from genome.workbench import Workbench


def add_commands(add: Add) -> None:
    """Adds it to the parser."""
    query = add(
        "query", "ask databases a named question in SQL", 'genome query smollm2 tokens_by_prefix prefix=" moth"'
    )
    query.add_argument(
        "names",
        metavar="NAME[,NAME…]",
        nargs="?",
        help="the databases; a second one of a kind is compared with the first",
    )
    query.add_argument("template", metavar="TEMPLATE", nargs="?", help="the question's name")
    query.add_argument("values", metavar="KEY=VALUE", nargs="*", help="what the template takes")
    query.add_argument("--list", action="store_true", help="list the templates and the values that they take")
    query.add_argument("--show", metavar="TEMPLATE", help="print a template: its SQL, and what it takes")
    query.add_argument(
        "--seconds", metavar="S", type=_seconds, default=10.0, help="end the query after so long, else after 10"
    )
    add_json(query)
    query.set_defaults(run=_query)


def _query(arguments: argparse.Namespace) -> None:
    bench = workbench(arguments)
    if arguments.list:
        _list(bench, arguments.json)
    elif arguments.show is not None:
        sql = bench.template(arguments.show).sql
        print_json(sql) if arguments.json else print(sql.rstrip("\n"))
    elif arguments.template is None:
        raise Error("wanted databases and a template; `genome query --list` lists the templates")
    else:
        _ask(bench, arguments)


def _ask(bench: Workbench, arguments: argparse.Namespace) -> None:
    template = bench.template(arguments.template)
    if any(role.kind == "journal" for role in template.roles):
        raise Error(f"{template.name} asks what a session touched, and no command is one; in Python: env.query(…)")
    values = _values(arguments.values)
    template.values(values)  # before any database is opened
    names, other = _compared(bench, [name for name in arguments.names.split(",") if name])
    if not names:
        raise Error(
            f"{quoted(arguments.names)} names no database; wanted NAME or NAME,NAME; `genome list` lists them"
        )
    with bench.envelope(*names) as envelope:
        frame = envelope.query(arguments.template, other=other, seconds=arguments.seconds, **values)
    if arguments.json:
        print_json([{name: _json(value) for name, value in row.items()} for row in frame.iter_rows(named=True)])
    else:
        print_table(frame.columns, ([_shown(value) for value in row] for row in frame.iter_rows()))


def _values(told: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in told:
        name, sign, value = one.partition("=")
        if not sign:
            raise Error(f"{quoted(one)} is no value; wanted KEY=VALUE, with quotes around blanks")
        if name in values:
            raise Error(f"{name} is given twice; give it once")
        values[name] = value
    return values


def _compared(bench: Workbench, names: list[str]) -> tuple[list[str], str | None]:
    """The databases of the envelope, and the one beside them: a second of a kind of which an envelope has one."""
    kinds = [db.header(bench.path(name))["kind"] for name in names]
    for place, kind in enumerate(kinds):
        if kind in ("model", "genome") and kind in kinds[:place]:
            return names[:place] + names[place + 1 :], names[place]
    return names, None


def _list(bench: Workbench, as_json: bool) -> None:
    templates = bench.templates().to_dicts()
    if as_json:
        print_json(templates)
        return
    width = max(shutil.get_terminal_size((100, 24)).columns, 40)
    for one in templates:
        about = one["fault"] or f"{one['answers']}. Asks {', '.join(one['roles'])}."
        print(one["name"])
        print(textwrap.fill(about, width, initial_indent="  ", subsequent_indent="  "))
        for value in one["values"]:
            print(textwrap.fill(value, width, initial_indent="    ", subsequent_indent="      "))
    called = ", ".join(sorted({*OWN, *functions()}))
    print(f"\nTheir SQL may call SQLite's own functions and {called}.")
    print(
        f"Your own go into {bench.folder / 'templates'}; `genome query --show TEMPLATE` prints one to begin with."
    )


def _json(value: Any) -> Any:
    """Bytes as hexadecimal digits, infinity as text: JSON has neither."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> Any:
    return "" if value is None else _json(value)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"wanted a number of seconds above 0, got {quoted(text)}")
    return seconds
