"""SQLite and nothing else: files, schemas, arrays in rows, the journal. Knows no model and no meaning.

What builds, verifies and keeps many connections is imported when it is asked for: who reads a token needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genome.db.connect import connect, header, is_database, writing
from genome.db.connection import snapshot
from genome.db.kinds import KINDS, SCHEMA_VERSION

if TYPE_CHECKING:
    from genome.db.blocks import iter_rows, read_rows, write_rows
    from genome.db.build import building
    from genome.db.contents import Problem, verify
    from genome.db.journal import Journal
    from genome.db.pool import Pool

__all__ = [
    "KINDS",
    "SCHEMA_VERSION",
    "Journal",
    "Pool",
    "Problem",
    "building",
    "connect",
    "header",
    "is_database",
    "iter_rows",
    "read_rows",
    "snapshot",
    "verify",
    "write_rows",
    "writing",
]

_HOMES = {
    "Journal": "journal", "Pool": "pool", "Problem": "contents", "verify": "contents", "building": "build",
    "iter_rows": "blocks", "read_rows": "blocks", "write_rows": "blocks",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"genome.db.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
