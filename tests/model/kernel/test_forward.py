"""The forward pass against the textbook's formulas in NumPy, written without a cache, a scan or a batch."""

from itertools import pairwise

import gguf
import jax.numpy as jnp
import numpy as np
import pytest

from genome.db.connect import opened
from genome.errors import DamagedError, Error
from genome.model import import_gguf, queries
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.cache import empty_cache, grown
from genome.model.kernel.forward import advance, forward
from genome.model.kernel.layers import logits
from genome.model.kernel.loading import load
from genome.model.weights import Weights

TOKENS = [5, 70, 70, 12, 200, 265, 3, 99, 41, 8, 150]


def textbook(tiny, tokens: list[int]) -> np.ndarray:
    """Logits (T, V) of the tiny model in float64: RMSNorm, rotary pairs, grouped causal attention, SwiGLU."""
    w = {name: values.astype(np.float64) for name, values in tiny.tensors.items()}
    x = w["token_embd.weight"][tokens]
    count, head = len(tokens), x.shape[1] // tiny.heads
    angles = np.arange(count)[:, None] * 1000.0 ** (-np.arange(0, head, 2) / head)

    def norm(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    def turned(x):
        as_complex = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angles)
        return np.stack([as_complex.real, as_complex.imag], -1).reshape(x.shape)

    for layer in range(tiny.layers):
        role = {n.split(".")[2]: v for n, v in w.items() if n.startswith(f"blk.{layer}.")}
        h = norm(x, role["attn_norm"])
        q, k, v = (h @ role[name].T for name in ("attn_q", "attn_k", "attn_v"))
        mixed = []
        for number in range(tiny.heads):
            group = number * tiny.kv_heads // tiny.heads
            mine = slice(number * head, (number + 1) * head)
            theirs = slice(group * head, (group + 1) * head)
            scores = turned(q[:, mine]) @ turned(k[:, theirs]).T / np.sqrt(head)
            scores[np.triu_indices(count, 1)] = -np.inf
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(shares / shares.sum(-1, keepdims=True) @ v[:, theirs])
        x = x + np.concatenate(mixed, -1) @ role["attn_output"].T
        h = norm(x, role["ffn_norm"])
        gate = h @ role["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ role["ffn_up"].T)) @ role["ffn_down"].T
    return norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T


@pytest.fixture(scope="module")
def model(tiny_db):
    with opened(tiny_db) as db:
        shape = shape_of(queries.hyperparameters(db), queries.tensors(db))
        return shape, load(Weights(db), shape)


def fed(tiny, model, pieces: list[list[int]], places: int = 32) -> list[np.ndarray]:
    """Logits after each piece of the tokens."""
    shape, params = model
    cache, start, found = empty_cache(shape, places), 0, []
    for piece in pieces:
        x = tiny.tensors["token_embd.weight"][piece]
        scores, best, logprob, cache = advance(shape, params, x, jnp.int32(start), jnp.int32(len(piece) - 1), cache)
        assert int(best) == int(np.argmax(scores))
        assert float(logprob) == pytest.approx(
            float(np.max(scores) - np.log(np.exp(np.float64(scores)).sum())), abs=1e-4
        )
        found.append(np.asarray(scores))
        start += len(piece)
    return found


def test_equals_the_textbook(tiny, model):
    shape, params = model
    hidden, _ = forward(
        shape, params, tiny.tensors["token_embd.weight"][TOKENS], jnp.int32(0), empty_cache(shape, 32)
    )
    np.testing.assert_allclose(logits(shape, params, hidden), textbook(tiny, TOKENS), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("cuts", [range(1, 11), [4], [1, 7], [10]])
def test_any_cut_of_the_prompt_gives_the_same_logits(tiny, model, cuts):
    """Prefill and step by step: after each piece, the logits of the textbook at that place."""
    places = [0, *cuts, len(TOKENS)]
    pieces = [TOKENS[a:b] for a, b in pairwise(places)]
    wanted = textbook(tiny, TOKENS)
    for found, end in zip(fed(tiny, model, pieces), places[1:], strict=True):
        np.testing.assert_allclose(found, wanted[end - 1], rtol=2e-4, atol=2e-4)


def test_a_grown_cache_holds_the_same(tiny, model):
    shape, params = model
    table = tiny.tensors["token_embd.weight"]
    *_, cache = advance(shape, params, table[TOKENS[:-1]], jnp.int32(0), jnp.int32(9), empty_cache(shape, 16))
    scores, *_ = advance(shape, params, table[TOKENS[-1:]], jnp.int32(10), jnp.int32(0), grown(cache, 64))
    np.testing.assert_allclose(scores, textbook(tiny, TOKENS)[-1], rtol=2e-4, atol=2e-4)


def made(tmp_path, tiny, **options):
    import_gguf(tiny.write(tmp_path / "a.gguf", **options), tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        return shape_of(queries.hyperparameters(db), queries.tensors(db))


def test_an_output_projection_of_its_own(tmp_path, tiny):
    weights = tiny.tensors | {"output.weight": tiny.tensors["token_embd.weight"][::-1].copy()}
    assert made(tmp_path, tiny, weights=weights).tied is False
    with opened(tmp_path / "a.db") as db:
        shape = shape_of(queries.hyperparameters(db), queries.tensors(db))
        (found,) = fed(tiny, (shape, load(Weights(db), shape)), [TOKENS])
    np.testing.assert_allclose(found, textbook(tiny, TOKENS)[-1][::-1], rtol=2e-4, atol=2e-4)


def test_layers_of_different_types(tmp_path, tiny):
    """As in Q4_K_M files. F16 holds each of these weights to 11 bits: the logits move by little."""
    made(tmp_path, tiny, dtypes={"blk.0.ffn_down.weight": "F16", "blk.1.attn_q.weight": "Q8_0"})
    with opened(tmp_path / "a.db") as db:
        shape = shape_of(queries.hyperparameters(db), queries.tensors(db))
        (found,) = fed(tiny, (shape, load(Weights(db), shape)), [TOKENS])
    np.testing.assert_allclose(found, textbook(tiny, TOKENS)[-1], atol=0.3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "mamba"}, "the architecture 'mamba' is not supported; wanted one of llama, qwen2"),
        ({"more": lambda w: w.add_string("llama.rope.scaling.type", "longrope")}, "'longrope' is not supported"),
        ({"more": lambda w: (w.add_expert_count(8), w.add_expert_used_count(2), w.add_expert_shared_count(1))},
         "shared experts are not supported"),
        ({"more": lambda w: w.add_rope_dimension_count(8)}, "RoPE over 8 of 16 dimensions is not supported"),
        ({"more": lambda w: w.add_string("llama.hidden_activation", "gelu")}, "activation 'gelu' is not supported"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(tmp_path, tiny, options, said):
    with pytest.raises(Error, match=said):
        made(tmp_path, tiny, **options)


def test_tensors_that_do_not_fit(tmp_path, tiny):
    extra = tiny.tensors | {"rope_factors_long.weight": np.ones(8, np.float32)}
    with pytest.raises(Error, match=r"the tensor 'rope_factors_long\.weight' is not supported"):
        made(tmp_path, tiny, weights=extra)
    mixed = {n.replace("blk.1.attn_k.", "model.layers.1.self_attn.k_proj."): v for n, v in tiny.tensors.items()}
    with pytest.raises(Error, match=r"the tensor 'model\.layers\.1\.self_attn\.k_proj\.weight' is not supported"):
        made(tmp_path, tiny, weights=mixed)
    twice = tiny.tensors | {"model.norm.weight": np.ones(64, np.float32)}
    with pytest.raises(Error, match=r"'output_norm\.weight' is not supported"):
        made(tmp_path, tiny, weights=twice)
    missing = {n: v for n, v in tiny.tensors.items() if n != "blk.1.ffn_up.weight"}
    with pytest.raises(DamagedError, match=r"lacks the tensor 'blk\.1\.ffn_up\.weight'"):
        made(tmp_path, tiny, weights=missing)
    short = tiny.tensors | {"blk.1.ffn_up.weight": np.ones((95, 64), np.float32)}
    with pytest.raises(
        DamagedError, match=r"'blk\.1\.ffn_up\.weight' has the shape \(95, 64\); the metadata want \(96, 64\)"
    ):
        made(tmp_path, tiny, weights=short)


def test_a_type_that_is_stored_but_not_computed(tmp_path, tiny):
    """IQ4_NL has 18 bytes for 32 weights, like Q4_0: one stands for the other here, unread."""
    weights = dict(tiny.tensors)
    raw = gguf.quantize(weights.pop("blk.0.attn_q.weight"), gguf.GGMLQuantizationType.Q4_0)

    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.attn_q.weight", raw, raw_dtype=gguf.GGMLQuantizationType.IQ4_NL)

    with pytest.raises(Error, match="weights of type IQ4_NL cannot be computed with; wanted one of F32"):
        made(tmp_path, tiny, weights=weights, more=more)


def test_missing_metadata(tmp_path, tiny):
    zero = gguf.gguf_writer.GGUFValue(0, gguf.GGUFValueType.UINT32)
    with pytest.raises(DamagedError, match=r"has 0 for llama\.context_length; wanted a whole number above 0"):
        made(tmp_path, tiny, more=lambda w: w.kv_data[0].update({"llama.context_length": zero}))
