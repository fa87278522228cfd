"""The kinds of reference database and the version of each one's schema."""

import os
import re

APPLICATION_ID = 0x474E4F4D
"""`GNOM`, at offset 68 of every database file."""

SCHEMA_VERSION = {"model": 2, "lexicon": 1, "genome": 2, "delta": 1}
"""`user_version` by kind. A change to a schema file is a decision: tests hold the hash of each version."""

KINDS = tuple(SCHEMA_VERSION)

FINGERPRINTS = {"model": {"vocabulary": "SELECT id, bytes, type FROM token ORDER BY id"}}
"""Facts of a kind's `meta` that the build adds: the SHA-256 of what a query gives, where it gives anything."""

_SCHEMA = os.path.join(os.path.dirname(__file__), "schema")
_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX [^;]+;\n", re.M)


def schema(kind: str) -> str:
    """The SQL that makes an empty database of a kind: `tables` and `indexes`."""
    parts = []
    for name in ("common", kind):
        with open(os.path.join(_SCHEMA, f"{name}.sql"), encoding="utf-8") as file:
            parts.append(file.read())
    return "\n".join(parts)


def tables(kind: str) -> str:
    """The part of a kind's schema that makes its tables."""
    return _INDEX.sub("", schema(kind))


def indexes(kind: str) -> str:
    """The part that makes its indexes: a build fills the tables first, as sorting once is faster."""
    return "".join(_INDEX.findall(schema(kind)))
