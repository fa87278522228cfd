"""Sizes of memory as people write them."""

import pytest

from genome.errors import Error
from genome.sizes import shown_size, size_bytes


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("200 MB", 200_000_000), ("200MB", 200_000_000), (" 200 mb ", 200_000_000), ("200 MiB", 200 << 20),
        ("1.5 GB", 1_500_000_000), ("1.5GiB", 3 << 29), ("512", 512), (512, 512), ("7 B", 7), ("3 kB", 3000),
        ("2 TiB", 2 << 40), ("0.5 MB", 500_000),
    ],
)  # fmt: skip
def test_sizes(told: str | int, wanted: int):
    assert size_bytes(told) == wanted


@pytest.mark.parametrize(
    "told", ["", "MB", "much", "1,5 GB", "-1 MB", -1, 0, "0 MB", "0.1", "1e9", "5 PB", "1 M B", "²", "9" * 30]
)
def test_what_is_no_size_is_one_line(told: str | int):
    with pytest.raises(Error, match="is no size; wanted") as caught:
        size_bytes(told)
    assert "\n" not in str(caught.value)


def test_what_is_shown_is_enough():
    for size in (1, 99_999, 100_001, 38_630_707):
        assert size <= size_bytes(shown_size(size)) <= size + 100_000
