"""The states of a model: as it was built, and what each delta over it, or applied to it, leads to."""

import hashlib
from collections.abc import Mapping

from genome.errors import Error


def state_over(state: str, under: str, delta: Mapping[str, str]) -> str:
    """The checksum of the state that a delta leads to.

    Args:
        state: the checksum of what it is to lie over.
        under: what that is called.
        delta: the delta's `meta`; a merged delta says there itself what it leads to.

    Raises:
        Error: it was made for another state.
    """
    base, told = delta.get("base_checksum", ""), delta.get("result_checksum")
    result = told or hashlib.sha256(f"{base}:{delta['checksum']}".encode()).hexdigest()
    if result == state:
        raise Error(f"{delta['name']} is in {under} already; it is laid over or applied once")
    if base != state:
        raise Error(
            f"{delta['name']} was made for {delta.get('base_name')} in the state {base[:12]}…, not for {under} "
            f"({state[:12]}…); name its own base, and deltas in the order in which they were made: "
            "one over another is made with --over (over=)"
        )
    return result
