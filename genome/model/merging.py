"""The one loop of byte-pair encoding: neighbours merge, best first, until no pair does.

Method: Sennrich, Haddow & Birch 2016 (arXiv 1508.07909), algorithm 1; SentencePiece's BPE with scores is the same
loop over texts (Kudo & Richardson 2018, arXiv 1808.06226).
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeVar

Part = TypeVar("Part", int, str)

_FEW = 32
"""Of so many parts, looking at all pairs each time is faster than a heap."""
_NEVER = float("inf")


def merged(
    parts: Sequence[Part], pair: Callable[[Part, Part], tuple[float, Part] | None]
) -> list[tuple[Part, int]]:
    """Merges neighbours, lowest rank first and of equal ones the leftmost, until no pair merges.

    Of many parts a heap of pairs over a linked list: n parts take O(n log n), so that a long word costs no more
    than its length.

    Args:
        parts: numbers or texts.
        pair: rank, a finite number, and result of two parts; None where they do not merge.

    Returns:
        What is left, and of how many of the parts each is made.

    Example:
        >>> merged("aaaaa", lambda left, right: (0, "aa") if left == right == "a" else None)
        [('aa', 2), ('aa', 2), ('a', 1)]
    """
    return _few_merged(parts, pair) if len(parts) <= _FEW else _many_merged(parts, pair)


def _few_merged(
    parts: Sequence[Part], pair: Callable[[Part, Part], tuple[float, Part] | None]
) -> list[tuple[Part, int]]:
    left, sizes = list(parts), [1] * len(parts)
    found = list(map(pair, left, left[1:]))
    ranks = [one[0] if one else _NEVER for one in found]
    while ranks and (best := min(ranks)) < _NEVER:
        place = ranks.index(best)
        one = found[place]
        assert one is not None
        left[place] = one[1]
        sizes[place] += sizes.pop(place + 1)
        del left[place + 1], found[place], ranks[place]
        for at in (place - 1, place):
            if 0 <= at < len(ranks):
                found[at] = one = pair(left[at], left[at + 1])
                ranks[at] = one[0] if one else _NEVER
    return list(zip(left, sizes, strict=True))


def _many_merged(
    parts: Sequence[Part], pair: Callable[[Part, Part], tuple[float, Part] | None]
) -> list[tuple[Part, int]]:
    last = len(parts) - 1
    left_of: list[Part | None] = list(parts)
    following = list(range(1, last + 2))
    before = list(range(-1, last))
    heap = [
        (found[0], place, parts[place], parts[place + 1], found[1])
        for place in range(last)
        if (found := pair(parts[place], parts[place + 1]))
    ]
    heapify(heap)
    while heap:
        _, place, left, right, result = heappop(heap)
        beyond = following[place]
        if left_of[place] != left or beyond > last or left_of[beyond] != right:
            continue  # one of the two was merged with another neighbour in the meantime
        left_of[place], left_of[beyond] = result, None
        following[place] = after = following[beyond]
        if after <= last:
            before[after] = place
            if (other := left_of[after]) is not None and (found := pair(result, other)):
                heappush(heap, (found[0], place, result, other, found[1]))
        previous = before[place]
        if previous >= 0 and (other := left_of[previous]) is not None and (found := pair(other, result)):
            heappush(heap, (found[0], previous, other, result, found[1]))
    return [(part, following[place] - place) for place, part in enumerate(left_of) if part is not None]
