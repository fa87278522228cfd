"""A model's weights from their blocks onto the device, as they are stored: each role's layers stacked."""

from itertools import pairwise
from threading import local
from typing import Any

import jax
import numpy as np

from genome.model.kernel.forms import Joined, Matrix, Mixed, empty, finite, pack, stack
from genome.model.kernel.layers import Params
from genome.model.kernel.native.product import native
from genome.model.kernel.pallas import tiled
from genome.model.kernel.shape import JOINED, Shape, layer_shapes
from genome.model.quant import dequantise
from genome.model.queries import TensorRow
from genome.model.weights import Weights, not_finite

_ALONE = ("output_norm", "rope_freqs")
"""Vectors outside of the layers."""
_KEPT_BYTES = 1 << 22
_here = local()


def load(weights: Weights, shape: Shape) -> Params:
    """The parameters that `forward.advance` wants.

    Raises:
        DamagedError: a block is damaged, or a tensor holds NaN or infinity: the tensor is named.
        Error: another program has changed the model since it was opened.
    """
    params: Params = {"layers": {}}
    for role, parts in _groups(weights.tensors(), shape).items():
        if role == "output":
            stacked = _of_type(weights, parts)
            params[role] = placed(type(stacked)(*(None if part is None else part[0] for part in stacked)))
        elif role in _ALONE:
            params[role] = placed(_vectors(weights, shape, parts)[0])
        else:
            vector = len(parts[0][0].shape) == 1
            params["layers"][role] = placed(_vectors(weights, shape, parts) if vector else _stacked(weights, parts))
    return params


class Parts:
    """A model's weights in parts that are read one by one: its layers, and pieces of its output projection.

    Args:
        weights: of the model.
        shape: its hyper-parameters, of a dense model.
    """

    def __init__(self, weights: Weights, shape: Shape) -> None:
        self._weights, self._shape = weights, shape
        self._groups = _groups(weights.tensors(), shape)
        self.output = self._groups["output"][0][0]

    def alone(self) -> Params:
        """The vectors outside of the layers: `output_norm`, and `rope_freqs` where the model has them."""
        there = [role for role in _ALONE if role in self._groups]
        return placed({role: _vectors(self._weights, self._shape, self._groups[role])[0] for role in there})

    def layer(self, number: int) -> Params:
        """One layer's vectors (1, n) and matrices (1, out, in), on the device.

        Raises:
            DamagedError, Error: as `load`.
        """
        found: dict[str, Any] = {}
        for role, parts in self._of(number):
            if len(parts[0].shape) == 1:
                found[role] = _vectors(self._weights, self._shape, [parts])
            else:
                found[role] = _stacked(self._weights, [parts])
        return placed(found)

    def output_rows(self, first: int, count: int) -> Any:
        """Rows of the output projection (count, in), on the device.

        Raises:
            DamagedError, Error: as `load`.
        """
        return rows_of(self._weights, self.output, first, count)

    def tensors(self, number: int) -> list[TensorRow]:
        """What a layer is read from."""
        return [tensor for _, parts in self._of(number) for tensor in parts]

    def _of(self, number: int) -> list[tuple[str, list[TensorRow]]]:
        inside = ((role, layers) for role, layers in self._groups.items() if role not in (*_ALONE, "output"))
        return [(role, layers[number]) for role, layers in inside]


def rows_of(weights: Weights, tensor: TensorRow, first: int, count: int) -> Any:
    """Some rows of a tensor (count, in), on the device.

    Raises:
        DamagedError, Error: as `load`.
    """
    raw = weights.read(tensor, first, count, _scratch(count, tensor.row_bytes))
    found = pack(raw[None], tensor.dtype)
    if not finite(found).all():
        raise not_finite(weights, f"tensor {tensor.name}, rows {first} to {first + count - 1},")
    return placed(jax.tree.map(lambda part: part[0], found))


def bytes_in_memory(tensor: TensorRow, rows: int | None = None) -> int:
    """What rows of a tensor (all without a number) take in the form that they have in memory."""
    rows = tensor.row_count if rows is None else rows
    if len(tensor.shape) == 1:
        return 4 * tensor.shape[0]
    one = pack(np.zeros((1, tensor.row_bytes), np.uint8), tensor.dtype)
    return rows * sum(part.nbytes for part in one if part is not None)


def _groups(tensors: list[TensorRow], shape: Shape) -> dict[str, list[list[TensorRow]]]:
    """The tensors of each role: for each layer those that are joined, under one another.

    A tied model's embedding is its output projection.
    """
    named = {(t.role, t.layer): t for t in tensors}
    groups = {role: [[named[role, None]]] for role in _ALONE if (role, None) in named}
    groups["output"] = [[named["token_embd" if shape.tied else "output", None]]]
    roles = layer_shapes(shape)
    joined = {part: role for role, parts in JOINED.items() for part in parts}
    for role in dict.fromkeys(joined.get(role, role) for role in roles):
        parts = JOINED.get(role, (role,))
        groups[role] = [[named[part, layer] for part in parts] for layer in range(shape.layers)]
    return groups


def _stacked(weights: Weights, layers: list[list[TensorRow]]) -> Matrix | Mixed | Joined:
    """Tensors as one matrix (L, out, in) of NumPy arrays; those that differ in type are kept apart, as stored."""
    count = len(layers[0])
    cuts = [part for part in range(1, count) if any(one[part].dtype != one[part - 1].dtype for one in layers)]
    found = tuple(
        _of_types(weights, [layer[begin:end] for layer in layers]) for begin, end in pairwise([0, *cuts, count])
    )
    return found[0] if len(found) == 1 else Joined(found)


def _of_types(weights: Weights, layers: list[list[TensorRow]]) -> Matrix | Mixed:
    """Tensors whose types differ from layer to layer at most."""
    types = [layer[0].dtype for layer in layers]
    of_type = {kind: [n for n, other in enumerate(types) if other == kind] for kind in types}
    stacks = tuple(_of_type(weights, [layers[n] for n in numbers]) for numbers in of_type.values())
    if len(stacks) == 1:
        return stacks[0]
    kinds = np.array([list(of_type).index(kind) for kind in types], np.int32)
    places = np.array([of_type[kind].index(n) for n, kind in enumerate(types)], np.int32)
    return Mixed(stacks, kinds, places)


def _of_type(weights: Weights, layers: list[list[TensorRow]]) -> Matrix:
    """Tensors of one type, checked."""
    whole: Matrix | None = None
    for number, layer in enumerate(layers):
        one = pack(_raw(weights, layer), layer[0].dtype)
        if len(layers) == 1:
            whole = type(one)(*(part if part is None else part[None] for part in one))
            break
        whole = stack(one, len(layers)) if whole is None else whole
        for part, all_layers in zip(one, whole, strict=True):
            if part is not None:
                all_layers[number] = part
    assert whole is not None
    _check(weights, layers, whole)
    return whole


def _raw(weights: Weights, tensors: list[TensorRow]) -> np.ndarray:
    """Tensors of one type as they are stored, under one another: uint8 (rows, row_bytes), until the next call."""
    found = _scratch(sum(t.row_count for t in tensors), tensors[0].row_bytes)
    at = 0
    for tensor in tensors:
        weights.read(tensor, into=found[at : at + tensor.row_count])
        at += tensor.row_count
    return found


def _scratch(rows: int, row_bytes: int) -> np.ndarray:
    """Memory of this thread to read into: what is not large is used again, fresh pages cost more than reading."""
    size = rows * row_bytes
    if size > _KEPT_BYTES:
        return empty((rows, row_bytes), np.dtype(np.uint8))
    held: np.ndarray | None = getattr(_here, "scratch", None)
    if held is None or len(held) < size:
        held = _here.scratch = empty((size,), np.dtype(np.uint8))
    return held[:size].reshape(rows, row_bytes)


def _check(weights: Weights, layers: list[list[TensorRow]], stacked: Matrix) -> None:
    """Looks for NaN and infinity; the tensor that holds it is looked for only then."""
    good = finite(stacked)
    if not good.all():
        raise not_finite(weights, f"tensor {_strange(weights, [layers[int(np.argmin(good))]]).name}")


def _vectors(weights: Weights, shape: Shape, layers: list[list[TensorRow]]) -> np.ndarray:
    """Norms and biases (L, n), which are always plain numbers; those that are joined one behind the other."""
    values = np.stack(
        [np.concatenate([dequantise(weights.read(t), t.dtype).reshape(-1) for t in one]) for one in layers]
    )
    if not np.isfinite(values).all():
        raise not_finite(weights, f"tensor {_strange(weights, layers).name}")
    if layers[0][0].role.endswith("norm"):
        values = values + np.float32(shape.norm_offset)
    return values


def _strange(weights: Weights, layers: list[list[TensorRow]]) -> TensorRow:
    """The first tensor that holds NaN or infinity."""
    every = (tensor for one in layers for tensor in one)
    return next(t for t in every if not np.isfinite(dequantise(weights.read(t), t.dtype)).all())


def placed(form: Any) -> Any:
    """A tree of forms and arrays on the device, matrices wrapped in what computes their products there."""
    there = jax.device_put(form, may_alias=True)
    wrapped = tiled if jax.default_backend() == "gpu" else native
    return jax.tree.map(
        lambda it: wrapped(it) if isinstance(it, Matrix) else it, there, is_leaf=lambda it: isinstance(it, Matrix)
    )
