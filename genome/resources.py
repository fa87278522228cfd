"""Where the small tables and the notebooks that travel with the package are."""

from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder `data` or `notebooks`: inside an installed package, or beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def table(name: str) -> Iterator[dict[str, str]]:
    """The rows of a tab-separated table in `data`, as dictionaries; lines that begin with # are comments.

    Example:
        >>> next(table("primitives.tsv"))["key"]
        'I'
    """
    header: list[str] | None = None
    with (folder("data") / name).open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            cells = line.rstrip("\n").split("\t")
            if header is None:
                header = cells
            else:
                yield dict(zip(header, cells, strict=True))
