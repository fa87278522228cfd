"""Memory that the C library holds back after it was freed, and gives back to the system when asked."""

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Gives freed memory back to the system: what compiling and loading needed for a moment is tens of megabytes.

    Where the C library is not glibc nothing happens.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
