"""Reader processes beside a writer that applies deltas and takes them back: each read is of one whole state."""

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from genome.bench import made, measure
from genome.bench.child import tell, wait
from genome.db.connect import connect, meta, opened
from genome.db.connection import snapshot
from genome.model import import_gguf
from genome.model.deltas.inplace import apply_delta, undo
from genome.model.deltas.making import create
from genome.model.weights import Weights
from genome.progress import Progress, silent

_CHANGED = ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight")
_ROWS = (0, 5, 40, 63)
_OPENED_ANEW = 50
"""A reader opens the database anew after so many reads."""


def readers(folder: Path, count: int, seconds: float, progress: Progress = silent) -> dict[str, Any]:
    """Lets processes read a model while another one applies two deltas, one over the other, and takes them back.

    Args:
        folder: to work in.
        count: how many readers.
        seconds: how long.
        progress: told seconds.

    Returns:
        reads, changes (applied or taken back), states (how many different ones the readers saw), wrong: errors, and
        reads of what is none of the three states, as texts.
    """
    model, deltas = stacked(folder)
    states = _states(folder, model, deltas)
    found: dict[str, Any] = {"reads": 0, "changes": 0, "states": 0, "wrong": []}
    calls = [("genome.bench.readers:reader", str(model), states, seconds)] * count
    children = [measure.Child(*call) for call in calls]
    children.append(measure.Child("genome.bench.readers:writer", str(model), [str(d) for d in deltas], seconds))
    try:
        for child in children:
            child.line()
        for child in children:
            child.send("go")
        for second in range(int(seconds)):
            time.sleep(1)
            progress("readers and a writer", second + 1, int(seconds), "seconds")
        told = [child.result(seconds + 60)["value"] for child in children]
    finally:
        for child in children:
            child.close()
    seen: set[str] = set()
    for one in told:
        found["wrong"] += one["wrong"]
        found["reads"] += one.get("reads", 0)
        found["changes"] += one.get("changes", 0)
        seen |= set(one.get("seen", ()))
    found["states"] = len(seen)
    return found


def stacked(folder: Path) -> tuple[Path, list[Path]]:
    """A model, and two deltas of it that lie over one another; each changes rows of three tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    model, deltas = folder / "base.db", [folder / "first.db", folder / "second.db"]
    import_gguf(made.model(folder / "base.gguf"), model)
    draw = np.random.default_rng(65)
    below: list[apsw.Connection] = []
    with opened(model, "model") as base:
        try:
            for delta in deltas:
                rows = {t.name: t for t in Weights(base).tensors()}
                changed = {
                    name: (_ROWS, draw.standard_normal((len(_ROWS), rows[name].shape[1]))) for name in _CHANGED
                }
                create(base, changed, delta, deltas=below)
                below.append(connect(delta, "delta"))
        finally:
            for connection in below:
                connection.close()
    return model, deltas


def _states(folder: Path, model: Path, deltas: list[Path]) -> dict[str, str]:
    """The checksum of each state, and what a reader sees in it."""
    copy = folder / "states.db"
    shutil.copyfile(model, copy)
    found = {}
    for delta in [None, *deltas]:
        if delta is not None:
            with opened(delta, "delta") as change:
                apply_delta(copy, change)
        with opened(copy, "model") as db:
            checksum, seen = _seen(db)
            found[checksum] = seen
    return found


def _seen(db: apsw.Connection) -> tuple[str, str]:
    """The checksum that a model states, and the digest of what its changed tensors hold."""
    with snapshot(db):
        weights, sha = Weights(db), hashlib.sha256()
        for name in _CHANGED:
            sha.update(weights.read(weights.tensor(name)).tobytes())
        return meta(db)["checksum"], sha.hexdigest()


def reader(model: str, states: dict[str, str], seconds: float) -> dict[str, Any]:
    """In the child: reads until the time is over."""
    reads, seen, wrong = 0, set(), []
    tell("ready")
    wait()
    until = time.monotonic() + seconds
    while time.monotonic() < until and len(wrong) < 10:
        try:
            with opened(Path(model), "model") as db:
                for _ in range(_OPENED_ANEW):
                    checksum, digest = _seen(db)
                    reads += 1
                    seen.add(checksum)
                    if states.get(checksum) != digest:
                        wrong.append(f"reader: the state {checksum[:12]} with other rows than it has")
        except Exception as error:
            wrong.append(f"reader: {error!r:.200}")
    return {"reads": reads, "seen": sorted(seen), "wrong": wrong}


def writer(model: str, deltas: list[str], seconds: float) -> dict[str, Any]:
    """In the child: applies the deltas, takes them back, again and again."""
    changes, wrong = 0, []
    connections = [connect(Path(delta), "delta") for delta in deltas]
    tell("ready")
    wait()
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            for delta in connections:
                apply_delta(Path(model), delta)
                changes += 1
            for _ in connections:
                undo(Path(model))
                changes += 1
    except Exception as error:
        wrong.append(f"writer: {error!r:.200}")
    for connection in connections:
        connection.close()
    return {"changes": changes, "wrong": wrong}
