"""A model's shape: its hyper-parameters, read from the metadata and checked before any weight is. Needs no jax."""

from dataclasses import dataclass

from genome.errors import DamagedError, Error
from genome.model.formats.names import turns_halves
from genome.model.quant import check
from genome.model.queries import TensorRow

JOINED = {"attn_qkv": ("attn_q", "attn_k", "attn_v"), "ffn_gate_up": ("ffn_gate", "ffn_up")}
"""Matrices of a layer that read the same activations: put under one another, they are one product."""


@dataclass(frozen=True)
class Shape:
    """A Llama model's hyper-parameters."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    tokens: int
    context: int
    rope_base: float
    norm_epsilon: float
    tied: bool
    """Whether the output projection is the input embedding."""
    halves: bool = False
    """Whether numbers i and i + D / 2 of a head are a pair of the rotary embedding (Hugging Face's order of the
    rows), not 2 i and 2 i + 1 (GGUF's)."""


def shape_of(hyperparameters: dict[str, object], tensors: list[TensorRow]) -> Shape:
    """A model's shape from its metadata, after checking that its tensors are those of a Llama model.

    Raises:
        Error: another architecture, or a variant that this program does not compute: it is named.
        DamagedError: metadata or tensors are missing, or of another size than the metadata say.
    """
    if (architecture := hyperparameters.get("general.architecture")) != "llama":
        raise Error(f"the architecture {architecture!r} is not supported; wanted llama")
    named = {(t.role, t.layer): t for t in tensors}
    embedding, first = named.get(("token_embd", None)), named.get(("attn_q", 0))
    heads = _whole(hyperparameters, "attention.head_count")
    width = _whole(hyperparameters, "embedding_length")
    shape = Shape(
        layers=_whole(hyperparameters, "block_count"),
        width=width,
        heads=heads,
        kv_heads=_whole(hyperparameters, "attention.head_count_kv", heads),
        head_width=_whole(hyperparameters, "attention.key_length", width // heads),
        hidden=_whole(hyperparameters, "feed_forward_length"),
        tokens=embedding.shape[0] if embedding and embedding.shape else 0,
        context=_whole(hyperparameters, "context_length"),
        rope_base=_real(hyperparameters, "rope.freq_base", 10000.0),
        norm_epsilon=_real(hyperparameters, "attention.layer_norm_rms_epsilon"),
        tied=("output", None) not in named,
        halves=first is not None and turns_halves(first.name),
    )
    _refuse_variants(shape, hyperparameters)
    _check_tensors(shape, tensors)
    return shape


def _whole(hyperparameters: dict[str, object], key: str, default: int | None = None) -> int:
    value = hyperparameters.get(f"llama.{key}", default)
    if not isinstance(value, int) or value <= 0:
        raise DamagedError(f"the model's metadata has {value!r} for llama.{key}; wanted a whole number above 0")
    return value


def _real(hyperparameters: dict[str, object], key: str, default: float | None = None) -> float:
    value = hyperparameters.get(f"llama.{key}", default)
    if not isinstance(value, int | float) or value <= 0:
        raise DamagedError(f"the model's metadata has {value!r} for llama.{key}; wanted a number above 0")
    return float(value)


def _refuse_variants(shape: Shape, hyperparameters: dict[str, object]) -> None:
    scaling = hyperparameters.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise Error(f"RoPE scaling {scaling!r} is not supported; wanted a model without it")
    if experts := hyperparameters.get("llama.expert_count"):
        raise Error(f"a mixture of {experts} experts is not supported; wanted a dense llama model")
    if (activation := hyperparameters.get("llama.hidden_activation", "silu")) != "silu":
        raise Error(f"the activation {activation!r} is not supported; wanted silu")
    window = hyperparameters.get("llama.attention.sliding_window")
    if isinstance(window, int) and 0 < window < shape.context:
        raise Error(f"attention over a sliding window of {window} tokens is not supported; wanted over all")
    turned = hyperparameters.get("llama.rope.dimension_count", shape.head_width)
    if turned != shape.head_width or shape.head_width % 2:
        raise Error(f"RoPE over {turned} of {shape.head_width} dimensions is not supported; wanted all of them")
    if shape.heads % shape.kv_heads:
        raise DamagedError(
            f"the model has {shape.heads} heads for {shape.kv_heads} key-value heads; wanted a multiple"
        )


def _layer_shapes(s: Shape) -> dict[str, tuple[int, ...]]:
    return {
        "attn_norm": (s.width,), "ffn_norm": (s.width,),
        "attn_q": (s.heads * s.head_width, s.width),
        "attn_k": (s.kv_heads * s.head_width, s.width), "attn_v": (s.kv_heads * s.head_width, s.width),
        "attn_output": (s.width, s.heads * s.head_width),
        "ffn_gate": (s.hidden, s.width), "ffn_up": (s.hidden, s.width), "ffn_down": (s.width, s.hidden),
    }  # fmt: skip


def tensor_shapes(s: Shape) -> dict[tuple[str, int | None], tuple[int, ...]]:
    """The tensors of a model of this shape by role and layer; rows first."""
    wanted: dict[tuple[str, int | None], tuple[int, ...]] = {
        ("token_embd", None): (s.tokens, s.width),
        ("output_norm", None): (s.width,),
    }
    if not s.tied:
        wanted["output", None] = (s.tokens, s.width)
    for layer in range(s.layers):
        wanted |= {(role, layer): size for role, size in _layer_shapes(s).items()}
    return wanted


def _check_tensors(shape: Shape, tensors: list[TensorRow]) -> None:
    wanted = tensor_shapes(shape)
    named = {(t.role, t.layer): t for t in tensors}
    if missing := [key for key in wanted if key not in named]:
        raise DamagedError(
            f"the model lacks the tensor {_name(missing[0])} ({len(missing)} in all); build it again"
        )
    turned = [t for t in tensors if t.role in ("attn_q", "attn_k") and turns_halves(t.name) != shape.halves]
    twice = [t for t in tensors if t is not named[t.role, t.layer]]
    if strange := sorted(t.name for t in (*turned, *twice, *(named[key] for key in named.keys() - wanted.keys()))):
        raise Error(f"the tensor {strange[0]!r} is not supported; wanted a plain llama model")
    for key, size in wanted.items():
        if named[key].shape != size:
            raise DamagedError(
                f"tensor {named[key].name!r} has the shape {named[key].shape}; the metadata want {size}"
            )
        check(named[key].dtype)


def _name(key: tuple[str, int | None]) -> str:
    """GGUF's name of a tensor."""
    role, layer = key
    return repr(f"{role}.weight" if layer is None else f"blk.{layer}.{role}.weight")
