"""From one format to the other and back: the same weights, the same answers, and what cannot be is one line."""

import json

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer as Oracle

from genome.db import Journal, header, verify
from genome.db.connect import opened
from genome.errors import Error
from genome.model import LanguageModel, import_gguf, queries
from genome.model.formats.convert import to_gguf, to_safetensors
from genome.model.formats.dispatch import export_model, import_model
from genome.model.tokenizer import Tokenizer

WHOLE_MERGES = ["Ġ t", "h e", "Ġt he", "Ġ m", "e r"]
"""Merges whose parts and results are tokens: what a tokenizer.json can tell."""
PROMPT = "The mother of them, 1964"


def bos(writer: gguf.GGUFWriter) -> None:
    writer.add_bos_token_id(1)
    writer.add_add_bos_token(True)


@pytest.fixture(scope="module")
def gguf_db(tiny, tmp_path_factory):
    """The tiny model in F32, with merges that Hugging Face can tell."""
    folder = tmp_path_factory.mktemp("convert")
    import_gguf(tiny.write(folder / "a.gguf", merges=WHOLE_MERGES, more=bos), folder / "a.db")
    return folder / "a.db"


@pytest.fixture(scope="module")
def folder(gguf_db):
    """The same model as a Hugging Face folder."""
    made = gguf_db.with_name("tiny")
    to_safetensors(gguf_db, made)
    return made


@pytest.fixture(scope="module")
def folder_db(folder):
    """The folder as a database."""
    import_model(folder, folder.with_suffix(".db"))
    return folder.with_suffix(".db")


def answer(path, count=24):
    """Tokens and log probabilities that a model gives greedily."""
    with opened(path) as db:
        model = LanguageModel(db, "m", Journal())
        ids = model.tokenizer.encode(PROMPT, bos=model.tokenizer.adds_bos)
        steps = list(model.generate(ids, max_tokens=count, past_end=True))
    return ids, [s.token for s in steps], [s.logprob for s in steps]


def test_the_same_answers_from_either_format(gguf_db, folder_db):
    """Heads turned by halves or by neighbours are the same sums: the numbers agree to float32's rounding."""
    wanted, found = answer(gguf_db), answer(folder_db)
    assert found[:2] == wanted[:2]
    np.testing.assert_allclose(found[2], wanted[2], atol=2e-5)
    assert len(wanted[1]) == 24


def test_tensors_by_the_definition(tiny, folder):
    """Number i of a head's first half is row 2 i of GGUF's, number i of the second half row 2 i + 1."""
    found = load_file(folder / "model.safetensors")
    assert len(found) == len(tiny.tensors)
    np.testing.assert_array_equal(found["model.embed_tokens.weight"], tiny.tensors["token_embd.weight"])
    np.testing.assert_array_equal(
        found["model.layers.1.self_attn.v_proj.weight"], tiny.tensors["blk.1.attn_v.weight"]
    )
    for name, heads in (("q", tiny.heads), ("k", tiny.kv_heads)):
        theirs = tiny.tensors[f"blk.1.attn_{name}.weight"].reshape(heads, 8, 2, 64)
        ours = found[f"model.layers.1.self_attn.{name}_proj.weight"].reshape(heads, 2, 8, 64)
        np.testing.assert_array_equal(ours[:, 0], theirs[:, :, 0])
        np.testing.assert_array_equal(ours[:, 1], theirs[:, :, 1])


def test_the_file_is_the_package_s_own(folder, tmp_path):
    arrays = load_file(folder / "model.safetensors")
    save_file(arrays, tmp_path / "b.safetensors", {"format": "pt"})
    assert (tmp_path / "b.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_the_configuration(tiny, folder):
    config = json.loads((folder / "config.json").read_text())
    assert config == {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False,
        "mlp_bias": False, "tie_word_embeddings": True, "torch_dtype": "float32", "num_hidden_layers": 2,
        "max_position_embeddings": 600, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "bos_token_id": 1, "eos_token_id": 0,
        "vocab_size": len(tiny.pieces),
    }  # fmt: skip


@pytest.mark.parametrize("text", [PROMPT, " the  mother\n\n12 345é🙂", "<|im_start|>user\nhe<|im_end|>", ""])
def test_the_tokenizer_against_the_library(gguf_db, folder, folder_db, text):
    oracle = Oracle.from_file(str(folder / "tokenizer.json"))
    for path in (gguf_db, folder_db):
        with opened(path) as db:
            tokenizer = Tokenizer(db)
            assert tokenizer.encode(text) == oracle.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, bos=tokenizer.adds_bos) == oracle.encode(text).ids
            assert tokenizer.chat([{"role": "user", "content": "x"}]).startswith("<|im_start|>user\nx<|im_end|>")


def test_there_and_back(gguf_db, folder_db, tmp_path):
    """The GGUF of the folder has the tensors and the vocabulary of the first one, bit for bit."""
    exported = to_gguf(folder_db, tmp_path / "back.gguf")
    assert (exported.changed, [p for p, _ in exported.files]) == (True, [tmp_path / "back.gguf"])
    first, second = gguf.GGUFReader(gguf_db.with_suffix(".gguf")), gguf.GGUFReader(tmp_path / "back.gguf")
    ours = {t.name: t for t in second.tensors}
    assert ours.keys() == {t.name for t in first.tensors}
    for tensor in first.tensors:
        np.testing.assert_array_equal(ours[tensor.name].data, tensor.data)
        assert ours[tensor.name].tensor_type == tensor.tensor_type
    for key in first.fields:
        if key.startswith(("tokenizer.", "llama.")):
            assert second.fields[key].contents() == first.fields[key].contents(), key
    import_gguf(tmp_path / "back.gguf", tmp_path / "back.db")
    assert answer(tmp_path / "back.db") == answer(gguf_db)


def test_halves_keep_their_values(tiny, tmp_path):
    """BF16 and F16 stay; vectors become F32 in GGUF, where 16 bits widen without a loss."""
    dtypes = dict.fromkeys(tiny.tensors, "BF16") | {"token_embd.weight": "F16", "blk.0.attn_q.weight": "F16"}
    import_gguf(tiny.write(tmp_path / "a.gguf", merges=WHOLE_MERGES, dtypes=dtypes), tmp_path / "a.db")
    export_model(tmp_path / "a.db", tmp_path / "hf", format="safetensors")
    import_model(tmp_path / "hf", tmp_path / "hf.db")
    assert verify(tmp_path / "hf.db") == []
    export_model(tmp_path / "hf.db", tmp_path / "b.gguf", format="gguf")
    first, second = gguf.GGUFReader(tmp_path / "a.gguf"), gguf.GGUFReader(tmp_path / "b.gguf")
    ours = {t.name: t for t in second.tensors}
    for tensor in first.tensors:
        values = [gguf.dequantize(np.asarray(t.data), t.tensor_type) for t in (tensor, ours[tensor.name])]
        np.testing.assert_array_equal(*values)
        assert ours[tensor.name].tensor_type.name == ("F32" if len(tensor.shape) == 1 else tensor.tensor_type.name)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["torch_dtype"] == "float16"


def test_an_output_projection_and_biases(tiny, tmp_path):
    """Biases of queries and keys are turned like their rows."""
    draw = np.random.default_rng(1)
    weights = dict(tiny.tensors) | {"output.weight": tiny.tensors["token_embd.weight"] + 1}
    for layer in range(tiny.layers):
        weights[f"blk.{layer}.attn_q.bias"] = draw.normal(size=64).astype(np.float32)
        weights[f"blk.{layer}.attn_k.bias"] = draw.normal(size=32).astype(np.float32)
    import_gguf(tiny.write(tmp_path / "a.gguf", merges=WHOLE_MERGES, weights=weights), tmp_path / "a.db")
    export_model(tmp_path / "a.db", tmp_path / "hf", format="safetensors")
    found = load_file(tmp_path / "hf" / "model.safetensors")
    theirs = weights["blk.0.attn_q.bias"].reshape(4, 8, 2)
    ours = found["model.layers.0.self_attn.q_proj.bias"].reshape(4, 2, 8)
    np.testing.assert_array_equal(ours, theirs.transpose(0, 2, 1))
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["tie_word_embeddings"], config["attention_bias"]) == (False, True)
    import_model(tmp_path / "hf", tmp_path / "hf.db")
    export_model(tmp_path / "hf.db", tmp_path / "b.gguf", format="gguf")
    for tensor in gguf.GGUFReader(tmp_path / "b.gguf").tensors:
        np.testing.assert_array_equal(tensor.data, weights[tensor.name])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"dtypes": {"blk.0.ffn_down.weight": "Q8_0"}}, "tensor 'blk.0.ffn_down.weight' is Q8_0, which the other"),
        ({"architecture": "mamba"}, "the architecture 'mamba' cannot be converted; wanted llama"),
        ({"merges": ["o t"]}, "merge 0, 'o' and 't', is of parts that are no tokens"),
        ({"more": lambda w: w.add_string("llama.rope.scaling.type", "yarn")}, "rope.scaling.type 'yarn' cannot be"),
        (
            {"weights": {"rope_freqs.weight": np.ones(8, np.float32)}},
            "'rope_freqs.weight' has no name in a Hugging",
        ),
        ({"weights": {}}, "has no input embedding"),
    ],
)
def test_what_hugging_face_cannot_hold_is_one_line(tiny, tmp_path, options, line):
    import_gguf(tiny.write(tmp_path / "a.gguf", **({"merges": WHOLE_MERGES} | options)), tmp_path / "a.db")
    with pytest.raises(Error) as caught:
        to_safetensors(tmp_path / "a.db", tmp_path / "hf")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db", "a.gguf"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_type": "qwen9"}, "the architecture 'qwen9' cannot be converted"),
        ({"hidden_act": "gelu"}, "hidden_activation 'gelu' cannot be converted"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope.scaling.type 'llama3' cannot be converted"),
        ({"head_dim": 7}, "heads of 7 rows do not fit its queries and keys"),
    ],
)
def test_what_gguf_cannot_hold_is_one_line(folder, tmp_path, change, line):
    made = tmp_path / "hf"
    made.mkdir()
    for path in folder.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    config = json.loads((made / "config.json").read_text()) | change
    (made / "config.json").write_text(json.dumps(config))
    import_model(made, tmp_path / "hf.db")
    with pytest.raises(Error) as caught:
        to_gguf(tmp_path / "hf.db", tmp_path / "b.gguf")
    assert line in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hf", "hf.db"]


def test_types_that_gguf_does_not_have(folder, tmp_path):
    made = tmp_path / "hf"
    made.mkdir()
    for path in folder.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    arrays = load_file(made / "model.safetensors") | {"model.norm.weight": np.ones(64, np.uint8)}
    save_file(arrays, made / "model.safetensors")
    import_model(made, tmp_path / "hf.db")
    with pytest.raises(Error, match=r"tensor 'model\.norm\.weight' is U8, which the other format has no type for"):
        to_gguf(tmp_path / "hf.db", tmp_path / "b.gguf")


def test_weights_alone_have_no_tokenizer(folder, tmp_path):
    import_model(folder / "model.safetensors", tmp_path / "a.db")
    assert header(tmp_path / "a.db")["architecture"] == "unknown"
    with pytest.raises(Error, match="a model of no named architecture cannot be converted"):
        to_gguf(tmp_path / "a.db", tmp_path / "b.gguf")


def test_a_folder_is_asked_for(gguf_db, tmp_path):
    with pytest.raises(Error, match="a Hugging Face model is a folder of files; wanted a name without"):
        export_model(gguf_db, tmp_path / "a.safetensors", format="safetensors")
    with pytest.raises(Error, match="there is no format 'onnx'; wanted one of gguf, safetensors"):
        export_model(gguf_db, tmp_path / "a", format="onnx")


def test_heads_have_blocks_of_their_own(folder_db):
    """Heads of 16 rows and 64 numbers are 4 KiB: each one a block."""
    with opened(folder_db) as db:
        tensor = queries.tensor(db, "model.layers.0.self_attn.q_proj.weight")
        rows = list(db.execute("SELECT first_row, row_count FROM block WHERE array = ?", (tensor.id,)))
    assert (tensor.role, tensor.layer) == ("attn_q", 0)
    assert rows == [(0, 16), (16, 16), (32, 16), (48, 16)]
