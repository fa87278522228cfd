"""Products with matrices as they are stored, against the same weights in float32."""

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genome.model.kernel.linear import Bytes, Dense, Nibbles, dense, finite, pack, project
from genome.model.quant import dequantise

FORMS = {"F32": Dense, "F16": Dense, "Q8_0": Bytes, "Q4_0": Nibbles, "Q4_1": Nibbles, "Q5_1": Dense}


def stored(dtype: str, *shape: int) -> np.ndarray:
    values = np.random.default_rng(65).normal(size=shape).astype(np.float32)
    return gguf.quantize(values, gguf.GGMLQuantizationType[dtype]).view(np.uint8).reshape(*shape[:-1], -1)


@pytest.mark.parametrize(("dtype", "form"), FORMS.items())
@pytest.mark.parametrize("count", [1, 5])
def test_products_equal_those_of_the_weights(dtype, form, count):
    """Sums of 96 products in another order: the error of float32 sums, far below that of one weight's rounding."""
    raw = stored(dtype, 64, 96)
    matrix = pack(raw, dtype)
    assert isinstance(matrix, form)
    x = np.random.default_rng(1).normal(size=(count, 96)).astype(np.float32)
    found = jax.jit(project)(x, jax.tree.map(jnp.asarray, matrix))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, x @ dequantise(raw, dtype).T, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", FORMS)
def test_dense_gives_the_weights(dtype):
    raw = stored(dtype, 2, 3, 64)
    np.testing.assert_allclose(dense(pack(raw, dtype)), dequantise(raw, dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", FORMS)
def test_a_stack_is_cut_by_layers(dtype):
    raw = stored(dtype, 2, 64, 32)
    layer = jax.tree.map(lambda part: part[1], pack(raw, dtype))
    np.testing.assert_allclose(dense(layer), dequantise(raw[1], dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["F32", "Q8_0", "Q4_0", "Q4_1"])
def test_nan_is_found_in_its_layer(dtype):
    raw = stored(dtype, 3, 4, 32)
    raw[1, 2, : 4 if dtype == "F32" else 2] = 0xFF  # a NaN as float32, and as float16 scale
    assert finite(pack(raw, dtype)).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_1"])
def test_a_device_on_the_cpu_takes_the_memory_over(dtype):
    matrix = pack(stored(dtype, 64, 96), dtype)
    placed = jax.device_put(matrix[0], may_alias=True)
    assert placed.unsafe_buffer_pointer() == matrix[0].ctypes.data
