"""What is measured, as functions that a child calls: one look-up, one row, one change."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import apsw

from genome.bench import measure


def token(database: str, warm: str, by: str, wanted: str | int, times: int) -> dict[str, Any]:
    """One token, with this process warm and the database cold: open, look up, close.

    Args:
        database: a model; its file is dropped from the system's cache before each time.
        warm: another model, looked at first: what Python and SQLite do once in a process is done then.
        by: `text`, `bytes` or `number`.
        wanted: the text (for bytes too), or the number.
        times: how often.

    Returns:
        seconds (median), more_bytes (peak above what was resident before the first time), found (the number).
    """
    from genome.db.connect import opened
    from genome.model import queries

    raw = wanted.encode() if by == "bytes" and isinstance(wanted, str) else wanted

    def look(path: Path) -> list[int]:
        with opened(path, "model") as db:
            if isinstance(raw, int):
                return [raw] if queries.token_bytes(db, raw) else []
            return [row.id for row in queries.find_tokens(db, exact=raw)]

    look(Path(warm))
    more, took, found = None, [], []
    for _ in range(times):
        measure.make_cold(Path(database))
        measure.forget_peak()
        before = measure.resident_bytes()
        started = time.perf_counter()
        found = look(Path(database))
        took.append(time.perf_counter() - started)
        after = measure.peak_bytes()
        if more is None and after is not None and before is not None:
            more = after - before
    return {"seconds": median(took), "more_bytes": more, "found": found}


def embedding_row(database: str, times: int) -> dict[str, Any]:
    """Single rows of the input embedding, the database open: seconds (median), the most blocks that one took."""
    from genome.db.connect import opened
    from genome.model.weights import EmbeddingRows, Weights

    with opened(Path(database), "model") as db:
        weights = Weights(db)
        rows = EmbeddingRows(weights)
        count = rows.tensor.row_count
        numbers = [int(count * i / times) for i in range(times)]
        rows.row(numbers[0])
        blocks = max(
            _block_rows(db, lambda number=number: EmbeddingRows(weights).row(number)) for number in numbers[:100]
        )
        took = []
        for number in numbers[1:]:
            started = time.perf_counter()
            rows.row(number)
            took.append(time.perf_counter() - started)
    return {"seconds": median(took), "blocks": blocks}


def _block_rows(db: apsw.Connection, work: Callable[[], object]) -> int:
    """How many rows of the table `block` SQLite gives out during some work."""
    seen = 0

    def count(cursor: apsw.Cursor, row: tuple) -> tuple:
        nonlocal seen
        seen += any(isinstance(cell, bytes) for cell in row)
        return row

    db.row_trace = count
    try:
        work()
    finally:
        db.row_trace = None
    return seen
