"""Names of tensors: both formats mean the same roles, and each name has one counterpart."""

import pytest

from genome.errors import Error
from genome.model.formats.names import gguf_name, huggingface_name, role_and_layer, turns_halves, unit_rows


def test_roles_of_gguf():
    assert role_and_layer("blk.12.ffn_down.weight") == ("ffn_down", 12)
    assert role_and_layer("blk.0.attn_q.bias") == ("attn_q.bias", 0)
    assert role_and_layer("output_norm.weight") == ("output_norm", None)


def test_roles_of_hugging_face():
    assert role_and_layer("model.embed_tokens.weight") == ("token_embd", None)
    assert role_and_layer("model.layers.12.mlp.down_proj.weight") == ("ffn_down", 12)
    assert role_and_layer("model.layers.0.self_attn.q_proj.bias") == ("attn_q.bias", 0)
    assert role_and_layer("model.layers.3.mlp.experts.17.up_proj.weight") == ("ffn_up.17", 3)
    assert role_and_layer("model.layers.3.block_sparse_moe.experts.7.w2.weight") == ("ffn_down.7", 3)
    assert role_and_layer("model.layers.3.mlp.experts.gate_up_proj") == ("ffn_gate_up_exps", 3)


def test_roles_of_other_families():
    assert role_and_layer("transformer.h.5.attn.c_attn.weight") == ("attn.c_attn", 5)
    assert role_and_layer("bert.encoder.layer.11.output.dense.bias") == ("output.dense.bias", 11)
    assert role_and_layer("odd") == ("odd", None)
    assert role_and_layer("") == ("", None)


LLAMA = [
    "token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_norm.weight", "blk.31.ffn_norm.weight",
    *(f"blk.3.attn_{x}.{part}" for x in ("q", "k", "v", "output") for part in ("weight", "bias")),
    *(f"blk.3.{role}.weight" for role in ("ffn_gate", "ffn_up", "ffn_down")),
]  # fmt: skip


@pytest.mark.parametrize("name", LLAMA)
def test_there_and_back(name):
    other = huggingface_name(name)
    assert other != name
    assert gguf_name(other) == name
    assert role_and_layer(other) == role_and_layer(name)


@pytest.mark.parametrize(
    "name", ["rope_freqs.weight", "blk.0.attn_norm.scale", "blk.0.token_embd.weight", "attn_q.weight", "odd", ""]
)
def test_no_name_in_hugging_face(name):
    with pytest.raises(Error, match="has no name in a Hugging Face model"):
        huggingface_name(name)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.mlp.experts.0.w1.weight", "lm_head.scale",
     "transformer.layers.0.self_attn.q_proj.weight",
     "model.layers.00.input_layernorm.weight", "blk.0.attn_q.weight"],
)  # fmt: skip
def test_no_name_in_gguf(name):
    with pytest.raises(Error, match="has no name in a GGUF file"):
        gguf_name(name)


def test_what_the_rotary_embedding_turns():
    assert turns_halves("model.layers.0.self_attn.q_proj.weight")
    assert not turns_halves("model.layers.0.self_attn.v_proj.weight")
    assert not turns_halves("blk.0.attn_q.weight")


def test_rows_that_are_read_together():
    assert unit_rows("attn_k", (192, 576), 64) == 64
    assert unit_rows("attn_k", (200, 576), 64) is None
    assert unit_rows("attn_q.bias", (576,), 64) is None
    assert unit_rows("ffn_up", (1536, 576), 64) is None
    assert unit_rows("ffn_gate_exps", (8, 14336, 4096), 128) == 14336
