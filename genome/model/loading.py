"""A model's weights from their blocks onto the device: each role's layers stacked, dequantised once to float32."""

from functools import partial

import apsw
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from genome.model import queries
from genome.model.llama import Params, Shape
from genome.model.quant import dequantise
from genome.model.queries import TensorRow
from genome.model.weights import EMBEDDING, not_finite, read_tensor


def load(db: apsw.Connection, shape: Shape) -> Params:
    """The parameters that `llama.advance` wants.

    Raises:
        DamagedError: a block is damaged, or a tensor holds NaN or infinity: the tensor is named.
    """
    groups = _groups(queries.tensors(db), shape)
    params: Params = {"layers": {}}
    for role, tensors in groups.items():
        weights = _stacked(db, tensors)
        if role in ("output_norm", "output"):
            params[role] = weights[0]
        else:
            params["layers"][role] = weights
    return params


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


def _stacked(db: apsw.Connection, tensors: list[TensorRow]) -> Array:
    """Tensors of one shape as one float32 array (L, ...); layers may be stored in different types."""
    parts = []
    for dtype in dict.fromkeys(t.dtype for t in tensors):
        same = [t for t in tensors if t.dtype == dtype]
        raw = np.empty((len(same), same[0].row_count, same[0].row_bytes), np.uint8)
        for tensor, part in zip(same, raw, strict=True):
            read_tensor(db, tensor, part)
        weights, finite = _decoded(raw, dtype)
        if not finite.all():
            raise not_finite(db, f"tensor {same[int(np.argmin(finite))].name}")
        parts.append(weights)
    weights = parts[0]
    if len(parts) > 1:
        order = [t.layer for dtype in dict.fromkeys(t.dtype for t in tensors) for t in tensors if t.dtype == dtype]
        weights = jnp.concatenate(parts)[np.argsort(np.array(order))]
    return weights.reshape(len(tensors), *tensors[0].shape)


@partial(jax.jit, static_argnames="dtype")
def _decoded(raw: Array, dtype: str) -> tuple[Array, Array]:
    """Stored rows (L, rows, row_bytes) as float32 (L, rows, columns), and for each layer whether all are finite."""
    weights = dequantise(raw, dtype)
    return weights, jnp.isfinite(weights).all(axis=(1, 2))
