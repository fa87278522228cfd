"""What a delta changes: which rows of which tensors, how much, and what that takes."""

from collections.abc import Sequence
from typing import NamedTuple

import apsw
import numpy as np

from genome.errors import Error
from genome.model.deltas.overlay import Overlay
from genome.model.dtypes import numbers
from genome.model.queries import TensorRow
from genome.model.weights import Weights


class Changed(NamedTuple):
    """A tensor that a delta changes.

    Attributes:
        tensor: its name.
        role: what it is for.
        layer: None outside of the layers.
        dtype: its type afterwards.
        rows: how many rows change.
        row_count: of how many.
        bytes: what the delta holds of it.
        encodings: of its patches, each once.
        relative: the length of what was added divided by the length of the tensor before, both as vectors; None of
            a type that this program cannot compute with.
    """

    tensor: str
    role: str
    layer: int | None
    dtype: str
    rows: int
    row_count: int
    bytes: int
    encodings: tuple[str, ...]
    relative: float | None


def changes(
    base: apsw.Connection, delta: apsw.Connection, *, deltas: Sequence[apsw.Connection] = ()
) -> list[Changed]:
    """The tensors that a delta changes, in the base's order.

    Args:
        base: the open model.
        delta: the open delta.
        deltas: open deltas that lie between the two.

    Raises:
        Error: the delta was made for another base.
        DamagedError: a database is damaged.
    """
    below, above = Weights(base, deltas=deltas), Weights(base, deltas=[*deltas, delta])
    overlay = above.overlays[-1]
    found = sorted(above.tensor(name) for name in overlay.changes)
    return [_changed(below, above, overlay, row) for row in found]


def _changed(below: Weights, above: Weights, overlay: Overlay, row: TensorRow) -> Changed:
    rows, size, encodings = overlay.told(row.name)
    try:
        relative = _relative(below, above, row)
    except Error:
        relative = None
    return Changed(row.name, row.role, row.layer, row.dtype, rows, row.row_count, size, encodings, relative)


def _relative(below: Weights, above: Weights, row: TensorRow) -> float:
    before = below.tensor(row.name)
    added = length = 0.0
    for (_, old), (_, new) in zip(below.blocks(before), above.blocks(row), strict=True):
        was = numbers(old, before.dtype).astype(np.float64)
        added += float(np.sum((numbers(new, row.dtype) - was) ** 2))
        length += float(np.sum(was**2))
    return (added / length) ** 0.5 if length else float("inf")
