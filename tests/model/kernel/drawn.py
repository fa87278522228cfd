"""Weights of the tiny models that tests/reference/architectures.py showed to transformers."""

import numpy as np


def drawn(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Random float32 tensors of these shapes, large enough for every part to matter; the same ones each time.

    `RandomState` is frozen: its numbers are those of every version of NumPy.
    """
    random = np.random.RandomState(65)
    found = {}
    for name, shape in shapes.items():
        values = random.standard_normal(shape)
        if len(shape) == 1:
            values = values * 0.5 + ("norm" in name)
        else:
            values = values * (1.0 if "embed" in name else 1.5 / shape[-1] ** 0.5)
        found[name] = values.astype(np.float32)
    return found
