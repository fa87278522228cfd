"""Pieces of a model that do not all fit into memory: some stay, the others are read again, the next ones ahead."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from genome.model.queries import TensorRow

_AHEAD = 2
"""So many pieces are read at the same time."""


class Piece(NamedTuple):
    """Weights that are used together.

    Attributes:
        load: reads them.
        size_bytes: what they take in memory.
        raw_bytes: what reading them takes beside that.
        kind: pieces of one kind have the same shapes and types.
        rows: what they are read from: tensors, first rows, numbers of rows.
    """

    load: Callable[[], Any]
    size_bytes: int
    raw_bytes: int
    kind: object
    rows: tuple[tuple[TensorRow, int, int], ...]


class Shelf:
    """Pieces that are used in turn, again and again, within a number of bytes.

    What is used in turn is best kept as it is: the piece used longest ago is the one needed next, so none makes
    place for another. The first ones that fit stay; the others are read in two threads, while those before them
    are used: unpacking a piece takes longer than computing with it.

    Args:
        pieces: in the order of their use.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = tuple(pieces)
        self._kept: dict[int, Any] = {}
        self._ahead: deque[tuple[int, Future]] = deque()
        self._reader = ThreadPoolExecutor(_AHEAD, "weights")

    @property
    def kept_bytes(self) -> int:
        """Of the pieces that stay."""
        return sum(self.pieces[number].size_bytes for number in self._kept)

    def moving_bytes(self, also: int | None = None) -> int:
        """Of the pieces that do not stay: the one in use, those being read ahead, and what reading takes.

        Args:
            also: as if this piece stayed too.
        """
        moving = [p for number, p in enumerate(self.pieces) if number not in self._kept and number != also]
        largest = sorted((p.size_bytes for p in moving), reverse=True)[: 1 + _AHEAD]
        return sum(largest) + _AHEAD * max(p.raw_bytes for p in self.pieces)

    def get(self, number: int, used: Sequence[int]) -> tuple[Any, bool]:
        """A piece, and whether it was read from the database; the next ones are then being read.

        Args:
            number: of the piece.
            used: those that are used in turn at present; the last one is followed by the first one.

        Raises:
            DamagedError, Error: what reading raised.
        """
        found, read = self._kept.get(number), False
        if found is None:
            found, read = self._read(number), True
        while len(self._ahead) < _AHEAD:
            after = self._after(self._ahead[-1][0] if self._ahead else number, used)
            if after is None or after == number or after in (ahead for ahead, _ in self._ahead):
                break
            self._ahead.append((after, self._reader.submit(self.pieces[after].load)))
        return found, read

    def load(self, number: int) -> Any:
        """A piece, read in the thread that reads, whose memory for that is used again."""
        return self._reader.submit(self.pieces[number].load).result()

    def keep(self, number: int, piece: Any) -> None:
        """Lets a piece stay."""
        self._kept[number] = piece

    def drop(self) -> bool:
        """Lets the last of the pieces that stay go; False where none is left."""
        if not self._kept:
            return False
        del self._kept[max(self._kept)]
        return True

    def clear(self) -> None:
        """Lets all go, and waits for what is being read."""
        wait([coming for _, coming in self._ahead if not coming.cancel()])
        self._ahead.clear()
        self._kept.clear()

    def _read(self, number: int) -> Any:
        while self._ahead:
            ahead, coming = self._ahead.popleft()
            if ahead == number:
                return coming.result()
        return self.load(number)

    def _after(self, number: int, used: Sequence[int]) -> int | None:
        """The next piece that has to be read."""
        at = used.index(number)
        turn = (*used[at + 1 :], *used[: at + 1])
        return next((one for one in turn if one not in self._kept), None)
