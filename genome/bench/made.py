"""What the measurements make for themselves: models with random weights and as many tokens as one likes."""

import json
import struct
from math import prod
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from genome.model.bytelevel import LETTERS
from genome.model.formats.gguf import reading
from genome.model.formats.gguf_form import ARRAY, CODES, MAGIC, STRING, VALUE_TYPES
from genome.model.quant import dequantise

_ALIGNMENT = 32
_TENSOR_TYPES = {"<f4": 0, "<f2": 1}
HEADS, KV_HEADS, HIDDEN, CONTEXT = 4, 2, 96, 512


def words(count: int) -> list[str]:
    """That many different words, each but the letters an earlier one and a letter: a ... z, aa, ab ...

    Example:
        >>> words(28)[-3:]
        ['z', 'aa', 'ab']
    """
    made = list(ascii_lowercase)
    at = 0
    while len(made) < count:
        made += [made[at] + letter for letter in ascii_lowercase]
        at += 1
    return made[:count]


def model(
    path: Path,
    tokens: int = 1000,
    width: int = 64,
    layers: int = 2,
    seed: int = 65,
    experts: int = 0,
    used: int = 0,
) -> Path:
    """Writes a Llama model with random weights as GGUF: byte-level BPE over `words`, embeddings of F16.

    Args:
        path: the file.
        tokens: how many, 300 or more.
        width: of a token's embedding, a multiple of 8.
        layers: of attention and feed-forward; without any, the file is little more than a vocabulary.
        seed: of the weights.
        experts: how many each layer has; without any it is dense.
        used: how many of them a token uses.
    """
    made = words(tokens - len(LETTERS) - 3 + 26)
    pieces = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, *made[26:]]
    fields: dict[str, tuple[str, Any]] = {
        "general.architecture": ("string", "llama"),
        "general.name": ("string", f"random weights {seed}"),
        "llama.block_count": ("uint32", layers),
        "llama.context_length": ("uint32", CONTEXT),
        "llama.embedding_length": ("uint32", width),
        "llama.feed_forward_length": ("uint32", HIDDEN),
        "llama.attention.head_count": ("uint32", HEADS),
        "llama.attention.head_count_kv": ("uint32", KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": ("float32", 1e-5),
        "llama.rope.freq_base": ("float32", 10000.0),
        "tokenizer.ggml.model": ("string", "gpt2"),
        "tokenizer.ggml.pre": ("string", "smollm"),
        "tokenizer.ggml.tokens": ("array[string]", pieces),
        "tokenizer.ggml.token_type": ("array[int32]", [3] * 3 + [1] * (len(pieces) - 3)),
        "tokenizer.ggml.merges": ("array[string]", [f"{word[:-1]} {word[-1]}" for word in made[26:]]),
        "tokenizer.ggml.eos_token_id": ("uint32", 0),
    }
    if experts:
        fields["llama.expert_count"], fields["llama.expert_used_count"] = ("uint32", experts), ("uint32", used)
    path.write_bytes(gguf(fields, weights(len(pieces), width, layers, seed, experts)))
    return path


def weights(tokens: int, width: int, layers: int, seed: int, experts: int = 0) -> dict[str, np.ndarray]:
    """The tensors of `model` by name."""
    draw = np.random.default_rng(seed)
    narrow = width // HEADS * KV_HEADS
    made = {"token_embd.weight": draw.standard_normal((tokens, width), np.float32).astype("<f2")}
    made["output_norm.weight"] = np.ones(width, "<f4")
    for layer in range(layers):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,), "ffn_norm": (width,), "attn_q": (width, width), "attn_k": (narrow, width),
            "attn_v": (narrow, width), "attn_output": (width, width),
        }  # fmt: skip
        each: dict[str, tuple[int, ...]] = {
            "ffn_gate": (HIDDEN, width),
            "ffn_up": (HIDDEN, width),
            "ffn_down": (width, HIDDEN),
        }
        if experts:
            each = {f"{role}_exps": (experts, *size) for role, size in each.items()}
            each["ffn_gate_inp"] = (experts, width)
        sizes |= each
        for role, size in sizes.items():
            values = draw.standard_normal(size, np.float32) / np.float32(width**0.5)
            made[f"blk.{layer}.{role}.weight"] = (1 + values if role.endswith("norm") else values).astype("<f4")
    return made


def as_float32(source: Path, target: Path) -> None:
    """Writes a GGUF file again with all weights as float32, the metadata as they are."""
    with reading(source) as told, target.open("wb") as out:
        head, offset = [told.part(0, told.fields_end)], 0
        for tensor in told.tensors:
            shape = tensor.shape[::-1]
            head += [_text(tensor.name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)]
            offset += -(-4 * prod(shape) // told.alignment) * told.alignment
        out.write(_padded(b"".join(head), told.alignment))
        for tensor in told.tensors:
            with told.data(tensor) as data:
                rows = np.frombuffer(data, np.uint8).reshape(-1, tensor.row_bytes)
                out.write(_padded(dequantise(rows, tensor.dtype).tobytes(), told.alignment))
                del rows  # it holds the map


def gguf(fields: dict[str, tuple[str, Any]], tensors: dict[str, np.ndarray]) -> bytes:
    """A GGUF file, version 3, little endian; fields are key -> (type, value), tensors of float32 or float16."""
    head = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(fields))]
    for key, (kind, value) in fields.items():
        head += [_text(key), _value(kind, value)]
    offset = 0
    for name, data in tensors.items():
        shape = data.shape[::-1]
        told = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += [_text(name), told, struct.pack("<IQ", _TENSOR_TYPES[data.dtype.str], offset)]
        offset += -(-data.nbytes // _ALIGNMENT) * _ALIGNMENT
    return b"".join(_padded(part) for part in (b"".join(head), *(data.tobytes() for data in tensors.values())))


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """A safetensors file of float32 tensors."""
    head, at = {}, 0
    for name, data in tensors.items():
        head[name] = {"dtype": "F32", "shape": data.shape, "data_offsets": (at, at + data.nbytes)}
        at += data.nbytes
    told = json.dumps(head).encode()
    told += b" " * (-len(told) % 8)
    return struct.pack("<Q", len(told)) + told + b"".join(data.tobytes() for data in tensors.values())


def _value(kind: str, value: Any) -> bytes:
    number = struct.pack("<I", ARRAY if kind.startswith("array") else VALUE_TYPES[kind])
    if kind == "string":
        return number + _text(value)
    if kind == "array[string]":
        return number + struct.pack("<IQ", STRING, len(value)) + b"".join(map(_text, value))
    if kind.startswith("array"):
        inner = kind[6:-1]
        count = struct.pack("<IQ", VALUE_TYPES[inner], len(value))
        return number + count + struct.pack(f"<{len(value)}{CODES[inner]}", *value)
    return number + struct.pack(f"<{CODES[kind]}", value)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _padded(part: bytes, alignment: int = _ALIGNMENT) -> bytes:
    return part + bytes(-len(part) % alignment)
