"""From scores to steps: the tokens of one answer, their text, and why it ends."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from genome.errors import Error
from genome.ids import GenomeID
from genome.model.grammar import Constraint
from genome.model.options import Settings
from genome.model.sampling import Sampler, log_probabilities, most_probable
from genome.model.tokenizer import Tokenizer

Ended = Literal["end", "stop", "grammar", "length"]
"""Why an answer ended: an end token; a stop string; a grammar that lets nothing more come; `max_tokens`, or a full
context. An answer that is cancelled has no last step."""


@dataclass(frozen=True)
class Alternative:
    """A token that could have come.

    Attributes:
        token: its number.
        text: its characters, special tokens shown.
        logprob: natural logarithm of the probability that the model gave it, before temperature and cuts.
    """

    token: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Step:
    """One generated token.

    Attributes:
        token: its number.
        text: the characters that this step completes; often none, inside a character or a possible stop string.
        id: its genome ID, if the activity has a genome of this vocabulary.
        logprob: natural logarithm of the probability that the model gave it, before grammar, temperature and cuts.
        alternatives: the most probable tokens, as many as were asked for, whether or not the chosen one is there.
        ended: of the last step why it is the last: `end` (an end token), `stop` (a stop string), `grammar` (nothing
            more may come), `length` (`max_tokens`, or a full context); of all others None.
        hidden: where it was asked for, the states that the token was predicted from, which are those of the token
            before it: float32 (layers + 1, width), as `LanguageModel.hidden` numbers them.
    """

    token: int
    text: str
    id: GenomeID | None
    logprob: float
    alternatives: tuple[Alternative, ...] = ()
    ended: Ended | None = None
    hidden: np.ndarray | None = field(default=None, compare=False, repr=False)


class Answer:
    """Makes the steps of one answer.

    Args:
        name: the model's, for errors.
        tokenizer: of the model.
        identify: the genome ID of a token number, or None.
        settings: how tokens are chosen.
        prompt: the tokens before the answer.
        tokens: how many tokens the model knows.
        most: at most so many steps, at least one.
        constraint: a grammar that the answer keeps to.

    Raises:
        Error: a bias for a token that is not there.

    Attributes:
        ended: why, once it has.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        identify: Callable[[int], GenomeID | None],
        settings: Settings,
        prompt: Sequence[int],
        tokens: int,
        most: int,
        constraint: Constraint | None,
    ) -> None:
        self._name, self._tokenizer, self._identify = name, tokenizer, identify
        self._alternatives, self._left = settings.alternatives, most
        self._read = len(prompt)
        self._sampler = Sampler(settings, prompt, tokens, constraint)
        ends = frozenset() if settings.past_end else tokenizer.ends
        self._text, self._constraint = _Text(tokenizer, settings.stops, ends), constraint
        self.ended: Ended | None = None

    def step(self, logits: Any, best: Any, logprob: Any, hidden: np.ndarray | None = None) -> Step:
        """The next step.

        Args:
            logits: scores of all tokens (V,), on any device; looked at only where they are needed.
            best: the most probable token.
            logprob: its log probability.
            hidden: the states that the scores are from.

        Raises:
            Error: the scores are not finite, or no token may come.
        """
        token, chance = int(best), float(logprob)
        if not math.isfinite(chance):
            raise Error(
                f"{self._name} gave no finite scores after {self._read} tokens; `genome verify` looks for damage"
            )
        if not self._sampler.greedy:
            scores = np.asarray(logits)
            token = self._sampler.next(scores)
            chance = float(log_probabilities(scores)[token])
        self._sampler.told(token)
        self._read, self._left = self._read + 1, self._left - 1
        others = self._most_probable(logits)
        complete = self._constraint is not None and self._constraint.ended
        shown, self.ended = self._text.feed(token, last=complete or self._left == 0)
        if self.ended == "length" and complete:
            self.ended = "grammar"
        return Step(token, shown, self._identify(token), chance, others, self.ended, hidden)

    def _most_probable(self, logits: Any) -> tuple[Alternative, ...]:
        """As many alternatives as were asked for."""
        if self._alternatives == 0:
            return ()
        scores = np.asarray(logits)
        chances = log_probabilities(scores)
        return tuple(
            Alternative(token, self._tokenizer.decode([token], begins=False), float(chances[token]))
            for token in most_probable(scores, self._alternatives)
        )


class _Text:
    """The characters of a stream of tokens until its end; holds back what may become a stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], ends: frozenset[int]) -> None:
        self._stream = tokenizer.streamer(special=False)
        self._stops, self._ends = stops, ends
        self._held = ""

    def feed(self, token: int, *, last: bool) -> tuple[str, Ended | None]:
        """What can be shown after this token, all of it when it is the last one; why it is the last one."""
        ended: Ended | None = "end" if token in self._ends else "length" if last else None
        self._held += self._stream.feed(token) + (self._stream.finish() if ended else "")
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            return self._held[: min(found)], "stop"
        keep = 0 if ended else max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, ended


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a stop string."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
