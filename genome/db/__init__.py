"""SQLite and nothing else: files, schemas, arrays in rows, the journal. Knows no model and no meaning."""

from genome.db.blocks import iter_rows, read_rows, write_rows
from genome.db.build import building
from genome.db.connect import connect, header, is_database, writing
from genome.db.connection import snapshot
from genome.db.contents import Problem, verify
from genome.db.journal import Journal
from genome.db.kinds import KINDS, SCHEMA_VERSION
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
