"""The experts of a mixture: read from the database when the router picks them, kept as long as there is room."""

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

import jax

from genome.model.kernel.loading import rows_of
from genome.model.kernel.shape import Shape
from genome.model.queries import TensorRow
from genome.model.weights import Weights

PARTS = ("ffn_gate", "ffn_up", "ffn_down")


class Touched(NamedTuple):
    """Rows of a tensor that a step used."""

    tensor: TensorRow
    first: int
    rows: int
    read: bool
    """Whether they came from the database, not from memory."""


class Experts:
    """The experts of a model, each read when it is asked for and not in memory.

    Args:
        weights: of the model.
        shape: of a mixture of experts.

    Attributes:
        held_bytes: what those in memory take.
    """

    def __init__(self, weights: Weights, shape: Shape) -> None:
        self._weights, self._shape = weights, shape
        self._named = {(t.role, t.layer): t for t in weights.tensors()}
        self._kept: OrderedDict[tuple[int, int], tuple[Any, ...]] = OrderedDict()
        self._bound_bytes: int | None = None
        self._keeping = Lock()
        self.held_bytes = 0

    @property
    def bound_bytes(self) -> int | None:
        """So much memory they may take; the one used longest ago goes first. None: all that are read stay.

        Those that a step computes with at the moment count only as long as they are kept.
        """
        return self._bound_bytes

    @bound_bytes.setter
    def bound_bytes(self, bound_bytes: int | None) -> None:
        with self._keeping:
            self._bound_bytes = bound_bytes
            self._shrink()

    def get(self, layer: int, number: int) -> tuple[tuple[Any, ...], list[Touched]]:
        """An expert's gate, up and down matrices, and what was touched for them.

        Raises:
            DamagedError: a block is damaged, or holds NaN or infinity: the tensor is named.
            Error: another program has changed the model since it was opened.
        """
        with self._keeping:
            kept, places = self._kept.get((layer, number)), list(self._places(layer, number))
            touched = [Touched(*place, read=kept is None) for place in places]
            if kept is None:
                kept = self._kept[layer, number] = tuple(rows_of(self._weights, *place) for place in places)
                self.held_bytes += _bytes(kept)
                self._shrink()
            else:
                self._kept.move_to_end((layer, number))
            return kept, touched

    def clear(self) -> None:
        """Lets all go."""
        with self._keeping:
            self._kept.clear()
            self.held_bytes = 0

    def _shrink(self) -> None:
        while self._bound_bytes is not None and self.held_bytes > self._bound_bytes:
            self.held_bytes -= _bytes(self._kept.popitem(last=False)[1])

    def _places(self, layer: int, number: int) -> Iterator[tuple[TensorRow, int, int]]:
        for part in PARTS:
            if self._shape.experts_stacked:
                tensor = self._named[f"{part}_exps", layer]
                yield tensor, number * tensor.shape[1], tensor.shape[1]
            else:
                tensor = self._named[f"{part}.{number}", layer]
                yield tensor, 0, tensor.row_count


def _bytes(matrices: tuple[Any, ...]) -> int:
    return sum(part.nbytes for part in jax.tree.leaves(matrices))
