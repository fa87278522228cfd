"""Views of tensors: what NumPy's indexing gives, from the blocks of the rows alone."""

import re

import gguf
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome.db import Journal
from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import import_gguf, queries
from genome.model.tensors import TensorView, tensor_frame
from genome.model.weights import Weights

DRAW = np.random.default_rng(65)
TALL = DRAW.normal(size=(1000, 64)).astype(np.float32)  # 256 KB: blocks of 256 rows
EXPERTS = DRAW.normal(size=(3, 300, 64)).astype(np.float32)  # 77 KB an expert: two blocks of 150 rows each
OTHERS = {
    "vector.weight": np.arange(5, dtype=np.float32),
    "whole.weight": np.arange(6, dtype=np.int32).reshape(2, 3),
    "double.weight": np.array([[1 / 3, 2]], np.float64),
}


@pytest.fixture(scope="module")
def path(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensors")

    def more(writer: gguf.GGUFWriter) -> None:
        for name, values in OTHERS.items():
            writer.add_tensor(name, values)
        writer.add_tensor("packed.weight", gguf.quantize(TALL, gguf.GGMLQuantizationType.Q4_0),
                          raw_dtype=gguf.GGMLQuantizationType.Q4_0)  # fmt: skip

    weights = tiny.tensors | {"tall.weight": TALL, "blk.0.ffn_up_exps.weight": EXPERTS}
    import_gguf(tiny.write(folder / "a.gguf", weights=weights, more=more), folder / "a.db")
    return folder / "a.db"


@pytest.fixture(scope="module")
def db(path):
    with opened(path, "model") as connection:
        yield connection


def view(db, name: str, journal: Journal | None = None) -> TensorView:
    return TensorView.of(Weights(db, "tiny"), name, journal=journal, hyperparameters=queries.hyperparameters(db))


MASK = np.arange(1000) % 7 == 0
INDICES = [
    0, 999, -1, -1000, np.int64(5), slice(None), slice(3, 7), slice(-3, None), slice(990, 5000), slice(7, 3),
    slice(None, None, -1), slice(900, 10, -50), [5], [5, 5, -5], [999, 0, 256, 255], [], [[1, 2], [3, 4]],
    np.array([7, 3], np.uint8), range(250, 262), MASK, MASK.tolist(), ...,
]  # fmt: skip


@pytest.mark.parametrize("rows", INDICES, ids=lambda rows: re.sub(r"\s+", " ", str(rows))[:30])
def test_rows_are_those_of_numpy(db, rows):
    wanted = TALL[list(rows) if isinstance(rows, range) else rows]
    found = view(db, "tall.weight")[rows]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted, strict=True)
    raw = view(db, "tall.weight").raw(rows)
    assert raw.dtype == np.uint8
    np.testing.assert_array_equal(np.ascontiguousarray(raw).view("<f4"), wanted, strict=True)


@given(rows=st.lists(st.integers(-1000, 999), max_size=40) | st.slices(1000))
def test_whatever_rows_are_wanted(db, rows):
    np.testing.assert_array_equal(view(db, "tall.weight")[rows], TALL[rows])


@given(rows=st.lists(st.integers(-3, 2), min_size=1, max_size=6) | st.slices(3) | st.integers(-3, 2))
def test_experts_are_the_first_dimension(db, rows):
    np.testing.assert_array_equal(view(db, "blk.0.ffn_up_exps.weight")[rows], EXPERTS[rows], strict=True)


@pytest.mark.parametrize(
    "where", [(3, slice(8)), (slice(5, 9), -1), (-1, [2, 0]), (slice(None, None, 400), None, 2), (7,)]
)
def test_other_dimensions_follow_the_rows(db, where):
    np.testing.assert_array_equal(view(db, "tall.weight")[where], TALL[where], strict=True)
    three = (2, *where)
    np.testing.assert_array_equal(view(db, "blk.0.ffn_up_exps.weight")[three], EXPERTS[three], strict=True)


def test_quantised_rows_are_those_of_ggmls_own_package(db):
    stored = gguf.quantize(TALL, gguf.GGMLQuantizationType.Q4_0)
    packed = view(db, "packed.weight")
    assert (packed.dtype, packed.shape, packed.raw(3).shape) == ("Q4_0", (1000, 64), (36,))
    np.testing.assert_array_equal(packed.raw(), stored)
    wanted = gguf.dequantize(stored, gguf.GGMLQuantizationType.Q4_0)
    np.testing.assert_array_equal(packed[[3, -1]], wanted[[3, -1]])


def test_a_head_and_an_expert_are_views_of_their_own(db, tiny):
    """Four heads of 16 rows for queries, two for keys and values."""
    q, k = tiny.tensors["blk.1.attn_q.weight"], tiny.tensors["blk.1.attn_k.weight"]
    np.testing.assert_array_equal(view(db, "blk.1.attn_q.weight").head(2)[1:3], q[33:35])
    np.testing.assert_array_equal(np.asarray(view(db, "blk.1.attn_k.weight").head(-1)), k[16:])
    with pytest.raises(NotFoundError, match=r"attn_k\.weight has no head 2; wanted -2 to 1"):
        view(db, "blk.1.attn_k.weight").head(2)
    second = view(db, "blk.0.ffn_up_exps.weight").expert(1)
    assert second.shape == (300, 64)
    np.testing.assert_array_equal(second[[-1, 0]], EXPERTS[1][[-1, 0]])
    np.testing.assert_array_equal(second.raw(4), EXPERTS[1][4].view(np.uint8))


@pytest.mark.parametrize(
    "name", ["tall.weight", "blk.0.ffn_up.weight", "vector.weight", "blk.0.attn_output.weight"]
)
def test_what_has_no_heads_and_experts_says_so(db, name):
    with pytest.raises(Error, match=r"are not those of attention heads; wanted a whole attn_q"):
        view(db, name).head(0)
    with pytest.raises(Error, match="wanted three dimensions, the first for experts"):
        view(db, name).expert(0)


def test_a_head_of_a_head_is_none(db):
    with pytest.raises(Error, match="are not those of attention heads"):
        view(db, "blk.1.attn_q.weight").head(0).head(0)


def test_the_metadata_say_how_many_rows_a_head_has(db):
    weights = Weights(db, "tiny")
    for facts, rows in [
        ({"a.embedding_length": 64, "a.attention.head_count": 8}, 8),
        ({"a.embedding_length": 64, "a.attention.head_count": [8, 2]}, 32),
        ({"a.embedding_length": 64, "a.attention.head_count": 8, "a.attention.key_length": 4}, 4),
    ]:
        one = TensorView.of(weights, "blk.1.attn_q.weight", hyperparameters=facts)
        assert one.head(0).shape == (rows, 64)
    with pytest.raises(Error, match="metadata that say how many heads there are"):
        TensorView.of(weights, "blk.1.attn_q.weight").head(0)


def test_vectors_whole_numbers_and_doubles(db):
    vector = view(db, "vector.weight")
    assert (vector[1], vector[-1], vector[1:3].tolist()) == (1.0, 4.0, [1.0, 2.0])
    assert vector.raw().shape == (1, 20)
    assert len(vector) == 5
    double = view(db, "double.weight")
    np.testing.assert_array_equal(double[0], OTHERS["double.weight"][0], strict=True)
    whole = view(db, "whole.weight")
    assert whole.raw(1).view("<i4").tolist() == [3, 4, 5]
    with pytest.raises(
        Error, match=r"whole\.weight: weights of type I32 cannot be computed with; .* `raw\(rows\)`"
    ):
        whole[0]


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (2, 0, 4), (0,)])
def test_tensors_without_numbers_have_their_shape(db, shape):
    rows = int(np.prod(shape[:-1]))
    row = queries.TensorRow(0, "empty", "empty", None, "F32", shape, rows, 4 * shape[-1])
    empty = TensorView(Weights(db), row, shape)
    assert empty[...].shape == empty[::-1].shape == shape
    assert empty.raw().size == empty.size_bytes == 0


def test_it_is_a_sequence_and_an_array(db):
    tall = view(db, "tall.weight")
    assert len(tall) == 1000
    np.testing.assert_array_equal(np.stack(list(tall)), TALL)
    np.testing.assert_array_equal(np.asarray(tall, np.float64), TALL.astype(np.float64))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (1000, "tall.weight has no row 1000; wanted -1000 to 999"),
        (-1001, "tall.weight has no row -1001"),
        ([3, 1000], "tall.weight has no row 1000"),
        ("a", "wanted a number, a slice, numbers or a mask along the first dimension, got 'a'"),
        (1.5, "wanted a number, a slice"),
        ([1.5], "wanted a number, a slice"),
        ([True, False], "wanted a number, a slice"),
        (True, "wanted a number, a slice"),
        (([1], 2), "along the first dimension, got '([1], 2)'"),
        ((1, 64), "tall.weight has no numbers at (64,); its shape is (1000, 64)"),
        (None, "wanted a number, a slice"),
    ],
)
def test_no_rows_are_refused_in_one_line(db, rows, said):
    with pytest.raises(Error, match=re.escape(said)) as told:
        view(db, "tall.weight")[rows]
    assert "\n" not in str(told.value)


def test_a_vector_has_no_such_number(db):
    with pytest.raises(NotFoundError, match=r"vector\.weight has no numbers at 5; its shape is \(5,\)"):
        view(db, "vector.weight")[5]


def test_other_blocks_are_not_read(path, tmp_path):
    """Rows 250 to 259 are in blocks 0 and 1, row 999 in block 3: block 2 is damaged, and nobody notices."""
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    writable = Connection(DatabaseFile.find(copy, "database"), write=True)
    number = "SELECT id FROM tensor WHERE name = 'tall.weight'"
    writable.execute(f"UPDATE block SET data = zeroblob(length(data)) WHERE first_row = 512 AND array = ({number})")
    writable.close()
    with opened(copy, "model") as db:
        tall = view(db, "tall.weight")
        rows = [*range(250, 260), 999]
        np.testing.assert_array_equal(tall[rows], TALL[rows])
        np.testing.assert_array_equal(tall[511:400:-1], TALL[511:400:-1])
        with pytest.raises(DamagedError, match=r"tensor tall\.weight: .* rows 512 to 767 are damaged"):
            tall[600]


def test_scattered_rows_read_each_block_once(db):
    seen: list[tuple] = []
    weights = Weights(db, "tiny")
    read = weights.read
    weights.read = lambda tensor, first, count: seen.append((first, count)) or read(tensor, first, count)
    TensorView.of(weights, "tall.weight")[[999, 2, 250, 300, 2, 4]]
    assert seen == [(2, 249), (300, 1), (999, 1)]


def test_the_journal_tells_the_rows_that_were_asked_for(db):
    journal = Journal()
    tall = view(db, "tall.weight", journal)
    tall[42]
    tall[[7, 5, 6, 300, 5]]
    tall[3:1]
    view(db, "blk.0.ffn_up_exps.weight", journal).expert(1)[2]
    told = journal.frame().select("database", "object", "row", "rows", "bytes", "source").rows()
    assert told == [
        ("tiny", "tall.weight", 42, 1, 256, "disk"),
        ("tiny", "tall.weight", 5, 3, 768, "disk"),
        ("tiny", "tall.weight", 300, 1, 256, "disk"),
        ("tiny", "blk.0.ffn_up_exps.weight", 302, 1, 256, "disk"),
    ]


def test_it_says_what_it_is_and_reads_nothing(db):
    journal = Journal()
    one = view(db, "blk.1.attn_q.weight", journal)
    assert repr(one) == "TensorView(blk.1.attn_q.weight: 64 x 64, F32, 16,384 bytes, layer 1)"
    assert repr(one.head(1)) == "TensorView(blk.1.attn_q.weight from row 16 on: 16 x 64, F32, 4,096 bytes, layer 1)"
    assert repr(view(db, "vector.weight")) == "TensorView(vector.weight: 5, F32, 20 bytes)"
    assert (one.role, one.layer, one.row_count) == ("attn_q", 1, 64)
    assert one._repr_html_() == repr(one)
    assert journal.frame().height == 0


def test_a_tensor_that_is_not_there(db):
    with pytest.raises(NotFoundError, match="has no tensor 'nonesuch'"):
        view(db, "nonesuch")


def test_the_frame_of_tensors(db):
    tensors = Weights(db).tensors()
    frame = tensor_frame(tensors)
    assert frame["name"].to_list() == [t.name for t in tensors]
    row = frame.row(by_predicate=pl.col("name") == "blk.0.ffn_up_exps.weight", named=True)
    assert row == {
        "name": "blk.0.ffn_up_exps.weight", "role": "ffn_up_exps", "layer": 0, "dtype": "F32",
        "shape": [3, 300, 64], "rows": 900, "row_bytes": 256, "size_bytes": 230400,
    }  # fmt: skip
    assert tensor_frame(tensors, role="attn_q")["layer"].to_list() == [0, 1]
    assert tensor_frame(tensors, role="attn_q", layer=1)["name"].to_list() == ["blk.1.attn_q.weight"]
    assert tensor_frame(tensors, dtype="Q4_0")["name"].to_list() == ["packed.weight"]
    assert tensor_frame(tensors, layer=9).schema == frame.schema
