"""Decoding and reading prompts: tokens a second, in rounds, beside llama.cpp."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median

from genome.bench.llamacpp import LLAMA, THREADS
from genome.bench.measure import Child, begin, processors
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.db.connect import opened
from genome.model import queries
from genome.workbench import MODEL

_ROUND_TOKENS = 32
_PROMPT_TOKENS = 512
_DECODE_GOALS = {16: 0.9, 512: 0.9}
_PREFILL_GOAL = 2.0


def decode(place: Place) -> Iterator[Row]:
    """Decoding, one token after the other."""
    for context, goal in _DECODE_GOALS.items():
        ours, theirs = _rounds(place, "decode", context, _ROUND_TOKENS)
        yield compared(f"decode at context {context}, pure JAX", goal, _ROUND_TOKENS, ours, theirs)


def prefill(place: Place) -> Iterator[Row]:
    """Reading a prompt."""
    ours, theirs = _rounds(place, "prefill", _PROMPT_TOKENS)
    yield compared(f"prefill of {_PROMPT_TOKENS} tokens, pure JAX", _PREFILL_GOAL, _PROMPT_TOKENS, ours, theirs)


def _rounds(place: Place, question: str, prompt_tokens: int, *more: int) -> tuple[list[float], list[float]]:
    """The seconds of each round, ours and theirs, in turns; each round has a prompt of its own."""
    draw = random.Random(65)
    with opened(place.model, "model") as db:
        tokens = queries.token_count(db)
    with ExitStack() as stack:
        stack.enter_context(processors(THREADS))
        systems: list[Child] = [
            stack.enter_context(begin("genome.bench.generating:serve", str(place.home.folder), MODEL))
        ]
        if LLAMA.version:
            systems.append(stack.enter_context(begin("genome.bench.llamacpp:serve", str(place.gguf))))
        found: list[list[float]] = [[], []]
        for number in range(place.times + 1):
            prompt = [draw.randrange(tokens) for _ in range(prompt_tokens)]
            for took, system in zip(found, systems, strict=False):
                seconds = system.ask(question, prompt, *more)
                if number:  # the first round compiles, and fills caches
                    took.append(seconds)
    return found[0], found[1]


def compared(what: str, goal: float, tokens: int, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """Tokens a second in the median round.

    Args:
        what: was measured.
        goal: how many times llama.cpp's.
        tokens: of a round.
        ours: seconds of each round.
        theirs: the same of llama.cpp; empty where it is not installed.
    """
    value = tokens / median(ours)
    peer = tokens / median(theirs) if theirs else None
    met = None if peer is None else value >= goal * peer
    note = f"{len(ours)} rounds, {tokens / max(ours):.0f} to {tokens / min(ours):.0f}"
    if theirs:
        note += f"; llama.cpp {tokens / max(theirs):.0f} to {tokens / min(theirs):.0f}"
    return LLAMA.beside(what, f"{goal} x llama.cpp", value, "tok/s", peer, met, note)


STEPS = (decode, prefill)
