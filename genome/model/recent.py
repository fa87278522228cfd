"""A bounded memory of what was asked: a plain dictionary, half of what the links of an LRU cache take."""

from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Remembers no more than `most` keys; when it is full, every second one is forgotten.

    What does not fit whole is then still known in part when it comes again from its beginning, of which an LRU
    cache would know nothing any more.

    Args:
        most: keys that are held, 2 or more.

    Example:
        >>> recent = Recent(4)
        >>> for number in range(5):
        ...     recent.put(number, str(number))
        >>> recent.get(0), recent.get(1), recent.get(4), len(recent)
        (None, '1', '4', 3)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[_Key, _Value] = {}

    def get(self, key: _Key) -> _Value | None:
        """What was put under the key; None where it is forgotten or never was."""
        return self._held.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Remembers a value, which is not None."""
        if len(self._held) >= self._most:
            for old in list(islice(self._held, 0, None, 2)):
                del self._held[old]
        self._held[key] = value

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._held)
