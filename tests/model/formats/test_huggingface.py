"""Safetensors files, sharded sets and folders: in and out with the same bytes; what does not fit is one line."""

import hashlib
import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genome.db import header, verify
from genome.db.connect import opened
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import queries
from genome.model.deltas.inplace import apply_delta
from genome.model.deltas.making import create
from genome.model.formats.dispatch import default_name, export_model, import_model, source_sha256
from genome.model.tokenizer import Tokenizer

LAYER = "model.layers.0.self_attn.q_proj.weight"
ARRAYS = {
    "model.embed_tokens.weight": np.arange(80, dtype=np.float32).reshape(10, 8),
    LAYER: np.arange(64, dtype=np.float16).reshape(8, 8),
    "lm_head.weight": np.ones((10, 8), np.float32),
    "flags": np.array([True, False]), "empty": np.zeros((0, 3), np.int64), "scalar": np.array(7, np.uint16),
}  # fmt: skip
CONFIG = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "rope_theta": 1e6}


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """A sharded set of two files with an index, a configuration, and what else stands in such a folder."""
    made = tmp_path / "My.Model-1.7B"
    made.mkdir()
    names = list(ARRAYS)
    shards = {f"model-0000{n}-of-00002.safetensors": part for n, part in ((1, names[:2]), (2, names[2:]))}
    for file, part in shards.items():
        save_file({name: ARRAYS[name] for name in part}, made / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    (made / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (made / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\nA model.\n")
    (made / "empty.txt").write_bytes(b"")
    (made / ".hidden").write_text("mine")
    (made / "pytorch_model.bin").write_text("pickled")
    (made / "notes").mkdir()
    return made


def test_a_folder_in_and_out(folder, tmp_path):
    told = []
    path = tmp_path / "a.db"
    import_model(folder, path, progress=lambda *a: told.append(a), source="here")
    facts = header(path)
    kept = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in (".hidden", "pytorch_model.bin"))
    lines = "".join(f"{p.name} {sha256(p)}\n" for p in kept)
    assert facts["source_sha256"] == hashlib.sha256(lines.encode()).hexdigest() == source_sha256(folder)
    assert (facts["architecture"], facts["licence"], facts["source"]) == ("llama", "apache-2.0", "here")
    assert facts["left_out"] == "pytorch_model.bin"
    size = sum(values.nbytes for values in ARRAYS.values())
    assert told[-1] == ("a: import", size, size)
    assert verify(path) == []
    exported = export_model(path, tmp_path / "out")
    assert (exported.changed, exported.path) == (False, tmp_path / "out")
    assert {p.name: digest for p, digest in exported.files} == {p.name: sha256(p) for p in kept}
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {p.name: p.read_bytes() for p in kept}
    with pytest.raises(Error, match="exists; choose another name"):
        export_model(path, tmp_path / "out")
    export_model(path, tmp_path / "out", force=True)


def test_what_stands_in_the_tables(folder, tmp_path):
    import_model(folder, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        tensor = queries.tensor(db, LAYER)
        assert (tensor.role, tensor.layer, tensor.dtype, tensor.shape) == ("attn_q", 0, "F16", (8, 8))
        assert queries.hyperparameter(db, "llama.rope.freq_base") == 1e6
        assert queries.tensor(db, "flags").dtype == "BOOL"
        assert {t.name for t in queries.tensors(db)} == ARRAYS.keys()
        assert [(f.name, f.format) for f in queries.files(db)][:3] == [
            ("model-00001-of-00002.safetensors", "safetensors"),
            ("model-00002-of-00002.safetensors", "safetensors"),
            ("README.md", "plain"),
        ]


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "model-00002-of-00002.safetensors"])
def test_a_set_by_its_index_or_a_part(folder, tmp_path, name):
    import_model(folder / name, tmp_path / "a.db")
    export_model(tmp_path / "a.db", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_one_file_in_and_out(tmp_path):
    path = tmp_path / "one.safetensors"
    save_file(ARRAYS, path)
    import_model(path, tmp_path / "a.db")
    assert header(tmp_path / "a.db")["source_sha256"] == sha256(path) == source_sha256(path)
    exported = export_model(tmp_path / "a.db", tmp_path / "b.safetensors")
    assert exported.files == ((tmp_path / "b.safetensors", sha256(path)),)
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()
    with pytest.raises(Error, match="cannot be replaced: it is no ordinary file, or the database"):
        export_model(tmp_path / "a.db", tmp_path / "a.db", force=True)


def test_tensors_in_another_order_than_their_data(tmp_path):
    """The header is kept as it is, blanks and all, and zero tensors are a model too."""
    one, two = ({"dtype": "U8", "shape": [2], "data_offsets": [n, n + 2]} for n in (0, 2))
    for number, header_ in enumerate((json.dumps({"b": two, "a": one}, indent=3) + "   ", "{}")):
        raw = header_.encode()
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(len(raw).to_bytes(8, "little") + raw + b"abcd"[: 4 if number == 0 else 0])
        import_model(path, tmp_path / "a.db")
        export_model(tmp_path / "a.db", tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}").read_bytes() == path.read_bytes()


def test_names(folder, tmp_path):
    assert default_name(folder) == "My.Model-1.7B"
    assert default_name(folder / "model.safetensors.index.json") == "My.Model-1.7B"
    assert default_name(tmp_path / "tiny-00001-of-00002.safetensors") == "tiny"
    assert default_name(tmp_path / "tiny.v1.gguf") == "tiny.v1"


def change_index(folder, **more):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": json.loads(path.read_text())["weight_map"] | more}))


@pytest.mark.parametrize(
    ("change", "error", "line"),
    [
        (
            lambda f: (f / "model-00002-of-00002.safetensors").unlink(),
            NotFoundError,
            "does not exist, but model.saf",
        ),
        (lambda f: change_index(f, more="../a.safetensors"), DamagedError, "names the file '../a.safetensors'"),
        (lambda f: change_index(f, more="a.bin"), DamagedError, "names the file 'a.bin'"),
        (lambda f: change_index(f, more=7), DamagedError, "has no weight_map"),
        (lambda f: change_index(f, more="model-00001-of-00002.safetensors"), DamagedError, "has no tensor 'more'"),
        (
            lambda f: save_file({LAYER: np.ones(1)}, f / "model-00002-of-00002.safetensors"),
            DamagedError,
            "both hold",
        ),
        (lambda f: (f / "model.safetensors.index.json").unlink(), Error, "2 .safetensors files and no index"),
        (lambda f: (f / "model.safetensors.index.json").write_text("[]"), DamagedError, "holds no JSON object"),
        (lambda f: (f / "config.json").write_text("{"), DamagedError, "is no JSON in UTF-8"),
        (
            lambda f: (f / "tokenizer.json").write_text('{"model":{"vocab":{"a":-1}}}'),
            DamagedError,
            "the number -1",
        ),
        (lambda f: (f / "tokenizer.json").write_text('{"a":"\\ud800"}'), DamagedError, "is no JSON in UTF-8"),
    ],
)
def test_what_does_not_fit_is_one_line(folder, tmp_path, change, error, line):
    change(folder)
    with pytest.raises(error) as caught:
        import_model(folder, tmp_path / "a.db")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.db").exists()


def test_a_part_without_its_index(folder, tmp_path):
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(NotFoundError, match="wanted the index of the set beside its parts"):
        import_model(folder / "model-00001-of-00002.safetensors", tmp_path / "a.db")
    with pytest.raises(NotFoundError, match="wanted a GGUF or safetensors file, or a Hugging Face folder"):
        import_model(tmp_path / "no", tmp_path / "a.db")


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float32])
def test_a_delta_that_gives_a_tensor_another_type_changes_the_header_too(tmp_path, dtype):
    for name, values in {"a": ARRAYS[LAYER], "b": ARRAYS[LAYER].astype(dtype)}.items():
        save_file({LAYER: values}, tmp_path / f"{name}.safetensors", {"format": "pt"})
        import_model(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.db")
    with opened(tmp_path / "a.db") as base, opened(tmp_path / "b.db") as other:
        create(base, other, tmp_path / "d.db")
    with opened(tmp_path / "d.db") as delta:
        apply_delta(tmp_path / "a.db", delta)
    export_model(tmp_path / "a.db", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def damaged(path, sql):

    db = Connection(DatabaseFile.find(path, "database"), write=True)
    db.execute(sql)
    db.close()


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("UPDATE block SET data = zeroblob(length(data)) WHERE array = 1", "tensor lm_head.weight: "),
        ("UPDATE block SET checksum = 0, data = x'' WHERE array = 1", "tensor lm_head.weight: "),
        ("DELETE FROM block WHERE array = 1", "tensor lm_head.weight has 0 of 320 bytes"),
        ("UPDATE file SET head = x'00'", "is damaged: the head of a.safetensors"),
        ("UPDATE file SET head = NULL", "is damaged: a.safetensors would have SHA-256"),
        ("UPDATE file SET size_bytes = 3", "a.safetensors has more than its 3 bytes"),
        ("UPDATE file SET sha256 = 'a'", "its source had a…"),
        ("UPDATE file SET format = 'onnx'", "it came from a 'onnx' file"),
        ("DELETE FROM file", "it names no file"),
    ],
)
def test_a_damaged_database_writes_nothing(tmp_path, sql, line):
    save_file({n: ARRAYS[n] for n in ("model.embed_tokens.weight", "lm_head.weight")}, tmp_path / "a.safetensors")
    import_model(tmp_path / "a.safetensors", tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        names = [t.name for t in queries.tensors(db)]
    if sql == "DELETE FROM file":
        sql = "PRAGMA foreign_keys = OFF; " + sql
    damaged(tmp_path / "a.db", sql.replace("array = 1", f"array = {names.index('lm_head.weight')}"))
    with pytest.raises(Error) as caught:
        export_model(tmp_path / "a.db", tmp_path / "out", format="safetensors")
    assert line in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_names_that_lead_out_of_the_folder(folder, tmp_path):
    import_model(folder, tmp_path / "a.db")
    damaged(tmp_path / "a.db", "UPDATE file SET name = '../stolen' WHERE name = 'config.json'")
    with pytest.raises(DamagedError, match=r"it names the file '\.\./stolen'"):
        export_model(tmp_path / "a.db", tmp_path / "out")
    assert not (tmp_path / "stolen").exists()


def test_a_bomb_is_cut_off(tmp_path):
    """A head that would unpack to a gigabyte ends where the file's size does."""
    import tracemalloc

    import zstandard

    save_file({"a": np.ones(3)}, tmp_path / "a.safetensors")
    import_model(tmp_path / "a.safetensors", tmp_path / "a.db")
    packer = zstandard.ZstdCompressor().compressobj()
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)), packer.flush()])
    db = Connection(DatabaseFile.find(tmp_path / "a.db", "database"), write=True)
    db.execute("UPDATE file SET head = ?", (bomb,))
    db.close()
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match="has more than its"):
            export_model(tmp_path / "a.db", tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_folder_without_a_tokenizer_says_so(folder, tmp_path):
    import_model(folder, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db, pytest.raises(Error, match="has no tokenizer; wanted byte-level BPE"):
        Tokenizer(db)


def test_arrays_come_back(folder, tmp_path):
    import_model(folder, tmp_path / "a.db")
    export_model(tmp_path / "a.db", tmp_path / "out")
    found = {}
    for path in (tmp_path / "out").glob("*.safetensors"):
        found |= load_file(path)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
