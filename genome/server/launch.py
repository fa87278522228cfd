"""Opens the port and runs the server until Ctrl-C."""

import errno
import socket
from contextlib import suppress

import uvicorn

from genome.errors import Error
from genome.server.app import application
from genome.server.catalogue import models as catalogue
from genome.server.memory import Models
from genome.workbench import Workbench

HOST, PORT = "127.0.0.1", 11434
GRACE_S = 10


def serve(workbench: Workbench, host: str = HOST, port: int = PORT) -> None:
    """Serves a workbench's models until Ctrl-C, which ends what is being generated between two tokens.

    Args:
        workbench: models that are added while it runs are served too.
        host: the address to listen on.
        port: 0 takes a free one; the first line printed says which.

    Raises:
        Error: the port is in use, or the address is not one of this machine.
    """
    with listener(host, port) as listening:
        server = server_of(workbench, host)
        place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        names = ", ".join(model["name"] for model in catalogue(workbench))
        what = names or "no model yet (`genome pull smollm2` makes one)"
        print(f"Ollama's API on {place} with {what}; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):  # uvicorn has shut down by then, and raises it again
            server.run(sockets=[listening])


def server_of(workbench: Workbench, host: str = HOST) -> uvicorn.Server:
    """The server, ready to run on a socket that listens."""
    models = Models(workbench)
    config = uvicorn.Config(
        application(models, host), lifespan="on", log_config=None, access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    server = uvicorn.Server(config)
    models.stopping = lambda: server.should_exit
    return server


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        Error: the port is in use, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise Error(f"{host!r} is no address ({error.strerror}); wanted one of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Error(
                f"port {port} of {host} is in use, perhaps by Ollama or another `genome serve`; "
                "choose another with --port"
            ) from error
        raise Error(f"port {port} of {host} cannot be opened: {error.strerror}; see --host and --port") from error
