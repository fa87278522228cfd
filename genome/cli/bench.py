"""The commands that measure: `genome bench similarity`, `data`, `ids` and `inference`."""

import argparse
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genome import sources
from genome.cli.shared import Add, add_json, bars, count, print_json, print_table, workbench

if TYPE_CHECKING:
    from genome.bench.area import Area

_SETS = {"simlex999": "simlex999.txt", "wordsim353": "wordsim353.tsv"}


def add_commands(add: Add) -> None:
    """Adds it to the parser."""
    bench = add(
        "bench",
        "measure how compositions agree with people, what IDs say, what the data layer does, how models compute",
        "genome bench similarity --draws 5 --json",
    )
    bench.add_argument(
        "area", metavar="AREA", choices=sorted(_AREAS),
        help="similarity: SimLex-999 and WordSim-353; data: speed, memory, kills, damage, beside reminis; "
        "ids: what prefixes of genome IDs say, and find; "
        "inference: tokens, starts, memory, exactness, beside llama.cpp",
    )  # fmt: skip
    bench.add_argument("--pairs", metavar="FILE", action="append", default=[],
                       help="similarity: lines of word, word, score; may be given several times")  # fmt: skip
    bench.add_argument(
        "--draws", metavar="N", type=count, default=20, help="similarity: random anchor sets as control, else 20"
    )
    bench.add_argument("--only", metavar="PART", action="append", default=[],
                       help="data, ids, inference: some parts (start,memory); a wrong name lists all")  # fmt: skip
    bench.add_argument("--quick", action="store_true", help="data, ids, inference: a tenth of the counts")
    add_json(bench)
    bench.set_defaults(run=lambda arguments: _AREAS[arguments.area](arguments))


def _similarity(arguments: argparse.Namespace) -> None:
    from genome.decompose.dictionary import Dictionary
    from genome.decompose.similarity import compare, read_pairs

    own = [read_pairs(Path(file), file) for file in arguments.pairs]
    with workbench(arguments).envelope() as envelope, bars() as progress:
        dictionary = Dictionary.read(envelope.lexicons())
        folder = sources.fetch("similarity", progress).path
        sets = [read_pairs(folder / file, name) for name, file in _SETS.items()] + own
        told: dict[str, Any] = compare(dictionary, sets, arguments.draws, progress=progress)
    if arguments.json:
        print_json(told)
        return
    rows = []
    for name, value in told["primitives"].items():
        control = told["random_anchors"][name]
        p = "" if control["p"] is None else f"{control['p']:.1g}"
        rows.append((name, value, control["mean"], control["sd"], control["n"], p))
    print_table(("pairs", "primitives", "random anchors", "sd", "draws", "p"), rows)


def _rows(arguments: argparse.Namespace) -> None:
    area: Area = import_module(f"genome.bench.{arguments.area}").AREA
    only = [name for told in arguments.only for name in told.split(",")]
    with bars() as progress:
        told = area.measured(workbench(arguments), only=only, quick=arguments.quick, progress=progress)
    if arguments.json:
        print_json(told)
        return
    print(", ".join(f"{name} {value}" for name, value in told["machine"].items()))
    columns = ("met", "what", "goal", "value", "unit", "peer_value", "ratio", "note")
    print_table(columns, ([_shown(row[column]) for column in columns] for row in told["rows"]))


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else value


_AREAS = {"similarity": _similarity, "data": _rows, "ids": _rows, "inference": _rows}
