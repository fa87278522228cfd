"""The commands about deltas, the rows in which a model differs from a base: `genome delta create`, `apply` ..."""

import argparse

from genome.cli.shared import Add, add_json, print_json, print_table, workbench


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    add(
        "delta", "make, apply, undo and compare deltas: the rows in which a model differs from a base",
        "genome delta create smollm2 ./my-adapter --name mine",
    )  # fmt: skip

    create = add(
        "delta create", "write the rows in which a model differs from a base as a delta",
        "genome delta create smollm2 ./my-adapter --name mine",
    )  # fmt: skip
    create.add_argument("base", metavar="BASE", help="a model of the workbench")
    create.add_argument(
        "changed", metavar="CHANGED", help="a model of the workbench, a model's file, or a LoRA adapter's folder"
    )
    create.add_argument("--name", help="the delta's name; else BASE-CHANGED")
    _add_over(create)
    add_json(create)
    create.set_defaults(run=_create)

    apply = add(
        "delta apply", "write deltas into their base in place, to be undone", "genome delta apply smollm2 mine"
    )
    apply.add_argument("model", metavar="MODEL")
    apply.add_argument("deltas", metavar="DELTA", nargs="+", help="in the order in which they were made")
    add_json(apply)
    apply.set_defaults(run=_apply)

    undo = add("delta undo", "take back the delta that was applied to a model last", "genome delta undo smollm2")
    undo.add_argument("model", metavar="MODEL")
    add_json(undo)
    undo.set_defaults(run=_undo)

    every = add(
        "delta list", "list the deltas, or those that were applied to a model in place", "genome delta list smollm2"
    )
    every.add_argument("model", metavar="MODEL", nargs="?", help="tell what was applied to it")
    add_json(every)
    every.set_defaults(run=_list)

    merge = add(
        "delta merge", "write several deltas as one that leads to the same state", "genome delta merge both one two"
    )
    merge.add_argument("name", metavar="NAME", help="of the new delta")
    merge.add_argument("deltas", metavar="DELTA", nargs="+", help="in the order in which they were made")
    add_json(merge)
    merge.set_defaults(run=_merge)

    diff = add(
        "delta diff", "tell which rows of which tensors a delta changes, and by how much", "genome delta diff mine"
    )
    diff.add_argument("delta", metavar="DELTA")
    _add_over(diff)
    add_json(diff)
    diff.set_defaults(run=_diff)


def _add_over(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--over", metavar="DELTA", action="append", default=[],
        help="a delta that lies over the base already; may be given several times, in their order",
    )  # fmt: skip


def _create(arguments: argparse.Namespace) -> None:
    bench = workbench(arguments)
    path = bench.delta.create(arguments.base, arguments.changed, arguments.name, over=arguments.over)
    _tell(arguments, path.stem)


def _merge(arguments: argparse.Namespace) -> None:
    _tell(arguments, workbench(arguments).delta.merge(arguments.name, *arguments.deltas).stem)


def _tell(arguments: argparse.Namespace, name: str) -> None:
    facts = workbench(arguments).info(name)
    if arguments.json:
        print_json(facts)
    else:
        print(f"{name} is ready: {facts['path']}, {facts['size_bytes']} bytes, {facts['rows']['change']} tensors")


def _apply(arguments: argparse.Namespace) -> None:
    applied = workbench(arguments).delta.apply(arguments.model, *arguments.deltas)
    if arguments.json:
        print_json([made._asdict() for made in applied])
        return
    for made in applied:
        print(f"{made.name} is applied to {arguments.model}; `genome delta undo {arguments.model}` takes it back")


def _undo(arguments: argparse.Namespace) -> None:
    made = workbench(arguments).delta.undo(arguments.model)
    if arguments.json:
        print_json(made._asdict())
    else:
        print(f"{made.name} is taken back; {arguments.model} is what it was before")


def _list(arguments: argparse.Namespace) -> None:
    deltas = workbench(arguments).delta
    frame = deltas.list() if arguments.model is None else deltas.applied(arguments.model)
    if arguments.json:
        print_json(frame.to_dicts())
    elif frame.is_empty():
        print("there is no delta" if arguments.model is None else f"no delta was applied to {arguments.model}")
    else:
        shown = frame.drop("base_checksum", "checksum", "result", strict=False)
        print_table(shown.columns, shown.iter_rows())


def _diff(arguments: argparse.Namespace) -> None:
    frame = workbench(arguments).delta.diff(arguments.delta, over=arguments.over)
    if arguments.json:
        print_json(frame.to_dicts())
    else:
        shown = frame.drop("role", "layer")
        print_table(
            shown.columns, ([" ".join(v) if isinstance(v, list) else v for v in row] for row in shown.iter_rows())
        )
