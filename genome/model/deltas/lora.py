"""A LoRA adapter becomes a delta: its factors as they are, its whole tensors as patches."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import apsw
import numpy as np

from genome.db.blocks import checksum
from genome.db.patches import Patch, between, beyond, packed
from genome.errors import Error
from genome.model.deltas.adapter import Adapter, opening
from genome.model.deltas.fitting import Part, factors, parts, values
from genome.model.deltas.lowrank import DTYPES, added, kept_as, rounded
from genome.model.deltas.making import Line, origin, write
from genome.model.deltas.overlay import columns
from genome.model.dtypes import element_bytes, numbers, row_bytes
from genome.model.formats.importer import set_sha256, sha256_of
from genome.model.quant import check
from genome.model.queries import TensorRow
from genome.model.weights import Weights
from genome.progress import Progress, silent

_HOLDS = {"F64": ("F64", "F32", "F16", "BF16"), "F32": ("F32", "F16", "BF16"), "F16": ("F16",), "BF16": ("BF16",)}
"""The types whose numbers a type holds, each of them."""


def create_from_lora(
    model: apsw.Connection,
    adapter: Path,
    delta: Path,
    *,
    deltas: Sequence[apsw.Connection] = (),
    progress: Progress = silent,
    **facts: str,
) -> None:
    """Writes what a LoRA adapter changes in a model as a `delta` database.

    A product is kept as its two factors, in the adapter's own type; what it gives over a tensor of F32, F16 or BF16
    has that tensor's type, over a quantised one F32. A whole tensor (`modules_to_save`, a bias) has the adapter's
    type; a vector has the base's where that holds the same numbers.

    Args:
        model: the open base.
        adapter: a folder as PEFT saves it, or its adapter_model.safetensors.
        delta: the new database's final name; what stands there is replaced when all is written.
        deltas: open deltas that lie over the base, where the adapter was trained on what they give.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence.

    Raises:
        NotFoundError, DamagedError: the adapter is missing, damaged, or does not fit its configuration.
        Error: it is no plain LoRA, or one of another model; the disk is full.
    """
    weights = Weights(model, deltas=deltas)
    with opening(adapter) as opened:
        lines = _lines(weights, opened, parts(model, weights, opened), delta.stem, progress)
        if (first := next(lines, None)) is None:
            raise Error(f"{adapter} changes nothing in {weights.name}; wanted an adapter that was trained")
        told = {"source": adapter.name, "source_sha256": _sha256(opened), "method": "lora"}
        write(delta, chain([first], lines), **origin(weights), **(told | facts))


def _sha256(adapter: Adapter) -> str:
    """One digest of the adapter's two files."""
    return set_sha256((path.name, sha256_of(path)) for path in (adapter.config, adapter.file))


def _lines(
    weights: Weights, adapter: Adapter, found: Sequence[Part], name: str, progress: Progress
) -> Iterator[Line]:
    """The rows of `change`, `factor` and `patch`, tensor by tensor."""
    total, done = sum(part.row.size_bytes for part in found), 0
    for number, part in enumerate(found):
        part = _needed(weights, adapter, part)
        if part.change.values is not None or part.change.product is not None:
            yield from _Changed(adapter, part).lines(weights, number)
        done += part.row.size_bytes
        progress(f"{name}: adapter", done, total)


def _needed(weights: Weights, adapter: Adapter, part: Part) -> Part:
    """A part without its whole tensor where that is the base's own: PEFT saves an embedding beside its factors."""
    own = part.change.values
    if own is None:
        return part
    try:
        check(part.row.dtype)
    except Error:
        return part
    for first, block in weights.blocks(part.row):
        rows = values(adapter, part, own, first, len(block))
        if not np.array_equal(numbers(rows.raw, rows.dtype), numbers(block, part.row.dtype)):
            return part
    return part._replace(change=part.change._replace(values=None))


class _Changed:
    """A tensor as an adapter leaves it."""

    def __init__(self, adapter: Adapter, part: Part) -> None:
        self._adapter, self._part, self._row = adapter, part, part.row
        self._own, self._product = part.change
        self._factors = () if self._product is None else factors(adapter, part)
        self._numbers = [numbers(factor.raw, factor.dtype) for factor in self._factors]
        self._dtype = self._kept_as(part.row)
        self._row_bytes = row_bytes(self._dtype, columns(part.row))

    def _kept_as(self, row: TensorRow) -> str:
        if self._own is None:
            return kept_as(row.dtype)
        held = len(row.shape) == 1 and self._own.dtype in _HOLDS.get(row.dtype, ())
        return row.dtype if held else self._own.dtype

    def lines(self, weights: Weights, number: int) -> Iterator[Line]:
        """Its row of `change`, its factors where they lie over the base's own numbers, and its patches."""
        row, product = self._row, self._product
        scale = product.scale if product is not None and self._own is None else None
        yield Line("change", (number, row.name, self._dtype, row.row_count, self._row_bytes, scale))
        if scale is not None:
            for name, factor in zip("BA", self._factors, strict=True):
                size = DTYPES[factor.dtype]
                data = packed(factor.raw, size)
                shape = factor.raw.shape[0], factor.raw.shape[1] // size
                yield Line("factor", (number, name, factor.dtype, *shape, checksum(data), data))
        for patch in self._patches(weights):
            yield Line("patch", (number, *patch))

    def _patches(self, weights: Weights) -> Iterator[Patch]:
        """A patch for each block of the base in which something changes."""
        size = element_bytes(self._dtype, self._row_bytes)
        for first, block in weights.blocks(self._row):
            after = self._after(first, block)
            if not np.isfinite(numbers(after, self._dtype)).all():
                raise Error(
                    f"{self._adapter.path} gives {self._row.name} NaN, infinity or numbers too large for "
                    f"{self._dtype}; wanted finite weights"
                )
            if self._own is None:
                yield beyond(after, after, first, size)
            elif patch := between(block if self._dtype == self._row.dtype else None, after, first, size):
                yield patch

    def _after(self, first: int, block: np.ndarray) -> np.ndarray:
        """Rows as they are afterwards, from the base's rows or the adapter's own."""
        raw, dtype = block, self._row.dtype
        if self._own is not None:
            dtype, raw = values(self._adapter, self._part, self._own, first, len(block))
        if self._product is not None:
            left, right = self._numbers
            return added(
                numbers(raw, dtype), left[first : first + len(block)], right, self._product.scale, self._dtype
            )
        return raw if dtype == self._dtype else rounded(numbers(raw, dtype).astype(np.float64), self._dtype)
