"""A tensor in a notebook: its rows as numbers, read when they are asked for, from no other blocks than theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from genome.db.journal import Access, Journal
from genome.errors import Error, NotFoundError
from genome.model.dtypes import numbers
from genome.model.formats.names import unit_rows
from genome.model.quant import check
from genome.model.queries import TensorRow
from genome.model.weights import Weights

if TYPE_CHECKING:
    import polars as pl

Rows = Any
"""What NumPy takes as an index along one dimension: a number, a slice, a sequence of numbers, a mask, `...`."""


@dataclass(frozen=True, eq=False, repr=False)
class TensorView:
    """A tensor of a model, or a part of one. Nothing is read before rows are asked for.

    `view[rows]` gives what the same NumPy array would give for one index along the first dimension: a number, a
    slice, a list of numbers, a mask; negative numbers count from the end. Of a matrix these are rows, of a tensor
    of three dimensions its matrices. A number or a slice may be followed by indices along the other dimensions:
    `view[3, :8]`. `np.asarray(view)` is all of it.

    Attributes:
        weights: what is read: a model with its deltas.
        tensor: the whole tensor's row.
        shape: of this view, rows first (NumPy's order).
        first_row: where it begins among the whole tensor's rows.
        hyperparameters: the model's metadata; they say how many rows an attention head has.
        journal: told which rows are read; None where nobody asks.
        display: turns it into HTML for a notebook.
    """

    weights: Weights
    tensor: TensorRow
    shape: tuple[int, ...]
    first_row: int = 0
    hyperparameters: Mapping[str, object] | None = None
    journal: Journal | None = None
    display: Callable[[object], str] = str

    @classmethod
    def of(cls, weights: Weights, name: str, **more: Any) -> TensorView:
        """A whole tensor by its name; `more` are attributes.

        Raises:
            NotFoundError: the model has no tensor of that name.
        """
        tensor = weights.tensor(name)
        return cls(weights, tensor, tensor.shape, **more)

    # What it is

    @property
    def name(self) -> str:
        """As in the source: `blk.0.attn_q.weight`."""
        return self.tensor.name

    @property
    def role(self) -> str:
        """The name without its layer: `attn_q`."""
        return self.tensor.role

    @property
    def layer(self) -> int | None:
        """The layer's number from 0 on; None outside of the layers."""
        return self.tensor.layer

    @property
    def dtype(self) -> str:
        """The type that the numbers are stored in: `F32`, `Q4_1`."""
        return self.tensor.dtype

    @property
    def row_count(self) -> int:
        """How many rows it has: the product of all dimensions but the last."""
        return math.prod(self.shape[:-1])

    @property
    def size_bytes(self) -> int:
        """As stored."""
        return self.row_count * self.tensor.row_bytes

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def __repr__(self) -> str:
        layer = "" if self.layer is None else f", layer {self.layer}"
        part = "" if self.shape == self.tensor.shape else f" from row {self.first_row} on"
        size = " x ".join(map(str, self.shape)) or "one number"
        return f"TensorView({self.name}{part}: {size}, {self.dtype}, {self.size_bytes:,} bytes{layer})"

    def _repr_html_(self) -> str:
        return self.display(self)

    # What it holds

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """Some of it as numbers.

        Returns:
            float32 (float64 where F64 is stored), of the shape that NumPy's indexing gives.

        Raises:
            NotFoundError: it has no such rows.
            DamagedError: a block or a patch is damaged: tensor and rows are named.
            Error: a type that this program cannot compute with, or no index along one dimension.
        """
        if self.dtype != "F64":
            try:
                check(self.dtype)
            except Error as error:
                raise Error(f"{self.name}: {error}; `raw(rows)` gives its bytes") from None
        if len(self.shape) < 2:
            return self._among(self._numbers(range(1), self.shape), rows)
        if isinstance(rows, tuple) and rows and isinstance(rows[0], slice | SupportsIndex):
            kept = () if not isinstance(rows[0], slice) else (slice(None),)
            return self._among(self[rows[0]], (*kept, *rows[1:]))
        chosen, outer = _along(rows, self.shape[0], self.name)
        return self._numbers(chosen, (*outer, *self.shape[1:]))

    def raw(self, rows: Rows = ...) -> np.ndarray:
        """Some of it as bytes, as they are stored; all of it unless told.

        Args:
            rows: an index along the first dimension; a vector is one row.

        Returns:
            uint8; the last dimension counts the bytes of a row, the others are those of `view[rows]`.

        Raises:
            NotFoundError, DamagedError, Error: as for `view[rows]`, but every type has bytes.
        """
        own = self.shape if len(self.shape) > 1 else (1, *self.shape)
        chosen, outer = _along(rows, own[0], self.name)
        return self._read(chosen).reshape(*outer, *own[1:-1], self.tensor.row_bytes)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def head(self, number: int) -> TensorView:
        """The rows of an attention head; of `attn_qkv` the heads of queries come first, then keys, then values.

        Args:
            number: 0 is the first, -1 the last.

        Raises:
            NotFoundError: it has no such head.
            Error: the tensor's rows are not those of heads, or the metadata do not say how many a head has.
        """
        count = self._head_rows()
        rows = None if count is None else unit_rows(self.role, self.shape, count)
        if rows is None or len(self.shape) != 2 or self.shape != self.tensor.shape:
            raise Error(
                f"the rows of {self.name} {self.shape} are not those of attention heads; "
                "wanted a whole attn_q, attn_k, attn_v or attn_qkv, and metadata that say how many heads there are"
            )
        number = _number(number, self.shape[0] // rows, f"{self.name} has no head")
        return replace(self, shape=(rows, self.shape[1]), first_row=number * rows)

    def expert(self, number: int) -> TensorView:
        """The matrix of an expert, of a tensor that holds those of all experts.

        Args:
            number: 0 is the first, -1 the last.

        Raises:
            NotFoundError: it has no such expert.
            Error: the tensor has not three dimensions.
        """
        if len(self.shape) != 3:
            raise Error(f"{self.name} has the shape {self.shape}; wanted three dimensions, the first for experts")
        number = _number(number, self.shape[0], f"{self.name} has no expert")
        return replace(self, shape=self.shape[1:], first_row=self.first_row + number * self.shape[1])

    # How it is read

    @cached_property
    def _starts(self) -> np.ndarray:
        """The first row of each of the whole tensor's blocks."""
        return np.array(self.weights.starts(self.tensor), np.int64)

    def _head_rows(self) -> int | None:
        told = {key.partition(".")[2]: value for key, value in (self.hyperparameters or {}).items()}
        rows = told.get(f"attention.{'value' if self.role == 'attn_v' else 'key'}_length")
        width, heads = told.get("embedding_length"), told.get("attention.head_count")
        if isinstance(heads, list) and self.layer is not None and self.layer < len(heads):
            heads = heads[self.layer]
        if rows is None and isinstance(width, int) and isinstance(heads, int) and heads > 0:
            rows = width // heads
        return rows if isinstance(rows, int) and rows > 0 else None

    def _among(self, found: np.ndarray, chosen: Rows) -> np.ndarray:
        try:
            return found[chosen]
        except IndexError:
            raise NotFoundError(f"{self.name} has no numbers at {chosen!r}; its shape is {self.shape}") from None

    def _numbers(self, chosen: range | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        raw = self._read(chosen)
        return numbers(raw, self.dtype).reshape(shape) if raw.size else np.empty(shape, np.float32)

    def _read(self, chosen: range | np.ndarray) -> np.ndarray:
        """The bytes of the rows at some places of the first dimension, uint8 (rows, row_bytes)."""
        inner = math.prod(self.shape[1:-1])
        if not (count := len(chosen) * inner) or not self.tensor.row_bytes:
            return np.empty((count, self.tensor.row_bytes), np.uint8)
        if isinstance(chosen, range) and chosen.step == 1:
            first = self.first_row + chosen.start * inner
            found = self.weights.read(self.tensor, first, count)
            self._note([(first, count)])
            return found
        wanted, back = np.unique(np.asarray(chosen), return_inverse=True)
        rows = (self.first_row + wanted[:, None] * inner + np.arange(inner)).reshape(-1)
        found = np.empty((len(wanted), inner * self.tensor.row_bytes), np.uint8)
        flat = found.reshape(len(rows), self.tensor.row_bytes)
        # One read for each block: rows of two blocks may have blocks between them that nobody wants.
        block = np.searchsorted(self._starts, rows, side="right")
        for begin, end in _runs(np.flatnonzero(np.diff(block)) + 1, len(rows)):
            first, beyond = int(rows[begin]), int(rows[end - 1]) + 1
            part = self.weights.read(self.tensor, first, beyond - first)
            flat[begin:end] = part[rows[begin:end] - first]
        self._note(
            (int(rows[begin]), end - begin)
            for begin, end in _runs(np.flatnonzero(np.diff(rows) > 1) + 1, len(rows))
        )
        return found[back].reshape(-1, self.tensor.row_bytes)

    def _note(self, runs: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> None:
        """Tells the journal which rows were read: the first of each run, and how many."""
        if self.journal is not None and self.journal.enabled:
            row_bytes, name, source = self.tensor.row_bytes, self.name, self.weights.name
            self.journal.record(
                [Access(source, name, first, rows, rows * row_bytes, "disk") for first, rows in runs]
            )


def tensor_frame(
    tensors: Sequence[TensorRow], *, role: str | None = None, layer: int | None = None, dtype: str | None = None
) -> pl.DataFrame:
    """Tensors as a Polars frame, in the source's order; no weight is read.

    Args:
        tensors: of a model.
        role: only those of this role: `attn_q`.
        layer: only those of this layer.
        dtype: only those stored in this type: `Q4_1`.

    Returns:
        name, role, layer (null outside of layers), dtype, shape (rows first), rows, row_bytes, size_bytes.
    """
    import polars as pl

    told = [
        (t.name, t.role, t.layer, t.dtype, list(t.shape), t.row_count, t.row_bytes, t.size_bytes)
        for t in tensors
        if role in (None, t.role) and layer in (None, t.layer) and dtype in (None, t.dtype)
    ]
    schema = {
        "name": pl.String, "role": pl.String, "layer": pl.Int64, "dtype": pl.String, "shape": pl.List(pl.Int64),
        "rows": pl.Int64, "row_bytes": pl.Int64, "size_bytes": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(told, schema=schema, orient="row")


def _along(chosen: Rows, size: int, name: str) -> tuple[range | np.ndarray, tuple[int, ...]]:
    """The places that an index along a dimension names, from 0 on, and the dimensions that take its place."""
    if chosen is Ellipsis:
        return range(size), (size,)
    if isinstance(chosen, slice):
        found = range(size)[chosen]
        return found, (len(found),)
    if not isinstance(chosen, str | bytes | bool | np.bool_ | tuple) and chosen is not None:
        try:
            number = _number(chosen, size, f"{name} has no row")
        except TypeError:
            return _several(np.asarray(chosen), size, name)
        return range(number, number + 1), ()
    raise _no_index(name, chosen)


def _several(chosen: np.ndarray, size: int, name: str) -> tuple[np.ndarray, tuple[int, ...]]:
    if chosen.dtype == bool and chosen.shape == (size,):
        chosen = np.flatnonzero(chosen)
    elif chosen.size == 0:
        chosen = chosen.astype(np.int64)
    if chosen.dtype.kind not in "iu":
        raise _no_index(name, chosen)
    if len(wrong := chosen[(chosen < -size) | (chosen >= size)]):
        raise NotFoundError(f"{name} has no row {wrong[0]}; wanted {_range(size)}")
    places = chosen.astype(np.int64)
    return np.where(places < 0, places + size, places).reshape(-1), places.shape


def _number(number: Any, size: int, complaint: str) -> int:
    """A place from 0 on; negative numbers count from the end.

    Raises:
        TypeError: it is no integer.
        NotFoundError: there is no such place.
    """
    place = index(number)
    if not -size <= place < size:
        raise NotFoundError(f"{complaint} {place}; wanted {_range(size)}")
    return place % size


def _range(size: int) -> str:
    return f"{-size} to {size - 1}" if size else "none: it is empty"


def _no_index(name: str, chosen: object) -> Error:
    return Error(
        f"{name}: wanted a number, a slice, numbers or a mask along the first dimension, got {str(chosen)[:60]!r}"
    )


def _runs(cuts: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the pieces that some cuts make of a sequence."""
    if size:
        yield from zip([0, *cuts.tolist()], [*cuts.tolist(), size], strict=True)
