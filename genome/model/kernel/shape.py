"""A model's shape: its hyper-parameters, and the tensors that a model of that shape has. Needs no jax."""

from dataclasses import dataclass

from genome.errors import DamagedError, Error
from genome.model.formats.names import turns_halves
from genome.model.kernel.frequencies import Rope
from genome.model.quant import check
from genome.model.queries import TensorRow

_QKV = ("attn_q", "attn_k", "attn_v")
JOINED = {
    "attn_qkv": _QKV, "attn_qkv.bias": tuple(f"{role}.bias" for role in _QKV),
    "ffn_gate_up": ("ffn_gate", "ffn_up"),
}  # fmt: skip
"""Parts of a layer that read the same activations: put under one another, they are one product."""


@dataclass(frozen=True)
class Shape:
    """A model's hyper-parameters: what distinguishes one architecture of this family from another."""

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    tokens: int
    context: int
    rope: Rope
    norm_epsilon: float
    attention_scale: float
    tied: bool
    """Whether the output projection is the input embedding."""
    halves: bool = False
    """Whether numbers i and i + D / 2 of a head are a pair of the rotary embedding, not 2 i and 2 i + 1 (Llama
    models in GGUF)."""
    rope_divisors: bool = False
    """Whether a tensor divides the frequencies of the rotary embedding (`rope_freqs`)."""
    windows: tuple[int, ...] = ()
    """For each layer how many tokens, itself the last, a token sees; 0 all of them. Empty: all layers see all."""
    window_rope: Rope | None = None
    """The rotary embedding of layers with a window, where it is another one."""
    activation: str = "silu"
    biases: tuple[str, ...] = ()
    """Matrices of a layer that have a bias."""
    head_norms: str = ""
    """Queries and keys are normed: `each` head alone, or `all` heads of a token together."""
    post_norms: bool = False
    """Whether what attention and feed-forward add is normed too."""
    norm_offset: float = 0.0
    """What is added to the stored weights of norms (Gemma as Hugging Face stores it: 1)."""
    embedding_scale: float = 1.0
    attention_cap: float = 0.0
    """Scores of attention are squeezed between -cap and cap by a tangent; 0: they are not."""
    logit_cap: float = 0.0
    clamp: float = 0.0
    """Queries, keys and values are cut off at -clamp and clamp; 0: they are not."""
    experts: int = 0
    """Feed-forward networks of a layer, `hidden` wide each, of which a router picks some for each token; 0: one
    network, always used."""
    experts_used: int = 0
    experts_normed: bool = True
    """Whether the shares of the picked experts are made to add up to 1."""
    experts_stacked: bool = False
    """Whether a layer's experts are one tensor (GGUF), not one each."""


def layer_shapes(s: Shape) -> dict[str, tuple[int, ...]]:
    """The tensors of a layer that each token needs, by role; rows first."""
    queries, keys = s.heads * s.head_width, s.kv_heads * s.head_width
    found: dict[str, tuple[int, ...]] = {
        "attn_norm": (s.width,), "ffn_norm": (s.width,),
        "attn_q": (queries, s.width), "attn_k": (keys, s.width), "attn_v": (keys, s.width),
        "attn_output": (s.width, queries),
    }  # fmt: skip
    found |= {"ffn_gate_inp": (s.experts, s.width)} if s.experts else _network(s)
    found |= {f"{role}.bias": found[role][:1] for role in s.biases}
    if s.head_norms:
        each = s.head_norms == "each"
        found["attn_q_norm"] = (s.head_width if each else queries,)
        found["attn_k_norm"] = (s.head_width if each else keys,)
    if s.post_norms:
        found |= {"post_attention_norm": (s.width,), "post_ffw_norm": (s.width,)}
    return found


def expert_shapes(s: Shape) -> dict[str, tuple[int, ...]]:
    """The tensors of a layer's experts by role; rows first."""
    if s.experts_stacked:
        return {f"{role}_exps": (s.experts, *size) for role, size in _network(s).items()}
    return {f"{role}.{n}": size for n in range(s.experts) for role, size in _network(s).items()}


def _network(s: Shape) -> dict[str, tuple[int, ...]]:
    return {"ffn_gate": (s.hidden, s.width), "ffn_up": (s.hidden, s.width), "ffn_down": (s.width, s.hidden)}


def tensor_shapes(s: Shape) -> dict[tuple[str, int | None], tuple[int, ...]]:
    """The tensors of a model of this shape by role and layer; rows first."""
    wanted: dict[tuple[str, int | None], tuple[int, ...]] = {
        ("token_embd", None): (s.tokens, s.width),
        ("output_norm", None): (s.width,),
    }
    if not s.tied:
        wanted["output", None] = (s.tokens, s.width)
    if s.rope_divisors:
        wanted["rope_freqs", None] = (s.head_width // 2,)
    for layer in range(s.layers):
        wanted |= {(role, layer): size for role, size in (layer_shapes(s) | expert_shapes(s)).items()}
    return wanted


def check_tensors(shape: Shape, tensors: list[TensorRow]) -> None:
    """Compares a model's tensors with those of its shape.

    Raises:
        DamagedError: one is missing or of another size.
        Error: one is too many, or of a type that cannot be computed with.
    """
    wanted = tensor_shapes(shape)
    named = {(t.role, t.layer): t for t in tensors}
    if missing := [key for key in wanted if key not in named]:
        raise DamagedError(
            f"the model lacks the tensor {_name(missing[0])} ({len(missing)} in all); build it again"
        )
    source = turns_halves(named["attn_q", 0].name)
    turned = [t for t in tensors if t.role in ("attn_q", "attn_k") and turns_halves(t.name) != source]
    twice = [t for t in tensors if t is not named[t.role, t.layer]]
    if strange := sorted(t.name for t in (*turned, *twice, *(named[key] for key in named.keys() - wanted.keys()))):
        raise Error(f"the tensor {strange[0]!r} is not supported; wanted a plain {shape.architecture} model")
    for key, size in wanted.items():
        if named[key].shape != size:
            raise DamagedError(
                f"tensor {named[key].name!r} has the shape {named[key].shape}; the metadata want {size}"
            )
        check(named[key].dtype)


def _name(key: tuple[str, int | None]) -> str:
    """GGUF's name of a tensor."""
    role, layer = key
    stem, _, part = role.partition(".")
    return repr(f"{stem if layer is None else f'blk.{layer}.{stem}'}.{part or 'weight'}")
