"""What is measured, as functions that a child calls: one look-up, one row, one change."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import apsw

from genome.bench import measure
from genome.errors import Error


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


def pull(home: str, file: str, name: str) -> None:
    """A file becomes a database of a workbench."""
    from genome.workbench import Workbench

    Workbench(home).pull(file, name)


def export(home: str, name: str, file: str) -> None:
    """A database of a workbench becomes the file that it came from."""
    from genome.workbench import Workbench

    Workbench(home).export(name, file, force=True)


def one_row(model: str, folder: str, times: int) -> dict[str, Any]:
    """One row of the embedding changes: as a delta laid over the model, then in place, then back.

    Args:
        model: a model that may be written to; afterwards it has the rows that it had.
        folder: for the deltas.
        times: how often, with another row each time.

    Returns:
        delta_bytes (the largest file), create_s, overlay_s (open the delta, read the row), apply_s, undo_s
        (medians), pages (the most that differ in the file while the delta is applied), pages_after (that differ
        after the first undo), page_count, as_before (whether the rows afterwards are those before).
    """
    path, rounds = (
        Path(model),
        [_one_row(Path(model), Path(folder) / f"row{number}.db", number) for number in range(times)],
    )
    told = {name: max(one[name] for one in rounds) for name in ("delta_bytes", "pages")}
    told |= {"pages_after": rounds[0]["pages_after"], "page_count": len(_pages(path))}
    told["as_before"] = all(one["as_before"] for one in rounds)
    return told | {name: median(one[name] for one in rounds) for name in rounds[0] if name.endswith("_s")}


def _one_row(path: Path, delta: Path, number: int) -> dict[str, Any]:
    """One round of `one_row`."""
    import numpy as np

    from genome.db.connect import opened
    from genome.model.deltas.inplace import apply_delta, undo
    from genome.model.deltas.making import create
    from genome.model.weights import EmbeddingRows, Weights

    told: dict[str, Any] = {}
    pages = _pages(path)
    with opened(path, "model") as base:
        weights = Weights(base)
        tensor = EmbeddingRows(weights).tensor
        row = number * 997 % tensor.row_count
        before = weights.read(tensor, row, 1)
        changed = before ^ np.uint8(1)
        told["create_s"] = _timed(lambda: create(base, {tensor.name: ([row], changed)}, delta))

        def overlay() -> None:
            with opened(delta, "delta") as change:
                assert (Weights(base, deltas=[change]).read(tensor, row, 1) == changed).all()

        told["overlay_s"] = _timed(overlay)
    told["delta_bytes"] = delta.stat().st_size
    with opened(delta, "delta") as change:
        told["apply_s"] = _timed(lambda: apply_delta(path, change))
    told["pages"] = _different(pages, _pages(path))
    told["undo_s"] = _timed(lambda: undo(path))
    told["pages_after"] = _different(pages, _pages(path))
    with opened(path, "model") as base:
        told["as_before"] = bool((Weights(base).read(tensor, row, 1) == before).all())
    return told


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _pages(path: Path, size: int = 16384) -> list[int]:
    """A number for what each page of a file holds."""
    with path.open("rb") as file:
        return [hash(page) for page in iter(lambda: file.read(size), b"")]


def _different(one: list[int], other: list[int]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


def swap(home: str, first: str, second: str, tokens: int, times: int) -> dict[str, Any]:
    """A model is swapped for another one while the first one generates, token after token.

    Returns:
        pause_s: the most that the step with the swap took longer than the median step; swap_s: the call's median;
        step_s: the median step; equal: whether each generation gave the tokens that it gives undisturbed, and the
        next one those of the new model.
    """
    from genome.workbench import Workbench

    pauses, swaps, steps, equal = [], [], [], True
    with Workbench(home).envelope(first) as envelope:
        prompt = "The mother of all models"
        alone = {}
        for name in (first, second):
            envelope.swap(name)
            alone[name] = [step.token for step in envelope.generate(prompt, max_tokens=tokens, past_end=True)]
        for number in range(times):
            now, new = (second, first) if number % 2 == 0 else (first, second)
            found, gaps, at = [], [], 0.0
            last = time.perf_counter()
            for step in envelope.generate(prompt, max_tokens=tokens, past_end=True):
                gaps.append(time.perf_counter() - last)
                last = time.perf_counter()
                found.append(step.token)
                if len(found) == tokens // 2:
                    at = _timed(lambda name=new: envelope.swap(name))
            usual = median(gaps[1:])
            steps.append(usual)
            swaps.append(at)
            pauses.append(max(0.0, gaps[tokens // 2] - usual))
            equal &= found == alone[now]
            then = [step.token for step in envelope.generate(prompt, max_tokens=8, past_end=True)]
            equal &= then == alone[new][:8]
    return {"pause_s": max(pauses), "swap_s": median(swaps), "step_s": median(steps), "equal": equal}


def thousand(home: str) -> dict[str, Any]:
    """A workbench's catalogue, then each database opened through a pool and asked; all of them stay in hand.

    Returns:
        seconds, databases (that answered), open (the most files of the workbench that were open at once).
    """
    import polars

    from genome.db.pool import Pool
    from genome.model.queries import token_bytes
    from genome.workbench import Workbench

    assert polars
    bench, pool, held, most = Workbench(home), Pool(), [], 0
    started = time.perf_counter()
    for name in bench.databases()["name"]:
        held.append(pool.connect(bench.folder / f"{name}.db", "model"))
        if token_bytes(held[-1], 5) is None:
            raise Error(f"{name} has no token 5")
        if len(held) % 100 == 0:
            most = max(most, _open_files(bench.folder))
    took = time.perf_counter() - started
    first = token_bytes(held[0], 7)  # closed long ago: it opens again
    pool.close()
    return {"seconds": took, "databases": len(held) if first else 0, "open": most}


def _open_files(folder: Path) -> int:
    """How many files of a folder this process has open, where the system says so."""
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        return 0
    found = 0
    for handle in handles.iterdir():
        with suppress(OSError):
            found += handle.readlink().is_relative_to(folder)
    return found


def lora(model: str, adapter: str, delta: str) -> dict[str, Any]:
    """An adapter becomes a delta: its size in bytes, and the digest of what its tensors are above the base."""
    from hashlib import sha256

    from genome.db.connect import opened
    from genome.model.deltas.lora import create_from_lora
    from genome.model.weights import Weights

    sha = sha256()
    with opened(Path(model), "model") as base:
        took = _timed(lambda: create_from_lora(base, Path(adapter), Path(delta)))
        with opened(Path(delta), "delta") as change:
            above = Weights(base, deltas=[change])
            for (name,) in change.execute("SELECT tensor FROM change ORDER BY tensor"):
                sha.update(above.read(above.tensor(str(name))).tobytes())
    return {"delta_bytes": Path(delta).stat().st_size, "sha256": sha.hexdigest(), "seconds": took}
