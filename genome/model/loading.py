"""A model's weights from their blocks onto the device, as they are stored: each role's layers stacked."""

import apsw
import jax
import numpy as np
from jax import Array

from genome.model import queries
from genome.model.linear import Dense, Matrix, finite, pack
from genome.model.llama import Params, Shape
from genome.model.quant import dequantise
from genome.model.queries import TensorRow
from genome.model.weights import EMBEDDING, not_finite, read_tensor


def load(db: apsw.Connection, shape: Shape) -> Params:
    """The parameters that `llama.advance` wants.

    Raises:
        DamagedError: a block is damaged, or a tensor holds NaN or infinity: the tensor is named.
    """
    params: Params = {"layers": {}}
    for role, tensors in _groups(queries.tensors(db), shape).items():
        stacked = _stacked(db, tensors)
        _check(db, tensors, stacked)
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


def _groups(tensors: list[TensorRow], shape: Shape) -> dict[str, list[TensorRow]]:
    """The tensors of each role, in the order of layers; a tied model's embedding is its output projection."""
    groups: dict[str, list[TensorRow]] = {}
    for tensor in sorted(tensors, key=lambda t: t.layer or 0):
        if tensor.name == EMBEDDING:
            if shape.tied:
                groups["output"] = [tensor]
        else:
            groups.setdefault(tensor.role, []).append(tensor)
    return groups


def _stacked(db: apsw.Connection, tensors: list[TensorRow]) -> Matrix:
    """Tensors of one shape as one matrix (L, out, in) of NumPy arrays; a vector is a matrix of one row."""
    types = {t.dtype for t in tensors}
    if len(types) == 1:
        first = tensors[0]
        raw = np.empty((len(tensors), first.row_count, first.row_bytes), np.uint8)
        for tensor, part in zip(tensors, raw, strict=True):
            read_tensor(db, tensor, part)
        return pack(raw, first.dtype)
    return Dense(np.stack([dequantise(read_tensor(db, t), t.dtype) for t in tensors]))


def _check(db: apsw.Connection, tensors: list[TensorRow], stacked: Matrix) -> None:
    good = finite(stacked)
    if not good.all():
        raise not_finite(db, f"tensor {tensors[int(np.argmin(good))].name}")


def _vectors(stacked: Matrix) -> Array:
    """Norms (L, d): always plain numbers."""
    assert isinstance(stacked, Dense)
    return jax.device_put(stacked.values[:, 0], may_alias=True)


def _placed(matrix: Matrix) -> Matrix:
    return jax.tree.map(lambda part: jax.device_put(part, may_alias=True), matrix)
