"""What may be asked of a generation, and in which ranges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TypedDict

from genome.errors import Error


class Options(TypedDict, total=False):
    """The options of `generate`; what is left out has the value that stands first in its line, behind the colon.

    Scores are changed in this order: bias, penalties, temperature. Then tokens are cut off: `top_k`, `top_p`,
    `min_p`.

    Attributes:
        max_tokens: 128. At most so many steps.
        temperature: 0. Scores are divided by it before one is drawn; 0 takes the most probable token each time.
        top_k: 0. Draw from the k most probable tokens; 0 from all.
        top_p: 1. Draw from the fewest tokens that together are so probable (arXiv 1904.09751).
        min_p: 0. Draw from tokens at least this share as probable as the first (arXiv 2407.01082).
        repetition_penalty: 1. The score of a token that was there is divided by it, or multiplied where it is below
            zero (arXiv 1909.05858); 1 changes nothing.
        presence_penalty: 0. Taken off the score of a token that was there.
        frequency_penalty: 0. Taken off the score of a token for each time that it was there.
        penalty_window: None. The penalties look at so many of the last tokens of prompt and answer; None at all.
        logit_bias: none. A number for a token, added to its score; minus infinity bans it.
        seed: None. The same seed gives the same text on the same machine; None a new one each time.
        stop: none. Texts at which to end; neither they nor what follows is given.
        past_end: False. Go on behind end tokens.
        alternatives: 0. Tell with each step so many of the most probable tokens.
        cancel: None. When another thread sets it, the generation ends before its next token, or before the next
            piece of a long prompt; what it gave is given.
    """

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    penalty_window: int | None
    logit_bias: Mapping[int, float]
    seed: int | None
    stop: str | Sequence[str]
    past_end: bool
    alternatives: int
    cancel: Event | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`Options`, complete and within their ranges.

    Raises:
        Error: a value is out of its range; it is named.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_window: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: str | Sequence[str] = ()
    past_end: bool = False
    alternatives: int = 0
    cancel: Event | None = None

    def __post_init__(self) -> None:
        finite, said = math.isfinite, "wanted a finite number"
        for name, good, wanted in (
            ("max_tokens", self.max_tokens >= 0, "wanted 0 or more"),
            ("the temperature", 0 <= self.temperature < math.inf, "wanted 0 (greedy) or a number above"),
            ("top_k", self.top_k >= 0, "wanted 0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "wanted a number above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "wanted a number from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "wanted a number above 0; 1 is none"),
            ("presence_penalty", finite(self.presence_penalty), said),
            ("frequency_penalty", finite(self.frequency_penalty), said),
            ("penalty_window", (self.penalty_window or 0) >= 0, "wanted 0 or more tokens, or None for all"),
            ("alternatives", self.alternatives >= 0, "wanted 0 or more"),
            ("the seed", (self.seed or 0) >= 0, "wanted 0 or more"),
        ):
            if not good:
                raise Error(f"{name} is {getattr(self, name.removeprefix('the '))}; {wanted}")
        for token, bias in self.logit_bias.items():
            if not bias < math.inf:
                raise Error(f"the bias of token {token} is {bias}; wanted a number, or minus infinity to ban it")
        if not all(self.stops):
            raise Error("a stop string is empty; wanted at least one character")

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings; one may be given alone."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked for the end."""
        return self.cancel is not None and self.cancel.is_set()

    @property
    def penalises(self) -> bool:
        """Whether what was there changes what comes."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)
