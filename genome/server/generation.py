"""One answer of a model: its pieces of text, then its counts and measured times."""

from collections.abc import Generator
from time import perf_counter_ns
from typing import Any

from genome.envelope import Envelope
from genome.server.requests import Ask


class Generation:
    """Generates the answer to a question; runs in a worker thread.

    Args:
        ask: the question.
        envelope: with the model.
    """

    def __init__(self, ask: Ask, envelope: Envelope) -> None:
        self._ask, self._envelope = ask, envelope
        self._prompt_count = 0
        self._tokens: list[int] = []
        self._begun = self._first = self._last = 0

    def pieces(self) -> Generator[str, None, None]:
        """The text that each token completes; often empty, and one for each token.

        Raises:
            Error: before the first piece: the prompt is empty or too long, or an option is out of range.
        """
        ask, envelope = self._ask, self._envelope
        self._begun = perf_counter_ns()
        ids = envelope.chat(ask.messages) if ask.raw is None else envelope.encode(ask.raw)
        self._prompt_count = len(ids)
        self._first = self._last = self._begun
        for step in envelope.generate(ids, **ask.sampling):
            self._last = perf_counter_ns()
            if not self._tokens:
                self._first = self._last
            self._tokens.append(step.token)
            yield step.text

    def summary(self) -> dict[str, Any]:
        """Why the answer ended, the number of tokens of prompt and answer, and nanoseconds for each."""
        return {
            "done_reason": "stop" if self._stopped() else "length",
            "prompt_eval_count": self._prompt_count,
            "prompt_eval_duration": self._first - self._begun,
            "eval_count": len(self._tokens),
            "eval_duration": self._last - self._first,
        }

    def _stopped(self) -> bool:
        """An end token or a stop string ended it, not the limit or a full context."""
        tokenizer = self._envelope.tokenizer
        if self._tokens and self._tokens[-1] in tokenizer.ends:
            return True
        text = tokenizer.decode(self._tokens, special=False)
        return any(stop in text for stop in self._ask.sampling["stop"])
