"""What many tests share: named sources through the real cache, and a default workbench built once."""

from collections.abc import Callable

import pytest

from genome.sources import Source, fetch


@pytest.fixture(scope="session")
def source() -> Callable[[str], Source]:
    """Fetches a named source, once for all runs that share GENOME_CACHE; fails where there is no way to get it."""
    return fetch
