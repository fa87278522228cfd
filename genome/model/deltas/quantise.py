"""Numbers to quantised blocks of 32: the simple formats of ggml, which need no search for good scales.

Source: ggml's reference quantisers (quantize_row_q8_0_ref and its siblings, ggml-quants.c).
"""

from collections.abc import Callable

import numpy as np

_BLOCK = 32


def quantise(values: np.ndarray, dtype: str) -> np.ndarray:
    """Rows of weights as stored bytes.

    Args:
        values: float32, shape (rows, columns); columns a multiple of 32.
        dtype: one of `FORMATS`: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.

    Returns:
        uint8, shape (rows, row_bytes).

    Example:
        >>> row = quantise(np.arange(-127.0, 129.0, 8.0, dtype=np.float32)[None], "Q8_0")
        >>> row.shape, row[:, :2].view(np.float16).tolist(), row.view(np.int8)[0, 2:5].tolist()
        ((1, 34), [[1.0]], [-127, -119, -111])
    """
    blocks = values.astype(np.float32, copy=False).reshape(-1, _BLOCK)
    return FORMATS[dtype](blocks).reshape(len(values), -1)


def _inverse(scale: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def _half(scale: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return scale.astype("<f2").view(np.uint8)


def _nibbles(levels: np.ndarray) -> np.ndarray:
    """32 numbers below 16 as 16 bytes: the first half low, the second half high."""
    return levels[:, :16] & 15 | (levels[:, 16:] & 15) << 4


def _fifth_bits(levels: np.ndarray) -> np.ndarray:
    return np.packbits(levels >> 4, axis=-1, bitorder="little")


def _levels(scaled: np.ndarray, most: int) -> np.ndarray:
    """Cut to whole numbers, as C's cast does."""
    return np.trunc(np.nan_to_num(scaled)).clip(0, most).astype(np.uint8)


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    scaled = blocks * _inverse(scale)
    levels = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))  # halves away from zero
    return np.concatenate([_half(scale), levels.astype(np.int8).view(np.uint8)], axis=1)


def _around_zero(blocks: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and levels 0..2 half - 1, where the number of the largest magnitude becomes level 0."""
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = largest / np.float32(-half)
    return scale, _levels(blocks * _inverse(scale) + np.float32(half + 0.5), 2 * half - 1)


def _from_least(blocks: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale, least number and levels 0..most between the least and the largest number."""
    least = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - least) / np.float32(most)
    return scale, least, _levels((blocks - least) * _inverse(scale) + np.float32(0.5), most)


def _q4_0(blocks: np.ndarray) -> np.ndarray:
    scale, levels = _around_zero(blocks, 8)
    return np.concatenate([_half(scale), _nibbles(levels)], axis=1)


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    scale, least, levels = _from_least(blocks, 15)
    return np.concatenate([_half(scale), _half(least), _nibbles(levels)], axis=1)


def _q5_0(blocks: np.ndarray) -> np.ndarray:
    scale, levels = _around_zero(blocks, 16)
    return np.concatenate([_half(scale), _fifth_bits(levels), _nibbles(levels)], axis=1)


def _q5_1(blocks: np.ndarray) -> np.ndarray:
    scale, least, levels = _from_least(blocks, 31)
    return np.concatenate([_half(scale), _half(least), _fifth_bits(levels), _nibbles(levels)], axis=1)


FORMATS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1,
}  # fmt: skip
"""From float32 (blocks, 32) to uint8 (blocks, bytes of a block), by type."""
