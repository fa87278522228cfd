"""The GPU's kernels without a GPU: computed step by step against the weights, and lowered for CUDA."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct, export
from test_architectures import stored as model_of
from test_linear import FORMS, stored

from genome.db.connect import opened
from genome.db.journal import Journal
from genome.model import LanguageModel, import_gguf, queries
from genome.model.kernel import loading, pallas
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.cache import Cache, empty_cache
from genome.model.kernel.forms import Dense, Matrix, pack
from genome.model.kernel.forward import compiled
from genome.model.kernel.layers import Params
from genome.model.kernel.linear import Layer, project
from genome.model.kernel.mixture import compiled_finished, compiled_first_half, compiled_second_half
from genome.model.kernel.pallas import Tiled, product, tiled
from genome.model.kernel.shape import JOINED, Shape, layer_shapes
from genome.model.quant import dequantise

TILED = [dtype for dtype in FORMS if dtype != "F32"]
CALL = re.compile(r"custom_call @\S*triton")


def lowered(function, *arguments) -> str:
    """What a machine with a GPU would compile."""
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    ("dtype", "rows", "columns"),
    [*((dtype, 1037, 1280) for dtype in TILED), ("Q4_1", 4100, 32), ("Q4_1", 37, 96)],
)
def test_products_equal_those_of_the_weights(dtype, rows, columns):
    """Rows that do not fill the last program; 40 blocks of 32 at once, one, three: what is missing is masked."""
    raw = stored(dtype, 2, rows, columns)
    weights, matrix = dequantise(raw, dtype), jax.tree.map(jnp.asarray, pack(raw, dtype))
    x = np.random.default_rng(1).normal(size=weights.shape[-1]).astype(np.float32)
    wanted = np.float64(weights[1]) @ np.float64(x)
    found = jax.jit(partial(product, interpret=True))(x, matrix, jnp.int32(1))
    assert (found.shape, found.dtype) == ((rows,), np.float32)
    pure = project(x[None], Layer(matrix, jnp.int32(1)))[0]
    for reference in (wanted, pure):
        np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def test_a_matrix_without_a_stack():
    raw = stored("Q4_1", 8, 64)
    x = np.random.default_rng(1).normal(size=64).astype(np.float32)
    found = product(x, jax.tree.map(jnp.asarray, pack(raw, "Q4_1")), interpret=True)
    np.testing.assert_allclose(found, dequantise(raw, "Q4_1") @ x, rtol=1e-5, atol=1e-5)


def held(dtype: str, *shape: int) -> Matrix:
    """The form of a matrix without its numbers."""
    row = pack(stored(dtype, 1, shape[-1]), dtype)
    return jax.tree.map(lambda part: ShapeDtypeStruct((*shape[:-1], part.shape[-1]), part.dtype), row)


@pytest.mark.parametrize("dtype", TILED)
def test_each_kernel_is_lowered_for_cuda(dtype):
    x, number = ShapeDtypeStruct((1, 1536), np.float32), ShapeDtypeStruct((), np.int32)
    text = lowered(lambda x, stack, n: project(x, Layer(Tiled(stack), n)), x, held(dtype, 30, 576, 1536), number)
    assert len(CALL.findall(text)) == 1


@pytest.mark.parametrize("rows", [49152, 262144])
def test_the_head_of_a_large_vocabulary_is_lowered_for_cuda(rows):
    assert CALL.search(lowered(project, ShapeDtypeStruct((1, 640), np.float32), Tiled(held("Q8_0", rows, 640))))


def test_what_stays_pure_jax():
    """Nothing to dequantise, no whole blocks, and bytes whose places Pallas would count past an int32."""
    assert isinstance(tiled(held("F16", 8, 64)), Tiled)
    assert isinstance(tiled(held("Q4_K", 2, 8, 256)), Tiled)
    for matrix in (
        Dense(np.zeros((8, 64), np.float32)),
        Dense(np.zeros((8, 48), np.float16)),
        held("Q8_0", 65536, 4, 8192),
    ):
        assert tiled(matrix) is matrix
    assert isinstance(tiled(held("Q8_0", 65536, 8, 8224)), Tiled)


SIZES = {
    "llama, scaled linearly": {"layers": 30, "width": 576, "heads": 9, "kv_heads": 3, "head_width": 64,
                               "hidden": 1536, "tokens": 49152},
    "qwen3": {"layers": 28, "width": 1024, "heads": 16, "kv_heads": 8, "head_width": 128,
              "hidden": 3072, "tokens": 151936},
    "gemma3": {"layers": 18, "width": 640, "heads": 4, "kv_heads": 1, "head_width": 256,
               "hidden": 2048, "tokens": 262144, "windows": (512,) * 5 + (0,) + (512,) * 12},
    "olmoe": {"layers": 16, "width": 2048, "heads": 16, "kv_heads": 16, "head_width": 128,
              "hidden": 1024, "tokens": 50304, "experts": 64, "experts_used": 8},
}  # fmt: skip
"""SmolLM2 135M, Qwen3 0.6B, Gemma 3 270M, OLMoE 1B-7B."""


def sized(title: str, folder: Path) -> tuple[Shape, Params, Cache]:
    """The hyper-parameters of an architecture with a real model's sizes, its weights without their numbers."""
    with opened(model_of(title, "safetensors", folder)) as db:
        shape = replace(shape_of(queries.hyperparameters(db), queries.tensors(db)), **SIZES[title])
    layers, sizes = {}, layer_shapes(shape)
    joined = {part: role for role, parts in JOINED.items() for part in parts}
    for role in dict.fromkeys(joined.get(role, role) for role in sizes):
        parts = [sizes[part] for part in JOINED.get(role, (role,))]
        rows = shape.layers, sum(size[0] for size in parts)
        vector = len(parts[0]) == 1
        layers[role] = ShapeDtypeStruct(rows, np.float32) if vector else held("Q4_1", *rows, parts[0][1])
    params = {
        "layers": layers,
        "output_norm": ShapeDtypeStruct((shape.width,), np.float32),
        "output": held("Q8_0", shape.tokens, shape.width),
    }
    return shape, params, jax.eval_shape(lambda: empty_cache(shape, 512))


@pytest.fixture(scope="module", params=["llama, scaled linearly", "qwen3", "gemma3"])
def step(request, tmp_path_factory) -> tuple[Shape, Params, Cache]:
    """One of each family of dense models."""
    return sized(request.param, tmp_path_factory.mktemp("model"))


def on_gpu(params: Params) -> Params:
    """The parameters as `loading.load` gives them where there is a GPU."""
    layers = {role: tiled(it) if isinstance(it, Matrix) else it for role, it in params["layers"].items()}
    return {**params, "layers": layers, "output": tiled(params["output"])}


@pytest.mark.parametrize("count", [1, 32])
def test_the_whole_step_is_lowered_for_cuda(step, count):
    """One token: four products of a layer and the head. A prompt: the head alone, for its last token."""
    shape, params, cache = step
    number = ShapeDtypeStruct((), np.int32)
    x = ShapeDtypeStruct((count, shape.width), np.float32)
    texts = [
        compiled().trace(shape, given, x, number, number, cache).lower(lowering_platforms=("cuda",)).as_text()
        for given in (params, on_gpu(params))
    ]
    assert [len(CALL.findall(text)) for text in texts] == [0, 5 if count == 1 else 1]


def test_the_whole_step_is_exported(step):
    """Pure JAX as one artefact for both platforms; with the kernels for CUDA."""
    shape, params, cache = step
    number = ShapeDtypeStruct((), np.int32)
    given = ShapeDtypeStruct((1, shape.width), np.float32), number, number, cache
    both = export.export(compiled(), platforms=("cpu", "cuda"))(shape, params, *given)
    assert both.platforms == ("cpu", "cuda")
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in ("__gpu$xla.gpu.triton",)]
    cuda = export.export(compiled(), platforms=("cuda",), disabled_checks=checks)(shape, on_gpu(params), *given)
    assert len(CALL.findall(cuda.mlir_module())) == 5


def test_the_pieces_of_a_mixture_are_lowered_for_cuda(tmp_path):
    """Of a layer two products and its router's, three of each expert, and the head."""
    shape, params, cache = sized("olmoe", tmp_path)
    number, x = ShapeDtypeStruct((), np.int32), ShapeDtypeStruct((1, shape.width), np.float32)
    shares = ShapeDtypeStruct((shape.experts_used, 1), np.float32)
    gate, down = held("Q4_K", shape.hidden, shape.width), held("Q6_K", shape.width, shape.hidden)
    new = [ShapeDtypeStruct((shape.kv_heads, shape.head_width, 1), np.float32)] * shape.layers
    for wrap, given, counts in ((lambda it: it, params, [0, 0, 0]), (tiled, on_gpu(params), [3, 24, 1])):
        matrices = [(wrap(gate), wrap(gate), wrap(down))] * shape.experts_used
        traced = (
            compiled_first_half().trace(shape, given, number, x, number, cache),
            compiled_second_half().trace(shape, x, x, shares, matrices),
            compiled_finished().trace(shape, given, x, number, number, new, new, cache),
        )
        texts = [it.lower(lowering_platforms=("cuda",)).as_text() for it in traced]
        assert [len(CALL.findall(text)) for text in texts] == counts


def test_a_model_on_a_gpu(tiny, tmp_path, monkeypatch):
    """The same tokens as in pure JAX, every kernel computed step by step."""
    dtypes = {f"blk.{n}.{role}.weight": "Q4_1" for n in range(2) for role in ("attn_output", "ffn_gate", "ffn_up")}
    import_gguf(tiny.write(tmp_path / "a.gguf", dtypes={**dtypes, "token_embd.weight": "Q8_0"}), tmp_path / "a.db")

    def tokens() -> list[int]:
        with opened(tmp_path / "a.db") as db:
            model = LanguageModel(db, "tiny", Journal())
            return [step.token for step in model.generate([5, 70, 12], max_tokens=6, past_end=True)]

    wanted, wrapped = tokens(), []
    monkeypatch.setattr(loading.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(pallas, "product", lambda *given: wrapped.append(1) or product(*given, interpret=True))
    assert tokens() == wanted
    assert len(wrapped) == 3
