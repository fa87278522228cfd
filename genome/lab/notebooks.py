"""Notebook files: finding one by name, and a user's own copies of those that travel with the package."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genome import resources
from genome.errors import Error, NotFoundError

LEDGER = ".shipped.json"
"""Beside the copies: the digest of each notebook's cells as the package last wrote them."""


def shipped() -> list[Path]:
    """The notebooks that travel with the package, in their order."""
    return sorted(resources.folder("notebooks").glob("*.ipynb"))


def find(name: str | Path) -> Path:
    """A notebook by its path, else a shipped one by name: `00_tour`, `00_tour.ipynb`, `notebooks/00_tour.ipynb`.

    Raises:
        NotFoundError: neither a file nor the name of a shipped notebook.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parent in (Path(), Path("notebooks")):
        for candidate in shipped():
            if path.name in (candidate.name, candidate.stem):
                return candidate
    names = ", ".join(p.stem for p in shipped())
    raise NotFoundError(f"{name}: no such notebook; wanted a file, or one of those that travel along: {names}")


@dataclass(frozen=True)
class Copies:
    """What became of each notebook's copy, by file name.

    Attributes:
        written: new in the folder, or brought up to date.
        kept: edited by the user and left alone, though the package now has another version.
    """

    written: tuple[str, ...]
    kept: tuple[str, ...]


def copy_shipped(target: Path) -> Copies:
    """Copies the shipped notebooks into a folder where they become the user's own.

    A copy whose cells differ from what the package wrote there is an edited one and is never touched;
    outputs do not count, so that a notebook that was only run is still refreshed when the package has
    a newer one.
    """
    target.mkdir(parents=True, exist_ok=True)
    ledger = _read_ledger(target / LEDGER)
    written, kept = [], []
    for source in shipped():
        copy, new = target / source.name, cells_digest(source)
        old = cells_digest(copy) if copy.exists() else None
        if old is None or (old != new and old == ledger.get(source.name)):
            replace_file(copy, source.read_bytes())
            written.append(source.name)
        elif old != new and ledger.get(source.name) != new:
            kept.append(source.name)
            continue
        ledger[source.name] = new
    replace_file(target / LEDGER, json.dumps(ledger, indent=1).encode())
    return Copies(tuple(written), tuple(kept))


def cells_digest(path: Path) -> str:
    """SHA-256 of what the cells of a notebook say, without outputs; of the file's bytes where it is no notebook."""
    content = path.read_bytes()
    try:
        cells = json.loads(content)["cells"]
        told: Any = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file in one move: who looks sees the old one or the whole new one.

    Raises:
        Error: the disk is full, or the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise Error(f"{path} cannot be written ({error.strerror}); choose another place or make room") from error
    finally:
        part.unlink(missing_ok=True)


def _read_ledger(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}  # without it every copy that differs counts as edited, and stays
