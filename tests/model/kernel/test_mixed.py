"""Weights of a role in several types, as in Q4_K_M files: computed as they are stored, no float copy in memory."""

from itertools import pairwise
from types import SimpleNamespace

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_forward import TOKENS, fed, textbook
from test_linear import stored

from genome.db.connect import opened
from genome.errors import DamagedError
from genome.model import import_gguf, queries
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.forms import Bytes, Dense, Joined, Mixed, Nibbles, pack
from genome.model.kernel.linear import Layer, project
from genome.model.kernel.loading import load
from genome.model.kernel.pallas import Tiled
from genome.model.quant import dequantise
from genome.model.weights import Weights

DTYPES = {
    "blk.0.attn_q.weight": "Q4_0", "blk.0.attn_k.weight": "Q4_0", "blk.0.attn_v.weight": "Q8_0",
    "blk.1.attn_q.weight": "Q4_0", "blk.1.attn_k.weight": "Q4_0", "blk.1.attn_v.weight": "Q5_1",
    "blk.0.ffn_down.weight": "Q5_0", "blk.1.ffn_up.weight": "F16", "token_embd.weight": "Q8_0",
}  # fmt: skip
"""Attention's values, the way down and the way up differ from layer to layer; queries and keys are alike."""


@pytest.fixture(scope="module")
def mixed(tiny, tmp_path_factory):
    """The tiny model with tensors of many types: its shape, its parameters, its tensors as rows of a database."""
    folder = tmp_path_factory.mktemp("mixed")
    import_gguf(tiny.write(folder / "a.gguf", dtypes=DTYPES), folder / "a.db")
    with opened(folder / "a.db") as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        return shape, load(weights, shape), weights.tensors()


def rounded(tiny) -> SimpleNamespace:
    """The tiny model with the weights that its types can hold."""
    tensors = dict(tiny.tensors)
    for name, dtype in DTYPES.items():
        raw = gguf.quantize(tensors[name], gguf.GGMLQuantizationType[dtype]).view(np.uint8)
        tensors[name] = dequantise(raw, dtype)
    return SimpleNamespace(**{**vars(tiny), "tensors": tensors})


def test_types_are_kept(mixed):
    _, params, tensors = mixed
    qkv, down, gate_up = (params["layers"][role] for role in ("attn_qkv", "ffn_down", "ffn_gate_up"))
    assert isinstance(qkv, Joined)
    assert [type(part) for part in qkv.parts] == [Nibbles, Mixed]
    assert [type(stack) for stack in qkv.parts[1].stacks] == [Bytes, Nibbles]
    assert [type(stack) for stack in down.stacks] == [Nibbles, Dense]
    assert [down.kinds.tolist(), down.places.tolist()] == [[0, 1], [0, 0]]
    assert isinstance(gate_up, Joined)
    held = sum(part.nbytes for part in jax.tree.leaves(params))
    assert held < 1.05 * sum(tensor.size_bytes for tensor in tensors)


@pytest.mark.parametrize("cuts", [[len(TOKENS)], range(1, len(TOKENS) + 1)])
def test_logits_are_those_of_the_weights(tiny, mixed, cuts):
    """All tokens at once, and one by one."""
    wanted = textbook(rounded(tiny), TOKENS)
    places = [0, *cuts]
    pieces = [TOKENS[begin:end] for begin, end in pairwise(places)]
    for found, end in zip(fed(rounded(tiny), mixed[:2], pieces), cuts, strict=True):
        np.testing.assert_allclose(found, wanted[end - 1], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_the_larger_blocks_of_q4_k_m(count):
    """Three layers: queries and keys in Q4_K, values in Q6_K, Q4_K, Q6_K."""
    sixes, fours = stored("Q6_K", 2, 8, 256), stored("Q4_K", 4, 8, 256)
    values = Mixed((pack(sixes, "Q6_K"), pack(fours[:1], "Q4_K")), jnp.int32([0, 1, 0]), jnp.int32([0, 0, 1]))
    whole = jax.tree.map(jnp.asarray, Joined((pack(fours[1:], "Q4_K"), values)))
    x = np.random.default_rng(1).normal(size=(count, 256)).astype(np.float32)
    sixth, fourth = dequantise(sixes, "Q6_K"), dequantise(fours, "Q4_K")
    of_layer = jax.jit(lambda number: project(x, Layer(whole, number)))
    for layer, second in enumerate((sixth[0], fourth[0], sixth[1])):
        wanted = x @ np.concatenate([fourth[layer + 1], second]).T
        np.testing.assert_allclose(of_layer(layer), wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def test_on_a_gpu_each_type_has_its_kernel():
    raw = stored("Q6_K", 2, 8, 256), stored("Q4_K", 1, 8, 256)
    stacks = Tiled(pack(raw[0], "Q6_K")), Tiled(pack(raw[1], "Q4_K"))
    form = Mixed(stacks, np.int32([0, 1, 0]), np.int32([0, 0, 1]))
    traced = jax.jit(lambda x, form, number: project(x, Layer(form, number))).trace(
        np.ones((1, 256), np.float32), form, np.int32(1)
    )
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("triton(") == 2


def test_nan_is_found_in_its_tensor(tiny, tmp_path):
    weights = dict(tiny.tensors)
    weights["blk.1.ffn_down.weight"] = weights["blk.1.ffn_down.weight"].copy()
    weights["blk.1.ffn_down.weight"][3, 5] = np.nan
    dtypes = {"blk.0.ffn_down.weight": "Q8_0", "blk.1.ffn_down.weight": "F16"}
    import_gguf(tiny.write(tmp_path / "a.gguf", weights=weights, dtypes=dtypes), tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        stack = Weights(db)
        shape = shape_of(queries.hyperparameters(db), stack.tensors())
        with pytest.raises(DamagedError, match=r"tensor blk\.1\.ffn_down\.weight holds NaN or infinity"):
            load(stack, shape)
