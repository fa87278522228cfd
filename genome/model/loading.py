"""A model's weights from their blocks onto the device, as they are stored: each role's layers stacked."""

import apsw
import jax
import numpy as np
from jax import Array

from genome.model import queries
from genome.model.linear import Dense, Matrix, finite, pack
from genome.model.llama import JOINED, Params, Shape
from genome.model.quant import dequantise
from genome.model.queries import TensorRow
from genome.model.weights import not_finite, read_tensor


def load(db: apsw.Connection, shape: Shape) -> Params:
    """The parameters that `llama.advance` wants.

    Raises:
        DamagedError: a block is damaged, or a tensor holds NaN or infinity: the tensor is named.
    """
    params: Params = {"layers": {}}
    for role, parts in _groups(queries.tensors(db), shape).items():
        stacked = _stacked(db, parts)
        if role == "output":
            params[role] = _placed(type(stacked)(*(part[0] for part in stacked)))
        elif role == "output_norm":
            params[role] = _vectors(stacked)[0]
        else:
            params["layers"][role] = _vectors(stacked) if role.endswith("norm") else _placed(stacked)
    _unmap(db)
    return params


def _unmap(db: apsw.Connection) -> None:
    """Gives back SQLite's map of the file, which counts as memory of this process; the next read maps it again."""
    size = db.pragma("mmap_size")
    db.pragma("mmap_size", 0)
    db.pragma("mmap_size", size)


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


def _stacked(db: apsw.Connection, layers: list[list[TensorRow]]) -> Matrix:
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
                read_tensor(db, tensor, part[at : at + tensor.row_count])
                at += tensor.row_count
        stacked = pack(raw, first.dtype)
    else:
        stacked = Dense(
            np.stack([np.concatenate([dequantise(read_tensor(db, t), t.dtype) for t in one]) for one in layers])
        )
    _check(db, layers, stacked)
    return stacked


def _check(db: apsw.Connection, layers: list[list[TensorRow]], stacked: Matrix) -> None:
    """Looks for NaN and infinity; the tensor that holds it is looked for only then."""
    good = finite(stacked)
    if not good.all():
        for tensor in layers[int(np.argmin(good))]:
            if not finite(pack(read_tensor(db, tensor)[None], tensor.dtype)).all():
                raise not_finite(db, f"tensor {tensor.name}")


def _vectors(stacked: Matrix) -> Array:
    """Norms (L, d): always plain numbers."""
    assert isinstance(stacked, Dense)
    return jax.device_put(stacked.values[:, 0], may_alias=True)


def _placed(matrix: Matrix) -> Matrix:
    return jax.tree.map(lambda part: jax.device_put(part, may_alias=True), matrix)
