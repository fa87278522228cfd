"""The endpoints of Ollama's API (docs/api.md of ollama/ollama) over a workbench."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from genome import __version__
from genome.errors import Error
from genome.server.answer import Answer, json_bytes
from genome.server.catalogue import models as catalogue
from genome.server.catalogue import shown
from genome.server.embedding import embedded
from genome.server.errors import NotServedError, status_of
from genome.server.memory import Models
from genome.server.requests import (
    Ask,
    EmbedAsk,
    chat_ask,
    embed_ask,
    embeddings_ask,
    generate_ask,
    json_object,
    model_name,
)
from genome.server.strangers import LOCAL_ORIGIN, Strangers

_READS = "this server changes no model"
NOT_SERVED = {
    "pull": f"{_READS}; `genome pull` makes one from a named source or a GGUF file, and it is served at once",
    "create": f"{_READS}; `genome pull` makes one from a named source or a GGUF file, and it is served at once",
    "push": f"{_READS} and sends none away",
    "copy": _READS,
    "delete": _READS,
    "blobs/{digest}": f"{_READS} and keeps no files",
}


def application(models: Models, host: str = "127.0.0.1") -> Starlette:
    """The server as an ASGI application.

    Args:
        models: of the workbench that it serves; closed when the server stops.
        host: where it listens, which decides who may ask.
    """

    def lines_of(read: Callable[[bytes], Ask]) -> Callable:
        async def endpoint(request: Request) -> Answer:
            return Answer(models, read(await request.body()))

        return endpoint

    def tags(request: Request) -> Response:
        return _json({"models": catalogue(models.workbench)})

    def running(request: Request) -> Response:
        return _json({"models": models.listed()})

    async def show(request: Request) -> Response:
        name, _ = model_name(json_object(await request.body()))
        return _json(await run_sync(shown, models.workbench, name))

    def vectors_of(read: Callable[[bytes], EmbedAsk]) -> Callable:
        async def endpoint(request: Request) -> Response:
            return _json(await embedded(models, read(await request.body())))

        return endpoint

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        yield
        models.close()

    routes = [
        Route("/", lambda request: PlainTextResponse("Ollama is running")),
        Route("/api/version", lambda request: _json({"version": __version__})),
        Route("/api/tags", tags),
        Route("/api/ps", running),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/generate", lines_of(generate_ask), methods=["POST"]),
        Route("/api/chat", lines_of(chat_ask), methods=["POST"]),
        Route("/api/embed", vectors_of(embed_ask), methods=["POST"]),
        Route("/api/embeddings", vectors_of(embeddings_ask), methods=["POST"]),
        *(
            Route(f"/api/{name}", _not_served(line), methods=["POST", "DELETE"])
            for name, line in NOT_SERVED.items()
        ),
    ]
    guards = [
        Middleware(Strangers, host=host),
        Middleware(CORSMiddleware, allow_origin_regex=LOCAL_ORIGIN, allow_methods=["*"], allow_headers=["*"]),
    ]
    handlers = {Error: _refused, HTTPException: _no_endpoint, Exception: _failed}
    return Starlette(routes=routes, middleware=guards, exception_handlers=handlers, lifespan=closing)


def _json(value: object, status: int = 200) -> Response:
    return Response(json_bytes(value), status, media_type="application/json; charset=utf-8")


def _not_served(line: str) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        raise NotServedError(line)

    return endpoint


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Error)
    return _json({"error": str(error)}, status_of(error))


def _no_endpoint(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": f"{request.method} {request.url.path}: {error.detail}"}, error.status_code)


def _failed(request: Request, error: Exception) -> Response:
    """What nobody foresaw; the traceback is in the server's own terminal."""
    return _json({"error": "the server failed; its terminal says why"}, 500)
