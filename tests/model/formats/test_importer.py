"""GGUF into a database: everything of the source is there again."""

import hashlib
import json
import struct

import gguf
import numpy as np
import pytest
from gguf_cases import BIG, LITTLE, STRING, arrays, merges, scalars, tensor

from genome.db import header, verify
from genome.db.blocks import read_rows
from genome.db.connect import opened
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import embedding_rows, import_gguf, queries


def test_facts(tiny, tiny_gguf, tmp_path):
    told = []
    path = tmp_path / "tiny.db"
    import_gguf(tiny_gguf, path, progress=lambda *a: told.append(a), source="here", licence="mine")
    facts = header(path)
    assert facts["kind"] == "model"
    assert facts["name"] == "tiny"
    assert facts["source"] == "here"
    assert facts["licence"] == "mine"
    assert facts["architecture"] == "llama"
    assert facts["source_sha256"] == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
    size = sum(values.nbytes for values in tiny.tensors.values())
    assert told[-1] == ("tiny: import", size, size)
    assert verify(path) == []


def test_licence_comes_from_the_file_unless_told(tiny_db):
    assert header(tiny_db)["licence"] == "cc0-1.0"


def test_same_source_same_identity(tiny_gguf, tiny_db, tmp_path):
    again = tmp_path / "tiny.db"
    import_gguf(tiny_gguf, again)
    assert header(again)["checksum"] == header(tiny_db)["checksum"]


def test_metadata_in_order_and_type(tiny_gguf, tiny_db):
    oracle = gguf.GGUFReader(tiny_gguf)
    with opened(tiny_db) as db:
        found = list(db.execute("SELECT key, type, value FROM hyperparameter ORDER BY position"))
    assert [key for key, _, _ in found] == [key for key in oracle.fields if not key.startswith("GGUF.")]
    rows = {key: (kind, value) for key, kind, value in found}
    assert rows["llama.block_count"] == ("uint32", 2)
    assert rows["llama.attention.layer_norm_rms_epsilon"] == ("float32", float(np.float32(1e-5)))
    assert rows["tokenizer.ggml.tokens"] == ("array[string]", None)
    assert rows["tokenizer.ggml.merges"] == ("array[string]", None)
    assert rows["tokenizer.ggml.token_type"] == ("array[int32]", None)


def test_tensors_come_back(tiny, tiny_db):
    with opened(tiny_db) as db:
        rows = queries.tensors(db)
        assert [t.name for t in rows] == list(tiny.tensors)
        for row, values in zip(rows, tiny.tensors.values(), strict=True):
            assert row.shape == values.shape
            assert row.dtype == "F32"
            stored = read_rows(db, row.id, 0, row.row_count, row.row_bytes)
            assert stored == values.tobytes()
        assert queries.tensor(db, "blk.1.attn_q.weight").layer == 1


def test_tokens_and_bytes(tiny, tiny_db):
    with opened(tiny_db) as db:
        rows = list(queries.all_tokens(db))
    assert [(t.piece, t.type) for t in rows] == list(zip(tiny.pieces, tiny.types, strict=True))
    by_piece = {t.piece: t.bytes for t in rows}
    assert by_piece["Ġthe"] == b" the"
    assert by_piece["<|im_end|>"] == b"<|im_end|>"
    assert {t.bytes for t in rows} >= {bytes([b]) for b in range(256)}


def merge_lines(db) -> list[str]:
    """The source's lines again: what an export will write."""
    piece = dict(db.execute("SELECT id, piece FROM token")) | dict(db.execute("SELECT id, piece FROM fragment"))
    rows = db.execute("SELECT left_id, right_id FROM merge ORDER BY rank")
    return [piece[left] if right is None else f"{piece[left]} {piece[right]}" for left, right in rows]


def test_merges_come_back_though_their_parts_are_no_tokens(tiny, tiny_db):
    with opened(tiny_db) as db:
        assert merge_lines(db) == tiny.merges
        assert {piece for (piece,) in db.execute("SELECT piece FROM fragment")} == {"ot", "moth"}


def test_odd_merges(tmp_path, tiny):
    odd = ["Ġ t", "Ġ t", "nospace", " a b", "h "]
    path = tiny.write(tmp_path / "a.gguf", merges=odd)
    import_gguf(path, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        assert merge_lines(db) == odd


def test_values_that_sqlite_would_change_stay_bytes(tmp_path, tiny):
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_uint64("large", (1 << 64) - 1)
        writer.add_float32("nan", float("nan"))
        writer.add_float64("infinite", float("inf"))
        writer.add_array("numbers", [1, 2, 3])
        writer.add_array("mixed", [0.5, float("nan")])
        writer.add_bool("yes", True)
        writer.add_key_value("raw", b"\xff\xfe", gguf.GGUFValueType.STRING)

    path = tiny.write(tmp_path / "a.gguf", more=more)
    import_gguf(path, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        rows = {k: (t, v) for k, t, v in db.execute("SELECT key, type, value FROM hyperparameter")}
        assert queries.hyperparameter(db, "numbers") == [1, 2, 3]
        assert queries.hyperparameter(db, "yes") is True
    assert rows["large"] == ("uint64", b"\xff" * 8)
    assert rows["nan"] == ("float32", struct.pack("<f", float("nan")))
    assert rows["infinite"] == ("float64", struct.pack("<d", float("inf")))
    assert rows["numbers"] == ("array[int32]", json.dumps([1, 2, 3]))
    assert rows["mixed"] == ("array[float32]", struct.pack("<2f", 0.5, float("nan")))
    assert rows["raw"] == ("string", b"\xff\xfe")


def test_a_failed_import_leaves_what_was_there(tmp_path, tiny_gguf, tiny_db):
    target = tmp_path / "model.db"
    target.write_bytes(tiny_db.read_bytes())
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="is truncated: tensor"):
        import_gguf(cut, target)
    assert target.read_bytes() == tiny_db.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.gguf", "model.db"]


def test_inconsistent_vocabulary(tmp_path, tiny):
    path = tiny.write(tmp_path / "a.gguf", more=lambda w: w.add_token_scores([0.5]))
    with pytest.raises(DamagedError, match=r"tokenizer\.ggml\.scores has 1 numbers; wanted one a token, 266"):
        import_gguf(path, tmp_path / "a.db")


def test_one_part_of_a_split_model(tmp_path, tiny):
    path = tiny.write(tmp_path / "a.gguf", more=lambda w: w.add_uint16("split.count", 3))
    with pytest.raises(NotFoundError, match=r"part 1 of 3 of a model; wanted the first one .* NAME-00001-of-00003"):
        import_gguf(path, tmp_path / "a.db")


def test_smollm2_vocabulary_and_tensors(smollm2_db):
    """272 tensors, 49,152 tokens and 48,900 merges, none of whose parts is missing: counted in the file by gguf."""
    with opened(smollm2_db, "model") as db:
        counts = [
            next(iter(db.execute(f"SELECT count(*) FROM {t}")))[0] for t in ("tensor", "token", "merge", "fragment")
        ]
    assert counts == [272, 49152, 48900, 0]


def rows(path, sql: str) -> list[tuple]:
    with opened(path, "model") as db:
        return list(db.execute(sql))


def test_heads_and_experts_share_no_block(tmp_path):
    """Heads of 64 rows and 256 bytes, experts of 96 rows and 1,024 bytes: 16 KiB a head, 96 KiB an expert."""
    fields = [
        LITTLE.field("general.architecture", STRING, LITTLE.text(b"llama")),
        LITTLE.field("llama.embedding_length", 4, LITTLE.number(4, 512)),
        LITTLE.field("llama.attention.head_count", 4, LITTLE.number(4, 8)),
    ]
    described = [tensor("blk.0.attn_q.weight", (64, 512)), tensor("blk.0.attn_qkv.weight", (64, 640))]
    described += [tensor("blk.0.ffn_up_exps.weight", (256, 96, 3)), tensor("blk.0.ffn_up.weight", (64, 512))]
    (tmp_path / "a.gguf").write_bytes(LITTLE.file(fields, described))
    import_gguf(tmp_path / "a.gguf", tmp_path / "a.db")
    found = rows(tmp_path / "a.db", "SELECT array, first_row, row_count FROM block ORDER BY array, first_row")
    assert [(first, count) for array, first, count in found if array == 0] == [(64 * n, 64) for n in range(8)]
    assert [(first, count) for array, first, count in found if array == 1] == [(64 * n, 64) for n in range(10)]
    assert [(first, count) for array, first, count in found if array == 2] == [(48 * n, 48) for n in range(6)]
    assert [(first, count) for array, first, count in found if array == 3] == [(0, 256), (256, 256)]


def test_a_big_endian_file_says_the_same(tmp_path):
    for name, spell in (("little", LITTLE), ("big", BIG)):
        fields = [*scalars(spell), *arrays(spell), *merges(spell)]
        data = struct.pack(spell.order + "4f", 1, -2, 3.5, 1e-9)
        described = [(b"token_embd.weight", (2, 2), 0, data), (b"bytes", (4,), 24, b"\1\2\3\4")]
        (tmp_path / f"{name}.gguf").write_bytes(spell.file(fields, described))
        import_gguf(tmp_path / f"{name}.gguf", tmp_path / f"{name}.db")
    for table in ("hyperparameter", "token", "merge", "fragment"):
        found = [rows(tmp_path / f"{name}.db", f"SELECT * FROM {table}") for name in ("little", "big")]
        assert found[0] == found[1]
        assert found[0]
    layout = json.loads(rows(tmp_path / "big.db", "SELECT layout FROM file")[0][0])
    assert layout == {"version": 3, "alignment": 32, "byte_order": "big"}
    assert rows(tmp_path / "big.db", "SELECT dtype FROM tensor ORDER BY id") == [("F32_BE",), ("I8",)]
    with opened(tmp_path / "big.db") as db, pytest.raises(Error, match="weights of type F32_BE cannot be computed"):
        embedding_rows(db)


def test_names_that_are_not_utf8(tmp_path):
    (tmp_path / "a.gguf").write_bytes(LITTLE.file([LITTLE.field(b"k\xff", 0, b"\1")], [tensor(b"w\x80", (1,), 24)]))
    import_gguf(tmp_path / "a.gguf", tmp_path / "a.db")
    assert rows(tmp_path / "a.db", "SELECT key FROM hyperparameter") == [("k\U0010ffff",)]
    assert rows(tmp_path / "a.db", "SELECT name FROM tensor") == [("w\U0010ff80",)]
