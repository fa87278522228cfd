"""The commands about meaning: decompose, units."""

import argparse
from typing import TYPE_CHECKING, Any

from genome.cli.shared import Add, add_json, count, print_json, print_table, workbench
from genome.primitives import KEYS

if TYPE_CHECKING:
    from genome.decompose import Decomposition

_SHOWN = 6


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    decompose = add("decompose", "decompose words into the 65 primitives", "genome decompose mother kill --json")
    decompose.add_argument("texts", metavar="TEXT", nargs="+", help="a word, or words that a dictionary has as one")
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
            print_json([_record(one) for one in found])
            return
        for one in found:
            print(f"{one.text}  {one.id.path}  ({int(one.id)}; {one.source})")
            best = sorted(zip(one.weights.tolist(), KEYS, strict=True), reverse=True)[:_SHOWN]
            print("  " + "  ".join(f"{key} {weight:.3f}" for weight, key in best if weight > 0))
            if arguments.explain:
                print("\n".join(f"  {line}" for line in str(one.explain()).splitlines()))


def _record(one: "Decomposition") -> dict[str, Any]:
    weights = dict(zip(KEYS, one.weights.tolist(), strict=True))
    return {
        "text": one.text,
        "id": int(one.id),
        "path": list(one.id.names),
        "weights": weights,
        "source": one.source,
    }


def _units(arguments: argparse.Namespace) -> None:
    with workbench(arguments).envelope() as envelope:
        frame = envelope.units(arguments.prefix, limit=arguments.limit)
    if arguments.json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, frame.iter_rows())
