"""A Hugging Face configuration as GGUF's metadata, and back: one set of hyper-parameters for the whole program.

Keys: transformers' `config.json` (LlamaConfig and its relatives); GGUF's after https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import json
import math
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
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "attention.sliding_window": ("sliding_window",),
}  # fmt: skip
_REAL = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "rope.freq_base": ("rope_theta",), "rope.freq_base_swa": ("rope_local_base_freq",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attention.clamp_kqv": ("clip_qkv",),
}  # fmt: skip
_SCALING = {
    "factor": "factor", "high_freq_factor": "high_freq_factor", "low_freq_factor": "low_freq_factor",
    "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow",
}  # fmt: skip
_ARCHITECTURES = {"mistral": "llama", "mixtral": "llama", "qwen3_moe": "qwen3moe", "gemma3_text": "gemma3"}
"""GGUF's names of architectures, where they are others."""
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
    if "text_config" in config:
        architecture = f"{family} of more than text"
    rope, near = _rope(config)
    told = dict(config) | {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    if near:
        told["rope_local_base_freq"] = near.get("rope_theta")
    if told.get("use_sliding_window") is False:
        told["sliding_window"] = None
    found: Fields = {_ARCHITECTURE: ("string", architecture)}
    for key, value in (*_wholes(told), *_reals(told), *_windows(told), *_scaling(rope, near), *_others(told)):
        found[f"{architecture}.{key}"] = value
    return found


def _rope(config: Mapping[str, object]) -> tuple[dict, dict]:
    """The rotary embedding's parameters; those of layers with a window, where they are others."""
    rope = {**_object(config, "rope_scaling"), **_object(config, "rope_parameters")}
    if "full_attention" in rope:
        return _object(rope, "full_attention"), _object(rope, "sliding_attention")
    return rope, {}


def _wholes(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    for key, names in _WHOLE.items():
        value = next((config[name] for name in names if config.get(name) is not None), None)
        if type(value) is int and 0 <= value < 1 << 32:
            yield key, ("uint32", value)


def _reals(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    for key, names in _REAL.items():
        value = next((config[name] for name in names if config.get(name) is not None), None)
        if (single := _single(value)) is not None:
            yield key, ("float32", single)


def _single(value: object) -> float | None:
    """A number as the nearest float32; None for what is none."""
    if type(value) not in (int, float):
        return None
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return None
    return single


def _windows(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    """Which layers see a window only, where not all do; what attention there is beside."""
    kinds = config.get("layer_types")
    if not config.get("sliding_window"):
        kinds = [k for k in kinds if k != "sliding_attention"] if isinstance(kinds, list) else None
    elif not isinstance(kinds, list):
        period, layers = config.get("sliding_window_pattern"), config.get("num_hidden_layers")
        first = config.get("max_window_layers")
        if type(period) is int and period > 0:
            yield "attention.sliding_window_pattern", ("uint32", period)
        elif config.get("use_sliding_window") and type(first) is int and type(layers) is int and 0 < layers < 10000:
            slides = [layer >= first for layer in range(layers)]
            yield "attention.sliding_window_pattern", ("array[bool]", json.dumps(slides))
    elif "full_attention" in kinds:
        slides = [kind == "sliding_attention" for kind in kinds]
        yield "attention.sliding_window_pattern", ("array[bool]", json.dumps(slides))
    known = ("full_attention", "sliding_attention")
    if isinstance(kinds, list) and (odd := next((k for k in kinds if k not in known), None)):
        yield "attention.kind", ("string", str(odd)[:60])
    if config.get("use_bidirectional_attention"):
        yield "attention.causal", ("bool", False)


def _scaling(rope: Mapping[str, object], near: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    """How the rotary embedding is scaled."""
    kind = str(rope.get("rope_type", rope.get("type", "default")))[:60]
    if (other := str(near.get("rope_type", "default"))[:60]) != "default":
        kind = f"{other} in windows"
    if kind == "yarn" and (rope.get("truncate") is False or rope.get("mscale_all_dim")):
        kind = "yarn of another kind"
    if kind == "default":
        return
    yield "rope.scaling.type", ("string", kind)
    for key, name in _SCALING.items():
        if (single := _single(rope.get(name))) is not None:
            yield f"rope.scaling.{key}", ("float32", single)
    trained, factor = rope.get("original_max_position_embeddings"), _single(rope.get("factor"))
    if type(trained) is int and 0 < trained < 1 << 32:
        yield "rope.scaling.original_context_length", ("uint32", trained)
    loud = _single(rope.get("attention_factor"))
    if kind == "yarn" and loud is not None and factor is not None:
        usual = 0.1 * math.log(max(factor, 1.0)) + 1
        yield "rope.scaling.attn_factor", ("float32", _single(loud / usual))


def _others(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, object]]]:
    """What a plain model does not have; whoever computes takes it into account or refuses it by its name."""
    activation = next((config[k] for k in ("hidden_activation", "hidden_act") if config.get(k) is not None), None)
    if activation is not None and activation not in _SILU:
        yield "hidden_activation", ("string", str(activation)[:60])
    scalar = _single(config.get("query_pre_attn_scalar"))
    if scalar is not None and scalar > 0:
        yield "attention.scale", ("float32", _single(scalar**-0.5))
    if isinstance(normed := config.get("norm_topk_prob"), bool):
        yield "expert_weights_norm", ("bool", normed)
    share, width = _single(config.get("partial_rotary_factor")), config.get("head_dim")
    if share is not None and 0 < share < 1 and type(width) is int:
        yield "rope.dimension_count", ("uint32", int(width * share))
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        yield "expert_layers", ("string", "some")


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
