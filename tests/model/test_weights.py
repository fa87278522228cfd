"""Embedding rows: all at once and one by one, from their blocks alone."""

from concurrent.futures import ThreadPoolExecutor

import gguf
import numpy as np
import pytest

from genome.db.connect import opened
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import embedding_rows, import_gguf, weights
from genome.model.weights import EmbeddingRows, Weights


def test_embedding_rows(tiny, tiny_db):
    with opened(tiny_db) as db:
        np.testing.assert_array_equal(embedding_rows(db), tiny.tensors["token_embd.weight"])


def test_smollm2s_embedding_equals_ggmls(smollm2_gguf, smollm2_db):
    tensor = next(t for t in gguf.GGUFReader(smollm2_gguf).tensors if t.name == "token_embd.weight")
    wanted = gguf.dequantize(tensor.data, tensor.tensor_type)
    with opened(smollm2_db) as db:
        found = embedding_rows(db)
    assert found.shape == (49152, 576)
    np.testing.assert_array_equal(found, wanted)


def test_single_rows(tmp_path, tiny):
    import_gguf(tiny.write(tmp_path / "a.gguf", dtypes={"token_embd.weight": "Q8_0"}), tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        rows, every = EmbeddingRows(Weights(db)), embedding_rows(db)
        for token in (0, 265, 100):
            found, read = rows.row(token)
            np.testing.assert_array_equal(found, every[token])
            assert read
        assert rows.row(100)[1] is False
        with pytest.raises(Error, match="there is no token 266"):
            rows.row(266)


def test_a_row_comes_from_one_block(smollm2_db):
    """49,152 rows of 612 bytes lie in blocks of 107 rows."""
    with opened(smollm2_db) as db:
        rows = EmbeddingRows(Weights(db))
        seen = []
        db.set_profile(lambda sql, _: seen.append(sql))
        rows.row(30_000)
        assert sum("FROM block" in sql for sql in seen) == 1


def test_read_tensor(tiny, tiny_db):
    with opened(tiny_db) as db:
        weights = Weights(db)
        raw = weights.read(weights.tensor("blk.1.ffn_down.weight"))
    np.testing.assert_array_equal(raw.view(np.float32), tiny.tensors["blk.1.ffn_down.weight"])


def test_missing_and_damaged(tmp_path, tiny):
    import_gguf(tiny.write(tmp_path / "a.gguf", weights={}), tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db, pytest.raises(NotFoundError, match=r"has no tensor 'token_embd\.weight'"):
        embedding_rows(db)
    bad = tiny.tensors["token_embd.weight"].copy()
    bad[1, 1] = np.nan
    import_gguf(tiny.write(tmp_path / "b.gguf", weights={"token_embd.weight": bad}), tmp_path / "b.db")
    with opened(tmp_path / "b.db") as db, pytest.raises(DamagedError, match=r"token_embd\.weight holds NaN"):
        embedding_rows(db)


def test_threads_that_share_rows_of_the_embedding(tiny_db, monkeypatch):
    """Room for three rows: what one thread asks for, another one throws out."""
    monkeypatch.setattr(weights, "_KEPT_ROWS", 3)
    with opened(tiny_db, "model") as db:
        rows = EmbeddingRows(Weights(db))
        wanted = embedding_rows(db)

        def ask(thread: int) -> None:
            for token in np.random.default_rng(thread).integers(0, 6, 2000).tolist():
                np.testing.assert_array_equal(rows.row(token)[0], wanted[token])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(4)))
