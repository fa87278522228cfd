"""The command serve."""

import argparse

from genome.cli.shared import Add, port, workbench
from genome.errors import Error


def add_commands(add: Add) -> None:
    """Adds it to the parser."""
    serve = add("serve", "serve the workbench's models to programs that speak Ollama's API", "genome serve")
    serve.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on, else 127.0.0.1: this machine only"
    )
    serve.add_argument("--port", type=port, default=11434, help="else 11434, Ollama's own; 0 takes a free one")
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
