"""Sizes of memory as people write them."""

import math
import os
import re

from genome.errors import Error, quoted

_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{0,18})?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)


def size_bytes(told: str | int) -> int:
    """A size in bytes.

    Args:
        told: a number of bytes, or a text: a number, then B, kB, MB, GB or TB (powers of 1000), or KiB, MiB, GiB or
            TiB (powers of 1024), in large or small letters.

    Raises:
        Error: it is no size, or not above zero.

    Example:
        >>> size_bytes("200 MB"), size_bytes("1.5GiB"), size_bytes(4096)
        (200000000, 1610612736, 4096)
    """
    found = _SIZE.fullmatch(str(told).strip())
    if found is None or (unit := _UNITS.get(found[2].lower())) is None:
        raise Error(f"{quoted(str(told))} is no size; wanted a number of bytes, or such as '200 MB' or '1.5 GiB'")
    if (size := math.floor(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit) < 1:
        raise Error(f"{quoted(str(told))} is no size; wanted at least one byte")
    return size


def shown_size(size_bytes: int) -> str:
    """A size, rounded up, as `size_bytes` reads it.

    Example:
        >>> shown_size(38_630_707), shown_size(65_536)
        ('38.7 MB', '66 kB')
    """
    if size_bytes < 10**7:
        return f"{-(-size_bytes // 1000)} kB"
    return f"{math.ceil(size_bytes / 10**5) / 10:.1f} MB"


def machine_bytes() -> int | None:
    """How much memory this machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
