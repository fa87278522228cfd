"""The nearest system, reminis 0.34, where it is installed: its own command, or its own functions."""

import sys
import time
from pathlib import Path
from typing import Any

from genome.bench.measure import Run, run
from genome.bench.rows import Peer

REMINIS = Peer("reminis")


def peer(*arguments: str | Path) -> Run:
    """One of its commands, from the process's start to its end."""
    return run("genome.bench.peers:command", [str(a) for a in arguments])


def command(arguments: list[str]) -> None:
    """In the child: its command line."""
    from reminis.cli import main  # type: ignore[reportMissingImports]

    sys.argv = [REMINIS.name, *arguments]
    main()


def token(database: str, text: str) -> dict[str, Any]:
    """In the child: one token by its spelling, with its package imported: open, look up, close."""
    import sqlite3

    from reminis.infer import build_tokenizer  # type: ignore[reportMissingImports]

    from genome.bench import measure

    measure.make_cold(Path(database))
    measure.forget_peak()
    before = measure.resident_bytes()
    started = time.perf_counter()
    connection = sqlite3.connect(f"{Path(database).as_uri()}?mode=ro", uri=True)
    tokenizer = build_tokenizer(dict(connection.execute("SELECT key, value FROM model_meta")))
    found = tokenizer.ids[text]
    connection.close()
    took = time.perf_counter() - started
    after = measure.peak_bytes()
    more = after - before if after is not None and before is not None else None
    return {"seconds": took, "more_bytes": more, "found": found}
