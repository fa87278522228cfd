"""Configurations as GGUF's metadata, and JSON of strangers."""

import json
import tracemalloc

import pytest

from genome.errors import DamagedError, Error, NotFoundError
from genome.model.formats import jsonfile
from genome.model.formats.config import config_of, fields_of, head_rows

SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536, "max_position_embeddings": 8192,
    "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "rms_norm_eps": 1e-05,
    "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True, "vocab_size": 49152,
}  # fmt: skip
"""The configuration of SmolLM2-135M-Instruct."""


def values(config: dict) -> dict:
    return {key.removeprefix("llama."): value for key, (_, value) in fields_of(config).items()}


def test_smollm2():
    """As llama.cpp's converter wrote them into SmolLM2's GGUF file."""
    told = values(SMOLLM2)
    assert told.pop("attention.layer_norm_rms_epsilon") == pytest.approx(1e-5)
    assert told == {
        "general.architecture": "llama", "block_count": 30, "context_length": 8192, "embedding_length": 576,
        "feed_forward_length": 1536, "attention.head_count": 9, "attention.head_count_kv": 3, "vocab_size": 49152,
        "rope.freq_base": 100000.0,
    }  # fmt: skip
    assert head_rows({key: value for key, (_, value) in fields_of(SMOLLM2).items()}) == 64


def test_both_spellings_of_the_rotary_embedding():
    new = {k: v for k, v in SMOLLM2.items() if not k.startswith("rope_")}
    new["rope_parameters"] = {"rope_theta": 100000.0, "rope_type": "default"}
    assert fields_of(new) == fields_of(SMOLLM2)
    new["rope_parameters"] = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}
    assert values(new)["rope.scaling.type"] == "llama3"
    assert values(SMOLLM2 | {"rope_scaling": {"type": "linear", "factor": 2}})["rope.scaling.type"] == "linear"


def test_families():
    assert values({"model_type": "mistral", "sliding_window": 4096})["attention.sliding_window"] == 4096
    assert "attention.sliding_window" not in values(
        {"model_type": "llama", "sliding_window": 7} | {"use_sliding_window": False}
    )
    assert fields_of({"model_type": "qwen2", "hidden_size": 8})["qwen2.embedding_length"] == ("uint32", 8)
    assert values({"model_type": "llama", "hidden_act": "gelu"})["hidden_activation"] == "gelu"


@pytest.mark.parametrize("odd", [None, -1, 1 << 40, True, 1.5, "576", [], {}, float("nan")], ids=str)
def test_values_of_other_types_are_left_out(odd):
    assert "embedding_length" not in values({"model_type": "llama", "hidden_size": odd})
    assert values({"model_type": [odd]})["general.architecture"] == "unknown"
    assert "rope.freq_base" not in values({"model_type": "llama", "rope_theta": 1e300})


def test_there_and_back():
    facts = {key: value for key, (_, value) in fields_of(SMOLLM2).items()}
    facts |= {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}
    config = config_of(facts, "bfloat16", tied=True)
    assert {k: v for k, v in SMOLLM2.items() if v is not None}.items() <= config.items()
    with pytest.raises(Error, match="the architecture 'qwen2' cannot be converted"):
        config_of({"general.architecture": "qwen2"}, "float32", tied=True)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b"\xff", b'{"a":"\\udc00"}', b"[" * 100000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_what_is_no_object(raw):
    with pytest.raises(DamagedError, match="fetch it again"):
        jsonfile.parsed(raw, "a.json")


def test_a_pair_of_surrogates_is_a_character(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": "\U0001f642"}))
    assert jsonfile.read_object(tmp_path / "a.json") == {"a": "\U0001f642"}
    with pytest.raises(NotFoundError):
        jsonfile.read_object(tmp_path / "b.json")


@pytest.mark.parametrize("part", [b"[],", b"{},", b"0,"])
def test_many_values_cost_no_memory(part):
    raw = b'{"a":[' + part * 9_000_000 + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(Error, match="holds more than 8000000 values"):
            jsonfile.parsed(raw, "a.json")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
