"""The Llama architecture as pure functions (Touvron et al. 2023, arXiv 2302.13971; grouped queries: 2307.09288).

Letters of the shapes: L layers, T new tokens, S places of the cache, H heads, K key-value heads, G = H / K, D width
of a head, d width of the model, F width of the feed-forward layer, V tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from genome.errors import DamagedError, Error
from genome.model.formats.names import turns_halves
from genome.model.linear import project
from genome.model.quant import check
from genome.model.queries import TensorRow

Params = dict

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


class Cache(NamedTuple):
    """Keys (L, K, D, S) and values (L, K, S, D) of the tokens so far."""

    keys: Array
    values: Array

    @property
    def places(self) -> int:
        """How many tokens it has room for."""
        return self.keys.shape[3]


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


def empty_cache(shape: Shape, places: int) -> Cache:
    """A cache for so many tokens, float32."""
    heads = (shape.layers, shape.kv_heads)
    return Cache(
        jnp.zeros((*heads, shape.head_width, places), jnp.float32),
        jnp.zeros((*heads, places, shape.head_width), jnp.float32),
    )


def grown(cache: Cache, places: int) -> Cache:
    """The same tokens in a cache with more places."""
    none, more = (0, 0), (0, places - cache.places)
    return Cache(jnp.pad(cache.keys, (none, none, none, more)), jnp.pad(cache.values, (none, none, more, none)))


def advance(
    shape: Shape, params: Params, x: ArrayLike, start: ArrayLike, last: ArrayLike, cache: Cache
) -> tuple[Array, Array, Array, Cache]:
    """Reads new tokens and predicts the one after the last of them.

    Args:
        shape: static.
        params: `layers` (norms (L, d) and matrices stacked over L, joined as in `JOINED`), `output_norm` (d,),
            `output` (V, d).
        x: embeddings of the new tokens (T, d); rows behind `last` fill up and are forgotten.
        start: how many tokens the cache holds.
        last: the row of `x` to predict from.
        cache: used up; `start` + T must not pass its places.

    Returns:
        logits (V,), the most probable token, its log probability, the cache with the new tokens.
    """
    return compiled()(shape, params, x, start, last, cache)


@cache
def compiled() -> Callable[..., tuple[Array, Array, Array, Cache]]:
    """`advance`, compiled once for each shape of its arguments.

    On the CPU with vectors of 512 bits, where it has them: XLA prefers 256, and a step then takes a tenth longer.
    """
    options = {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None
    return jax.jit(_advance, static_argnames="shape", donate_argnames="cache", compiler_options=options)


def _advance(
    shape: Shape, params: Params, x: Array, start: Array, last: Array, cache: Cache
) -> tuple[Array, Array, Array, Cache]:
    hidden, cache = forward(shape, params, x, start, cache)
    scores = logits(params, lax.dynamic_index_in_dim(hidden, last))[0]
    best = jnp.argmax(scores)
    return scores, best, scores[best] - jax.nn.logsumexp(scores), cache


def forward(shape: Shape, params: Params, x: Array, start: Array, cache: Cache) -> tuple[Array, Cache]:
    """All layers over new tokens (T, d): their last hidden states, normed (T, d), and the cache with them.

    The cache is read inside the loop over layers and written once behind it: as the loop's carry it would be copied
    in each layer.
    """
    turn = _rotations(shape, start + jnp.arange(x.shape[0]))

    def layer(x: Array, given: tuple[Params, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        weights, keys, values = given
        mixed, new = _attention(shape, weights, _norm(shape, x, weights["attn_norm"]), turn, start, keys, values)
        x = x + mixed
        return x + _feed_forward(weights, _norm(shape, x, weights["ffn_norm"])), new

    x, (keys, values) = lax.scan(layer, x, (params["layers"], cache.keys, cache.values))
    cache = Cache(
        lax.dynamic_update_slice(cache.keys, keys, (0, 0, 0, start)),
        lax.dynamic_update_slice(cache.values, values, (0, 0, start, 0)),
    )
    return _norm(shape, x, params["output_norm"]), cache


def logits(params: Params, hidden: Array) -> Array:
    """Scores of all tokens (T, V) from normed hidden states (T, d)."""
    return project(hidden, params["output"])


def _norm(shape: Shape, x: Array, weight: Array) -> Array:
    """RMSNorm (Zhang & Sennrich 2019) over the last axis."""
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + shape.norm_epsilon) * weight


def _rotations(shape: Shape, positions: Array) -> tuple[Array, Array]:
    """Cosines and sines of the rotary embedding (Su et al. 2021), each (T, 1, D / 2)."""
    pairs = shape.head_width // 2
    frequencies = shape.rope_base ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    angles = positions.astype(jnp.float32)[:, None, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def _rotate(shape: Shape, x: Array, turn: tuple[Array, Array]) -> Array:
    """Turns the pairs of x (T, heads, D), which are stored as `Shape.halves` says."""
    cos, sin = turn
    if shape.halves:
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def _attention(
    shape: Shape, weights: Params, x: Array, turn: tuple[Array, Array], start: Array, keys: Array, values: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Causal attention of T new tokens over the cache (K, D, S), (K, S, D) and themselves; what the cache gets."""
    count, group = x.shape[0], shape.heads // shape.kv_heads
    qkv = project(x, weights["attn_qkv"]).reshape(count, -1, shape.head_width)
    q, k, v = jnp.split(qkv, (shape.heads, shape.heads + shape.kv_heads), axis=1)
    q = _rotate(shape, q, turn).reshape(count, shape.kv_heads, group, shape.head_width) * shape.head_width**-0.5
    k, v = _rotate(shape, k, turn).transpose(1, 2, 0), v.swapaxes(0, 1)
    places = keys.shape[-1]
    before = jnp.where(jnp.arange(places) < start, _scores(q, keys), -jnp.inf)
    among = jnp.where(jnp.arange(count)[:, None] >= jnp.arange(count), _scores(q, k), -jnp.inf)
    shares = jax.nn.softmax(jnp.concatenate([before, among], axis=-1), axis=-1)
    mixed = jnp.einsum("kgts,ksd->kgtd", shares[..., :places], values)
    mixed += jnp.einsum("kgtu,kud->kgtd", shares[..., places:], v)
    return project(mixed.transpose(2, 0, 1, 3).reshape(count, -1), weights["attn_output"]), (k, v)


def _scores(q: Array, keys: Array) -> Array:
    """Queries (T, K, G, D) times keys (K, D, S): (K, G, T, S).

    One token's small products are faster as a plain sum over D: XLA's CPU backend makes vectors of S.
    """
    if q.shape[0] == 1:
        return (q[0][..., None] * keys[:, None]).sum(axis=2)[:, :, None]
    return jnp.einsum("tkgd,kds->kgts", q, keys)


def _feed_forward(weights: Params, x: Array) -> Array:
    """SwiGLU (Shazeer 2020)."""
    gate, up = jnp.split(project(x, weights["ffn_gate_up"]), 2, axis=-1)
    return project(jax.nn.silu(gate) * up, weights["ffn_down"])
