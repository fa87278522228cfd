"""Errors that only a server has, and the HTTP status of every error."""

from genome.errors import DamagedError, Error, NotFoundError


class NotServedError(Error):
    """An endpoint of Ollama's that this server does not have."""


class StoppingError(Error):
    """The server is being shut down."""


_STATUS = {NotServedError: 501, StoppingError: 503, NotFoundError: 404, DamagedError: 500}


def status_of(error: Error) -> int:
    """The HTTP status of an error: 400, the asker's mistake, where it is none of a special kind."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
