"""Products with matrices as they are stored, against the same weights in float32."""

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genome.model.kernel.forms import Bytes, Dense, Nibbles, finite, pack
from genome.model.kernel.linear import Layer, dense, of_layer, project
from genome.model.quant import dequantise

FORMS = {"F32": Dense, "F16": Dense, "BF16": Dense, "Q8_0": Bytes} | dict.fromkeys(
    ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"), Nibbles
)
BLOCKS = {"Q4_K": 144, "Q5_K": 176, "Q6_K": 210}


def stored(dtype: str, *shape: int) -> np.ndarray:
    """Rows as stored; those of a K-type, which gguf cannot write, are any bits with scales of usual size."""
    if size := BLOCKS.get(dtype):
        draw = np.random.default_rng(65)
        blocks = draw.integers(0, 256, (*shape[:-1], -(-shape[-1] // 256), size), dtype=np.uint8)
        scales = draw.normal(size=(*blocks.shape[:-1], 2)).astype("<f2").view(np.uint8)
        if dtype == "Q6_K":
            blocks[..., 208:] = scales[..., :2]
        else:
            blocks[..., :4] = scales
        return blocks.reshape(*shape[:-1], -1)
    values = np.random.default_rng(65).normal(size=shape).astype(np.float32)
    return gguf.quantize(values, gguf.GGMLQuantizationType[dtype]).view(np.uint8).reshape(*shape[:-1], -1)


@pytest.mark.parametrize(("dtype", "form"), FORMS.items())
@pytest.mark.parametrize("count", [1, 5])
def test_products_equal_those_of_the_weights(dtype, form, count):
    """Sums of float32 in another order: far below the error of one weight's rounding."""
    raw = stored(dtype, 3, 64, 96)
    weights, matrix = dequantise(raw, dtype), pack(raw, dtype)
    assert isinstance(matrix, form)
    x = np.random.default_rng(1).normal(size=(count, weights.shape[-1])).astype(np.float32)
    wanted = np.float64(x) @ np.float64(weights[1]).T
    device = jax.tree.map(jnp.asarray, matrix)
    for found in (
        jax.jit(project)(x, jax.tree.map(lambda part: part[1], device)),
        jax.jit(lambda x, stack, number: project(x, Layer(stack, number)))(x, device, 1),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["Q4_1", "Q6_K", "F16"])
def test_wide_matrices_are_a_loop_over_their_blocks(dtype):
    """3,072 columns are 96 blocks, two turns of 48; 1,792 are 56, seven turns of 8."""
    for columns in (3072, 1792):
        raw = stored(dtype, 16, columns)
        x = np.random.default_rng(1).normal(size=(1, columns)).astype(np.float32)
        wanted = np.float64(x) @ np.float64(dequantise(raw, dtype)).T
        found = jax.jit(project)(x, jax.tree.map(jnp.asarray, pack(raw, dtype)))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", FORMS)
def test_no_more_bytes_than_stored(dtype):
    """Q4_0 and Q5_0 get a minimum (2 bytes a block), K-types their six-bit numbers as bytes (4 of 144)."""
    raw = stored(dtype, 64, 256)
    held = sum(part.nbytes for part in pack(raw, dtype) if part is not None)
    assert held <= raw.size * (20 / 18 if dtype in ("Q4_0", "Q5_0") else 148 / 144)


def test_a_layer_leaves_matrices_in_their_stacks():
    stacks = {"norm": jnp.arange(6.0).reshape(3, 2), "down": Dense(jnp.ones((3, 4, 2)))}
    layer = of_layer(stacks, jnp.int32(2))
    assert layer["norm"].tolist() == [4.0, 5.0]
    assert layer["down"].stack is stacks["down"]


@pytest.mark.parametrize("dtype", FORMS)
def test_dense_gives_the_weights(dtype):
    raw = stored(dtype, 2, 3, 64)
    np.testing.assert_allclose(dense(pack(raw, dtype)), dequantise(raw, dtype), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", FORMS)
def test_a_stack_is_cut_by_layers(dtype):
    raw = stored(dtype, 2, 64, 32)
    layer = jax.tree.map(lambda part: part[1], pack(raw, dtype))
    np.testing.assert_allclose(dense(layer), dequantise(raw[1], dtype), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", FORMS)
def test_nan_is_found_in_its_layer(dtype):
    """A NaN as float32, and as float16 or bfloat16: a weight or a scale, which Q6_K has at the end of a block."""
    raw = stored(dtype, 3, 4, 32)
    raw[1, 2, -2:] = raw[1, 2, : 4 if dtype == "F32" else 2] = 0xFF
    assert finite(pack(raw, dtype)).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_1"])
def test_a_device_on_the_cpu_takes_the_memory_over(dtype):
    matrix = pack(stored(dtype, 64, 96), dtype)
    placed = jax.device_put(matrix[0], may_alias=True)
    assert placed.unsafe_buffer_pointer() == matrix[0].ctypes.data
