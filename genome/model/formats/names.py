"""The names of a model's tensors: Hugging Face's, GGUF's, and what both mean: a role and a layer.

Names: transformers' LlamaForCausalLM and its relatives; GGUF's after llama.cpp (gguf-py/gguf/tensor_mapping.py).
"""

import re

from genome.errors import Error, quoted

_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_INSIDE = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp",
    "mlp.experts.gate_up_proj": "ffn_gate_up_exps", "mlp.experts.down_proj": "ffn_down_exps",
}  # fmt: skip
_SANDWICHED = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
"""Gemma norms before and behind; the name of its norm behind attention is that of Llama's before feed-forward."""
_EXPERT = {
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down", "w1": "ffn_gate", "w3": "ffn_up",
    "w2": "ffn_down",
}  # fmt: skip
_ROLES = {role: name for name, role in (_OUTSIDE | _INSIDE).items() if name != "mlp.gate"}

_GGUF_LAYER = re.compile(r"blk\.(\d{1,9})\.(.+)")
_HF_LAYER = re.compile(r"(?:[^.]+\.)*?(?:layers|layer|h|blocks|block)\.(\d{1,9})\.(.+)")
_HF_EXPERT = re.compile(r"(?:mlp|block_sparse_moe)\.experts\.(\d{1,9})\.(\w+)")


def role_and_layer(name: str, architecture: str = "") -> tuple[str, int | None]:
    """What a tensor is for, and in which layer; roles are spelled as in GGUF.

    Args:
        name: the tensor's.
        architecture: of its model; where one name means two things, it decides.

    Example:
        >>> role_and_layer("blk.7.attn_q.weight"), role_and_layer("token_embd.weight")
        (('attn_q', 7), ('token_embd', None))
        >>> role_and_layer("model.layers.7.self_attn.q_proj.bias"), role_and_layer("lm_head.weight")
        (('attn_q.bias', 7), ('output', None))
    """
    name = name.removesuffix(".weight")
    if found := _GGUF_LAYER.fullmatch(name):
        return found[2], int(found[1])
    layer = int(found[1]) if (found := _HF_LAYER.fullmatch(name)) else None
    stem, known = (name, _OUTSIDE) if found is None else (found[2], _INSIDE)
    stem, bias = stem.removesuffix(".bias"), ".bias" if stem.endswith(".bias") else ""
    if (expert := _HF_EXPERT.fullmatch(stem)) and expert[2] in _EXPERT:
        return f"{_EXPERT[expert[2]]}.{expert[1]}{bias}", layer
    if layer is not None and architecture in ("gemma2", "gemma3"):
        known = _INSIDE | _SANDWICHED
    return known.get(stem, stem) + bias, layer


def turns_halves(name: str) -> bool:
    """Whether queries and keys of this name are turned by halves of a head, not by neighbouring pairs.

    Hugging Face keeps the rows of a Llama head so that number i and number i + D / 2 are one pair of the rotary
    embedding; GGUF keeps the two of a pair beside one another.
    """
    return name.endswith((".self_attn.q_proj.weight", ".self_attn.k_proj.weight"))


def gguf_name(name: str) -> str:
    """GGUF's name of a tensor of a Hugging Face model.

    Raises:
        Error: GGUF's Llama models have no such tensor.

    Example:
        >>> gguf_name("model.layers.7.self_attn.q_proj.weight")
        'blk.7.attn_q.weight'
    """
    role, layer = role_and_layer(name)
    stem, _, part = role.partition(".")
    if name == _hf(stem, layer, part or "weight"):
        return f"{stem if layer is None else f'blk.{layer}.{stem}'}.{part or 'weight'}"
    raise Error(f"the tensor {quoted(name)} has no name in a GGUF file; wanted a plain llama model")


def huggingface_name(name: str) -> str:
    """A Hugging Face model's name of a tensor of a GGUF file.

    Raises:
        Error: such a model has no such tensor.

    Example:
        >>> huggingface_name("blk.7.attn_q.bias"), huggingface_name("token_embd.weight")
        ('model.layers.7.self_attn.q_proj.bias', 'model.embed_tokens.weight')
    """
    role, layer = role_and_layer(name)
    stem, _, part = role.partition(".")
    if found := _hf(stem, layer, part or "weight"):
        return found
    raise Error(f"the tensor {quoted(name)} has no name in a Hugging Face model; wanted a plain llama model")


def _hf(stem: str, layer: int | None, part: str) -> str | None:
    known = _ROLES.get(stem)
    if known is None or (layer is None) != (known in _OUTSIDE) or part not in ("weight", "bias"):
        return None
    return f"{known}.{part}" if layer is None else f"model.layers.{layer}.{known}.{part}"


def unit_rows(role: str, shape: tuple[int, ...], head_rows: int | None) -> int | None:
    """Rows that are read together: those of an attention head, or of an expert (a matrix of several); else None.

    Example:
        >>> unit_rows("attn_q", (576, 576), 64), unit_rows("ffn_up_exps", (8, 96, 64), 64)
        (64, 96)
    """
    if len(shape) > 2 and shape[-2] > 0:
        return shape[-2]
    if (
        len(shape) == 2
        and role in ("attn_q", "attn_k", "attn_v", "attn_qkv")
        and head_rows
        and shape[0] % head_rows == 0
    ):
        return head_rows
    return None
