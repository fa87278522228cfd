"""What the commands share: the workbench, progress, and how answers are printed."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from genome.envelope import Envelope
from genome.errors import Error, quoted
from genome.progress import Progress, silent
from genome.workbench import Workbench

Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Makes the parser of a command from its name (`delta apply`: an action of `delta`), a summary, an example."""


def workbench(arguments: argparse.Namespace) -> Workbench:
    """The workbench that `--home` or the environment names."""
    return Workbench(arguments.home, bars=bars)


def model(arguments: argparse.Namespace) -> Envelope:
    """The envelope of the model that `--model` or the first argument names.

    Raises:
        Error: a database of that name is no model.
    """
    envelope = workbench(arguments).envelope(arguments.model)
    if envelope.roles.model is None:
        kind = " and ".join(d.kind for d in envelope.roles.databases)
        raise Error(f"{arguments.model} is no model ({kind}); `genome list` shows which databases are")
    return envelope


def bars() -> AbstractContextManager[Progress]:
    """Progress bars where somebody looks at standard error; elsewhere it is kept for what went wrong."""
    if not sys.stderr.isatty():
        return nullcontext(silent)
    from genome.lab.progress import Bars

    return Bars()


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON value for a program to read")


def print_json(value: Any) -> None:
    """One JSON value on one line; characters as they are where standard output is UTF-8, else as escapes."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not plain, allow_nan=False, default=_number))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns of text, aligned; numbers to the right."""
    rows = [tuple(row) for row in rows]
    cells = [tuple(columns), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    for line in cells:
        parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        print("  ".join(parts).rstrip())


def count(text: str) -> int:
    """An argument that counts something: a whole number from 1 on that 32 bits hold."""
    return _whole(text, 1, (1 << 31) - 1)


def port(text: str) -> int:
    """An argument that is a port; 0 stands for a free one."""
    return _whole(text, 0, 65535)


def seed(text: str) -> int:
    """An argument that random numbers begin with."""
    return _whole(text, 0, (1 << 63) - 1)


def read_stdin() -> str:
    """Standard input as text.

    Raises:
        Error: it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Error(
            f"standard input is not UTF-8 ({error.reason} at byte {error.start}); convert it first"
        ) from error


def _whole(text: str, first: int, last: int) -> int:
    # Python refuses to read more than 4,300 digits.
    if not text.isdecimal() or len(text) > 30 or not first <= int(text) <= last:
        raise argparse.ArgumentTypeError(f"wanted a whole number from {first} to {last}, got {quoted(text)}")
    return int(text)


def _cell(value: object) -> str:
    """One line of printable text."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _number(value: Any) -> Any:
    """A number of NumPy as Python's own."""
    return value.item()
