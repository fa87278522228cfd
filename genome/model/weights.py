"""A model's tensors as a stack of deltas leaves them, from their blocks alone. Needs no jax."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import apsw
import numpy as np

from genome.db.blocks import iter_rows, starts
from genome.db.connect import meta
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import queries
from genome.model.deltas.overlay import Overlay
from genome.model.dtypes import numbers
from genome.model.quant import check, dequantise
from genome.model.queries import TensorRow

EMBEDDING = "token_embd"
_KEPT_ROWS = 4096

T = TypeVar("T")


class Weights:
    """A model's tensors, with deltas laid over them in their order. Opening it reads no weight.

    What is read is of the state in which the model was opened. When another program has changed the model since,
    reading says so and gives nothing.

    Args:
        db: an open `model` database; it stays the caller's.
        name: the model's name, for errors; its own where none is given.
        deltas: open `delta` databases, each made for what those before it leave; they stay the caller's.

    Attributes:
        name: the model's.
        facts: its `meta`.
        state: the checksum of the model with its deltas. It says which delta fits over it.
        overlays: the deltas.

    Raises:
        Error: a delta was made for another base.
        DamagedError: a delta is damaged.
    """

    def __init__(self, db: apsw.Connection, name: str = "", deltas: Sequence[apsw.Connection] = ()) -> None:
        self._db = db
        self._version = db.pragma("data_version")
        self.facts = meta(db)
        if "checksum" not in self.facts:
            raise DamagedError(f"{db.filename} does not say its checksum; build or copy it again")
        self.name = name or self.facts.get("name", "")
        self._base = self.state = self.facts["checksum"]
        self._below: dict[str, TensorRow] = {}
        self.overlays = [Overlay(delta) for delta in deltas]
        under = self.name
        for overlay in self.overlays:
            self.state = overlay.over(self.state, under)
            under = f"{under} + {overlay.name}"

    def tensors(self) -> list[TensorRow]:
        """All tensors in the source's order, their types as they are above the deltas."""
        for row in self._steadily(lambda: queries.tensors(self._db)):
            self._below.setdefault(row.name, row)
        return [self._steps(row)[-1] for row in sorted(self._below.values())]

    def tensor(self, name: str) -> TensorRow:
        """One tensor by its name, its type as it is above the deltas.

        Raises:
            NotFoundError: the model has no tensor of that name.
        """
        return self._steps(self.below(name))[-1]

    def embedding(self) -> TensorRow:
        """The input embedding, whatever its source calls it, its type as it is above the deltas.

        Raises:
            NotFoundError: the model has none (a vocabulary alone).
        """
        for row in self.tensors():
            if (row.role, row.layer) == (EMBEDDING, None):
                return row
        raise NotFoundError(
            f"{self._db.filename} has no tensor 'token_embd.weight'; `genome query NAME tensors` lists them"
        )

    def below(self, name: str) -> TensorRow:
        """One tensor by its name, its type as it is in the model, below the deltas.

        Raises:
            NotFoundError: the model has no tensor of that name.
        """
        if (row := self._below.get(name)) is None:
            row = self._below[name] = self._steadily(lambda: queries.tensor(self._db, name))
        return row

    def _steps(self, row: TensorRow) -> list[TensorRow]:
        """A tensor below the first delta, below the second one ..., and above all of them."""
        steps = [row]
        for overlay in self.overlays:
            steps.append(overlay.after(steps[-1]))
        return steps

    def read(
        self, tensor: TensorRow, first: int = 0, count: int | None = None, into: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows of a tensor as they are stored, from no other blocks than those that hold them.

        Args:
            tensor: as `tensor` describes it.
            first: the first row.
            count: how many; all from there on without it.
            into: uint8, shape (count, row_bytes), contiguous: filled and returned; made when missing.

        Returns:
            uint8, shape (count, row_bytes).

        Raises:
            NotFoundError: the tensor has no such rows.
            DamagedError: a block or a patch is damaged or missing: tensor and rows are named.
            Error: another program has changed the model since it was opened.
        """
        count = tensor.row_count - first if count is None else count
        self.check_rows(tensor, first, count)
        found = np.empty((count, tensor.row_bytes), np.uint8) if into is None else into

        def fill() -> np.ndarray:
            for at, block in self._blocks(tensor, first, count):
                begin, end = max(at, first), min(at + len(block), first + count)
                found[begin - first : end - first] = block[begin - at : end - at]
            return found

        return self._steadily(fill)

    def check_rows(self, tensor: TensorRow, first: int, count: int) -> None:
        """Refuses rows that a tensor does not have.

        Raises:
            NotFoundError: it does not have them.
        """
        if first < 0 or count < 0 or first + count > tensor.row_count:
            raise NotFoundError(
                f"{tensor.name} has no rows {first} to {first + count - 1}; wanted rows 0 to {tensor.row_count - 1}"
            )

    def values(self, tensor: TensorRow, first: int = 0, count: int | None = None) -> np.ndarray:
        """Rows of a tensor as weights: float32 (float64 of F64), shape (count, columns).

        Raises:
            NotFoundError, DamagedError, Error: as `read`; a type that this program cannot compute with.
        """
        return numbers(self.read(tensor, first, count), tensor.dtype)

    def starts(self, tensor: TensorRow) -> list[int]:
        """The first row of each of a tensor's blocks, in order; no block is read."""
        return self._steadily(lambda: starts(self._db, self.below(tensor.name).id))

    def blocks(
        self, tensor: TensorRow, first: int = 0, count: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The blocks that hold some rows (all without a count), whole.

        Yields:
            The first row; uint8, shape (rows, row_bytes), as stored. One block begins where the last one ended.

        Raises:
            DamagedError, Error: as `read`; after the last block at the latest.
        """
        yield from self._blocks(tensor, first, tensor.row_count - first if count is None else count)
        if self._written():
            raise Error(f"{self.name} was written to while it was read; do it again")

    def _blocks(self, tensor: TensorRow, first: int, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """The blocks that hold some rows, the deltas laid over them."""
        if count == 0:
            return
        steps, wanted = self._steps(self.below(tensor.name)), None
        with _named(tensor.name):
            for at, rows, data in iter_rows(self._db, steps[0].id, first, count):
                if at > first if wanted is None else at != wanted:
                    break
                if rows < 1 or len(data) != rows * steps[0].row_bytes:
                    raise DamagedError(f"{self._db.filename}: rows {at} to {at + rows - 1} are of another length")
                block = np.frombuffer(data, np.uint8).reshape(rows, steps[0].row_bytes)
                for overlay, below in zip(self.overlays, steps, strict=False):
                    if tensor.name in overlay.changes:
                        block = overlay.lay(below, at, block)
                yield at, block
                wanted = at + rows
            if wanted is None or wanted < first + count:
                raise DamagedError(
                    f"{self._db.filename}: rows from {wanted or first} on are missing; build it again"
                )

    def _steadily(self, read: Callable[[], T]) -> T:
        """What is read in one state of the database: again, where it changed and came back meanwhile."""
        while True:
            try:
                found = read()
                if not self._written():
                    return found
            except DamagedError:
                if not self._written():
                    raise

    def _written(self) -> bool:
        """Whether the database was written to since this was last asked.

        Raises:
            Error: it is in another state now.
        """
        version = self._db.pragma("data_version")
        if version == self._version:
            return False
        if (now := meta(self._db).get("checksum", "")) != self._base:
            raise Error(
                f"{self.name} was changed by another program: it is in the state {now[:12]}…, was opened in "
                f"{self._base[:12]}…; open it again"
            )
        self._version = version
        return True


def embedding_rows(db: apsw.Connection, deltas: Sequence[apsw.Connection] = ()) -> np.ndarray:
    """The input embeddings of all tokens.

    Args:
        db: the model database.
        deltas: laid over it.

    Returns:
        float32, shape (n_tokens, d).

    Raises:
        NotFoundError: the model has no embeddings (a vocabulary alone).
        DamagedError: a block is damaged, or holds NaN or infinity.
        Error: the weights are of a type that this program cannot compute with.
    """
    weights = Weights(db, deltas=deltas)
    tensor = weights.embedding()
    check(tensor.dtype)
    found = np.empty(tensor.shape, np.float32)
    for first, block in weights.blocks(tensor):
        found[first : first + len(block)] = dequantise(block, tensor.dtype)
    if not np.isfinite(found).all():
        raise not_finite(weights, tensor.name)
    return found


class EmbeddingRows:
    """Single rows of the input embedding, read when they are wanted; the latest 4,096 are kept."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.tensor = weights.embedding()
        check(self.tensor.dtype)
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._keeping = Lock()

    def row(self, token: int) -> tuple[np.ndarray, bool]:
        """A token's embedding, float32 (d,), and whether it had to be read.

        Raises:
            Error: no such token, or another program has changed the model.
            DamagedError: the row's block is damaged, or the row holds NaN or infinity.
        """
        with self._keeping:
            if (kept := self._kept.get(token)) is not None:
                self._kept.move_to_end(token)
                return kept, False
        tensor = self.tensor
        if not 0 <= token < tensor.row_count:
            raise Error(
                f"there is no token {token}; {self._weights.name} has embeddings of 0 to {tensor.row_count - 1}"
            )
        found = dequantise(self._weights.read(tensor, token, 1)[0], tensor.dtype)
        if not np.isfinite(found).all():
            raise not_finite(self._weights, f"{tensor.name}, row {token},")
        with self._keeping:
            self._kept[token] = found
            if len(self._kept) > _KEPT_ROWS:
                self._kept.popitem(last=False)
        return found, True


def not_finite(weights: Weights, what: str) -> DamagedError:
    """What to raise when weights hold NaN or infinity."""
    return DamagedError(
        f"{weights.name}: {what} holds NaN or infinity; wanted finite weights: fetch the source again"
    )


@contextmanager
def _named(tensor: str) -> Iterator[None]:
    """Puts the tensor's name before a complaint about its blocks."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"tensor {tensor}: {error}") from error
