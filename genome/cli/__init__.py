"""The command `genome`: one line on standard error and exit status 2 for whatever is wrong with the input."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import apsw

from genome import __version__
from genome.cli import bench, databases, delta, formant, generation, meaning, models, notebooks, query, serve
from genome.errors import Error, quoted

WRONG_INPUT, INTERRUPTED, CLOSED_PIPE = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit status.

    0 done, 2 wrong input or a machine that refuses (full disk, no network), 130 Ctrl-C, 141 the reader of
    standard output went away.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console may lack characters that a vocabulary has
    try:
        chosen = parser().parse_args(arguments)
        status = chosen.run(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more when it ends: give it something to flush into.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except Error as error:
        return _refuse(str(error))
    except UnicodeEncodeError as error:
        return _refuse(f"{quoted(error.object)} holds bytes that are not UTF-8; wanted text")
    except apsw.Error as error:
        return _refuse(f"SQLite says: {error}; `genome verify NAME` looks for damage")
    except OSError as error:
        named = quoted(error.filename) if error.filename else "the machine"
        return _refuse(f"{named}: {error.strerror or error}")
    return status or 0


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the parsed arguments."""
    top = _Parser(
        prog="genome",
        description="Meaning and model weights in SQLite: pull models and dictionaries, decompose words into "
        "65 semantic primes, generate text from the database, open it all in JupyterLab.",
        epilog="Begin with `genome lab`: it builds the default workbench and opens the tour.",
    )
    top.add_argument("--version", action="version", version=f"genome {__version__}")
    home: dict[str, Any] = {
        "metavar": "FOLDER",
        "help": "the workbench's folder; else GENOME_HOME, else the user's data folder",
    }
    top.add_argument("--home", default=None, **home)
    shared = _Parser(add_help=False)
    shared.add_argument("--home", default=argparse.SUPPRESS, **home)
    groups: dict[str, Any] = {"": top.add_subparsers(metavar="COMMAND", required=True)}
    parsers: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, summary: str, example: str) -> argparse.ArgumentParser:
        group, _, last = name.rpartition(" ")
        if group not in groups:
            groups[group] = parsers[group].add_subparsers(metavar="ACTION", required=True)
        parsers[name] = groups[group].add_parser(
            last, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example:\n  {example}",
            parents=[shared], formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        return parsers[name]

    for room in (databases, query, delta, notebooks, meaning, models, generation, formant, serve, bench):
        room.add_commands(add)
    return top


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line; `--help` has the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(_refuse(f"{message}; `{self.prog} --help` shows how"))


def _refuse(text: str) -> int:
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    print(f"genome: {line}", file=sys.stderr)
    return WRONG_INPUT
