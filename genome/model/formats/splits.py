"""Models split into several GGUF files: the parts of a set, found by name and compared by what they say.

Names and keys: llama.cpp's gguf-split (tools/gguf-split).
"""

import re
from pathlib import Path

from genome.errors import DamagedError, Error, NotFoundError, quoted
from genome.model.formats.gguf import GGUF, reading

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


def set_name(path: Path) -> str:
    """The name of a file without what says that it is a part, and without `.gguf`.

    Example:
        >>> set_name(Path("big-00002-of-00003.gguf")), set_name(Path("small.gguf"))
        ('big', 'small')
    """
    found = _PART.fullmatch(path.name)
    return found[1] if found else path.stem


def part_name(name: str, number: int, count: int) -> str:
    """How llama.cpp names a part of a set; `number` is 0 for the first.

    Example:
        >>> part_name("big", 0, 3)
        'big-00001-of-00003.gguf'
    """
    return f"{name}-{number + 1:05}-of-{count:05}.gguf"


def first_part(path: Path) -> Path:
    """The first file of the set that a file belongs to by its name; the file itself where there is none."""
    found = _PART.fullmatch(path.name)
    first = path.with_name(part_name(found[1], 0, int(found[3]))) if found else path
    return first if first.exists() else path


def other_parts(first: GGUF, given: Path) -> list[GGUF]:
    """The other parts of a set, in order; only what stands in their heads can be read. None of a file alone.

    Args:
        first: the first part, or a file alone.
        given: the file that was asked for.

    Raises:
        NotFoundError: a part is missing.
        DamagedError: a part is no GGUF file, or the set has not the tensors that it counts.
        Error: the first file is no first part, or another one is no part of this set.
    """
    count = first.number("split.count")
    found = _PART.fullmatch(first.path.name)
    if count < 2:
        if given != first.path:
            raise Error(f"{given} is named as a part of {first.path.name}, which is no part of a set; rename it")
        return []
    named = part_name(found[1] if found else "NAME", 0, count)
    if first.number("split.no", -1) != 0 or not found:
        number = first.number("split.no") + 1
        raise NotFoundError(
            f"{first.path} is part {number} of {count} of a model; wanted the first one beside it, named {named}"
        )
    if first.path.name != named:
        raise Error(f"{first.path} has {count} parts; wanted the name {named}: rename the files")
    others = [_part(first, first.path.with_name(part_name(found[1], n, count)), n) for n in range(1, count)]
    _check_tensors(first, others)
    return others


def _part(first: GGUF, path: Path, number: int) -> GGUF:
    count = first.number("split.count")
    if not path.exists():
        raise NotFoundError(
            f"{path} is missing, part {number + 1} of {count} of a model; put all parts into one folder"
        )
    with reading(path) as part:
        found = part.number("split.no", -1) + 1, part.number("split.count")
        if found != (number + 1, count) or _total(part) != _total(first):
            raise Error(
                f"{path} says that it is part {found[0]} of {found[1]} with {_total(part)} tensors; wanted part "
                f"{number + 1} of {count} with {_total(first)} tensors: fetch the parts of one set"
            )
    return part


def _total(part: GGUF) -> int:
    """How many tensors the whole set has, as a part says; -1 where it does not."""
    return part.number("split.tensors.count", -1)


def _check_tensors(first: GGUF, others: list[GGUF]) -> None:
    seen: dict[str, GGUF] = {}
    for part in (first, *others):
        for tensor in part.tensors:
            if tensor.name in seen:
                raise DamagedError(
                    f"{part.path} has the tensor {quoted(tensor.name)}, and so has {seen[tensor.name].path.name}; "
                    "wanted each name once: fetch the parts of one set"
                )
            seen[tensor.name] = part
    if _total(first) not in (-1, len(seen)):
        raise DamagedError(
            f"{first.path} and its other parts have {len(seen)} tensors; wanted {_total(first)}: fetch them again"
        )
