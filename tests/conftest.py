"""What many tests share: named sources through the real cache, and a default workbench built once a session.

A test that asks for one of these is marked `network` by that, so that `-m "not network"` runs without any. Where
a source cannot be fetched, the test fails: nothing is skipped.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genome.envelope import Envelope
from genome.sources import Source, fetch
from genome.workbench import MODEL, Workbench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what goes through pip: each test that uses the fixture `source`, itself or through another fixture."""
    for item in items:
        if "source" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.network)


@pytest.fixture(scope="session")
def source() -> Callable[[str], Source]:
    """Fetches a named source, once for all runs that share GENOME_CACHE."""
    return fetch


@pytest.fixture(scope="session")
def smollm2_gguf(source) -> Path:
    """SmolLM2's GGUF file."""
    return source("smollm2").path


@pytest.fixture(scope="session")
def llamacpp_vocab(source) -> Path:
    """The folder of llama.cpp's vocabulary files with their test vectors."""
    return source("tokenizer-vectors").path


@pytest.fixture(scope="session")
def test_home(source, tmp_path_factory) -> Path:
    """The folder of the default workbench: GENOME_TEST_HOME, which outlives the session, else a temporary one."""
    told = os.environ.get("GENOME_TEST_HOME")
    return Path(told) if told else tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def smollm2_db(test_home) -> Path:
    """SmolLM2's model database."""
    return Workbench(test_home).pull(MODEL)


@pytest.fixture(scope="session")
def workbench(test_home) -> Workbench:
    """The default workbench with all its databases; tests read it and never write to it."""
    bench = Workbench(test_home)
    bench.build_default()
    return bench


@pytest.fixture(scope="session")
def envelope(workbench) -> Iterator[Envelope]:
    """Everything of the default workbench, open for the session; a test that swaps makes its own."""
    with workbench.envelope() as everything:
        yield everything
