"""The command serve."""

import argparse

from genome.cli.shared import Add, workbench
from genome.errors import Error


def add_commands(add: Add) -> None:
    """Adds it to the parser."""
    serve = add("serve", "serve the workbench's models to programs that speak Ollama's API", "genome serve")
    serve.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on, else 127.0.0.1: this machine only"
    )
    serve.add_argument("--port", type=_port, default=11434, help="else 11434, Ollama's own; 0 takes a free one")
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> None:
    try:
        from genome.server import serve
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("anyio", "starlette", "uvicorn"):
            raise
        raise Error(f"{missing} is not installed; `pip install 'token-genome[serve]'` brings it") from error
    serve(workbench(arguments), arguments.host, arguments.port)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 0 to 65535, got {text!r}")
    return int(text)
