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

    The latest one is kept whatever its size, until another one begins: it was in memory just before. Beside it
    three more, together 64 MB.
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
            best = max(self._kept, key=lambda one: _common(one.tokens, tokens), default=None)
            count = _common(best.tokens, tokens) if best else 0
            found = best if count >= FEWEST else None
            if found is None or len(found.tokens) == count or found.size_bytes > _MOST_BYTES:
                self._kept = [one for one in self._kept if one is not found and one.size_bytes <= _MOST_BYTES]
                return None if found is None else (found.cache, count)
            return jax.tree.map(jnp.copy, found.cache), count

    def keep(self, tokens: list[int], cache: Cache) -> None:
        """Keeps what holds these tokens; what holds no more than their beginning goes."""
        if len(tokens) < FEWEST:
            return
        with self._lock:
            self._kept = [one for one in self._kept if one.tokens != tokens[: len(one.tokens)]]
            latest = _Kept(tokens, cache)
            while len(self._kept) >= _MOST_KEPT or sum(one.size_bytes for one in self._kept) > _MOST_BYTES:
                del self._kept[0]
            self._kept.append(latest)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._kept.clear()


def _common(kept: list[int], tokens: list[int]) -> int:
    """How many tokens two sequences begin with together; of the second one the last is left to be read."""
    most = min(len(kept), len(tokens) - 1)
    return next((n for n in range(most) if kept[n] != tokens[n]), most)
