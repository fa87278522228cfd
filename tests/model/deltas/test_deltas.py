"""Deltas over a model: only what changes is in them, and what lies under them reads as their maker left it."""

import json
from pathlib import Path

import apsw
import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genome.db import connect, verify
from genome.db.build import building
from genome.db.connect import meta, opened
from genome.db.states import state_over
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import embedding_rows, import_gguf, queries
from genome.model.deltas.changes import changes
from genome.model.deltas.making import create, merge, origin
from genome.model.weights import Weights

EMBEDDING = "token_embd.weight"


def everything(weights: Weights) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor."""
    return {row.name: (row.dtype, weights.read(row).tobytes()) for row in weights.tensors()}


@pytest.fixture
def base(tiny_db):
    with opened(tiny_db) as db:
        yield db


@pytest.fixture
def opening():
    """Opens databases that are closed at the end."""
    found = []

    def connected(path: Path) -> apsw.Connection:
        found.append(connect(path))
        return found[-1]

    yield connected
    for db in found:
        db.close(True)


def rows(db: apsw.Connection, sql: str) -> list[tuple]:
    return list(db.execute(sql))


def test_one_row(tmp_path, tiny, base, opening):
    new = tiny.tensors[EMBEDDING][7:8] * 2
    create(base, {EMBEDDING: ([7], new)}, tmp_path / "one.db", source="a test")
    assert (tmp_path / "one.db").stat().st_size < 16 * 1024
    assert verify(tmp_path / "one.db") == []
    delta = opening(tmp_path / "one.db")
    assert rows(delta, "SELECT tensor, dtype, row_count, row_bytes, scale FROM change") == [
        (EMBEDDING, "F32", 266, 256, None)
    ]
    assert rows(delta, "SELECT first_row, row_count, rows FROM patch") == [(7, 1, None)]
    facts = meta(delta)
    assert (facts["base_name"], facts["base_checksum"]) == ("tiny", meta(base)["checksum"])
    assert facts["base_uuid"] == meta(base)["uuid"]
    assert (facts["source"], facts["method"], facts["licence"]) == ("a test", "difference", "cc0-1.0")
    weights = Weights(base, deltas=[delta])
    wanted = tiny.tensors[EMBEDDING].copy()
    wanted[7] *= 2
    np.testing.assert_array_equal(weights.values(weights.tensor(EMBEDDING)), wanted)
    np.testing.assert_array_equal(weights.values(weights.tensor(EMBEDDING), 6, 3), wanted[6:9])
    np.testing.assert_array_equal(embedding_rows(base, [delta]), wanted)
    plain = everything(Weights(base))
    assert {name for name, told in everything(weights).items() if told != plain[name]} == {EMBEDDING}


def test_a_row_of_an_overlaid_tensor_takes_one_block_and_its_patch(tmp_path, tiny, base, opening):
    create(base, {EMBEDDING: -tiny.tensors[EMBEDDING]}, tmp_path / "d.db")
    delta = opening(tmp_path / "d.db")
    assert rows(delta, "SELECT count(*) FROM patch") == [(2,)]
    weights = Weights(base, deltas=[delta])
    tensor, seen = weights.tensor(EMBEDDING), []
    for db in (base, delta):
        db.set_profile(lambda sql, _: seen.append(sql.split("FROM")[1].split()[0]) if "FROM" in sql else None)
    np.testing.assert_array_equal(weights.values(tensor, 9, 1), -tiny.tensors[EMBEDDING][9:10])
    assert sorted(seen) == ["block", "patch"]


def test_rows_of_bytes_in_any_order(tmp_path, tiny, opening):
    import_gguf(tiny.write(tmp_path / "q.gguf", dtypes={EMBEDDING: "Q8_0"}), tmp_path / "q.db")
    base = opening(tmp_path / "q.db")
    tensor = Weights(base).tensor(EMBEDDING)
    old = Weights(base).read(tensor)
    new = old[[265, 0, 100]] ^ 1
    create(base, {EMBEDDING: ([265, 0, 100], new)}, tmp_path / "d.db")
    found = Weights(base, deltas=[opening(tmp_path / "d.db")]).read(tensor)
    np.testing.assert_array_equal(found[[265, 0, 100]], new)
    rest = np.setdiff1d(np.arange(266), [265, 0, 100])
    np.testing.assert_array_equal(found[rest], old[rest])


@pytest.mark.parametrize("dtype", ["F16", "BF16", "Q8_0", "Q4_1"])
def test_numbers_are_rounded_to_the_tensors_type(tmp_path, tiny, opening, dtype):
    import_gguf(tiny.write(tmp_path / "h.gguf", dtypes={EMBEDDING: dtype}), tmp_path / "h.db")
    base = opening(tmp_path / "h.db")
    new = np.linspace(-3, 3, 64, dtype=np.float32)[None]
    create(base, {EMBEDDING: ([1], new)}, tmp_path / "d.db")
    weights = Weights(base, deltas=[opening(tmp_path / "d.db")])
    wanted = gguf.dequantize(gguf.quantize(new, gguf.GGMLQuantizationType[dtype]), gguf.GGMLQuantizationType[dtype])
    np.testing.assert_array_equal(weights.values(weights.tensor(EMBEDDING), 1, 1), wanted)


def test_the_difference_of_two_models(tmp_path, tiny, base, opening):
    """One tensor in another type, one with a few other numbers; the rest is not in the delta."""
    weights = {name: values.copy() for name, values in tiny.tensors.items()}
    weights["blk.1.ffn_up.weight"][[3, 50], 5] += 1e-3
    dtypes = {"blk.0.attn_q.weight": "Q4_0"}
    import_gguf(tiny.write(tmp_path / "other.gguf", weights=weights, dtypes=dtypes), tmp_path / "other.db")
    other = opening(tmp_path / "other.db")
    create(base, other, tmp_path / "d.db")
    delta = opening(tmp_path / "d.db")
    assert rows(delta, "SELECT tensor, dtype, row_bytes FROM change") == [
        ("blk.0.attn_q.weight", "Q4_0", 36), ("blk.1.ffn_up.weight", "F32", 256),
    ]  # fmt: skip
    assert rows(delta, "SELECT encoding, length(data) FROM patch WHERE change_id = 1") == [("sparse", 10)]
    assert everything(Weights(base, deltas=[delta])) == everything(Weights(other))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_change_of_low_rank_is_found(tmp_path, tiny, opening, dtype):
    """Rank 2 over 256 x 256: factors take 2 * 512 numbers of 4 bytes, the change itself 65,536 numbers."""
    random = np.random.default_rng(65)
    old, product = random.normal(size=(256, 256)), random.normal(size=(256, 2)) @ random.normal(size=(2, 256))
    for name, values in (("old", old), ("new", old + 0.1 * product)):
        weights = {EMBEDDING: values.astype(np.float32)}
        tiny_gguf = tiny.write(tmp_path / f"{name}.gguf", weights=weights, dtypes={EMBEDDING: dtype})
        import_gguf(tiny_gguf, tmp_path / f"{name}.db")
    base, other = opening(tmp_path / "old.db"), opening(tmp_path / "new.db")
    create(base, other, tmp_path / "d.db")
    delta = opening(tmp_path / "d.db")
    assert rows(delta, "SELECT DISTINCT encoding FROM patch") == [("low_rank",)]
    assert rows(delta, "SELECT name, row_count, column_count FROM factor") == [("A", 2, 256), ("B", 256, 2)]
    stored = rows(delta, "SELECT sum(length(data)) FROM (SELECT data FROM patch UNION ALL SELECT data FROM factor)")
    assert stored[0][0] < 0.5 * Weights(base).tensor(EMBEDDING).size_bytes
    assert everything(Weights(base, deltas=[delta])) == everything(Weights(other))
    assert verify(tmp_path / "d.db") == []


def test_what_a_delta_changes(tmp_path, tiny, base, opening):
    """Rows 7 and 9 of the embedding twice as large: the length of these rows over that of all."""
    old = tiny.tensors[EMBEDDING].astype(np.float64)
    rows_ = {EMBEDDING: ([7, 9], 2 * tiny.tensors[EMBEDDING][[7, 9]]), "output_norm.weight": np.zeros(64)}
    create(base, rows_, tmp_path / "d.db")
    embedding, norm = changes(base, opening(tmp_path / "d.db"))
    assert (embedding.tensor, embedding.role, embedding.layer) == (EMBEDDING, "token_embd", None)
    assert (embedding.rows, embedding.row_count, embedding.dtype) == (2, 266, "F32")
    assert embedding.relative == pytest.approx(np.linalg.norm(old[[7, 9]]) / np.linalg.norm(old))
    assert (norm.rows, norm.row_count, norm.relative, norm.encodings) == (1, 1, 1.0, ("dense_zstd",))
    assert norm.bytes < 64


def flips(name: str, count: int) -> st.SearchStrategy[tuple[str, list[int], int]]:
    """A tensor, some of its rows, and what all their bytes are XORed with: twice the same leads back."""
    chosen = st.lists(st.integers(0, count - 1), min_size=1, max_size=8, unique=True)
    return st.tuples(st.just(name), chosen, st.sampled_from([1, 2, 255]))


CHANGES = st.lists(
    st.one_of(flips(EMBEDDING, 266), flips("blk.0.ffn_down.weight", 64), flips("output_norm.weight", 1)),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_stacks_and_merges_read_as_they_were_made(tmp_path_factory, tiny_db, made):
    """Each delta is made over those before it; all together, and merged, they give what a plain array holds."""
    folder = tmp_path_factory.mktemp("stack")
    with opened(tiny_db) as base:
        plain = Weights(base)
        wanted = {row.name: plain.read(row) for row in plain.tensors()}
        deltas, state = [], plain.state
        try:
            for number, (name, chosen, flip) in enumerate(made):
                wanted[name][chosen] ^= flip
                create(base, {name: (chosen, wanted[name][chosen])}, folder / f"{number}.db", deltas=deltas)
                deltas.append(connect(folder / f"{number}.db"))
                state = state_over(state, "it", meta(deltas[-1]))
            stack = Weights(base, deltas=deltas)
            assert stack.state == state
            assert {name: told for name, (_, told) in everything(stack).items()} == {
                name: array.tobytes() for name, array in wanted.items()
            }
            if len(deltas) > 1:
                merge(base, deltas, folder / "merged.db")
                with opened(folder / "merged.db") as merged:
                    whole = Weights(base, deltas=[merged])
                    assert everything(whole) == everything(stack)
                    assert whole.state == state
                    assert [p["name"] for p in json.loads(meta(merged)["parents"])] == [
                        str(number) for number in range(len(deltas))
                    ]
        finally:
            for delta in deltas:
                delta.close(True)


def test_what_is_not_there_or_does_not_fit(tmp_path, tiny, base):
    path, embedding = tmp_path / "d.db", tiny.tensors[EMBEDDING]
    cases = [
        ({"w": embedding}, NotFoundError, "has no tensor 'w'"),
        ({EMBEDDING: ([266], embedding[:1])}, NotFoundError, "has no rows 266 to 266; wanted rows 0 to 265"),
        ({EMBEDDING: ([-1], embedding[:1])}, NotFoundError, "has no rows -1"),
        ({EMBEDDING: ([1, 1], embedding[:2])}, Error, "row 1 is given twice"),
        ({EMBEDDING: embedding[:5]}, Error, r"shape \(5, 64\); wanted 266 rows of 64 numbers, or of 256 bytes"),
        ({EMBEDDING: embedding}, Error, "do not differ in any row"),
    ]
    for changed, error, message in cases:
        with pytest.raises(error, match=message):
            create(base, changed, path)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(Error, match="wants two deltas or more, got 0"):
        merge(base, [], path)


def test_two_models_of_different_tensors(tmp_path, tiny, base, opening):
    weights = dict(tiny.tensors) | {EMBEDDING: tiny.tensors[EMBEDDING][:200]}
    import_gguf(tiny.write(tmp_path / "a.gguf", weights=weights), tmp_path / "a.db")
    with pytest.raises(Error, match=r"token_embd\.weight has the shape \(266, 64\) in tiny, \(200, 64\) in a"):
        create(base, opening(tmp_path / "a.db"), tmp_path / "d.db")
    import_gguf(tiny.write(tmp_path / "b.gguf", weights={}), tmp_path / "b.db")
    with pytest.raises(Error, match=r"only tiny has a tensor 'blk\.0\.attn_k\.weight', not b"):
        create(base, opening(tmp_path / "b.db"), tmp_path / "d.db")


def test_quantised_rows_want_bytes(tmp_path, tiny, opening):
    import_gguf(tiny.write(tmp_path / "q.gguf", dtypes={EMBEDDING: "TQ2_0"}, weights=wide()), tmp_path / "q.db")
    with pytest.raises(Error, match=r"stored as TQ2_0.*wanted its bytes \(uint8, 66 a row\)"):
        create(opening(tmp_path / "q.db"), {EMBEDDING: ([0], np.ones((1, 256)))}, tmp_path / "d.db")


def wide() -> dict[str, np.ndarray]:
    return {EMBEDDING: np.random.default_rng(65).normal(size=(4, 256)).astype(np.float32)}


def test_another_base_is_refused(tmp_path, tiny, base, opening):
    create(base, {EMBEDDING: ([7], tiny.tensors[EMBEDDING][8:9])}, tmp_path / "a.db")
    a = opening(tmp_path / "a.db")
    create(base, {EMBEDDING: ([7], tiny.tensors[EMBEDDING][9:10])}, tmp_path / "b.db", deltas=[a])
    b = opening(tmp_path / "b.db")
    assert meta(b)["base_name"] == "tiny + a"
    Weights(base, deltas=[a, b])
    for order in ([b], [b, a]):
        with pytest.raises(Error, match=r"was made for tiny.* in the state .*, not for tiny"):
            Weights(base, deltas=order)
    with pytest.raises(Error, match=r"a is in tiny \+ a already"):
        Weights(base, deltas=[a, a])


def forged(path: Path, base: apsw.Connection, **other) -> Path:
    """A delta that changes row 7 of the embedding, something of it replaced."""
    weights = Weights(base)
    change = {"tensor": EMBEDDING, "dtype": "F32", "row_count": 266, "row_bytes": 256}
    patch = {"first_row": 7, "row_count": 1, "rows": None, "encoding": "dense", "element_bytes": 4, "result": 0,
             "checksum": 0, "data": bytes(256)}  # fmt: skip
    change |= {key: value for key, value in other.items() if key in change}
    patch |= {key.removeprefix("patch_"): value for key, value in other.items() if key not in change}
    with building(path, "delta", **origin(weights)) as db:
        db.execute("INSERT INTO change VALUES (0, ?, ?, ?, ?, NULL)", tuple(change.values()))
        db.execute("INSERT INTO patch VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?)", tuple(patch.values()))
    return path


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"row_count": 267}, "has 267 rows of 256 bytes there; wanted 266 of 256"),
        ({"row_bytes": 1 << 40}, "rows of 1099511627776 bytes there; wanted 266 of 256"),
        ({"dtype": "F16"}, "has 266 rows of 256 bytes there; wanted 266 of 128"),
        ({"dtype": "NONE"}, "cannot be stored as NONE"),
        ({"patch_row_count": 1 << 40}, "patches overlap, or reach beyond a block of the base"),
        ({"patch_row_count": 0}, "patches overlap, or reach beyond a block of the base"),
        ({"data": bytes(1 << 20)}, "longer than the rows of its block"),
        ({}, "the patch's checksum differs"),
        ({"encoding": "low_rank"}, "its factor B is missing"),
    ],
)
def test_forged_deltas(tmp_path, base, opening, other, message):
    delta = opening(forged(tmp_path / "f.db", base, **other))
    with pytest.raises(Error, match=message):
        everything(Weights(base, deltas=[delta]))


def test_a_damaged_patch_is_named(tmp_path, tiny, base, opening):
    random = np.random.default_rng(65).integers(0, 256, (266, 256), np.uint8)
    create(base, {EMBEDDING: random}, tmp_path / "d.db")
    data = bytearray((tmp_path / "d.db").read_bytes())
    data[data.index(random[9].tobytes()[:32])] ^= 1
    (tmp_path / "d.db").write_bytes(data)
    problems = verify(tmp_path / "d.db")
    assert [p.table for p in problems] == ["pages", "patch"]
    assert problems[1].text == "tensor token_embd.weight, rows 0 to 255: checksum differs"
    weights = Weights(base, deltas=[opening(tmp_path / "d.db")])
    with pytest.raises(DamagedError, match=r"is damaged \(the page at byte \d+ is not"):
        weights.read(weights.tensor(EMBEDDING), 9, 1)


def test_queries_see_the_delta_as_rows(tmp_path, tiny, base, opening):
    create(base, {EMBEDDING: ([7, 9], tiny.tensors[EMBEDDING][[8, 10]])}, tmp_path / "d.db")
    assert rows(opening(tmp_path / "d.db"), "SELECT first_row, row_count, hex(rows) FROM patch") == [(7, 3, "05")]
    assert queries.tensor(base, EMBEDDING).dtype == "F32"
