"""Who may ask: programs, and web pages of this machine; no page of another site that a browser has open.

A browser lets any page send requests to 127.0.0.1. It tells where the page is from (`Origin`), and by which name
the server was called (`Host`): a page can point a name of its own at 127.0.0.1. The rules are Ollama's.
"""

import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from genome.server.answer import json_bytes

LOCAL_ORIGIN = (
    r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(:\d+)?|(app|file|tauri|vscode-webview|vscode-file)://.*"
)
_LOCAL_HOST = re.compile(r"(localhost|127(\.\d+){3}|\[::1\]|.+\.(localhost|local|internal))(:\d+)?", re.IGNORECASE)


class Strangers:
    """ASGI middleware that refuses requests of foreign web pages with status 403.

    Args:
        app: what answers the others.
        host: where the server listens; only on a loopback address the name it is called by is checked.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._loopback = app, is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on, or refuses it."""
        if scope["type"] == "http" and (reason := self._refusal(Headers(scope=scope))):
            refusal = Response(json_bytes({"error": reason}), 403, media_type="application/json")
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and not re.fullmatch(LOCAL_ORIGIN, origin):
            return f"pages of {origin!r} may not use this server; only those of this machine may"
        if self._loopback and not _LOCAL_HOST.fullmatch(host):
            return f"this server is not called {host!r}; call it localhost"
        return None


def is_loopback(host: str) -> bool:
    """Whether an address is for this machine only.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    return _LOCAL_HOST.fullmatch(f"[{host}]" if ":" in host else host) is not None
