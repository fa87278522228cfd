"""Deltas are made: the rows in which a model, or some arrays, differ from a base; or several deltas as one."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import apsw
import numpy as np

from genome.db.build import PAGE_BYTES, building
from genome.errors import Error, quoted
from genome.model.deltas.differing import Line, some, whole
from genome.model.deltas.stored import stored
from genome.model.weights import Weights
from genome.progress import Progress, silent

Rows = tuple[Sequence[int], np.ndarray]
"""Numbers of rows, and their new values in that order."""
Arrays = Mapping[str, np.ndarray | Rows]
"""Changed tensors by name: all rows of one, or some."""

_LEAST_PAGE_BYTES = 512
_PAGES_A_BLOB = 16
_LOOKED_AT_BYTES = 1 << 20
_SQL = {
    "change": "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)",
    "patch": "INSERT INTO patch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "factor": "INSERT INTO factor VALUES (?, ?, ?, ?, ?, ?, ?)",
}


def create(
    base: apsw.Connection,
    changed: apsw.Connection | Arrays,
    delta: Path,
    *,
    deltas: Sequence[apsw.Connection] = (),
    progress: Progress = silent,
    **facts: str,
) -> None:
    """Writes the rows in which a model or some arrays differ from a base as a `delta` database.

    Args:
        base: the open model.
        changed: an open model with the same tensors (their types may differ), or tensors by name: for each an
            array of all its rows, or a pair of row numbers and an array of these rows. Rows of bytes (uint8, as
            stored) are taken as they are; numbers are rounded to the tensor's type.
        delta: the new database's final name; what stands there is replaced when all is written.
        deltas: open deltas that lie over the base: what is made fits over them.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence.

    Raises:
        NotFoundError: the base has no such tensor or row.
        Error: nothing differs, the two have different tensors, or the disk is full.
        DamagedError: a database is damaged.
    """
    weights = Weights(base, deltas=deltas)
    if isinstance(changed, apsw.Connection):
        other = Weights(changed)
        lines, source = _between_models(weights, other, delta.stem, progress), other.name
    else:
        lines, source = _of_arrays(weights, changed, delta.stem, progress), "arrays"
    first = next(lines, None)
    if first is None:
        raise Error(f"{source} and {weights.name} do not differ in any row; wanted a change")
    told = {"source": source, "licence": weights.facts.get("licence", ""), "method": "difference"}
    write(delta, chain([first], lines), **origin(weights), **told | facts)


def merge(
    base: apsw.Connection,
    deltas: Sequence[apsw.Connection],
    merged: Path,
    *,
    progress: Progress = silent,
    **facts: str,
) -> None:
    """Writes several deltas as one, which gives the same rows and leads to the same state.

    Args:
        base: the open model that the first delta was made for.
        deltas: open deltas, each made for what those before it leave.
        merged: the new database's final name; what stands there is replaced when all is written.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence.

    Raises:
        Error: fewer than two deltas, or one that does not fit over those before it.
        DamagedError: a database is damaged.
    """
    if len(deltas) < 2:
        raise Error(f"merging wants two deltas or more, got {len(deltas)}")
    below, above = Weights(base), Weights(base, deltas=deltas)
    parents = [
        {name: overlay.facts.get(name, "") for name in ("name", "checksum", "method")} for overlay in above.overlays
    ]
    told = {
        "source": " + ".join(overlay.name for overlay in above.overlays),
        "licence": below.facts.get("licence", ""), "method": "merge",
        "result_checksum": above.state, "parents": json.dumps(parents),
    }  # fmt: skip
    write(merged, _of_stack(below, above, merged.stem, progress), **origin(below), **told | facts)


def origin(weights: Weights) -> dict[str, str]:
    """The facts of `meta` that say what a delta was made for."""
    names = [weights.name, *(overlay.name for overlay in weights.overlays)]
    return {
        "base_name": " + ".join(names),
        "base_checksum": weights.state,
        "base_uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, weights.state)),
    }


def write(delta: Path, lines: Iterable[Line], **facts: str) -> None:
    """Builds a delta database. Half a page is lost behind each blob: small blobs get small pages."""
    lines = iter(lines)
    held, blobs = [], []
    for line in lines:
        held.append(line)
        blobs += [len(value) for value in line.values if isinstance(value, bytes) and value]
        if sum(blobs) > _LOOKED_AT_BYTES:
            break
    usual = sum(blobs) // (_PAGES_A_BLOB * max(1, len(blobs)))
    page_bytes = min(PAGE_BYTES, max(_LEAST_PAGE_BYTES, 1 << usual.bit_length() >> 1))
    with building(delta, "delta", page_bytes, **facts) as db:
        for line in chain(held, lines):
            db.execute(_SQL[line.table], line.values)


def _between_models(weights: Weights, other: Weights, name: str, progress: Progress) -> Iterator[Line]:
    rows, others = weights.tensors(), {row.name: row for row in other.tensors()}
    if odd := sorted({row.name for row in rows} ^ others.keys()):
        whose = (other.name, weights.name) if odd[0] in others else (weights.name, other.name)
        raise Error(
            f"only {whose[0]} has a tensor {quoted(odd[0])}, not {whose[1]}; wanted two with the same tensors"
        )
    for row in rows:
        if row.shape != others[row.name].shape:
            raise Error(
                f"{row.name} has the shape {row.shape} in {weights.name}, {others[row.name].shape} in {other.name};"
                " wanted the same tensors"
            )
    numbers, total, done = iter(range(len(rows))), sum(row.size_bytes for row in rows), 0
    for row in rows:
        after = others[row.name]
        yield from whole(
            weights, row, after, numbers, lambda first, count, after=after: other.read(after, first, count)
        )
        done += row.size_bytes
        progress(f"{name}: compare", done, total)


def _of_arrays(weights: Weights, changed: Arrays, name: str, progress: Progress) -> Iterator[Line]:
    given = {weights.tensor(tensor): array for tensor, array in changed.items()}
    numbers = iter(range(len(given)))
    for done, row in enumerate(sorted(given), 1):
        array = given[row]
        if isinstance(array, tuple):
            yield from some(weights, row, numbers, *array)
        else:
            new = stored(array, row)
            yield from whole(weights, row, row, numbers, lambda first, count, new=new: new[first : first + count])
        progress(f"{name}: compare", done, len(given))


def _of_stack(below: Weights, above: Weights, name: str, progress: Progress) -> Iterator[Line]:
    rows = [row for row in below.tensors() if any(row.name in overlay.changes for overlay in above.overlays)]
    numbers = iter(range(len(rows)))
    for done, row in enumerate(rows, 1):
        changing = [overlay for overlay in above.overlays if row.name in overlay.changes]
        if len(changing) == 1:
            number = next(numbers)
            yield from (Line(*line) for line in changing[0].rows_of(row.name, number))
        else:
            after = above.tensor(row.name)
            yield from whole(
                below, row, after, numbers, lambda first, count, after=after: above.read(after, first, count)
            )
        progress(f"{name}: merge", done, len(rows))
