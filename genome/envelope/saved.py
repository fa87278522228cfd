"""Envelopes kept by name: which databases, with their checksums, so that the same ones are opened again."""

import datetime
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genome.db.replace import replacing
from genome.envelope.roles import Database
from genome.errors import DamagedError, Error, NotFoundError, quoted

FOLDER = "envelopes"
"""Inside the workbench's folder; a saved envelope is a JSON file there, for people to read too."""

_FACTS = ("name", "kind", "uuid", "checksum")


def save(folder: Path, name: str, databases: Sequence[Database], activity: str) -> Path:
    """Writes down an envelope; one of the same name is replaced.

    Args:
        folder: of the workbench.
        name: letters, digits and `. _ -`, up to 100.
        databases: in the order of their roles.
        activity: what the journal calls it.

    Raises:
        Error: no such name can be, or the folder cannot be written.
    """
    path = _path(folder, name)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise Error(f"{path.parent} cannot be made ({error.strerror}); choose another workbench") from error
    told = {
        "activity": activity,
        "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "databases": [{fact: getattr(d, fact) for fact in _FACTS} for d in databases],
    }
    with replacing(path, force=True) as file:
        file.write(json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n")
    return path


def saved(folder: Path) -> list[str]:
    """The names of the saved envelopes."""
    return sorted(p.stem for p in (folder / FOLDER).glob("[!.]*.json"))


def reopen(folder: Path, name: str, find: Callable[[str], Database]) -> tuple[list[Database], str]:
    """The databases of a saved envelope as they were then, and its activity.

    Raises:
        NotFoundError: no envelope of that name is saved, or one of its databases is gone.
        DamagedError: the file is no saved envelope.
        Error: a database has another content now; each one is named.
    """
    path = _path(folder, name)
    if not path.is_file():
        there = ", ".join(saved(folder)) or "none"
        raise NotFoundError(f"no envelope is saved as {quoted(name)}; there are: {there}")
    told = _read(path)
    found = [find(entry["name"]) for entry in told["databases"]]
    changed = [d.name for d, entry in zip(found, told["databases"], strict=True) if d.checksum != entry["checksum"]]
    if changed:
        raise Error(
            f"the envelope {name} was saved with another content of {' and '.join(changed)}; "
            "bring that content back (`genome delta undo`, a copy), or assemble and save the envelope anew"
        )
    return found, told["activity"]


def _path(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise Error(f"{quoted(name)} cannot name an envelope; wanted up to 100 letters, digits and . _ -")
    return folder / FOLDER / f"{name}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
        whole = isinstance(told["activity"], str) and all(
            isinstance(entry[fact], str) for entry in told["databases"] for fact in _FACTS
        )
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except (ValueError, TypeError, KeyError, RecursionError):
        whole, told = False, {}
    if not whole:
        raise DamagedError(f"{path} is not a saved envelope; save it again, or remove the file")
    return told
