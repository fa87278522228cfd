"""The other end of `measure.begin`: calls one function in a fresh process and tells what it gave as JSON lines."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from io import TextIOWrapper
from typing import Any

_out: TextIOWrapper | None = None


def tell(value: Any) -> None:
    """Sends the parent a line before the end: that the work begins, or how far it is."""
    if _out is not None:
        _out.write(json.dumps({"told": value}) + "\n")
        _out.flush()


def wait() -> Any:
    """What the parent sends next."""
    return json.loads(sys.stdin.readline())


def answer(questions: Mapping[str, Callable[..., Any]]) -> None:
    """Answers what the parent asks with `Child.ask`, a name and arguments each time, until it sends nothing."""
    while (asked := wait()) is not None:
        name, *arguments = asked
        tell(questions[name](*arguments))


def main() -> None:
    """Reads what to call from standard input; what the function itself prints goes nowhere."""
    global _out
    from genome.bench.measure import peak_bytes

    _out = open(os.dup(1), "w", encoding="utf-8")  # noqa: SIM115 (stays open to the end)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    told = json.loads(sys.stdin.readline())
    module, _, name = told["call"].partition(":")
    value = getattr(import_module(module), name)(*told["arguments"])
    _out.write(json.dumps({"value": value, "peak_bytes": peak_bytes()}) + "\n")
    _out.flush()


if __name__ == "__main__":
    from genome.bench import child  # by its real name, so that `tell` of the work is this one

    child.main()
