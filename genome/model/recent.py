"""A bounded memory of what was asked lately, in two generations: half of what the links of an LRU cache take."""

from collections.abc import Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Remembers at least the last `most` / 2 keys, and never more than `most`.

    What is asked again moves into the young generation; when that is full, it becomes the old one, and what was
    old is forgotten.

    Args:
        most: keys that are held, 2 or more.

    Example:
        >>> recent = Recent(4)
        >>> for number in range(6):
        ...     recent.put(number, str(number))
        ...     kept = recent.get(0)
        >>> kept, recent.get(5), recent.get(1), len(recent)
        ('0', '5', None, 3)
    """

    def __init__(self, most: int) -> None:
        self._room = most // 2
        self._young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}

    def get(self, key: _Key) -> _Value | None:
        """What was put under the key; None where it is forgotten or never was."""
        found = self._young.get(key)
        if found is None and (found := self._old.pop(key, None)) is not None:
            self.put(key, found)
        return found

    def put(self, key: _Key, value: _Value) -> None:
        """Remembers a value, which is not None."""
        if len(self._young) >= self._room:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._young) + len(self._old)
