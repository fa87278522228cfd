"""The response to /api/generate and /api/chat: lines as they come, or one object when the answer is complete."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Event
from time import perf_counter_ns
from typing import Any

import anyio
from anyio.to_thread import run_sync
from starlette.types import Receive, Scope, Send

from genome.errors import Error
from genome.server.errors import status_of
from genome.server.generation import Generation
from genome.server.memory import Models
from genome.server.requests import Ask

JSON_TYPE, LINES_TYPE = b"application/json; charset=utf-8", b"application/x-ndjson"


def json_bytes(value: Any) -> bytes:
    """One line of JSON in UTF-8; a lone surrogate, which UTF-8 lacks, stands there as JSON's own escape."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")


class Answer:
    """An ASGI application that answers one question.

    It holds the model while it generates. A client that goes away ends the generation between two tokens or two
    pieces of its prompt, or the waiting for its turn. What goes wrong before the first piece has its own HTTP
    status; later it is a last line.

    Args:
        models: those in memory.
        ask: the question.
    """

    def __init__(self, models: Models, ask: Ask) -> None:
        self._models, self._ask = models, ask
        self._cancel = Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, until the client goes away."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_gone, receive, tasks.cancel_scope)
            await self._answer(_Writer(send, lines=self._ask.stream))
            tasks.cancel_scope.cancel()

    async def _answer(self, out: "_Writer") -> None:
        try:
            if self._ask.empty:
                last = await self._load_or_unload()
            else:
                last = await self._generate(out)
        except Error as error:
            await out.fail(error)
        else:
            await out.end(last)

    async def _cancel_when_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._cancel.set()  # the worker thread, which a scope does not reach
        scope.cancel()

    async def _load_or_unload(self) -> dict[str, Any]:
        ask = self._ask
        if ask.keep_alive_s == 0:
            await self._models.unload(ask.model)
            return self._line("", done=True, done_reason="unload")
        async with self._models.use(ask.model, ask.keep_alive_s):
            return self._line("", done=True, done_reason="load")

    async def _generate(self, out: "_Writer") -> dict[str, Any]:
        """Sends the pieces, if they are wanted, and gives the last object."""
        ask, begun = self._ask, perf_counter_ns()
        text, logprobs = "", []
        async with self._models.use(ask.model, ask.keep_alive_s) as loaded:
            generation = Generation(ask, loaded.envelope, self._cancel)
            pieces = generation.pieces()
            try:
                while (piece := await run_sync(next, pieces, None)) is not None:
                    self._models.refuse_when_stopping()
                    text, logprobs = text + piece.text, logprobs + piece.logprobs
                    if ask.stream and text:
                        await out.line(self._line(text, logprobs, done=False))
                        text, logprobs = "", []
            finally:
                pieces.close()
            summary = generation.summary()
        reason = summary.pop("done_reason")
        times = {"total_duration": perf_counter_ns() - begun, "load_duration": loaded.load_ns, **summary}
        return self._line(text, logprobs, done=True, done_reason=reason, **times)

    def _line(self, text: str, logprobs: Sequence[dict[str, Any]] = (), **facts: Any) -> dict[str, Any]:
        said: dict[str, Any] = {"response": text}
        if self._ask.chat:
            said = {"message": {"role": "assistant", "content": text}}
        if logprobs:
            said["logprobs"] = logprobs
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"model": self._ask.told_model, "created_at": now, **said, **facts}


class _Writer:
    """Writes a response; its head goes out with the first line."""

    def __init__(self, send: Send, *, lines: bool) -> None:
        self._send, self._lines = send, lines
        self._begun = False

    async def line(self, value: dict[str, Any]) -> None:
        await self._write(value, 200, more=True)

    async def end(self, value: dict[str, Any]) -> None:
        await self._write(value, 200, more=False)

    async def fail(self, error: Error) -> None:
        await self._write({"error": str(error)}, status_of(error), more=False)

    async def _write(self, value: dict[str, Any], status: int, *, more: bool) -> None:
        if not self._begun:
            self._begun = True
            kind = LINES_TYPE if self._lines and status == 200 else JSON_TYPE
            headers = [(b"content-type", kind)]
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
        end = b"\n" if self._lines else b""
        await self._send({"type": "http.response.body", "body": json_bytes(value) + end, "more_body": more})
