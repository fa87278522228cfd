"""What many tests share: named sources through the real cache, and a default workbench built once a session.

A test that asks for one of these is marked `network` by that, so that `-m "not network"` runs without any. Where
a source cannot be fetched, the test fails: nothing is skipped.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

from genome.envelope import Envelope
from genome.model import import_gguf
from genome.model.bytelevel import LETTERS
from genome.sources import Source, fetch
from genome.workbench import MODEL, Workbench

os.environ.setdefault("GENOME_KERNEL", "jax")  # the reference; tests of the compiled kernel ask for it themselves


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what goes through pip: each test that uses the fixture `source`, itself or through another fixture."""
    for item in items:
        if "source" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.network)


@pytest.fixture(scope="session")
def source() -> Callable[[str], Source]:
    """Fetches a named source, once for all runs that share GENOME_CACHE."""
    return fetch


@pytest.fixture(scope="session")
def smollm2_gguf(source) -> Path:
    """SmolLM2's GGUF file."""
    return source("smollm2").path


@pytest.fixture(scope="session")
def llamacpp_vocab(source) -> Path:
    """The folder of llama.cpp's vocabulary files with their test vectors."""
    return source("tokenizer-vectors").path


@pytest.fixture(scope="session")
def test_home(source, tmp_path_factory) -> Path:
    """The folder of the default workbench: GENOME_TEST_HOME, which outlives the session, else a temporary one."""
    told = os.environ.get("GENOME_TEST_HOME")
    return Path(told) if told else tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def smollm2_db(test_home) -> Path:
    """SmolLM2's model database."""
    return Workbench(test_home).pull(MODEL)


@pytest.fixture(scope="session")
def workbench(test_home) -> Workbench:
    """The default workbench with all its databases; tests read it and never write to it."""
    bench = Workbench(test_home)
    bench.build_default()
    return bench


@pytest.fixture(scope="session")
def envelope(workbench) -> Iterator[Envelope]:
    """Everything of the default workbench, open for the session; a test that swaps makes its own."""
    with workbench.envelope() as everything:
        yield everything


# A tiny Llama model, written as GGUF by ggml's own package: what needs no real model is tested on this one.

PIECES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, "Ġt", "he", "Ġthe", "Ġm", "oth", "er", "mother"]
TYPES = [3, 3, 3] + [1] * (len(PIECES) - 3)
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ m", "o t", "ot h", "e r", "moth er"]
BLANKS = [
    "<unk>",
    "<s>",
    "</s>",
    *(f"<0x{byte:02X}>" for byte in range(256)),
    "▁",
    "t",
    "h",
    "e",
    "▁t",
    "he",
    "▁the",
]
"""`o t` gives a part that is no token, and `moth er` has one: the first two must still meet in `oth`."""
LAYERS, WIDTH, HEADS, KV_HEADS, HIDDEN, CONTEXT = 2, 64, 4, 2, 96, 600
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tensors(seed: int = 65) -> dict[str, np.ndarray]:
    """Random weights, large enough for every part of the model to matter."""
    draw = np.random.default_rng(seed)
    head = WIDTH // HEADS
    sizes: dict[str, tuple[int, ...]] = {"token_embd": (len(PIECES), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        roles = {
            "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH), "attn_k": (KV_HEADS * head, WIDTH), "attn_v": (KV_HEADS * head, WIDTH),
            "attn_output": (WIDTH, WIDTH), "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH),
            "ffn_down": (WIDTH, HIDDEN),
        }  # fmt: skip
        sizes |= {f"blk.{layer}.{role}": size for role, size in roles.items()}
    made = {}
    for name, size in sizes.items():
        values = draw.normal(size=size, scale=1.0 if name == "token_embd" else 2.0 / WIDTH**0.5)
        made[f"{name}.weight"] = (1.0 + values if name.endswith("norm") else values).astype(np.float32)
    return made


def write_tiny(
    path: Path,
    *,
    architecture: str = "llama",
    weights: dict[str, np.ndarray] | None = None,
    dtypes: dict[str, str] | None = None,
    pre: str = "smollm",
    merges: list[str] | None = None,
    template: str = TEMPLATE,
    blanks: bool = False,
    more: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """Writes the tiny model; arguments replace its architecture, metadata, tensors or their types.

    With `blanks` its tokenizer is one of SentencePiece: as many tokens, of which one for each byte.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_license("cc0-1.0")
    for key, value in {
        "block_count": LAYERS, "context_length": CONTEXT, "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN, "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS,
    }.items():  # fmt: skip
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32(f"{architecture}.rope.freq_base", 1000.0)
    if blanks:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(BLANKS)
        writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (len(BLANKS) - 259))
        writer.add_token_scores([-float(number) for number in range(len(BLANKS))])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(PIECES)
        writer.add_token_types(TYPES)
        writer.add_token_merges(MERGES if merges is None else merges)
        writer.add_eos_token_id(0)
    writer.add_chat_template(template)
    more(writer)
    for name, values in (tensors() if weights is None else weights).items():
        kind = gguf.GGMLQuantizationType[(dtypes or {}).get(name, "F32")]
        raw = gguf.quantize(values, kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What the tiny model is made of, and the function that writes it."""
    return SimpleNamespace(
        pieces=PIECES, types=TYPES, merges=MERGES, tensors=tensors(), write=write_tiny,
        heads=HEADS, kv_heads=KV_HEADS, layers=LAYERS, context=CONTEXT,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory) -> Path:
    """The tiny model as GGUF."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_db(tiny_gguf) -> Path:
    """The tiny model as a database."""
    path = tiny_gguf.with_suffix(".db")
    import_gguf(tiny_gguf, path)
    return path
