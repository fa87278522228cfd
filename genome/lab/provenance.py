"""What a report was made from: the databases that the notebook's process opened, and the packages it ran on."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import apsw

from genome import __version__, db
from genome.errors import Error

PACKAGES = ("jax", "numpy", "polars", "apsw", "sqlite-vec", "altair")

_opened: set[str] = set()


def watch() -> None:
    """From now on, remembers every database file that this process opens.

    APSW tells of each new connection, whoever opens it, so that no part of the program has to keep books
    for reports.
    """
    apsw.connection_hooks.append(lambda connection: _opened.add(connection.filename))


def told() -> str:
    """What there is to say, as one line of JSON: `databases` (name, kind, checksum …) and `packages`."""
    for connection in apsw.connections():
        _opened.update(path for _, _, path in connection.execute("PRAGMA database_list"))
    found = [_database(path) for path in _opened if path and db.is_database(Path(path))]
    found.sort(key=lambda d: (d["kind"], d["name"]))
    return json.dumps({"databases": found, "packages": packages()})


def packages() -> dict[str, str]:
    """Versions by name: this program, Python, SQLite, and the packages that numbers depend on."""
    versions = {"token-genome": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    return versions | {"SQLite": apsw.sqlite_lib_version()}


def _database(path: str) -> dict[str, Any]:
    try:
        meta = db.header(Path(path))
    except Error as error:
        reason = str(error).replace(path, Path(path).name)
        return {"name": Path(path).stem, "kind": "unreadable", "checksum": reason, "source": "", "licence": ""}
    return {key: meta.get(key, "") for key in ("name", "kind", "checksum", "source", "licence")}
