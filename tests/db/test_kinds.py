"""A change to a schema is a decision: its version grows, or nothing that is stored has changed."""

import hashlib
from pathlib import Path

import pytest

from genome.db import KINDS, SCHEMA_VERSION, building
from genome.db.connect import opened
from genome.db.layout import lacking, layout, strangers

# Hash of the tables and indexes (comments and line breaks left out) by kind and version. Before the first release a
# hash may be replaced; after it a changed schema takes the next version, and the old line stays.
LAYOUTS = {
    ("model", 2): "1a6d77e443e81db1",
    ("lexicon", 1): "b44953123440cdd0",
    ("genome", 2): "01de2782f2247e25",
    ("delta", 1): "a96134fe8abfd009",
}


def layout_hash(kind: str) -> str:
    return hashlib.sha256(repr(sorted(layout(kind).items())).encode()).hexdigest()[:16]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_changes_by_decision(kind: str):
    assert LAYOUTS[kind, SCHEMA_VERSION[kind]] == layout_hash(kind), (
        f"schema/{kind}.sql or common.sql has changed: raise SCHEMA_VERSION[{kind!r}] and note the new hash here"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_database_has_the_layout_of_its_kind(kind: str, tmp_path: Path):
    with building(tmp_path / "x.db", kind):
        pass
    with opened(tmp_path / "x.db", kind) as db:
        assert lacking(db, kind) == []
        assert strangers(db, kind) == []
        assert db.pragma("user_version") == SCHEMA_VERSION[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_comments_say_what_tables_hold(kind: str):
    """Each table of a schema file has a comment line above it or comments on its columns."""
    import genome.db.kinds as kinds

    for part in kinds.schema(kind).split(";\n"):
        if "TABLE" in part:
            assert "--" in part, part
