"""Where the small tables and the notebooks that travel with the package are."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGE = os.path.dirname(__file__)


def folder(name: str) -> "Path":
    """The folder `data` or `notebooks`: inside an installed package, or beside it in a checkout."""
    from pathlib import Path  # 5 ms that `import genome` does not wait for

    return Path(_folder(name))


def table(name: str) -> Iterator[dict[str, str]]:
    """The rows of a tab-separated table in `data`, as dictionaries; lines that begin with # are comments.

    Example:
        >>> next(table("primitives.tsv"))["key"]
        'I'
    """
    header: list[str] | None = None
    with open(os.path.join(_folder("data"), name), encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            cells = line.rstrip("\n").split("\t")
            if header is None:
                header = cells
            else:
                yield dict(zip(header, cells, strict=True))


def _folder(name: str) -> str:
    inside = os.path.join(_PACKAGE, name)
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(_PACKAGE), name)
