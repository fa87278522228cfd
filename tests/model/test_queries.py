"""The room's SQL: plain rows, through indexes where it says so."""

import pytest

from genome.db.connect import opened
from genome.errors import Error, NotFoundError
from genome.model import queries
from genome.model.queries import find_tokens


@pytest.fixture
def db(tiny_db):
    with opened(tiny_db) as found:
        yield found


def pieces(rows) -> list[str]:
    return [row.piece for row in rows]


def test_find_tokens(db):
    assert pieces(find_tokens(db, exact=" the")) == ["Ġthe"]
    assert pieces(find_tokens(db, exact=b"\xff")) == ["ÿ"]
    assert pieces(find_tokens(db, prefix=" ")) == ["Ġ", "Ġt", "Ġthe", "Ġm"]
    assert pieces(find_tokens(db, contains="oth")) == ["oth", "mother"]
    assert pieces(find_tokens(db, contains="he", limit=1)) == ["he"]
    assert find_tokens(db, exact="nonesuch") == []
    assert pieces(find_tokens(db, prefix=b"\xff")) == ["ÿ"]


def test_a_like_pattern_is_plain_text(db):
    assert pieces(find_tokens(db, contains="%")) == ["%"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "got none"),
        ({"exact": "a", "prefix": "b"}, "got exact, prefix"),
        ({"contains": ""}, "is empty"),
        ({"exact": "a", "limit": -1}, "limit is -1"),
    ],
)
def test_wrong_questions(db, wanted, said):
    with pytest.raises(Error, match=said):
        find_tokens(db, **wanted)


def plan(db, sql: str) -> str:
    return " ".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sql, (b"a",) * sql.count("?")))


def test_look_ups_go_through_indexes(db):
    token = "SELECT id, piece, bytes, type, score FROM token WHERE "
    assert "token_by_bytes (bytes=?)" in plan(db, token + "bytes = ? ORDER BY id")
    assert "token_by_bytes (bytes>? AND bytes<?)" in plan(db, token + "bytes >= ? AND bytes < ? ORDER BY id")
    assert "COVERING INDEX token_by_piece" in plan(
        db, "SELECT id FROM token WHERE piece = ? ORDER BY id DESC LIMIT 1"
    )
    merge = "SELECT rank, result_id FROM merge WHERE left_id = ? AND right_id = ? ORDER BY rank LIMIT 1"
    assert "COVERING INDEX merge_by_pair" in plan(db, merge)
    special = "SELECT id, piece, type FROM token WHERE type <> 1 AND type IN (2, 3, 4) AND typeof(piece) = 'text'"
    assert "token_by_type" in plan(db, special)


def test_tensors(db):
    found = queries.tensors(db)
    assert len(found) == 20
    assert [t.layer for t in found if t.role == "attn_q"] == [0, 1]
    assert len([t for t in found if t.layer == 1]) == 9
    found = queries.tensor(db, "blk.0.ffn_down.weight")
    assert (found.role, found.shape, found.row_bytes, found.size_bytes) == ("ffn_down", (64, 96), 384, 64 * 384)
    with pytest.raises(NotFoundError, match="has no tensor 'nonesuch'"):
        queries.tensor(db, "nonesuch")


def test_hyperparameters(db):
    found = queries.hyperparameters(db)
    assert found["llama.context_length"] == 600
    assert found["tokenizer.ggml.tokens"] is None
    assert queries.hyperparameter(db, "nonesuch") is None


def test_counts_and_single_tokens(db):
    assert queries.token_count(db) == 266
    assert queries.token_bytes(db, 265) == (b"mother", 1)
    assert queries.token_bytes(db, 266) is None
    assert queries.piece_id(db, "mother") == 265
    assert queries.fragment_piece(db, queries.fragment_id(db, "moth")) == "moth"
