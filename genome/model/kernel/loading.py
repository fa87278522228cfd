"""A model's weights from their blocks onto the device, as they are stored: each role's layers stacked."""

import jax
import numpy as np
from jax import Array

from genome.model.kernel.layers import Params
from genome.model.kernel.linear import Dense, Matrix, finite, pack
from genome.model.kernel.shape import JOINED, Shape
from genome.model.quant import dequantise
from genome.model.queries import TensorRow
from genome.model.weights import Weights, not_finite


def load(weights: Weights, shape: Shape) -> Params:
    """The parameters that `forward.advance` wants.

    Raises:
        DamagedError: a block is damaged, or a tensor holds NaN or infinity: the tensor is named.
        Error: another program has changed the model since it was opened.
    """
    params: Params = {"layers": {}}
    for role, parts in _groups(weights.tensors(), shape).items():
        stacked = _stacked(weights, parts)
        if role == "output":
            params[role] = _placed(type(stacked)(*(part[0] for part in stacked)))
        elif role == "output_norm":
            params[role] = _vectors(stacked)[0]
        else:
            params["layers"][role] = _vectors(stacked) if role.endswith("norm") else _placed(stacked)
    return params


def _groups(tensors: list[TensorRow], shape: Shape) -> dict[str, list[list[TensorRow]]]:
    """The tensors of each role: for each layer those that are joined, under one another.

    A tied model's embedding is its output projection.
    """
    named = {(t.role, t.layer): t for t in tensors}
    groups = {"output_norm": [[named["output_norm", None]]]}
    groups["output"] = [[named["token_embd" if shape.tied else "output", None]]]
    for role in ("attn_norm", "ffn_norm", "attn_output", "ffn_down", *JOINED):
        parts = JOINED.get(role, (role,))
        groups[role] = [[named[part, layer] for part in parts] for layer in range(shape.layers)]
    return groups


def _stacked(weights: Weights, layers: list[list[TensorRow]]) -> Matrix:
    """Tensors as one matrix (L, out, in) of NumPy arrays; a vector is a matrix of one row.

    What is stored in different types has no common form but float32.
    """
    first = layers[0][0]
    if len({t.dtype for layer in layers for t in layer}) == 1:
        rows = sum(t.row_count for t in layers[0])
        raw = np.empty((len(layers), rows, first.row_bytes), np.uint8)
        for layer, part in zip(layers, raw, strict=True):
            at = 0
            for tensor in layer:
                weights.read(tensor, into=part[at : at + tensor.row_count])
                at += tensor.row_count
        stacked = pack(raw, first.dtype)
    else:
        stacked = Dense(
            np.stack([np.concatenate([dequantise(weights.read(t), t.dtype) for t in one]) for one in layers])
        )
    _check(weights, layers, stacked)
    return stacked


def _check(weights: Weights, layers: list[list[TensorRow]], stacked: Matrix) -> None:
    """Looks for NaN and infinity; the tensor that holds it is looked for only then."""
    good = finite(stacked)
    if not good.all():
        for tensor in layers[int(np.argmin(good))]:
            if not finite(pack(weights.read(tensor)[None], tensor.dtype)).all():
                raise not_finite(weights, f"tensor {tensor.name}")


def _vectors(stacked: Matrix) -> Array:
    """Norms (L, d): always plain numbers."""
    assert isinstance(stacked, Dense)
    return jax.device_put(stacked.values[:, 0], may_alias=True)


def _placed(matrix: Matrix) -> Matrix:
    return jax.tree.map(lambda part: jax.device_put(part, may_alias=True), matrix)
