"""Which models are computed: a model's shape from its metadata, before any weight is read. Needs no jax.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What GGUF leaves to the program that reads it (the
windows of Gemma 3, the scale of its largest model) is as llama.cpp and transformers have it.
"""

from dataclasses import dataclass

from genome.errors import DamagedError, Error
from genome.model.formats.names import turns_halves
from genome.model.kernel.frequencies import SCALINGS, Rope
from genome.model.kernel.shape import Shape, check_tensors
from genome.model.queries import TensorRow

_GELU = "gelu_pytorch_tanh"
ACTIVATIONS = ("silu", _GELU)


@dataclass(frozen=True)
class _Family:
    """What an architecture has that its metadata do not say."""

    pairs_beside: bool = False
    """Whether GGUF keeps the two numbers of a rotary pair beside one another."""
    activation: str = "silu"
    head_norms: str = ""
    gemma: bool = False
    """Norms after attention and feed-forward, weights of norms counted from 1, embeddings times sqrt(d)."""
    window_period: int = 0
    """Of so many layers the last one sees all tokens, where there is a window; 0: none does."""
    window_base: float | None = None
    experts_normed: bool = True
    """Whether the shares of picked experts add up to 1."""
    largest: int = 0
    """The largest model of the family has so many layers, and scales by the width over the number of heads."""


FAMILIES = {
    "llama": _Family(pairs_beside=True),
    "qwen2": _Family(),
    "qwen3": _Family(head_norms="each"),
    "qwen3moe": _Family(head_norms="each"),
    "olmoe": _Family(head_norms="all", experts_normed=False),
    "gemma2": _Family(activation=_GELU, gemma=True, window_period=2, largest=46),
    "gemma3": _Family(
        activation=_GELU, head_norms="each", gemma=True, window_period=6, window_base=10000.0, largest=62
    ),
}


class _Metadata:
    """A model's metadata under its architecture's name."""

    def __init__(self, hyperparameters: dict[str, object], architecture: str) -> None:
        self.found, self.architecture = hyperparameters, architecture

    def get(self, key: str, default: object = None) -> object:
        return self.found.get(f"{self.architecture}.{key}", default)

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or value <= 0:
            raise self._wrong(key, value, "a whole number above 0")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if not isinstance(value, int | float) or value <= 0:
            raise self._wrong(key, value, "a number above 0")
        return float(value)

    def cap(self, key: str) -> float:
        return self.real(key) if self.get(key) else 0.0

    def _wrong(self, key: str, value: object, wanted: str) -> DamagedError:
        return DamagedError(f"the model's metadata has {value!r} for {self.architecture}.{key}; wanted {wanted}")


def shape_of(hyperparameters: dict[str, object], tensors: list[TensorRow]) -> Shape:
    """A model's shape from its metadata, after checking that its tensors are those of such a model.

    Raises:
        Error: another architecture, or a variant that this program does not compute: it is named.
        DamagedError: metadata or tensors are missing, or of another size than the metadata say.
    """
    architecture = hyperparameters.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in FAMILIES:
        raise Error(f"the architecture {architecture!r} is not supported; wanted one of {', '.join(FAMILIES)}")
    told, family = _Metadata(hyperparameters, architecture), FAMILIES[architecture]
    named = {(t.role, t.layer): t for t in tensors}
    embedding, first = named.get(("token_embd", None)), named.get(("attn_q", 0))
    heads, width, layers = (told.whole(key) for key in ("attention.head_count", "embedding_length", "block_count"))
    head_width = told.whole("attention.key_length", width // heads)
    huggingface = first is not None and turns_halves(first.name)
    scaled = width // heads if family.largest == layers else head_width
    shape = Shape(
        architecture=architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=told.whole("attention.head_count_kv", heads),
        head_width=head_width,
        hidden=_hidden(told),
        tokens=embedding.shape[0] if embedding and embedding.shape else 0,
        context=told.whole("context_length"),
        rope=_rope(told),
        norm_epsilon=told.real("attention.layer_norm_rms_epsilon"),
        attention_scale=told.real("attention.scale", scaled**-0.5),
        tied=("output", None) not in named,
        halves=huggingface or not family.pairs_beside,
        rope_divisors=("rope_freqs", None) in named,
        windows=_windows(told, family, layers),
        window_rope=_window_rope(told, family),
        activation=str(told.get("hidden_activation", family.activation)),
        biases=tuple(r for r in ("attn_q", "attn_k", "attn_v", "attn_output") if (f"{r}.bias", 0) in named),
        head_norms=family.head_norms,
        post_norms=family.gemma,
        norm_offset=1.0 if family.gemma and huggingface else 0.0,
        embedding_scale=width**0.5 if family.gemma else 1.0,
        attention_cap=told.cap("attn_logit_softcapping"),
        logit_cap=told.cap("final_logit_softcapping"),
        clamp=told.cap("attention.clamp_kqv"),
        experts=told.whole("expert_count") if told.get("expert_count") else 0,
        experts_used=told.whole("expert_used_count") if told.get("expert_count") else 0,
        experts_normed=bool(told.get("expert_weights_norm", family.experts_normed)),
        experts_stacked=("ffn_gate_exps", 0) in named,
    )
    _refuse_variants(shape, told)
    check_tensors(shape, tensors)
    return shape


def _hidden(told: _Metadata) -> int:
    """The width of a feed-forward network, or of an expert."""
    if told.get("expert_count") and told.get("expert_feed_forward_length"):
        return told.whole("expert_feed_forward_length")
    return told.whole("feed_forward_length")


def _rope(told: _Metadata) -> Rope:
    scaling = told.get("rope.scaling.type", "none")
    if scaling not in SCALINGS:
        raise Error(f"RoPE scaling {scaling!r} is not supported; wanted one of {', '.join(SCALINGS)}")
    base = told.real("rope.freq_base", 10000.0)
    if scaling == "none":
        return Rope(base)
    key = "rope.scaling.{}".format
    factor = told.real(key("factor"))
    if scaling == "linear":
        return Rope(base, "linear", factor)
    trained = told.whole(key("original_context_length"))
    if scaling == "llama3":
        fast, slow = told.real(key("high_freq_factor")), told.real(key("low_freq_factor"))
        if fast <= slow:
            raise DamagedError(f"the model's metadata has {fast} for {told.architecture}.{key('high_freq_factor')};"
                               f" wanted more than low_freq_factor, {slow}")  # fmt: skip
        return Rope(base, "llama3", factor, trained, fast, slow)
    return Rope(
        base, "yarn", factor, trained,
        told.real(key("yarn_beta_fast"), 32.0), told.real(key("yarn_beta_slow"), 1.0),
        told.real(key("attn_factor"), 1.0),
    )  # fmt: skip


def _window_rope(told: _Metadata, family: _Family) -> Rope | None:
    if told.get("rope.freq_base_swa") is None and family.window_base is None:
        return None
    return Rope(told.real("rope.freq_base_swa", family.window_base))


def _windows(told: _Metadata, family: _Family, layers: int) -> tuple[int, ...]:
    if not told.get("attention.sliding_window"):
        return ()
    window = told.whole("attention.sliding_window")
    pattern = told.get("attention.sliding_window_pattern", family.window_period)
    if isinstance(pattern, int):
        pattern = [pattern == 0 or layer % pattern < pattern - 1 for layer in range(layers)]
    if not isinstance(pattern, list) or len(pattern) != layers:
        raise DamagedError(
            f"the model's metadata has {pattern!r} for {told.architecture}.attention.sliding_window_pattern; "
            f"wanted a number, or true or false for each of {layers} layers"
        )
    return tuple(window if slides else 0 for slides in pattern)


def _refuse_variants(shape: Shape, told: _Metadata) -> None:
    if shape.experts_used > shape.experts:
        raise DamagedError(f"the model uses {shape.experts_used} of {shape.experts} experts; wanted at most all")
    if told.get("expert_layers"):
        raise Error("experts in some of the layers are not supported; wanted them in all")
    if told.get("expert_shared_count") or told.get("expert_shared_feed_forward_length"):
        raise Error("shared experts are not supported; wanted experts that a router picks")
    if told.get("expert_gating_func", 1) != 1 or told.get("expert_weights_scale", 1.0) not in (0.0, 1.0):
        raise Error("a router other than a softmax over the experts is not supported")
    if shape.activation not in ACTIVATIONS:
        raise Error(f"the activation {shape.activation!r} is not supported; wanted {' or '.join(ACTIVATIONS)}")
    if (kind := told.get("attention.kind")) is not None:
        raise Error(f"the attention {kind!r} is not supported; wanted full or sliding attention")
    if told.get("attention.causal") is False:
        raise Error("attention to tokens that follow is not supported; wanted a causal model")
    turned = told.get("rope.dimension_count", shape.head_width)
    if turned != shape.head_width or shape.head_width % 2:
        raise Error(f"RoPE over {turned} of {shape.head_width} dimensions is not supported; wanted all of them")
    if (values := told.get("attention.value_length", shape.head_width)) != shape.head_width:
        raise Error(f"values of {values} numbers a head are not supported; wanted {shape.head_width}, as keys have")
    if shape.heads % shape.kv_heads:
        raise DamagedError(
            f"the model has {shape.heads} heads for {shape.kv_heads} key-value heads; wanted a multiple"
        )
    some = {f"attn_{part}" for part in "qkv"} & set(shape.biases)
    if some and len(some) < 3:
        raise Error(f"a bias of {sorted(some)[0]} alone is not supported; wanted one of queries, keys and values")
