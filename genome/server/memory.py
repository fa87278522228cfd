"""Which models are in memory: one generation at a time for each, and how long each stays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter_ns
from typing import Any

import anyio
from anyio.to_thread import run_sync

from genome.db import header
from genome.envelope import Envelope
from genome.server.catalogue import context_length, described, model_path
from genome.server.errors import StoppingError
from genome.workbench import Workbench


@dataclass(frozen=True)
class Loaded:
    """A model in memory, in the hands of one request.

    Attributes:
        envelope: the model with what belongs to it.
        load_ns: how long it took to read the weights and compile the first step; next to nothing when it was there.
    """

    envelope: Envelope
    load_ns: int


class Models:
    """The models of a workbench that are in memory.

    All methods run in the event loop's thread; reading weights and generating run in worker threads.

    Args:
        workbench: whose models these are; those that are added while the server runs are served too.

    Attributes:
        stopping: whether the server is being shut down.
    """

    def __init__(self, workbench: Workbench) -> None:
        self.workbench = workbench
        self.stopping: Callable[[], bool] = lambda: False
        self._places: dict[str, _Place] = {}

    @asynccontextmanager
    async def use(self, name: str, keep_alive_s: float) -> AsyncIterator[Loaded]:
        """A model for one request alone; others wait. Reads it into memory first, where it is not there.

        Args:
            name: the database's name.
            keep_alive_s: how long the model stays in memory afterwards.

        Raises:
            NotFoundError: there is no such model.
            Error: it cannot be read, or is of an architecture that is not supported.
            StoppingError: the server is being shut down.
        """
        async with self._place(name) as place:
            try:
                begun = perf_counter_ns()
                envelope = await run_sync(place.opened, self.workbench, name)
                yield Loaded(envelope, perf_counter_ns() - begun)
            finally:
                place.rest(keep_alive_s)

    async def unload(self, name: str) -> None:
        """Gives a model's memory back, once nobody uses it.

        Raises:
            NotFoundError: there is no such model.
        """
        async with self._place(name) as place:
            place.close()

    def refuse_when_stopping(self) -> None:
        """Ends a request when the server is being shut down; called between two tokens.

        Raises:
            StoppingError: it is.
        """
        if self.stopping():
            raise StoppingError("the server is being shut down; ask again when it is back")

    def listed(self) -> list[dict[str, Any]]:
        """What /api/ps lists: the models in memory, each with the time at which it leaves."""
        told = []
        for name, place in sorted(self._places.items()):
            if place.envelope is not None:
                about = {k: v for k, v in described(self.workbench, name).items() if k != "modified_at"}
                length = context_length(self.workbench, name)
                expires = place.expires_at.isoformat()
                told.append({**about, "expires_at": expires, "size_vram": 0, "context_length": length})
        return told

    def close(self) -> None:
        """Gives all memory back; no generation runs any more."""
        for place in self._places.values():
            place.close()

    @asynccontextmanager
    async def _place(self, name: str) -> AsyncIterator["_Place"]:
        await run_sync(model_path, self.workbench, name)
        place = self._places.setdefault(name, _Place())
        async with place.lock:
            self.refuse_when_stopping()
            place.wake()
            yield place


class _Place:
    """Where one model is, or was, in memory."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.envelope: Envelope | None = None
        self.expires_at = datetime.now(UTC)
        self._uuid = ""
        self._timer: asyncio.TimerHandle | None = None

    def opened(self, workbench: Workbench, name: str) -> Envelope:
        """The model with its weights read; a database that was built anew in the meantime is opened anew."""
        uuid = header(workbench.path(name))["uuid"]
        if self.envelope is not None and self._uuid == uuid:
            return self.envelope
        self.close()
        envelope = workbench.envelope(name)
        envelope.journal.enabled = False  # nobody reads it here, and it would grow as long as the server runs
        try:
            next(envelope.generate([0], max_tokens=1))  # reads the weights and compiles a step
        except BaseException:
            envelope.close()
            raise
        self.envelope, self._uuid = envelope, uuid
        return envelope

    def wake(self) -> None:
        """While it is used, it does not leave."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def rest(self, seconds: float) -> None:
        """It leaves after so many seconds, unless somebody uses it again."""
        self.expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        if seconds <= 0:
            self.close()
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.close)

    def close(self) -> None:
        self.wake()
        if self.envelope is not None:
            self.envelope.close()
            self.envelope = None
