"""Decoding and reading prompts: tokens a second, in rounds, beside llama.cpp."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from genome.bench.generating import KERNELS, SETTING
from genome.bench.llamacpp import LLAMA, THREADS
from genome.bench.measure import Child, begin, processors
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.db.connect import opened
from genome.model import queries
from genome.workbench import MODEL

_ROUND_TOKENS = 32
_PROMPT_TOKENS = 512
_DECODE_GOALS = {16: {"pure JAX": 0.9, "native": 1.25}, 512: {"pure JAX": 0.9, "native": 1.1}}
_PREFILL_GOALS = {"pure JAX": 2.0}
_GOAL = "{} x llama.cpp"


def decode(place: Place) -> Iterator[Row]:
    """Decoding, one token after the other."""
    with _systems(place, _DECODE_GOALS[16]) as (systems, reasons):
        for context, goals in _DECODE_GOALS.items():
            found = _rounds(place, systems, "decode", context, _ROUND_TOKENS)
            yield from _rows(f"decode at context {context}", goals, _ROUND_TOKENS, found, reasons)


def prefill(place: Place) -> Iterator[Row]:
    """Reading a prompt."""
    with _systems(place, _PREFILL_GOALS) as (systems, reasons):
        found = _rounds(place, systems, "prefill", _PROMPT_TOKENS)
    yield from _rows(f"prefill of {_PROMPT_TOKENS} tokens", _PREFILL_GOALS, _PROMPT_TOKENS, found, reasons)


@contextmanager
def _systems(place: Place, kernels: Iterable[str]) -> Iterator[tuple[dict[str, Child], dict[str, str]]]:
    """Children that wait for questions, of our kernels and llama.cpp; why others are missing."""
    systems, reasons = {}, {}
    with processors(THREADS), ExitStack() as stack:
        for kernel in kernels:
            served = begin(
                "genome.bench.generating:serve", str(place.home.folder), MODEL, environment=KERNELS[kernel]
            )
            child = stack.enter_context(served)
            name, why = child.ask("kernel")
            if name == KERNELS[kernel][SETTING]:
                systems[kernel] = child
            else:
                reasons[kernel] = why
        if LLAMA.version:
            systems[LLAMA.name] = stack.enter_context(begin("genome.bench.llamacpp:serve", str(place.gguf)))
        yield systems, reasons


def _rounds(
    place: Place, systems: dict[str, Child], question: str, prompt_tokens: int, *more: int
) -> dict[str, list[float]]:
    """The seconds of each round of each system, in turns; each round has a prompt of its own."""
    draw = random.Random(65)
    with opened(place.model, "model") as db:
        tokens = queries.token_count(db)
    found: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(place.times + 1):
        prompt = [draw.randrange(tokens) for _ in range(prompt_tokens)]
        for name, system in systems.items():
            seconds = system.ask(question, prompt, *more)
            if number:  # the first round compiles, and fills caches
                found[name].append(seconds)
    return found


def _rows(
    what: str, goals: dict[str, float], tokens: int, found: dict[str, list[float]], reasons: dict[str, str]
) -> Iterator[Row]:
    for kernel, goal in goals.items():
        if kernel in found:
            yield compared(f"{what}, {kernel}", goal, tokens, found[kernel], found.get(LLAMA.name, ()))
        else:
            yield Row(f"{what}, {kernel}", _GOAL.format(goal), None, "tok/s", None, note=reasons[kernel])


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
    return LLAMA.beside(what, _GOAL.format(goal), value, "tok/s", peer, met, note)


STEPS = (decode, prefill)
