"""The exact sum of a base and a change of low rank, and the search for such a change."""

import math
import os
import struct
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome.errors import DamagedError
from genome.model.deltas.lowrank import DTYPES, added, factors, kept_as, rounded, spacing
from genome.model.quant import dequantise


def values_of(rows: np.ndarray, dtype: str) -> np.ndarray:
    return rows.view("<f8") if dtype == "F64" else dequantise(rows, dtype)


def nearest_bfloat16(value: float) -> int:
    """The bits of the bfloat16 nearest to a number, ties to even, by exact fractions.

    Eight significant bits; the smallest step is 2**-133, that of float32's subnormal numbers cut to 16 bits.
    """
    if not value:
        return 0x8000 if math.copysign(1, value) < 0 else 0
    step = Fraction(2) ** max(math.frexp(value)[1] - 8, -133)
    near = round(Fraction(value) / step) * step
    limit = Fraction(2) ** 128
    if abs(near) >= limit:
        return 0xFF80 if near < 0 else 0x7F80
    return (int(np.float32(float(near)).view(np.uint32)) | (0x80000000 if value < 0 else 0)) >> 16


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_bfloat16_is_rounded_once(value):
    assert rounded(np.array([[value]]), "BF16").view("<u2")[0, 0] == nearest_bfloat16(value)


@given(st.floats(-1.5, 1.5), st.integers(-140, 127), st.sampled_from([0.0, 2.0**-9, -(2.0**-9), 2.0**-60]))
def test_bfloat16_near_ties(value, exponent, more):
    """Halfway between two neighbours of eight bits, and a hair beside it: where rounding twice would go wrong."""
    near = math.ldexp(round(value * 256) / 256 + 2.0**-9 + more, exponent)
    assert rounded(np.array([[near]]), "BF16").view("<u2")[0, 0] == nearest_bfloat16(near)


@given(st.floats(-65519.99, 65519.99))
def test_float16_is_rounded_once(value):
    """Python's struct rounds a float64 to binary16 once, ties to even."""
    assert rounded(np.array([[value]]), "F16").tobytes() == struct.pack("<e", value)


@pytest.mark.parametrize(("dtype", "largest"), [("F16", 65504.0), ("BF16", 3.3895313892515355e38)])
def test_too_large_becomes_infinity(dtype, largest):
    found = values_of(rounded(np.array([[largest, largest * 1.01, -largest * 1.01]]), dtype), dtype)
    assert found.tolist() == [[largest, np.inf, -np.inf]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_a_type_stay_what_they_are(dtype):
    """The bits of numbers that the type holds come back: subnormal ones, both zeros, the largest."""
    bits = {8: "<u8", 4: "<u4", 2: "<u2"}[DTYPES[dtype]]
    raw = np.random.default_rng(1).integers(0, 1 << 8 * DTYPES[dtype], (64, 64), bits, endpoint=False)
    raw = raw.view(np.uint8)
    with np.errstate(invalid="ignore"):  # some are NaN
        values = values_of(raw, dtype).astype(np.float64)
    finite = np.isfinite(values)
    again = rounded(np.where(finite, values, 0.0), dtype)
    assert np.array_equal(again.view(bits)[finite], raw.view(bits)[finite])


def draw(rows: int, columns: int, rank: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A base, and two factors that change it by about a tenth, all float32."""
    random = np.random.default_rng(seed)
    base = random.normal(size=(rows, columns)).astype(np.float32)
    left = random.normal(size=(rows, rank), scale=0.1).astype(np.float32)
    return base, left, random.normal(size=(rank, columns)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["F64", "F32"])
def test_sum_is_that_of_the_definition(dtype):
    """Term by term in Python's own floats, which are float64: the same bits."""
    base, left, right = draw(5, 3, 4)
    wanted = []
    for row, values in enumerate(base):
        for column, value in enumerate(values):
            total = 0.0
            for rank in range(4):
                total += float(left[row, rank]) * float(right[rank, column])
            wanted.append(total * 0.3 + float(value))
    found = added(base, left, right, 0.3, dtype)
    assert found.tobytes() == struct.pack("<15d" if dtype == "F64" else "<15f", *wanted)


def test_rows_do_not_depend_on_their_neighbours():
    base, left, right = draw(97, 576, 8)
    whole = added(base, left, right, 2.0, "F32")
    for first, count in ((0, 1), (31, 5), (96, 1), (40, 57)):
        rows = slice(first, first + count)
        assert np.array_equal(added(base[rows], left[rows], right, 2.0, "F32"), whole[rows])


def test_no_rows_and_no_rank():
    base, left, right = draw(3, 4, 2)
    assert added(base[:0], left[:0], right, 1.0, "F16").shape == (0, 8)
    assert added(base, left[:, :0], right[:0], 1.0, "F32").tobytes() == base.tobytes()


def test_factors_that_do_not_fit():
    base, left, right = draw(3, 4, 2)
    with pytest.raises(DamagedError, match=r"\(3, 2\) and \(4, 2\) give no change of shape \(3, 4\)"):
        added(base, left, right.T, 1.0, "F32")
    with pytest.raises(DamagedError, match="a sum kept as 'Q4_1'; wanted one of F64, F32, F16, BF16"):
        added(base, left, right, 1.0, "Q4_1")


def test_a_quantised_tensor_becomes_float32():
    assert [kept_as(dtype) for dtype in ("Q4_1", "Q8_0", "F16", "BF16", "F32", "F64")] == [
        "F32", "F32", "F16", "BF16", "F32", "F64",
    ]  # fmt: skip


WORKER = """
import hashlib, numpy as np
from genome.model.deltas.lowrank import added
random = np.random.default_rng(7)
base = random.normal(size=(300, 576)).astype(np.float32)
left, right = (random.normal(size=size).astype(np.float32) for size in ((300, 8), (8, 576)))
told = hashlib.sha256()
for dtype in ("F64", "F32", "F16", "BF16"):
    told.update(added(base, left, right, 16 / 8**0.5, dtype))
print(told.hexdigest(), hashlib.sha256(left @ right).hexdigest())
"""


def under(**environment: str) -> list[str]:
    """The digests of the sums and of NumPy's own matrix product, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_the_same_bits_under_every_blas():
    """OpenBLAS chooses a kernel by processor; NPY_DISABLE_CPU_FEATURES takes NumPy's own wide instructions away."""
    kernels = ({"OPENBLAS_CORETYPE": core} for core in ("Prescott", "Nehalem", "Haswell", "SkylakeX"))
    threads = ({"OPENBLAS_NUM_THREADS": count} for count in ("1", "2"))
    narrow = {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX"}
    found = [under(**settings) for settings in (*kernels, *threads, narrow)]
    assert len({sums for sums, _ in found}) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns", "rank"), [(96, 160, 3), (160, 96, 8)])
def test_a_change_of_low_rank_is_found(dtype, rows, columns, rank):
    """Who merges an adapter computes in float32 and rounds: all but a few last bits come out of the factors."""
    base, left, right = draw(rows, columns, rank)
    base = values_of(rounded(base.astype(np.float64), dtype), dtype)
    changed = values_of(rounded((base + left @ right).astype(np.float64), dtype), dtype)
    noise = float(np.sqrt(np.mean(spacing(changed, dtype) ** 2) / 12))
    found = factors(changed.astype(np.float64) - base, noise)
    assert found is not None
    assert [part.shape for part in found] == [(rows, rank), (rank, columns)]
    again = values_of(added(base, *found, 1.0, dtype), dtype)
    assert np.abs(again.astype(np.float64) - changed).max() <= 3 * max(spacing(changed, dtype).max(), 2.0**-22)


def test_spacing_is_the_step_to_the_next_number():
    """1 + 2**-7 follows 1 in bfloat16; 2**-133 is its smallest number."""
    assert spacing(np.array([1.0, -1.0, 0.0]), "BF16").tolist() == [2.0**-7, 2.0**-7, 2.0**-133]
    assert spacing(np.array([1.0, -2.0]), "F16").tolist() == [2.0**-10, 2.0**-9]


@pytest.mark.parametrize("what", ["noise", "nothing", "infinity", "few rows"])
def test_no_low_rank_where_there_is_none(what):
    change = np.random.default_rng(3).normal(size=(64, 64))
    if what == "few rows":
        change = change[:2]
    else:
        change *= {"noise": 1.0, "nothing": 0.0, "infinity": np.inf}[what]
    assert factors(change, 1e-6) is None
