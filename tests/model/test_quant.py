"""Dequantisation against ggml's own Python package, and the two array libraries against each other."""

import gguf
import jax
import numpy as np
import pytest

from genome.errors import Error
from genome.model.formats.gguf_form import TENSOR_TYPES
from genome.model.quant import dequantise

COMPUTED = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]


def random_rows(dtype: str, rows: int = 3, columns: int = 512) -> np.ndarray:
    """Stored rows with random bits; scales are kept finite, so that sums can be compared."""
    _, elements, size = next(t for t in TENSOR_TYPES.values() if t[0] == dtype)
    draw = np.random.default_rng(65)
    if dtype in ("F32", "F16"):
        return draw.normal(size=(rows, columns)).astype(dtype.replace("F", "float")).view(np.uint8)
    blocks = draw.integers(0, 256, (rows, columns // elements, size), dtype=np.uint8)
    halves = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q6_K": [208], "BF16": [0]}
    for at in halves.get(dtype, [0, 2]):
        blocks[..., at + 1] &= 0x3F  # the exponent's top bit: no infinity, no NaN
    return blocks.reshape(rows, -1)


@pytest.mark.parametrize("dtype", COMPUTED)
def test_equals_ggml(dtype):
    raw = random_rows(dtype)
    wanted = gguf.dequantize(raw, gguf.GGMLQuantizationType[dtype]).reshape(3, -1)
    np.testing.assert_array_equal(dequantise(raw, dtype), wanted)


@pytest.mark.parametrize("dtype", COMPUTED)
def test_jax_equals_numpy(dtype):
    """Not bit for bit: XLA may fuse a product and a sum, and then rounds once instead of twice."""
    raw = random_rows(dtype)
    found = jax.jit(dequantise, static_argnums=1)(raw, dtype)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dequantise(raw, dtype), rtol=1e-6, atol=1e-6)


def test_rows_may_stand_in_any_shape():
    raw = random_rows("Q4_1", rows=6)
    np.testing.assert_array_equal(dequantise(raw.reshape(2, 3, -1), "Q4_1").reshape(6, -1), dequantise(raw, "Q4_1"))


def test_unknown_type_is_named():
    with pytest.raises(Error, match=r"IQ2_S cannot be computed with; wanted one of F32"):
        dequantise(np.zeros((1, 82), np.uint8), "IQ2_S")


def test_tensor_types_are_ggmls():
    found = {number: (name, elements, size) for number, (name, elements, size) in TENSOR_TYPES.items()}
    wanted = {int(t): (t.name, *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGML_QUANT_SIZES}
    given_up = {
        31,
        32,
        33,
        36,
        37,
        38,
    }  # ggml.h keeps these numbers free: support is removed
    assert {number: told for number, told in found.items() if number not in given_up} == wanted
    assert given_up <= found.keys()
