"""What SQL may ask about genome IDs and compositions: functions for query templates, by name."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct

import numpy as np

from genome.decompose.queries import unpack
from genome.errors import NotFoundError, quoted
from genome.ids import GenomeID, prefix_range
from genome.primitives import KEYS

_PLACES = {key: place for place, key in enumerate(KEYS)}
_WEIGHTS = Struct("<65e")


def path(identity: int | None) -> str | None:
    """A genome ID's codons by name.

    Example:
        >>> path(1673650211521560581)
        'KNOW.SAY'
    """
    return None if identity is None else GenomeID(identity).path


def prefix_first(prefix: str) -> int:
    """The first ID under a prefix; an empty one holds every ID.

    Raises:
        NotFoundError: a step of it is no primitive and no structural class.
    """
    return prefix_range(prefix)[0]


def prefix_last(prefix: str) -> int:
    """The last ID under a prefix.

    Example:
        >>> prefix_first("KNOW.SAY") <= 1673650211521560581 <= prefix_last("KNOW.SAY")
        True
    """
    return prefix_range(prefix)[1] - 1


def similarity(one: bytes | None, other: bytes | None) -> float | None:
    """The cosine of the square roots of two compositions' weights (65 float16 each), from 0 to 1.

    Example:
        >>> weights = np.zeros(65, "<f2"); weights[:2] = 0.5
        >>> round(similarity(weights.tobytes(), weights.tobytes()), 6)
        1.0
    """
    return None if one is None or other is None else float(_roots(one) @ _roots(other))


def weight(weights: bytes | None, primitive: str) -> float | None:
    """How much of a primitive is in a composition's weights (65 float16), from 0 to 1.

    Raises:
        NotFoundError: no primitive has that key.

    Example:
        >>> weights = np.zeros(65, "<f2"); weights[KEYS.index("KNOW")] = 1
        >>> weight(weights.tobytes(), "KNOW")
        1.0
    """
    if primitive not in _PLACES:
        raise NotFoundError(f"no primitive is called {quoted(primitive)}; wanted a key such as KNOW or LONG_TIME")
    if weights is None:
        return None
    numbers = _WEIGHTS.unpack(weights)  # a microsecond, of which many have to be asked; NumPy takes eight
    return numbers[_PLACES[primitive]] / sum(numbers)


@lru_cache(maxsize=2)  # what all others are compared with stays
def _roots(weights: bytes) -> np.ndarray:
    """(65,) float32 of length 1."""
    return np.sqrt(unpack(weights))


FUNCTIONS: Mapping[str, tuple[int, Callable]] = {
    "path": (1, path),
    "prefix_first": (1, prefix_first),
    "prefix_last": (1, prefix_last),
    "similarity": (2, similarity),
    "weight": (2, weight),
}
"""Functions of SQL by name: how many arguments, and what they do; each gives the same for the same arguments."""
