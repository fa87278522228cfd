"""A server that really runs, in a thread of the tests' process, on a free port of 127.0.0.1."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from ollama import Client

from genome.server import listener, server_of
from genome.workbench import Workbench


@contextmanager
def _running(workbench: Workbench) -> Iterator[SimpleNamespace]:
    """Its address, and `stop()`: what Ctrl-C does."""
    with listener("127.0.0.1", 0) as listening:
        server = server_of(workbench)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield SimpleNamespace(url=url, stop=lambda: setattr(server, "should_exit", True), thread=thread)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def running() -> Callable:
    """Runs a server of a workbench as long as a block lasts."""
    return _running


@pytest.fixture(scope="session")
def url(workbench) -> Iterator[str]:
    """The address of a server of the default workbench."""
    with _running(workbench) as server:
        yield server.url


@pytest.fixture
def client(url) -> Iterator[Client]:
    """Ollama's own client."""
    with Client(url) as official:
        yield official


@pytest.fixture
def http(url) -> Iterator[httpx.Client]:
    """A client that sends what it is told, wrong things too."""
    with httpx.Client(base_url=url, timeout=60) as plain:
        yield plain


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds, ten seconds at most."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait
