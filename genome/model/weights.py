"""Tensors and single rows out of their blocks. Needs no jax."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import numpy as np

from genome.db.blocks import iter_rows, read_rows
from genome.errors import DamagedError, Error
from genome.model import queries
from genome.model.quant import check, dequantise
from genome.model.queries import TensorRow

EMBEDDING = "token_embd.weight"
_KEPT_ROWS = 4096


def read_tensor(db: apsw.Connection, tensor: TensorRow, into: np.ndarray | None = None) -> np.ndarray:
    """A tensor's bytes as stored.

    Args:
        db: the model database.
        tensor: its description.
        into: uint8, shape (row_count, row_bytes), contiguous: filled and returned; made when missing.

    Raises:
        DamagedError: a block is damaged or missing.
    """
    if into is None:
        into = np.empty((tensor.row_count, tensor.row_bytes), np.uint8)
    flat, filled = into.reshape(-1), 0
    with _named(tensor.name):
        for first, rows, data in iter_rows(db, tensor.id):
            begin, end = first * tensor.row_bytes, (first + rows) * tensor.row_bytes
            if begin != filled or end > flat.size or len(data) != end - begin:
                raise DamagedError(f"{db.filename}: rows before {first} are missing; build it again")
            flat[begin:end] = np.frombuffer(data, np.uint8)
            filled = end
        if filled != flat.size:
            raise DamagedError(f"{db.filename}: {filled} of {flat.size} bytes are there; build it again")
    return into


def embedding_rows(db: apsw.Connection) -> np.ndarray:
    """The input embeddings of all tokens.

    Returns:
        float32, shape (n_tokens, d).

    Raises:
        NotFoundError: the model has no embeddings (a vocabulary alone).
        DamagedError: a block is damaged, or holds NaN or infinity.
        Error: the weights are of a type that this program cannot compute with.
    """
    tensor = queries.tensor(db, EMBEDDING)
    check(tensor.dtype)
    found = np.empty(tensor.shape, np.float32)
    with _named(tensor.name):
        for first, rows, data in iter_rows(db, tensor.id):
            raw = np.frombuffer(data, np.uint8).reshape(rows, tensor.row_bytes)
            found[first : first + rows] = dequantise(raw, tensor.dtype)
    if not np.isfinite(found).all():
        raise not_finite(db, tensor.name)
    return found


class EmbeddingRows:
    """Single rows of the input embedding, read when they are wanted; the latest 4,096 are kept."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.tensor = queries.tensor(db, EMBEDDING)
        check(self.tensor.dtype)
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def row(self, token: int) -> tuple[np.ndarray, bool]:
        """A token's embedding, float32 (d,), and whether it had to be read.

        Raises:
            Error: no such token.
            DamagedError: the row's block is damaged, or the row holds NaN or infinity.
        """
        if (kept := self._kept.get(token)) is not None:
            self._kept.move_to_end(token)
            return kept, False
        tensor = self.tensor
        if not 0 <= token < tensor.row_count:
            raise Error(
                f"there is no token {token}; {self._db.filename} has embeddings of 0 to {tensor.row_count - 1}"
            )
        with _named(tensor.name):
            data = read_rows(self._db, tensor.id, token, 1, tensor.row_bytes)
        found = dequantise(np.frombuffer(data, np.uint8), tensor.dtype)
        if not np.isfinite(found).all():
            raise not_finite(self._db, f"{tensor.name}, row {token},")
        self._kept[token] = found
        if len(self._kept) > _KEPT_ROWS:
            self._kept.popitem(last=False)
        return found, True


def not_finite(db: apsw.Connection, what: str) -> DamagedError:
    """What to raise when weights hold NaN or infinity."""
    return DamagedError(
        f"{db.filename}: {what} holds NaN or infinity; wanted finite weights: fetch the source again"
    )


@contextmanager
def _named(tensor: str) -> Iterator[None]:
    """Puts the tensor's name before a complaint about its blocks."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"tensor {tensor}: {error}") from error
