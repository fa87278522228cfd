"""What differs between two states of a tensor, as rows of a delta's tables: in blocks, or as a low-rank product."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from genome.db.blocks import checksum
from genome.db.patches import Patch, between, beyond, packed
from genome.errors import Error
from genome.model.deltas.lowrank import DTYPES, added, factors, spacing
from genome.model.deltas.overlay import columns
from genome.model.deltas.stored import stored
from genome.model.dtypes import element_bytes, numbers
from genome.model.queries import TensorRow
from genome.model.weights import Weights

_MOST_SEARCHED = 1 << 25
"""Numbers of a tensor in which factors are looked for: as float64 they take 256 MB."""
_LEAST_ROWS = 16
_SAMPLE = 192


class Line(NamedTuple):
    """A row of one of the delta's tables."""

    table: str
    values: tuple


def whole(
    weights: Weights,
    row: TensorRow,
    after: TensorRow,
    counter: Iterator[int],
    changed: Callable[[int, int], np.ndarray],
) -> Iterator[Line]:
    """What differs in a tensor.

    Args:
        weights: the base.
        row: the tensor there.
        after: the tensor afterwards; its type may be another one.
        counter: gives the number of a change, where there is one.
        changed: from a first row and a number of rows to these rows afterwards: uint8, shape (rows, row_bytes).
    """
    size = element_bytes(after.dtype, after.row_bytes)
    if after.dtype == row.dtype and _may_be_product(row):
        old, new = weights.read(row), changed(0, row.row_count)
        bounds = list(pairwise([*weights.starts(row), row.row_count]))
        plain = [between(old[begin:end], new[begin:end], begin, size) for begin, end in bounds]
        if (lines := _product(row, old, new, bounds, plain, counter)) is not None:
            return lines
        return _lines(row, after, counter, (patch for patch in plain if patch is not None))
    patches = (
        between(old if after.dtype == row.dtype else None, changed(at, len(old)), at, size)
        for at, old in weights.blocks(row)
    )
    return _lines(row, after, counter, (patch for patch in patches if patch is not None))


def some(
    weights: Weights, row: TensorRow, counter: Iterator[int], which: Sequence[int], array: np.ndarray
) -> Iterator[Line]:
    """What differs in some rows of a tensor; only their blocks are read.

    Args:
        weights: the base.
        row: the tensor.
        counter: gives the number of a change, where there is one.
        which: the rows' numbers.
        array: these rows: bytes as stored, or numbers.

    Raises:
        NotFoundError: the tensor has no such row.
        Error: a row is given twice, or the array does not fit.
    """
    return _lines(row, row, counter, _some(weights, row, which, array))


def _some(weights: Weights, row: TensorRow, which: Sequence[int], array: np.ndarray) -> Iterator[Patch]:
    """What differs in some rows of a tensor; only their blocks are read."""
    new = stored(array, row, len(which))
    order = np.argsort(np.asarray(which, np.int64), kind="stable")
    wanted = np.asarray(which, np.int64)[order]
    if len(wanted) and (np.diff(wanted) == 0).any():
        raise Error(f"{row.name}: row {wanted[:-1][np.diff(wanted) == 0][0]} is given twice; wanted each row once")
    size, at = element_bytes(row.dtype, row.row_bytes), 0
    while at < len(wanted):
        weights.check_rows(row, int(wanted[at]), 1)
        first, old = next(iter(weights.blocks(row, int(wanted[at]), 1)))
        end = int(np.searchsorted(wanted, first + len(old)))
        block = old.copy()
        block[wanted[at:end] - first] = new[order[at:end]]
        if (patch := between(old, block, first, size)) is not None:
            yield patch
        at = end


def _lines(row: TensorRow, after: TensorRow, counter: Iterator[int], patches: Iterator[Patch]) -> Iterator[Line]:
    """A change and its patches; nothing without patches."""
    first = next(patches, None)
    if first is not None:
        number = next(counter)
        yield Line("change", (number, row.name, after.dtype, row.row_count, after.row_bytes, None))
        yield from (Line("patch", (number, *patch)) for patch in chain([first], patches))


def _may_be_product(row: TensorRow) -> bool:
    return row.dtype in DTYPES and row.row_count >= _LEAST_ROWS and row.row_count * columns(row) <= _MOST_SEARCHED


def _product(
    row: TensorRow,
    old: np.ndarray,
    new: np.ndarray,
    bounds: list[tuple[int, int]],
    plain: list[Patch | None],
    counter: Iterator[int],
) -> Iterator[Line] | None:
    """The change as a product of two factors and what it lacks; None where that is not smaller.

    Of each block the smaller of both forms is taken.
    """
    if sum(patch.row_count for patch in plain if patch is not None) < _LEAST_ROWS:
        return None
    base, wanted = numbers(old, row.dtype), numbers(new, row.dtype)
    sample = np.ix_(*(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(int) for n in base.shape))
    if _full_rank(*_change(base[sample], wanted[sample], row.dtype)):
        return None
    if (found := factors(*_change(base, wanted, row.dtype))) is None:
        return None
    given = added(base, *found, 1.0, row.dtype)
    size = element_bytes(row.dtype, row.row_bytes)
    patches = []
    for (begin, end), patch in zip(bounds, plain, strict=True):
        if patch is not None:
            patches.append(min(beyond(given[begin:end], new[begin:end], begin, size), patch, key=_bytes))
    data = {name: packed(factor.view(np.uint8), 4) for name, factor in zip("BA", found, strict=True)}
    if sum(map(len, data.values())) + sum(map(_bytes, patches)) >= sum(map(_bytes, filter(None, plain))):
        return None
    number = next(counter)
    return chain(
        [Line("change", (number, row.name, row.dtype, row.row_count, row.row_bytes, 1.0))],
        (
            Line("factor", (number, name, "F32", *factor.shape, checksum(data[name]), data[name]))
            for name, factor in zip("BA", found, strict=True)
        ),
        (Line("patch", (number, *patch)) for patch in patches),
    )


def _change(base: np.ndarray, wanted: np.ndarray, dtype: str) -> tuple[np.ndarray, float]:
    """What was added, and the standard deviation that rounding gave to it.

    A sum is moved by up to half of the distance between two numbers, each way equally often: on average by the
    distance divided by the square root of 12.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return wanted.astype(np.float64) - base, float(np.sqrt(np.mean(spacing(wanted, dtype) ** 2) / 12))


def _full_rank(sample: np.ndarray, noise: float) -> bool:
    """Whether some rows and columns of a change show already that no factors are smaller."""
    if not np.isfinite(sample).all():
        return True
    values = np.linalg.svd(sample, compute_uv=False)
    return (
        int(np.sum(values > 2 * noise * (sample.shape[0] ** 0.5 + sample.shape[1] ** 0.5))) > min(sample.shape) // 2
    )


def _bytes(patch: Patch) -> int:
    return len(patch.data)
