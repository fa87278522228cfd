"""What may be asked of a generation, and in which ranges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from threading import Event
from typing import Any, Self, TypedDict

from genome.errors import Error, quoted
from genome.sizes import size_bytes

GRAMMARS = ("schema", "regex", "grammar")
"""The options that say what an answer keeps to; one of them at a time."""


class Options(TypedDict, total=False):
    """The options of `generate`; what is left out has the value that stands first in its line, behind the colon.

    Scores are changed in this order: bias, penalties, grammar, temperature. Then tokens are cut off: `top_k`,
    `top_p`, `min_p`.

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
        schema: None. The answer is JSON of this JSON Schema: a mapping, or its text; True for any JSON. It is
            one line, and ends when the JSON is complete. Where `max_tokens` ends it before, it is cut off: the last
            step's `ended` is then `length`. A keyword that is not supported is refused by name.
        regex: None. The whole answer matches this regular expression (syntax of Rust's `regex`).
        grammar: None. The whole answer is of this context-free grammar, in Lark's or llama.cpp's (GBNF) notation.
        alternatives: 0. Tell with each step so many of the most probable tokens.
        hidden: False. Tell with each step the hidden states of all layers that its token was predicted from.
        reuse: True. What an earlier call has read of the same beginning is not read again; scores then differ in
            rounding only. False reads all of it.
        memory: None. A budget for weights, cache and buffers together, such as "200 MB": weights that do not fit
            are read again for each token; the tokens are the same. None: all weights are read and stay.
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
    schema: Mapping[str, Any] | str | bool | None
    regex: str | None
    grammar: str | None
    alternatives: int
    hidden: bool
    reuse: bool
    memory: str | int | None
    cancel: Event | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`Options`, complete and within their ranges.

    Raises:
        Error: a value is of the wrong type or out of its range; it is named.
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
    schema: Mapping[str, Any] | str | bool | None = None
    regex: str | None = None
    grammar: str | None = None
    alternatives: int = 0
    hidden: bool = False
    reuse: bool = True
    memory: str | int | None = None
    cancel: Event | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The settings of options by name.

        Raises:
            Error: there is no such option, or as above.
        """
        names = [one.name for one in fields(cls)]
        if strange := [name for name in options if name not in names]:
            raise Error(f"there is no option {quoted(strange[0])}; wanted some of {', '.join(names)}")
        return cls(**options)

    def __post_init__(self) -> None:
        self._check_types()
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
        _ = self.memory_bytes
        if not all(self.stops):
            raise Error("a stop string is empty; wanted at least one character")
        if len(given := [name for name in GRAMMARS if getattr(self, name) is not None]) > 1:
            raise Error(f"{' and '.join(given)} are given; wanted one of {', '.join(GRAMMARS)}")

    def _check_types(self) -> None:
        for wanted, kinds, names in _TYPES:
            for name in names:
                value = getattr(self, name)
                if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                    raise Error(f"{name} is {_shown(value)}; wanted {wanted}")
        if any(not isinstance(stop, str) for stop in self.stops):
            raise Error(f"stop is {_shown(self.stop)}; wanted a text or several")
        for token, bias in self.logit_bias.items():
            if not isinstance(token, Integral) or not isinstance(bias, Real):
                raise Error(f"logit_bias has {_shown(token)}: {_shown(bias)}; wanted token numbers and numbers")
        if self.cancel is not None and not callable(getattr(self.cancel, "is_set", None)):
            raise Error(f"cancel is {_shown(self.cancel)}; wanted a threading.Event, or None")

    @property
    def constrained(self) -> tuple[str, Any] | None:
        """What an answer has to keep to: the option's name and its value."""
        return next(((name, told) for name in GRAMMARS if (told := getattr(self, name)) is not None), None)

    @property
    def memory_bytes(self) -> int | None:
        """The budget of memory."""
        return None if self.memory is None else size_bytes(self.memory)

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


_NONE = type(None)
_TYPES: tuple[tuple[str, tuple[type, ...], tuple[str, ...]], ...] = (
    ("a whole number", (Integral,), ("max_tokens", "top_k", "alternatives")),
    ("a whole number, or None", (Integral, _NONE), ("seed", "penalty_window")),
    ("a number", (Real,), ("temperature", "top_p", "min_p")),
    ("a number", (Real,), ("repetition_penalty", "presence_penalty", "frequency_penalty")),
    ("True or False", (bool,), ("past_end", "hidden", "reuse")),
    ("a text", (str, _NONE), ("regex", "grammar")),
    ("a mapping, its JSON text, or True", (Mapping, str, bool, _NONE), ("schema",)),
    ("a mapping of token numbers to numbers", (Mapping,), ("logit_bias",)),
    ("a text or several", (str, Sequence), ("stop",)),
    ("such as '200 MB', a number of bytes, or None", (str, int, _NONE), ("memory",)),
)
"""What each option has to be."""


def _shown(value: object) -> str:
    """A value in an error's line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
