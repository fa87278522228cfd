"""The kernels for a GPU on a machine without one: lowered for CUDA, and computed here step by step."""

import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from genome.bench.measure import run
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.model.formats.gguf_form import TENSOR_TYPES

_TYPES = ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
_ROWS, _COLUMNS = 1037, 1536
_CALL = re.compile(r"custom_call @\S*triton")


def cuda(place: Place) -> Iterator[Row]:
    """The decode step and each Pallas kernel, lowered for CUDA and computed here step by step."""
    told = run("genome.bench.gpu:lowered", str(place.model)).value
    note = f"with {told['step']} calls of Pallas kernels; no GPU is needed to lower, none was asked to compute"
    done = 1 if told["step"] else 0
    yield Row("decode step of SmolLM2 lowered for CUDA", "the whole step", done, "steps", bool(done), note=note)
    what, met = "Pallas kernels lowered for CUDA, one for each stored type", told["kernels"] == len(_TYPES)
    yield Row(what, f"all {len(_TYPES)}", told["kernels"], "kernels", met, note=", ".join(_TYPES))
    what, gap = "Pallas kernels in interpret mode: largest difference from pure JAX", told["difference"]
    yield Row(what, "under 1e-5 of the largest value", gap, "of it", gap < 1e-5)


def lowered(database: str) -> dict[str, Any]:
    """In the child, with one processor core or many, but without a GPU.

    Returns:
        step: how many kernels the lowered decode step of a model calls; kernels: how many types have one that is
        lowered; difference: of their products from those of pure JAX, as a share of the largest value.
    """
    import jax
    import jax.numpy as jnp

    from genome.model.kernel.forms import Matrix, pack
    from genome.model.kernel.linear import Layer, project
    from genome.model.kernel.pallas import Tiled, product

    def calls(function: Any, *arguments: Any) -> int:
        return len(_CALL.findall(function.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()))

    draw, gaps, kernels = np.random.default_rng(65), [], 0
    x, number = draw.standard_normal(_COLUMNS, np.float32), jnp.int32(1)
    for dtype in _TYPES:
        matrix: Matrix = jax.tree.map(jnp.asarray, pack(_drawn(draw, dtype), dtype))
        on_gpu = jax.jit(lambda x, it, n: project(x[None], Layer(Tiled(it), n)))
        kernels += calls(on_gpu, x, matrix, number) > 0
        found = jax.jit(partial(product, interpret=True))(x, matrix, number)
        pure = project(x[None], Layer(matrix, number))[0]
        gaps.append(float(jnp.abs(found - pure).max() / jnp.abs(pure).max()))
    return {"step": calls(*_step(database)), "kernels": kernels, "difference": max(gaps)}


def _drawn(draw: np.random.Generator, dtype: str) -> np.ndarray:
    """Two matrices as stored, uint8 (2, rows, row_bytes): any bits whose scales are below 2."""
    elements, size = next((elements, size) for name, elements, size in TENSOR_TYPES.values() if name == dtype)
    # A half and a bfloat16 have their highest exponent bit here in the second byte: without it they are below 2.
    return draw.integers(0, 256, (2, _ROWS, _COLUMNS // elements * size), np.uint8) & 0xBF


def _step(database: str) -> tuple[Any, ...]:
    """The decode step of a model with its kernels for a GPU, and its arguments."""
    import jax

    from genome.db.connect import connect
    from genome.model import queries
    from genome.model.kernel.architectures import shape_of
    from genome.model.kernel.cache import empty_cache
    from genome.model.kernel.forms import Matrix
    from genome.model.kernel.forward import compiled
    from genome.model.kernel.loading import load
    from genome.model.kernel.pallas import tiled
    from genome.model.weights import Weights

    with closing(connect(database, "model")) as db:
        weights = Weights(db)
        shape = shape_of(queries.hyperparameters(db), weights.tensors())
        params = load(weights, shape)
    layers = {role: tiled(it) if isinstance(it, Matrix) else it for role, it in params["layers"].items()}
    given = {**params, "layers": layers, "output": tiled(params["output"])}
    x, cache = np.zeros((1, shape.width), np.float32), jax.eval_shape(lambda: empty_cache(shape, 512))
    return compiled(), shape, given, x, np.int32(0), np.int32(0), cache
