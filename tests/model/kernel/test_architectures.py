"""Each architecture against transformers' logits (tests/reference/architectures.py), from both formats."""

import json
from pathlib import Path

import gguf
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from drawn import drawn

from genome.db.connect import opened
from genome.errors import DamagedError, Error
from genome.model import import_gguf, import_model, queries
from genome.model.formats.config import fields_of
from genome.model.formats.names import role_and_layer
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.cache import empty_cache
from genome.model.kernel.forward import advance, forward
from genome.model.kernel.layers import logits
from genome.model.kernel.loading import load
from genome.model.weights import EmbeddingRows, Weights

MODELS = json.loads((Path(__file__).parent / "data" / "architectures.json").read_text("utf-8"))
DENSE = [title for title, model in MODELS.items() if "num_experts_per_tok" not in model["config"]]


def folder_of(model: dict, folder: Path, **config: object) -> Path:
    """A model's files as transformers saves them; arguments replace parts of the configuration."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model["config"] | config), "utf-8")
    safetensors.numpy.save_file(drawn(model["shapes"]), folder / "model.safetensors", {"format": "pt"})
    return folder


def file_of(model: dict, path: Path) -> Path:
    """The model as llama.cpp's converter writes it.

    It stacks a layer's experts, lays the rows of a Llama head anew, counts Gemma's norms from 0, and puts the
    scaling of Llama 3.1 into a tensor: of four pairs, turning 5.1, .91, .16 and .03 times in 32 tokens, all but
    the first are stretched 8 times.
    """
    fields = fields_of(model["config"])
    architecture = str(fields.pop("general.architecture")[1])
    writer = gguf.GGUFWriter(path, architecture)
    told = {key.partition(".")[2]: value for key, (_, value) in fields.items()}
    if told.get("rope.scaling.type") == "llama3":
        fields = {key: field for key, field in fields.items() if ".rope.scaling." not in key}
        writer.add_tensor("rope_freqs.weight", np.float32([1, 8, 8, 8]))
    for key, (kind, value) in fields.items():
        if kind == "array[bool]":
            writer.add_array(key, json.loads(str(value)))
        else:
            getattr(writer, f"add_{kind}")(key, value)
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for name, values in drawn(model["shapes"]).items():
        role, layer = role_and_layer(name, architecture)
        if architecture == "llama" and role.startswith(("attn_q", "attn_k")):
            heads = told["attention.head_count" + ("_kv" if role.startswith("attn_k") else "")]
            values = values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and role.endswith("norm"):
            values = values + 1
        stem, _, part = role.partition(".")
        if part.isdecimal():
            stacks.setdefault(f"blk.{layer}.{stem}_exps.weight", {})[int(part)] = values
            continue
        writer.add_tensor(f"{stem if layer is None else f'blk.{layer}.{stem}'}.{part or 'weight'}", values.copy())
    for name, parts in stacks.items():
        writer.add_tensor(name, np.stack([parts[n] for n in range(len(parts))]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored(title: str, form: str, folder: Path) -> Path:
    """A model's database, made from files of that form."""
    database = folder / "a.db"
    if form == "gguf":
        import_gguf(file_of(MODELS[title], folder / "a.gguf"), database)
    else:
        import_model(folder_of(MODELS[title], folder / "a"), database)
    return database


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
@pytest.mark.parametrize("title", DENSE)
def test_logits_are_those_of_transformers(title: str, form: str, tmp_path: Path):
    """All tokens at once, and a prompt of 20 with single tokens behind it."""
    with opened(stored(title, form, tmp_path)) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        params, rows = load(weights, shape), EmbeddingRows(weights)
        x = np.stack([rows.row(token)[0] for token in MODELS[title]["tokens"]])
    hidden, _ = forward(shape, params, x, jnp.int32(0), empty_cache(shape, 64))
    found = np.asarray(logits(shape, params, hidden))
    wanted = {int(at): row for at, row in MODELS[title]["logits"].items()}
    for at, row in wanted.items():
        np.testing.assert_allclose(found[at], row, rtol=2e-4, atol=2e-4)
    cache, start = empty_cache(shape, 64), 0
    for count in (20, *[1] * 28):
        scores, *_, cache = advance(
            shape, params, x[start : start + count], jnp.int32(start), jnp.int32(count - 1), cache
        )
        start += count
        if start - 1 in wanted:
            np.testing.assert_allclose(scores, wanted[start - 1], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("title", "config", "said"),
    [
        ("llama 3.1", {"rope_parameters": {"rope_type": "longrope"}}, "RoPE scaling 'longrope' is not supported"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "truncate": False}}, "'yarn of another kind' is not"),
        ("qwen3", {"hidden_act": "relu2"}, "the activation 'relu2' is not supported; wanted silu or gelu"),
        ("qwen3", {"layer_types": ["linear_attention"] * 3}, "the attention 'linear_attention' is not supported"),
        ("qwen2", {"partial_rotary_factor": 0.5, "head_dim": 8}, "RoPE over 4 of 8 dimensions is not supported"),
        ("gemma3", {"use_bidirectional_attention": True}, "attention to tokens that follow is not supported"),
        ("gemma3", {"model_type": "gemma3", "text_config": {}}, "'gemma3 of more than text' is not supported"),
        ("qwen2", {"model_type": "qwen2_moe"}, "the architecture 'qwen2_moe' is not supported; wanted one of"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(title: str, config: dict, said: str, tmp_path: Path):
    import_model(folder_of(MODELS[title], tmp_path / "a", **config), tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db, pytest.raises(Error, match=said):
        shape_of(queries.hyperparameters(db), queries.tensors(db))


def test_metadata_that_do_not_fit():
    told = {
        "general.architecture": "gemma3", "gemma3.block_count": 2, "gemma3.embedding_length": 8,
        "gemma3.attention.head_count": 2, "gemma3.feed_forward_length": 8, "gemma3.context_length": 8,
        "gemma3.attention.layer_norm_rms_epsilon": 1e-6, "gemma3.attention.sliding_window": 4,
    }  # fmt: skip
    odd = told | {"gemma3.attention.sliding_window_pattern": [True]}
    with pytest.raises(DamagedError, match=r"has \[True\] for gemma3.attention.sliding_window_pattern; wanted a"):
        shape_of(odd, [])
    odd = told | {"gemma3.rope.scaling.type": "linear"}
    with pytest.raises(DamagedError, match=r"has None for gemma3\.rope\.scaling\.factor; wanted a number above 0"):
        shape_of(odd, [])
