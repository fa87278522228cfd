"""Quantised blocks against ggml's own package."""

import gguf
import numpy as np
import pytest

from genome.model.deltas.quantise import FORMATS, quantise
from genome.model.quant import dequantise


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_same_bytes_as_ggmls(dtype):
    random = np.random.default_rng(65)
    values = random.normal(size=(400, 64), scale=random.choice([1e-6, 0.05, 1, 300], (400, 1))).astype(np.float32)
    values[7] = 0
    values[8] = 2.5
    values[9, ::2] = -values[9, 1::2]
    wanted = gguf.quantize(values, gguf.GGMLQuantizationType[dtype])
    np.testing.assert_array_equal(quantise(values, dtype), wanted)


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_was_quantised_before_keeps_close_to_its_values(dtype):
    """A level is at most 1 / 7.5 of the largest number away (4 bits), and 1 / 127 (8 bits)."""
    values = np.random.default_rng(1).uniform(-1, 1, (50, 32)).astype(np.float32)
    found = dequantise(quantise(values, dtype), dtype)
    assert np.abs(found - values).max() < {"8": 1 / 127, "4": 1 / 7, "5": 1 / 15}[dtype[1]]
