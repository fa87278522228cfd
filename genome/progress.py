"""How a long task tells how far it is; whoever calls decides how that is shown."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then by a long task.

    Args:
        stage: what is being done, the same text until that stage ends ("smollm2: download").
        done: how much of it, in `unit`.
        total: how much there is; 0 where nobody knows.
        unit: "B" for bytes, else a plural noun ("tensors").
    """

    def __call__(self, stage: str, done: int, total: int, unit: str = "B") -> None:
        """Tells that `done` of `total` units of `stage` are finished."""


def silent(stage: str, done: int, total: int, unit: str = "B") -> None:
    """Shows nothing."""
