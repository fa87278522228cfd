"""LoRA adapters as deltas, against what PEFT itself merges; made by tests/reference/adapters.py."""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from genome.db import verify
from genome.db.blocks import checksum
from genome.db.connect import meta, opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import import_gguf
from genome.model.deltas.inplace import apply_delta, undo
from genome.model.deltas.lora import create_from_lora
from genome.model.deltas.making import merge
from genome.model.formats.dispatch import import_model
from genome.model.formats.names import gguf_name, huggingface_name
from genome.model.weights import Weights

DATA = Path(__file__).parent / "data" / "peft"
CASES = ["plain", "patterns", "whole", "embedding", "bias"]
Q = "base_model.model.model.layers.0.self_attn.q_proj"
HEADS = {"attn_q": 4, "attn_k": 2}


@pytest.fixture(scope="module")
def hf_base(tmp_path_factory) -> Path:
    """The base from safetensors."""
    path = tmp_path_factory.mktemp("peft") / "base.db"
    import_model(DATA / "base", path)
    return path


def halves_from_pairs(role: str, values: np.ndarray) -> np.ndarray:
    """Rows of queries and keys as Hugging Face has them: of each head first all first ones of the pairs."""
    stem = role.removesuffix(".bias")
    if stem not in HEADS:
        return values
    heads = values.reshape(HEADS[stem], -1, 2, *values.shape[1:])
    return heads.swapaxes(1, 2).reshape(values.shape)


def write_gguf(path: Path, dtypes: dict[str, str] | None = None) -> Path:
    """The base as GGUF, by ggml's own package."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {
        "block_count": 2, "context_length": 64, "embedding_length": 16, "feed_forward_length": 24,
        "attention.head_count": 4, "attention.head_count_kv": 2,
    }.items():  # fmt: skip
        writer.add_uint32(f"llama.{key}", value)
    for name, values in load_file(DATA / "base" / "model.safetensors").items():
        own = gguf_name(name)
        heads = HEADS.get(own.split(".")[2] if own.startswith("blk.") else "")
        if heads:  # the reverse of halves_from_pairs
            values = values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        kind = gguf.GGMLQuantizationType[(dtypes or {}).get(own, "F32")]
        writer.add_tensor(own, gguf.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def gguf_base(tmp_path_factory) -> Path:
    """The same base from GGUF, in which queries and keys have another order of rows."""
    folder = tmp_path_factory.mktemp("gguf")
    import_gguf(write_gguf(folder / "base.gguf"), folder / "base.db")
    return folder / "base.db"


def laid(base: Path, delta: Path) -> dict[str, np.ndarray]:
    """All tensors under a delta, by Hugging Face's names and in its order of rows."""
    found = {}
    with opened(base) as db, opened(delta) as over:
        weights = Weights(db, deltas=[over])
        for row in weights.tensors():
            values = weights.values(row).reshape(row.shape)
            hf = row.name.startswith(("model.", "lm_head"))
            found[row.name if hf else huggingface_name(row.name)] = (
                values if hf else halves_from_pairs(row.role, values)
            )
    return found


def made(base: Path, adapter: Path, delta: Path, **facts: str) -> Path:
    with opened(base) as db:
        create_from_lora(db, adapter, delta, **facts)
    return delta


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["hf_base", "gguf_base"])
def test_what_peft_merges(case, form, request, tmp_path):
    """PEFT adds up in float32, this program in float64: the last bits differ."""
    delta = made(request.getfixturevalue(form), DATA / case, tmp_path / "d.db")
    assert verify(delta) == []
    wanted = load_file(DATA / case / "merged.safetensors")
    found = laid(request.getfixturevalue(form), delta)
    assert found.keys() == wanted.keys()
    base = load_file(DATA / "base" / "model.safetensors")
    changed = 0
    for name, values in wanted.items():
        assert np.abs(found[name] - values).max() <= 2.0**-22 * max(1.0, np.abs(values).max()), name
        if np.array_equal(values, base[name]):
            assert np.array_equal(found[name], values), name
        changed += not np.array_equal(found[name], base[name])
    assert changed >= 4


def test_a_delta_says_where_it_comes_from(hf_base, tmp_path):
    with opened(made(hf_base, DATA / "plain", tmp_path / "d.db", licence="mit")) as db, opened(hf_base) as base:
        facts = meta(db)
        assert facts["base_checksum"] == meta(base)["checksum"]
        assert (facts["method"], facts["source"], facts["licence"]) == ("lora", "plain", "mit")
        kinds = set(db.execute("SELECT DISTINCT encoding, length(data) FROM patch"))
    assert kinds == {("low_rank", 0)}


def test_an_embedding_beside_its_factors_is_kept_once(hf_base, tmp_path):
    """PEFT saves the embedding itself with an adapter that changes it by a product; the base has it already."""
    with opened(made(hf_base, DATA / "embedding", tmp_path / "d.db")) as db:
        assert set(db.execute("SELECT encoding FROM patch")) == {("low_rank",)}


def test_the_file_of_tensors_will_do(hf_base, tmp_path):
    folder = laid(hf_base, made(hf_base, DATA / "plain", tmp_path / "1.db"))
    file = laid(hf_base, made(hf_base, DATA / "plain" / "adapter_model.safetensors", tmp_path / "2.db"))
    assert all(np.array_equal(values, file[name]) for name, values in folder.items())


@pytest.mark.parametrize("dtype", ["Q8_0", "F16", "BF16"])
def test_over_other_types(dtype, tiny, tmp_path):
    """A quantised tensor becomes F32, others keep their type: base + product, rounded once."""
    name = "blk.1.ffn_up.weight"
    import_gguf(tiny.write(tmp_path / "t.gguf", dtypes={name: dtype}), tmp_path / "t.db")
    random = np.random.default_rng(1)
    right, left = (random.normal(size=size, scale=0.1).astype(np.float16) for size in ((4, 64), (96, 4)))
    module = "base_model.model.model.layers.1.mlp.up_proj"
    adapter = written(tmp_path / "a", {f"{module}.lora_A.weight": right, f"{module}.lora_B.weight": left}, r=4)
    delta = made(tmp_path / "t.db", adapter, tmp_path / "d.db")
    with opened(tmp_path / "t.db") as db, opened(delta) as over:
        below, above = Weights(db), Weights(db, deltas=[over])
        row = above.tensor(name)
        base = below.values(below.tensor(name)).astype(np.float64)
        assert row.dtype == ("F32" if dtype == "Q8_0" else dtype)
        kept = {"Q8_0": np.float32, "F16": np.float16}.get(dtype)
        wanted = base + 2.0 * (left.astype(np.float64) @ right.astype(np.float64))
        found = above.values(row).astype(np.float64)
        if kept:
            np.testing.assert_array_equal(found, wanted.astype(kept))
        else:
            assert np.abs(found / wanted - 1).max() <= 2.0**-8
        assert set(over.execute("SELECT dtype FROM factor")) == {("F16",)}


def written(folder: Path, tensors: dict[str, np.ndarray], **config: object) -> Path:
    """An adapter of one's own: alpha is 8, as PEFT's."""
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def pair(rank: int = 2, rows: int = 16, columns: int = 16, module: str = Q) -> dict[str, np.ndarray]:
    return {
        f"{module}.lora_A.weight": np.ones((rank, columns), np.float32),
        f"{module}.lora_B.weight": np.ones((rows, rank), np.float32),
    }


def test_fan_in_fan_out(tmp_path):
    """GPT-2's modules keep weights transposed: (in, out). 1 + 4 * 2 but in the first column, whose factor is 0."""
    weight = "transformer.h.0.attn.c_attn.weight"
    (tmp_path / "gpt").mkdir()
    save_file({weight: np.ones((16, 48), np.float32)}, tmp_path / "gpt" / "model.safetensors")
    (tmp_path / "gpt" / "config.json").write_text('{"model_type": "gpt2"}')
    import_model(tmp_path / "gpt", tmp_path / "g.db")
    factors = pair(rows=48, module="base_model.model.transformer.h.0.attn.c_attn")
    factors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"][0] = 0
    adapter = written(tmp_path / "a", factors, fan_in_fan_out=True)
    delta = made(tmp_path / "g.db", adapter, tmp_path / "d.db")
    with opened(tmp_path / "g.db") as db, opened(delta) as over:
        weights = Weights(db, deltas=[over])
        found = weights.values(weights.tensor(weight))
    wanted = np.full((16, 48), 9.0, np.float32)
    wanted[:, 0] = 1
    np.testing.assert_array_equal(found, wanted)


def test_stacked_applied_and_undone(hf_base, tmp_path):
    """An adapter over an adapter reads the same laid over, merged, and applied; undo brings the old bytes back."""
    base = tmp_path / "base.db"
    shutil.copy(hf_base, base)
    first = made(base, DATA / "plain", tmp_path / "1.db")
    second = tmp_path / "2.db"
    with opened(base) as db, opened(first) as one:
        create_from_lora(db, DATA / "whole", second, deltas=[one])
        with opened(second) as two:
            stacked = Weights(db, deltas=[one, two])
            state, wanted = stacked.state, {row.name: stacked.read(row).tobytes() for row in stacked.tensors()}
            merge(db, [one, two], tmp_path / "m.db")
    with opened(base) as db, opened(tmp_path / "m.db") as merged:
        weights = Weights(db, deltas=[merged])
        assert weights.state == state
        assert {row.name: weights.read(row).tobytes() for row in weights.tensors()} == wanted
        before = {row.name: Weights(db).read(row).tobytes() for row in Weights(db).tensors()}
    for delta in (first, second):
        with opened(delta) as db:
            apply_delta(base, db)
    with opened(base) as db:
        applied = Weights(db)
        assert applied.state == state
        assert {row.name: applied.read(row).tobytes() for row in applied.tensors()} == wanted
    undo(base)
    undo(base)
    with opened(base) as db:
        assert {row.name: Weights(db).read(row).tobytes() for row in Weights(db).tensors()} == before
    assert verify(base) == []


REFUSED = [
    ({"peft_type": "LOHA"}, "an adapter of type 'LOHA' is not supported; wanted LORA"),
    ({"use_dora": True}, "use_dora is not supported: DoRA scales each"),
    ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters is not supported"),
    ({"trainable_token_indices": [1]}, "trainable_token_indices is not supported"),
    ({"alora_invocation_tokens": [1]}, "only what follows its invocation tokens"),
    ({"layer_replication": [[0, 2]]}, "runs layers of the base more than once"),
    ({"init_lora_weights": "pissa_niter_4"}, "changed the base before training; save the adapter again with"),
    ({"r": 3}, "has rank 2; adapter_config.json says 3"),
    ({"lora_alpha": "much"}, "gives model.layers.0.self_attn.q_proj 'much'; wanted a number"),
    ({"lora_alpha": float("inf")}, "wanted a number"),
    ({"rank_pattern": {"(": 2}}, "rank_pattern of adapter_config.json holds no usable patterns"),
    ({"alpha_pattern": {r"(.|\w)*\d_proj": 2}}, "alpha_pattern of adapter_config.json holds no usable patterns"),
]


@pytest.mark.parametrize(("config", "told"), REFUSED)
def test_configurations(config, told, hf_base, tmp_path, monkeypatch):
    monkeypatch.setattr("genome.model.deltas.adapter._PATTERN_SECONDS", 0.1)
    adapter = written(tmp_path / "a", pair(), **config)
    with pytest.raises(Error, match=told):
        made(hf_base, adapter, tmp_path / "d.db")
    assert not (tmp_path / "d.db").exists()


def test_dora_is_refused_by_name(hf_base, tmp_path):
    with pytest.raises(Error, match="use_dora is not supported"):
        made(hf_base, DATA / "dora", tmp_path / "d.db")


ODD = [
    ({f"{Q}.lora_A.weight": np.ones((2, 16), np.float32)}, "wants one lora_A and one lora_B"),
    (pair() | {f"{Q}.lora_magnitude_vector": np.ones(16, np.float32)}, "lora_magnitude_vector' is not supported"),
    (pair() | {f"{Q}.lora_A.default.weight": np.ones((2, 16), np.float32)}, "twice"),
    (pair(rows=8), r"in the shape \[8, 16\], the base's is \[16, 16\]"),
    (
        pair(module=Q.replace("0", "7")),
        "changes 'model.layers.7.self_attn.q_proj.weight', which base does not have",
    ),
    (pair(rank=65), "by one of rank 65; wanted at most 64"),
    (
        {name: values.astype(np.float64) for name, values in pair().items()},
        "is of type F64; wanted F32, F16 or BF16",
    ),
    ({name: values[..., None, None] for name, values in pair().items()}, "convolutions are not supported"),
    (
        {name: values * np.float32("nan") for name, values in pair().items()},
        "gives .* NaN, infinity or numbers too",
    ),
    ({name: values * np.float32(1e20) for name, values in pair().items()}, "gives .* too large for F32"),
    ({}, "changes no tensor"),
]


@pytest.mark.parametrize(("tensors", "told"), ODD)
def test_tensors(tensors, told, hf_base, tmp_path):
    rank = 65 if told.startswith("by one") else 2
    adapter = written(tmp_path / "a", tensors, r=rank)
    with pytest.raises(Error, match=told):
        made(hf_base, adapter, tmp_path / "d.db")
    assert not (tmp_path / "d.db").exists()


def test_names_of_older_versions(hf_base, tmp_path):
    """PEFT once left the adapter's own name in those of tensors."""
    whole = np.full((24, 16), 0.5, np.float32)
    named = {name.replace(".weight", ".default.weight"): values for name, values in pair().items()}
    named["base_model.model.lm_head.modules_to_save.default.weight"] = whole
    found = laid(hf_base, made(hf_base, written(tmp_path / "a", named), tmp_path / "d.db"))
    base = load_file(DATA / "base" / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_array_equal(found["lm_head.weight"], whole)
    np.testing.assert_array_equal(found[name], (base[name].astype(np.float64) + 8).astype(np.float32))


def test_an_adapter_of_the_model_without_its_head(hf_base, tmp_path):
    named = {name.replace("model.model.", "model."): values for name, values in pair().items()}
    found = laid(hf_base, made(hf_base, written(tmp_path / "a", named), tmp_path / "d.db"))
    plain = laid(hf_base, made(hf_base, written(tmp_path / "b", pair()), tmp_path / "e.db"))
    assert all(np.array_equal(values, plain[name]) for name, values in found.items())


def test_missing_files(hf_base, tmp_path):
    with pytest.raises(NotFoundError, match=r"adapter_config\.json does not exist; wanted a LoRA adapter"):
        made(hf_base, tmp_path, tmp_path / "d.db")
    (tmp_path / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(
        Error, match=r"is a pickle, which runs code when it is read; wanted adapter_model\.safetensors"
    ):
        made(hf_base, tmp_path, tmp_path / "d.db")
    (tmp_path / "adapter_config.json").write_text("[")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match="is no JSON in UTF-8"):
        made(hf_base, tmp_path, tmp_path / "d.db")


def test_tied_embeddings(tiny, tiny_db, tmp_path):
    """One tensor for embedding and output: both change in one way, or the adapter is refused."""
    (embedding,) = (values for name, values in tiny.tensors.items() if name == "token_embd.weight")
    one, other = embedding + np.float32(1), embedding + np.float32(2)
    tokens, head = "base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"
    for number, tensors in enumerate(({tokens: one}, {head: one}, {tokens: one, head: other})):
        with pytest.raises(Error, match="in two ways; the base has one tensor for both"):
            made(tiny_db, written(tmp_path / f"{number}", tensors), tmp_path / "d.db")
    delta = made(tiny_db, written(tmp_path / "same", {tokens: one, head: one}), tmp_path / "d.db")
    with opened(tiny_db) as db, opened(delta) as over:
        weights = Weights(db, deltas=[over])
        np.testing.assert_array_equal(weights.values(weights.tensor("token_embd.weight")), one)


def test_an_adapter_that_changes_nothing(tiny, tiny_db, tmp_path):
    name = "base_model.model.model.norm.weight"
    adapter = written(tmp_path / "a", {name: tiny.tensors["output_norm.weight"]})
    with pytest.raises(Error, match="changes nothing in tiny; wanted an adapter that was trained"):
        made(tiny_db, adapter, tmp_path / "d.db")


def test_a_norm_in_half_precision_stays_float32(tiny, tiny_db, tmp_path):
    """Programs that read GGUF want vectors in F32; F16 numbers are F32 numbers."""
    values = np.linspace(0.5, 1.5, 64).astype(np.float16)
    adapter = written(tmp_path / "a", {"base_model.model.model.norm.weight": values})
    with opened(tiny_db) as db, opened(made(tiny_db, adapter, tmp_path / "d.db")) as over:
        weights = Weights(db, deltas=[over])
        row = weights.tensor("output_norm.weight")
        assert row.dtype == "F32"
        np.testing.assert_array_equal(weights.values(row)[0], values.astype(np.float32))


def altered(delta: Path, path: Path, sql: str, *values: object) -> Path:
    """A copy of a delta that somebody changed by other means, its digests left as they were."""
    shutil.copy(delta, path)
    db = Connection(DatabaseFile.find(path, "database"), write=True)
    db.execute(sql, values)
    db.close()
    return path


BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 24))
HOSTILE = [
    ("DELETE FROM factor WHERE name = 'A'", (), "its factor A is missing"),
    ("UPDATE factor SET checksum = checksum + 1", (), "its factor B is not what was written"),
    ("UPDATE factor SET dtype = 'Q8_0'", (), "numbers of type 'Q8_0'"),
    ("UPDATE factor SET column_count = 65 WHERE name = 'B'", (), "its factor B is 16 x 65 numbers"),
    ("UPDATE factor SET row_count = -1", (), "its factor B is -1 x 2 numbers"),
    ("UPDATE factor SET data = ?, checksum = ?", (BOMB, checksum(BOMB)), "unpacks to 16777216 bytes; wanted 128"),
    ("UPDATE factor SET data = ?, checksum = ?", (b"?", checksum(b"?")), "do not unpack|unpacks to"),
    ("UPDATE change SET scale = 2.5", (), "what comes out is not what the patch was made for"),
    ("UPDATE change SET scale = NULL", (), "what comes out is not what the patch was made for"),
    ("UPDATE change SET scale = 9e999", (), "what comes out is not what the patch was made for"),
    ("UPDATE patch SET data = ?, checksum = ?", (BOMB[:99], checksum(BOMB[:99])), "unpack"),
]


@pytest.mark.parametrize(("sql", "values", "told"), HOSTILE)
def test_a_delta_of_a_stranger(sql, values, told, hf_base, tmp_path):
    """Whatever stands in the factors: one line that names the tensor, and never other weights."""
    delta = altered(made(hf_base, DATA / "plain", tmp_path / "d.db"), tmp_path / "x.db", sql, *values)
    name = "model.layers.0.self_attn.q_proj.weight"
    with opened(hf_base) as db, opened(delta) as over:
        weights = Weights(db, deltas=[over])
        with pytest.raises(DamagedError, match=f"{name}, rows .*({told})"):
            weights.read(weights.tensor(name))
    assert verify(delta) != []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 9),
    alpha=st.floats(0.01, 100),
    rslora=st.booleans(),
    dtype=st.sampled_from([np.float16, np.float32]),
    seed=st.integers(0, 1 << 32),
)
def test_any_factors(rank, alpha, rslora, dtype, seed, hf_base, tmp_path):
    """The definition, rank by rank in float64, over a key projection of (8, 16); then its file is no larger."""
    random = np.random.default_rng(seed)
    right, left = (random.normal(size=size).astype(dtype) for size in ((rank, 16), (8, rank)))
    module = Q.replace("q_proj", "k_proj")
    tensors = {f"{module}.lora_A.weight": right, f"{module}.lora_B.weight": left}
    adapter = written(tmp_path / "a", tensors, r=rank, lora_alpha=alpha, use_rslora=rslora)
    total = np.zeros((8, 16))
    for column, row in zip(left.T.astype(np.float64), right.astype(np.float64), strict=True):
        total = total + column[:, None] * row
    scale = alpha / rank**0.5 if rslora else alpha / rank
    name = "model.layers.0.self_attn.k_proj.weight"
    wanted = (total * scale + load_file(DATA / "base" / "model.safetensors")[name]).astype(np.float32)
    with opened(hf_base) as db, opened(made(hf_base, adapter, tmp_path / "d.db")) as over:
        weights = Weights(db, deltas=[over])
        assert weights.read(weights.tensor(name)).tobytes() == wanted.tobytes()


def test_no_larger_than_the_adapter(hf_base, tmp_path):
    """Rank 8 over (576, 576) and (192, 576), 4 layers: at most 1.05 of the adapter's bytes, in either type."""
    base = {}
    for layer in range(4):
        for part, rows in {"q": 576, "k": 192, "v": 192, "o": 576}.items():
            base[f"model.layers.{layer}.self_attn.{part}_proj.weight"] = np.zeros((rows, 576), np.float16)
    (tmp_path / "m").mkdir()
    save_file(base, tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "llama"}')
    import_model(tmp_path / "m", tmp_path / "m.db")
    random = np.random.default_rng(65)
    for dtype in (np.float16, np.float32):
        tensors = {}
        for name, values in base.items():
            module = "base_model.model." + name.removesuffix(".weight")
            for factor, size in {"A": (8, 576), "B": (len(values), 8)}.items():
                tensors[f"{module}.lora_{factor}.weight"] = random.normal(size=size, scale=0.02).astype(dtype)
        adapter = written(tmp_path / "a", tensors, r=8)
        delta = made(tmp_path / "m.db", adapter, tmp_path / "d.db")
        assert delta.stat().st_size <= 1.05 * (adapter / "adapter_model.safetensors").stat().st_size
