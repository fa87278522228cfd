"""A model's weights from their blocks onto the device, as they are stored: each role's layers stacked."""

import jax
import numpy as np
from jax import Array

from genome.model.kernel.forms import Dense, Matrix, finite, pack, stack
from genome.model.kernel.layers import Params
from genome.model.kernel.pallas import Tiled, tiled
from genome.model.kernel.shape import JOINED, Shape, layer_shapes
from genome.model.quant import dequantise
from genome.model.queries import TensorRow
from genome.model.weights import Weights, not_finite

_ALONE = ("output_norm", "rope_freqs")
"""Vectors outside of the layers."""


def load(weights: Weights, shape: Shape) -> Params:
    """The parameters that `forward.advance` wants.

    Raises:
        DamagedError: a block is damaged, or a tensor holds NaN or infinity: the tensor is named.
        Error: another program has changed the model since it was opened.
    """
    params: Params = {"layers": {}}
    for role, parts in _groups(weights.tensors(), shape).items():
        if role == "output":
            stacked = _stacked(weights, parts)
            params[role] = _placed(type(stacked)(*(None if part is None else part[0] for part in stacked)))
        elif role in _ALONE:
            params[role] = _vectors(weights, shape, parts)[0]
        else:
            vector = len(parts[0][0].shape) == 1
            params["layers"][role] = (
                _vectors(weights, shape, parts) if vector else _placed(_stacked(weights, parts))
            )
    return params


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


def _stacked(weights: Weights, layers: list[list[TensorRow]]) -> Matrix:
    """Tensors as one matrix (L, out, in) of NumPy arrays.

    What is stored in different types has no common form but float32.
    """
    one_type = len({tensor.dtype for layer in layers for tensor in layer}) == 1
    whole: Matrix | None = None
    for number, layer in enumerate(layers):
        if one_type:
            one = pack(np.concatenate([weights.read(t) for t in layer]), layer[0].dtype)
        else:
            one = Dense(np.concatenate([dequantise(weights.read(t), t.dtype) for t in layer]))
        whole = stack(one, len(layers)) if whole is None else whole
        for part, all_layers in zip(one, whole, strict=True):
            if part is not None:
                all_layers[number] = part
    assert whole is not None
    _check(weights, layers, whole)
    return whole


def _check(weights: Weights, layers: list[list[TensorRow]], stacked: Matrix) -> None:
    """Looks for NaN and infinity; the tensor that holds it is looked for only then."""
    good = finite(stacked)
    if not good.all():
        raise not_finite(weights, f"tensor {_strange(weights, [layers[int(np.argmin(good))]]).name}")


def _vectors(weights: Weights, shape: Shape, layers: list[list[TensorRow]]) -> Array:
    """Norms and biases (L, n), which are always plain numbers; those that are joined one behind the other."""
    values = np.stack(
        [np.concatenate([dequantise(weights.read(t), t.dtype).reshape(-1) for t in one]) for one in layers]
    )
    if not np.isfinite(values).all():
        raise not_finite(weights, f"tensor {_strange(weights, layers).name}")
    if layers[0][0].role.endswith("norm"):
        values = values + np.float32(shape.norm_offset)
    return jax.device_put(values, may_alias=True)


def _strange(weights: Weights, layers: list[list[TensorRow]]) -> TensorRow:
    """The first tensor that holds NaN or infinity."""
    every = (tensor for one in layers for tensor in one)
    return next(t for t in every if not np.isfinite(dequantise(weights.read(t), t.dtype)).all())


def _placed(matrix: Matrix) -> Matrix | Tiled:
    placed = jax.tree.map(lambda part: jax.device_put(part, may_alias=True), matrix)
    return tiled(placed) if jax.default_backend() == "gpu" else placed
