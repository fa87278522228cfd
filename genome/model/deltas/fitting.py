"""Where an adapter's changes belong in a base: names, the order of rows, shapes, tied embeddings."""

from collections.abc import Iterator
from typing import NamedTuple

import apsw
import numpy as np

from genome.errors import Error, quoted
from genome.model import queries
from genome.model.deltas.adapter import Adapter, Change
from genome.model.deltas.lowrank import DTYPES, most_rank
from genome.model.deltas.overlay import columns
from genome.model.formats.names import gguf_name
from genome.model.formats.safetensors import TensorInfo
from genome.model.queries import TensorRow
from genome.model.weights import Weights

_IN_PAIRS = {"llama": True, "qwen2": False, "qwen3": False}
"""Architectures whose names in GGUF are known, and whether the rows of queries and keys stand in pairs there."""

_HEAD, _EMBEDDING = "lm_head.weight", "embed_tokens.weight"


class Rows(NamedTuple):
    """Rows of numbers as they are stored; raw: uint8 (rows, row_bytes)."""

    dtype: str
    raw: np.ndarray


class Part(NamedTuple):
    """A tensor of the base and what happens to it.

    `order`: the adapter's rows (of a vector: numbers) in the base's order, None where it is the same; `turned`:
    whether the base's tensor is the transpose of the product.
    """

    row: TensorRow
    change: Change
    order: np.ndarray | None
    turned: bool


def parts(model: apsw.Connection, weights: Weights, adapter: Adapter) -> list[Part]:
    """What an adapter changes, in the base's order.

    Args:
        model: the open base.
        weights: the base with the deltas that lie over it.
        adapter: an open adapter.

    Raises:
        Error: the base does not have one of the tensors, has it in another shape, or keeps the embedding and the
            output projection as one tensor, which the adapter changes in two ways.
    """
    named = {row.name: row for row in weights.tensors()}
    in_pairs = _in_pairs(model)
    found = []
    for name, change in _as_tied(adapter, named).items():
        row = next((named[full] for full in _names(name, in_pairs is not None) if full in named), None)
        if row is None:
            raise Error(
                f"{adapter.path} changes {quoted(name)}, which {weights.name} does not have; wanted an adapter of "
                f"this model{f', not of {quoted(adapter.base)}' if adapter.base else ''}"
            )
        turned = change.product is not None and change.product.turned
        if adapter.fan_in_fan_out and in_pairs is None and len(row.shape) == 2:
            turned = not turned
        part = Part(row, change, _order(model, row) if in_pairs else None, turned)
        _check_shapes(adapter, part)
        found.append(part)
    if not found:
        raise Error(f"{adapter.path} changes no tensor; wanted an adapter that was trained")
    return sorted(found, key=lambda part: part.row.id)


def factors(adapter: Adapter, part: Part) -> tuple[Rows, Rows]:
    """The factors (rows, r) and (r, columns) of a part's product as the adapter has them, in the base's order."""
    product = part.change.product
    assert product is not None
    if product.left is None:
        one = Rows("F32", np.ones((1, 1), "<f4").view(np.uint8))
        return one, values(adapter, part, product.right)
    left, right = (_rows(adapter, tensor) for tensor in (product.left, product.right))
    if part.turned:
        left, right = _transposed(right), _transposed(left)
    return (left if part.order is None else left._replace(raw=left.raw[part.order])), right


def values(adapter: Adapter, part: Part, tensor: TensorInfo, first: int = 0, count: int | None = None) -> Rows:
    """Some rows of one of the adapter's whole tensors, all without a count, in the base's order."""
    if len(tensor.shape) == 1:
        rows = _rows(adapter, tensor)
        if part.order is None:
            return rows
        size = rows.raw.size // len(part.order)
        return rows._replace(raw=rows.raw.reshape(-1, size)[part.order].reshape(1, -1))
    places = slice(first, None if count is None else first + count)
    return Rows(tensor.dtype, adapter.read(tensor, places if part.order is None else part.order[places]))


def _rows(adapter: Adapter, tensor: TensorInfo) -> Rows:
    return Rows(tensor.dtype, adapter.read(tensor))


def _transposed(rows: Rows) -> Rows:
    size = DTYPES[rows.dtype]
    turned = rows.raw.reshape(len(rows.raw), -1, size).swapaxes(0, 1)
    return rows._replace(raw=np.ascontiguousarray(turned).reshape(len(turned), -1))


def _in_pairs(model: apsw.Connection) -> bool | None:
    """Whether the rows of queries and keys stand in pairs; None where names are Hugging Face's."""
    if all(file.format != "gguf" for file in queries.files(model)):
        return None
    architecture = queries.hyperparameter(model, "general.architecture")
    if architecture not in _IN_PAIRS:
        raise Error(
            f"the tensors of a GGUF model of type {str(architecture)!r:.40} are not told from an adapter's names; "
            f"wanted one of {', '.join(_IN_PAIRS)}, or the base as safetensors"
        )
    return _IN_PAIRS[str(architecture)]


def _names(name: str, gguf: bool) -> Iterator[str]:
    """What a tensor may be called in the base; adapters of a model without its head leave out the first word."""
    for full in (name, f"model.{name}"):
        if not gguf:
            yield full
            continue
        try:
            yield gguf_name(full)
        except Error:
            continue


def _order(model: apsw.Connection, row: TensorRow) -> np.ndarray | None:
    """The places in a Hugging Face model of the rows (of a bias: the numbers) of GGUF's queries and keys.

    Of each head GGUF has the rows i and i + D / 2, which the rotary embedding turns together, beside one another.
    """
    stem = row.role.removesuffix(".bias")
    if stem not in ("attn_q", "attn_k"):
        return None
    heads = queries.hyperparameter(model, "llama.attention.head_count")
    if stem == "attn_k":
        heads = queries.hyperparameter(model, "llama.attention.head_count_kv") or heads
    size = row.shape[0]
    if not isinstance(heads, int) or heads < 1 or size % (2 * heads):
        raise Error(f"{row.name} has {size} rows, which are not {heads!r} heads of pairs; check the base")
    return np.arange(size).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def _as_tied(adapter: Adapter, named: dict[str, TensorRow]) -> dict[str, Change]:
    """The adapter's changes; where the output projection is the input embedding, of the two only the latter's."""
    changes = dict(adapter.changes)
    if any(row.role == "output" for row in named.values()):
        return changes
    embedding = next((change for name, change in changes.items() if name.endswith(_EMBEDDING)), None)
    head = changes.pop(_HEAD, None)
    if (embedding is None) != (head is None) or (embedding and head and not _alike(adapter, embedding, head)):
        raise Error(
            f"{adapter.path} changes the input embedding and the output projection in two ways; the base has one "
            "tensor for both: wanted an adapter trained with ensure_weight_tying, or without these two modules"
        )
    return changes


def _alike(adapter: Adapter, one: Change, other: Change) -> bool:
    """Whether two changes give the same to the same tensor."""
    told = []
    for change in (one, other):
        own = None if change.values is None else adapter.read(change.values).tobytes()
        product: tuple = ()
        if (p := change.product) is not None and p.left is not None:
            left, right = (_rows(adapter, tensor) for tensor in (p.left, p.right))
            if p.turned:
                left, right = _transposed(right), _transposed(left)
            product = left.dtype, left.raw.tobytes(), right.dtype, right.raw.tobytes(), p.scale
        told.append((own, product))
    return told[0] == told[1]


def _check_shapes(adapter: Adapter, part: Part) -> None:
    row, product = part.row, part.change.product
    most = most_rank(row.row_count, columns(row))
    if product is not None and product.left is not None and product.right.shape[0] > most:
        raise Error(
            f"{adapter.path} changes {row.name} by one of rank {product.right.shape[0]}; wanted at most {most}"
        )
    found = [] if part.change.values is None else [part.change.values.shape]
    if product is not None and product.left is None:
        found.append(product.right.shape)
    elif product is not None and product.left is not None:
        shape = product.left.shape[0], product.right.shape[1]
        found.append(shape[::-1] if part.turned else shape)
    for shape in found:
        if shape != row.shape:
            raise Error(
                f"{adapter.path} changes {row.name} in the shape {list(shape)}, the base's is {list(row.shape)}; "
                "wanted an adapter of this model, and no tokens added to it"
            )
