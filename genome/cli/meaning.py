"""The commands about meaning: decompose, units."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from genome.cli.shared import Add, add_json, count, print_json, print_table, workbench

if TYPE_CHECKING:
    from genome.decompose import Decomposition

_SHOWN = 6


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    decompose = add("decompose", "decompose words into the 65 primitives", "genome decompose mother kill --json")
    decompose.add_argument(
        "texts", metavar="TEXT", nargs="+", help="a word, a sense (mother.n.01), or a text: the mean of its words"
    )
    decompose.add_argument("--explain", action="store_true", help="show the definitions walked through")
    add_json(decompose)
    decompose.set_defaults(run=_decompose)

    units = add("units", "list what lies under a prefix of genome IDs", "genome units SOMEONE.BODY --limit 20")
    units.add_argument("prefix", metavar="PREFIX", help="names of primitives joined by dots: KNOW.SAY")
    units.add_argument("--limit", metavar="N", type=count, default=50, help="at most so many, else 50")
    add_json(units)
    units.set_defaults(run=_units)


def _decompose(arguments: argparse.Namespace) -> None:
    with workbench(arguments).envelope() as envelope:
        found = [envelope.decompose(text) for text in arguments.texts]
        if arguments.json:
            told = [one.as_json() for one in found]
            if arguments.explain:
                told = [{**facts, "reasons": _reasons(one)} for facts, one in zip(told, found, strict=True)]
            print_json(told)
            return
        for one in found:
            print(f"{one.text}  {one.id.path}  {int(one.id)}  ({one.source})")
            print("  " + "  ".join(f"{key} {weight:.3f}" for key, weight in one.leading[:_SHOWN]))
            if arguments.explain:
                print(one.explain())


def _reasons(one: "Decomposition") -> list[dict[str, Any]]:
    return [
        {**asdict(reason), "chains": [asdict(chain) for chain in reason.chains], "rest": reason.rest}
        for reason in one.explain().reasons
    ]


def _units(arguments: argparse.Namespace) -> None:
    with workbench(arguments).envelope() as envelope:
        frame = envelope.units(arguments.prefix, limit=arguments.limit)
    if arguments.json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, frame.iter_rows())
