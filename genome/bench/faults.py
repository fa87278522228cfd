"""Kills, flipped bytes, malformed files, readers beside a writer: how often what must not happen does."""

import shutil
from collections.abc import Iterator
from typing import Any

from genome.bench import made, measure
from genome.bench.kills import kills
from genome.bench.malformed import malformed
from genome.bench.place import Place
from genome.bench.readers import readers
from genome.bench.rows import Row, none
from genome.model import import_gguf

SEED = 65
KILLS, FLIPS, FILES, READERS, SECONDS = 200, 1000, 500, 8, 60


def killed(place: Place) -> Iterator[Row]:
    """Processes killed at random moments."""
    folder = place.folder / "kills"
    folder.mkdir()
    told = kills(folder, place.count(KILLS), SEED, place.progress)
    note = f"{told['old']} times the old state, {told['new']} times the new one"
    goal = "always the old state or the new one"
    yield none(f"{told['kills']} kills at random moments: other states", goal, told["wrong"], "states", note)


def flipped(place: Place) -> Iterator[Row]:
    """Single bytes of a model database."""
    path = place.folder / "flips.db"
    import_gguf(made.model(place.folder / "flips.gguf"), path)
    with measure.begin("genome.bench.flips:flips", str(path), count := place.count(FLIPS), SEED) as child:
        while "value" not in (line := child.line()):
            place.progress("flipped bytes", line["told"], count, "bytes")
    told: dict[str, Any] = line["value"]
    note = f"{told['changed']} of them change what a table holds, or make the file unreadable"
    goal = "every one that changes data is found"
    yield none(f"{count:,} flipped bytes: not found by verify", goal, told["missed"], "bytes", note)
    yield none(f"{count:,} flipped bytes: wrong answers", "none", told["wrong"], "answers")
    yield none(f"{count:,} flipped bytes: tracebacks", "none", told["raw"], "tracebacks")


def mutated(place: Place) -> Iterator[Row]:
    """Files that are broken on purpose."""
    told = malformed(place.folder / "malformed", count := place.count(FILES), SEED, place.progress)
    note = f"{told['refused']} refused in one line, {told['accepted']} accepted and given back byte for byte"
    goal = "no traceback, no hang, no memory above 1 GB"
    yield none(f"{count} malformed files: not handled", goal, told["wrong"], "files", note)
    peak = told["peak_bytes"]
    yield Row(f"{count} malformed files: peak memory", "under 1 GB", peak, "B", peak < 1 << 30)
    shutil.rmtree(place.folder / "malformed")


def beside_a_writer(place: Place) -> Iterator[Row]:
    """Readers in processes of their own."""
    seconds = place.count(SECONDS)
    told = readers(place.folder / "readers", READERS, seconds, place.progress)
    note = f"{told['reads']:,} reads of {told['states']} states, {told['changes']:,} changes"
    what = f"{READERS} readers for {seconds} s beside a writer: errors and mixed states"
    yield none(what, "no error, always one whole state", told["wrong"], "reads", note)


FAULTS = (killed, flipped, mutated, beside_a_writer)
