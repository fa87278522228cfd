"""One answer of a model: its pieces of text, then its counts and measured times."""

from collections.abc import Generator
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from genome.envelope import Envelope
from genome.server.requests import Ask

if TYPE_CHECKING:
    from genome.model.steps import Ended, Step


@dataclass(frozen=True)
class Piece:
    """What one token brings.

    Attributes:
        text: the characters that it completes; often none.
        logprobs: of it and of its alternatives, as the API tells them; empty where nobody asked.
    """

    text: str
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class Generation:
    """Generates the answer to a question; runs in a worker thread.

    Args:
        ask: the question.
        envelope: with the model.
        cancel: ends it, before the next token or piece of the prompt, when another thread sets it.
    """

    def __init__(self, ask: Ask, envelope: Envelope, cancel: Event) -> None:
        self._ask, self._envelope, self._cancel = ask, envelope, cancel
        self._prompt_count = 0
        self._count = 0
        self._ended: Ended | None = None
        self._begun = self._first = self._last = 0

    def pieces(self) -> Generator[Piece, None, None]:
        """One piece for each token.

        Raises:
            Error: before the first piece: the prompt is empty or too long, or an option is out of range.
        """
        ask, envelope = self._ask, self._envelope
        self._begun = perf_counter_ns()
        ids = envelope.chat(ask.messages) if ask.raw is None else envelope.encode(ask.raw)
        self._prompt_count = len(ids)
        self._first = self._last = self._begun
        for step in envelope.generate(ids, cancel=self._cancel, **ask.sampling):
            self._last = perf_counter_ns()
            if not self._count:
                self._first = self._last
            self._count, self._ended = self._count + 1, step.ended
            yield Piece(step.text, [self._logprobs(step)] if ask.logprobs else [])

    def summary(self) -> dict[str, Any]:
        """Why the answer ended, the number of tokens of prompt and answer, and nanoseconds for each."""
        return {
            "done_reason": "stop" if self._ended in ("end", "stop", "grammar") else "length",
            "prompt_eval_count": self._prompt_count,
            "prompt_eval_duration": self._first - self._begun,
            "eval_count": self._count,
            "eval_duration": self._last - self._first,
        }

    def _logprobs(self, step: "Step") -> dict[str, Any]:
        others = [self._logprob(other.token, other.logprob) for other in step.alternatives]
        return self._logprob(step.token, step.logprob) | ({"top_logprobs": others} if others else {})

    def _logprob(self, token: int, logprob: float) -> dict[str, Any]:
        said = self._envelope.tokenizer.bytes(token)
        return {"token": said.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(said)}
