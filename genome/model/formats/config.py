"""A Hugging Face configuration as GGUF's metadata, and back: one set of hyper-parameters for the whole program.

Keys: transformers' `config.json` (LlamaConfig); GGUF's after https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import re
import struct
from collections.abc import Iterator, Mapping

from genome.errors import Error

Fields = dict[str, tuple[str, object]]
"""Metadata by key: GGUF's type and the value."""

_WHOLE = {
    "block_count": ("num_hidden_layers", "n_layer", "num_layers"),
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_dim"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",), "attention.value_length": ("head_dim",),
    "rope.dimension_count": ("head_dim",),
    "vocab_size": ("vocab_size",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "attention.sliding_window": ("sliding_window",),
}  # fmt: skip
_REAL = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "rope.freq_base": ("rope_theta",),
}
_ARCHITECTURES = {"mistral": "llama"}
"""Models that GGUF counts as Llama models."""
_SILU = ("silu", "swish")
_ARCHITECTURE = "general.architecture"


def fields_of(config: Mapping[str, object]) -> Fields:
    """GGUF's metadata of a configuration; what it does not tell, or tells in another type, is left out.

    Example:
        >>> fields_of({"model_type": "llama", "hidden_size": 576, "rope_theta": 10000.0})["llama.embedding_length"]
        ('uint32', 576)
    """
    family = config.get("model_type")
    family = family if isinstance(family, str) and re.fullmatch(r"[\w-]{1,60}", family) else "unknown"
    architecture = _ARCHITECTURES.get(family, family)
    rope = {**_object(config, "rope_scaling"), **_object(config, "rope_parameters")}
    told = dict(config)
    if "rope_theta" in rope:
        told["rope_theta"] = rope["rope_theta"]
    if told.get("use_sliding_window") is False:
        told["sliding_window"] = None
    found: Fields = {_ARCHITECTURE: ("string", architecture)}
    for key, value in (*_wholes(told), *_reals(told), *_words(told, rope)):
        found[f"{architecture}.{key}"] = value
    return found


def _wholes(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    for key, names in _WHOLE.items():
        value = next((config[name] for name in names if config.get(name) is not None), None)
        if type(value) is int and 0 <= value < 1 << 32:
            yield key, ("uint32", value)


def _reals(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    for key, names in _REAL.items():
        value = next((config[name] for name in names if config.get(name) is not None), None)
        if type(value) in (int, float):
            try:
                (single,) = struct.unpack("<f", struct.pack("<f", value))
            except OverflowError:
                continue
            yield key, ("float32", single)


def _words(config: Mapping[str, object], rope: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    """What a plain model does not have, so that whoever computes can refuse it by its name."""
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default":
        yield "rope.scaling.type", ("string", str(scaling)[:60])
    activation = config.get("hidden_act", "silu")
    if activation not in _SILU:
        yield "hidden_activation", ("string", str(activation)[:60])


def _object(config: Mapping[str, object], key: str) -> dict:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def head_rows(hyperparameters: Mapping[str, object]) -> int | None:
    """How many rows of the query and key matrices are one head; None where the metadata do not tell.

    Example:
        >>> told = {"embedding_length": 576, "attention.head_count": 9}
        >>> head_rows({"general.architecture": "llama", **{f"llama.{key}": value for key, value in told.items()}})
        64
    """
    architecture = hyperparameters.get(_ARCHITECTURE)
    width, heads, told = (
        hyperparameters.get(f"{architecture}.{key}")
        for key in ("embedding_length", "attention.head_count", "attention.key_length")
    )
    if told is None and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        told = width // heads
    return told if isinstance(told, int) and told > 0 else None


def config_of(hyperparameters: Mapping[str, object], dtype: str, tied: bool) -> dict[str, object]:
    """The configuration of a Llama model from GGUF's metadata.

    Args:
        hyperparameters: by key.
        dtype: torch's name of the type of the matrices.
        tied: whether the output projection is the input embedding.

    Raises:
        Error: another architecture, or a variant that a plain configuration does not tell: it is named.
    """
    if (architecture := hyperparameters.get(_ARCHITECTURE)) != "llama":
        raise Error(f"the architecture {architecture!r} cannot be converted; wanted llama")
    scaling = hyperparameters.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise Error(f"RoPE scaling {scaling!r} cannot be converted; wanted a model without it")
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": tied, "torch_dtype": dtype,
    }  # fmt: skip
    for key, (name, *_) in _WHOLE.items():
        if isinstance(value := hyperparameters.get(f"llama.{key}"), int):
            config[name] = value
    for key, (name, *_) in _REAL.items():
        if isinstance(value := hyperparameters.get(f"llama.{key}"), float):
            config[name] = _shortest(value)
    for name in ("bos", "eos", "padding"):
        if isinstance(value := hyperparameters.get(f"tokenizer.ggml.{name}_token_id"), int):
            config[f"{name.removesuffix('ding')}_token_id"] = value
    return config


def _shortest(value: float) -> float:
    """The shortest decimal number that is this float32: 1e-05, not 9.999999747378752e-06."""
    single = struct.pack("<f", value)
    digits = (float(f"{value:.{n}g}") for n in range(1, 10))
    return next((number for number in digits if struct.pack("<f", number) == single), value)
