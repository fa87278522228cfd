"""`genome serve`: how it starts, what it refuses, how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from genome.cli import main


def refusal(capsys, *arguments: str) -> str:
    try:
        status = main(["serve", *arguments])
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    assert printed.err.startswith("genome: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


def test_a_port_in_use(capsys, taken):
    assert f"port {taken} of 127.0.0.1 is in use" in refusal(capsys, "--port", taken)


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_a_port_that_is_none(capsys, port):
    assert "wanted a whole number from 0 to 65535" in refusal(capsys, "--port", port)


def test_an_address_of_another_machine(capsys):
    """192.0.2.0/24 is for documentation (RFC 5737): no machine has it."""
    assert "192.0.2.1" in refusal(capsys, "--host", "192.0.2.1", "--port", "0")
    assert "no address" in refusal(capsys, "--host", "no such host", "--port", "0")


@pytest.mark.parametrize("library", ["uvicorn", "starlette"])
def test_without_the_extra(capsys, monkeypatch, library):
    for name in [library, *sys.modules]:
        if name.startswith("genome.server"):
            monkeypatch.delitem(sys.modules, name)
        elif name.partition(".")[0] == library:
            monkeypatch.setitem(sys.modules, name, None)
    assert f"{library} is not installed; `pip install 'token-genome[serve]'` brings it" in refusal(capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes to a whole console there")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_starts_in_an_empty_workbench_and_ends_with_ctrl_c(tmp_path, host):
    if host == "::1" and not socket.has_dualstack_ipv6():
        host = "localhost"
    command = [sys.executable, "-m", "genome", "serve", "--host", host, "--port", "0"]
    environment = {**os.environ, "GENOME_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as server:
        try:
            line = server.stdout.readline()
            assert "`genome pull smollm2`" in line
            place = re.search(r"http://\S+", line)[0]
            assert httpx.get(f"{place}/api/tags").json() == {"models": []}
            told = httpx.post(f"{place}/api/generate", json={"model": "smollm2", "prompt": "x"})
            assert told.status_code == 404
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=30)
        finally:
            server.kill()
    assert (server.returncode, out, err) == (0, "", "")
    assert not (tmp_path / "home").exists()
