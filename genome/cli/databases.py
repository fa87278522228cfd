"""The commands about databases as such: pull, export, list, info, verify."""

import argparse
import sys
from itertools import count

from genome import sources
from genome.cli.shared import Add, add_json, bars, print_json, print_table, workbench
from genome.db import KINDS
from genome.errors import DamagedError, Error
from genome.model.formats.exported import FORMATS
from genome.workbench import Workbench


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    known = ", ".join(sources.names(*KINDS))
    pull = add(
        "pull",
        "make a database from a named source, a GGUF or safetensors file, or a Hugging Face folder",
        "genome pull models/tiny.gguf --name tiny",
    )
    pull.add_argument(
        "what",
        metavar="NAME|FILE|FOLDER",
        help=f"a named source ({known}), a .gguf, .safetensors or .safetensors.index.json file, or a folder",
    )
    pull.add_argument("--name", help="the database's name; else the source's, the folder's, or the file's stem")
    pull.add_argument("--no-compile", action="store_true", help="leave a model's compiling to its first run")
    add_json(pull)
    pull.set_defaults(run=_pull)

    export = add(
        "export",
        "write the files that a model came from, byte for byte, or the model in another format",
        "genome export smollm2 smollm2.gguf",
    )
    export.add_argument("name", metavar="NAME")
    export.add_argument(
        "target", metavar="FILE|FOLDER", help="a file, or a folder where the model came from several files"
    )
    export.add_argument("--format", choices=FORMATS, help="the format to write; else the one that it came from")
    export.add_argument("--force", action="store_true", help="replace the file or folder if it exists")
    add_json(export)
    export.set_defaults(run=_export)

    every = add("list", "list the databases of the workbench", "genome list")
    add_json(every)
    every.set_defaults(run=_list)

    info = add("info", "tell where a database comes from and what it holds", "genome info wordnet")
    info.add_argument("name", metavar="NAME")
    add_json(info)
    info.set_defaults(run=_info)

    verify = add(
        "verify", "read a whole database and list all damage (exit status 2 if any)", "genome verify smollm2"
    )
    verify.add_argument("name", metavar="NAME")
    add_json(verify)
    verify.set_defaults(run=_verify)


def _pull(arguments: argparse.Namespace) -> None:
    bench = workbench(arguments)
    before = {name for name, kind, *_ in bench.databases().iter_rows() if kind != "unreadable"}
    path = bench.pull(arguments.what, arguments.name)
    if not arguments.no_compile and bench.info(path.stem)["kind"] == "model":
        _prepare(bench, path.stem)
    if arguments.json:
        print_json(bench.info(path.stem))
    else:
        print(f"{path.stem} {'was already there' if path.stem in before else 'is ready'}: {path}")


def _prepare(bench: Workbench, name: str) -> None:
    """Compiles a model ahead; one that does not run here is a database all the same."""
    try:
        bench.prepare(name)
    except Error as error:
        print(f"genome: nothing was compiled ahead: {error}", file=sys.stderr)


def _export(arguments: argparse.Namespace) -> None:
    bench = workbench(arguments)
    exported = bench.export(arguments.name, arguments.target, format=arguments.format, force=arguments.force)
    files = [
        {"path": str(path), "size_bytes": path.stat().st_size, "sha256": sha256} for path, sha256 in exported.files
    ]
    if arguments.json:
        told = {"name": arguments.name, "path": str(exported.path), "changed": exported.changed}
        print_json({**told, "files": files})
        return
    said = "not the same as its source" if exported.changed else "the same as its source"
    for file in files:
        print(f"{file['path']} is written: {file['size_bytes']} bytes, SHA-256 {file['sha256']}, {said}")


def _list(arguments: argparse.Namespace) -> None:
    bench = workbench(arguments)
    frame = bench.databases()
    if arguments.json:
        print_json(frame.to_dicts())
    elif frame.is_empty():
        print(f"{bench.folder} holds no database; `genome lab --build-only` builds the default ones")
    else:
        shown = frame.select("name", "kind", "size_bytes", "source", "licence", "created")
        print_table(shown.columns, shown.iter_rows())


def _info(arguments: argparse.Namespace) -> None:
    facts = workbench(arguments).info(arguments.name)
    if arguments.json:
        print_json(facts)
        return
    rows = facts.pop("rows")
    width = max(map(len, (*facts, *rows))) + 2
    for key, value in facts.items():
        print(f"{key:<{width}}{value}")
    print("\nrows")
    for table, number in rows.items():
        print(f"{table:<{width}}{number}")


def _verify(arguments: argparse.Namespace) -> None:
    bench = workbench(arguments)
    with bars() as progress:
        parts = count(1)
        problems = bench.verify(
            arguments.name, lambda _: progress(f"{arguments.name}: verify", next(parts), 0, "parts")
        )
    if arguments.json:
        print_json([{"table": p.table, "text": p.text} for p in problems])
    for problem in problems:
        if not arguments.json:
            print(f"{problem.table}: {problem.text}")
    if problems:
        path = bench.path(arguments.name)
        repair = f"remove it, then `{bench.remake(arguments.name)}` makes it again"
        raise DamagedError(f"{path} is damaged in {len(problems)} places; {repair}")
    if not arguments.json:
        facts = bench.info(arguments.name)
        applied = facts["rows"].get("applied", 0)
        since = f", and as {applied} applied delta{'s' * (applied > 1)} left it since" if applied else ""
        print(f"{arguments.name} is as it was built{since}")
