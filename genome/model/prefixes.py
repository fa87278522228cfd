"""What earlier calls have read: caches kept by their tokens, so that a prompt that begins alike begins there."""

from threading import Lock
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genome.model.kernel.cache import Cache

FEWEST = 16
"""A common beginning of fewer tokens is read again: that takes less than a copy."""
_MOST_KEPT = 4
_MOST_BYTES = 64 << 20


class _Kept(NamedTuple):
    tokens: list[int]
    cache: Cache

    @property
    def size_bytes(self) -> int:
        return sum(part.nbytes for part in jax.tree.leaves(self.cache))


class Prefixes:
    """The caches of a model's latest sequences; several threads may ask at the same time.

    The latest one is kept whatever its size: it was in memory just before. Beside it three more, together 64 MB.
    """

    def __init__(self) -> None:
        self._kept: list[_Kept] = []  # the latest last
        self._lock = Lock()

    def take(self, tokens: list[int]) -> tuple[Cache, int] | None:
        """The cache with the longest common beginning, and how many of these tokens it holds: never all of them.

        The cache is the caller's, to be used up. Where it holds more than the common beginning, and is not large,
        it is a copy, so that others may begin there too.
        """
        with self._lock:
            common = [_common(one.tokens, tokens) for one in self._kept]
            best = max(range(len(common)), key=lambda i: common[i], default=None)
            if best is None or common[best] < FEWEST:
                self._drop(_MOST_BYTES)
                return None
            one = self._kept[best]
            whole = common[best] >= len(one.tokens)
            if whole or one.size_bytes > _MOST_BYTES:
                del self._kept[best]
                return one.cache, common[best]
            return jax.tree.map(jnp.copy, one.cache), common[best]

    def keep(self, tokens: list[int], cache: Cache) -> None:
        """Keeps what holds these tokens; what holds no more than their beginning goes."""
        if len(tokens) < FEWEST:
            return
        with self._lock:
            self._kept = [one for one in self._kept if one.tokens != tokens[: len(one.tokens)]]
            latest = _Kept(tokens, cache)
            self._kept.append(latest)
            self._drop(_MOST_BYTES + latest.size_bytes)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._kept.clear()

    def _drop(self, size_bytes: int) -> None:
        """Forgets the oldest until the others are few and small enough."""
        while len(self._kept) > _MOST_KEPT or sum(one.size_bytes for one in self._kept) > size_bytes:
            del self._kept[0]


def _common(kept: list[int], tokens: list[int]) -> int:
    """How many tokens two sequences begin with together; of the second one the last is left to be read."""
    most = min(len(kept), len(tokens) - 1)
    return next((n for n in range(most) if kept[n] != tokens[n]), most)
