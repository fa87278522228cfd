"""A budget of memory for the weights: it is kept, the tokens are the same, and how fast they come."""

import time
from collections.abc import Iterator
from typing import Any

from genome.bench.llamacpp import THREADS
from genome.bench.measure import processors, run
from genome.bench.place import Place
from genome.bench.rows import Row, none
from genome.bench.starts import prompt_of
from genome.db.connect import opened
from genome.model import queries
from genome.workbench import MODEL

_SHARE = 0.4
_PROMPT_TOKENS, _TOKENS = 16, 65


def budget(place: Place) -> Iterator[Row]:
    """A memory budget of 40 % of the weights."""
    with opened(place.model, "model") as db:
        most = int(_SHARE * sum(tensor.size_bytes for tensor in queries.tensors(db)))
    given = (str(place.home.folder), MODEL, prompt_of(place, _PROMPT_TOKENS), _TOKENS)
    with processors(THREADS):
        call = "genome.bench.budget:generated"
        free = run(call, *given, None)
        run(call, *given, most)  # compiles
        told = run(call, *given, most)
        idle = run("genome.bench.generating:idle").peak_bytes
    what = f"memory budget of {_SHARE:.0%} of the weights, {most / 1e6:.1f} MB"
    speed, live = told.value["per_s"], told.value["live_bytes"]
    yield Row(f"{what}: decode", "over 5 tok/s", speed, "tok/s", speed > 5)
    pairs = enumerate(zip(told.value["tokens"], free.value["tokens"], strict=True))
    wrong = [f"token {number} is {one}, not {other}" for number, (one, other) in pairs if one != other]
    yield none(f"{what}: tokens other than without it, of {_TOKENS}", "none", wrong, "tokens")
    note = "weights and cache after each step; peak of the process "
    note += f"{_mb(told.peak_bytes)}, without a budget {_mb(free.peak_bytes)}, idle with jax {_mb(idle)}"
    yield Row(f"{what}: most that arrays take", "within it", live, "B", live <= most, note=note)


def generated(home: str, model: str, text: str, count: int, memory: int | None) -> dict[str, Any]:
    """In the child: a text is continued.

    Returns:
        tokens; per_s: how many of them a second, without the first; live_bytes: the most that the arrays of all
        devices held after a step.
    """
    import jax

    from genome.workbench import Workbench

    tokens, live, began = [], 0, 0.0
    with Workbench(home).envelope(model) as envelope:
        for step in envelope.generate(text, max_tokens=count, past_end=True, memory=memory, reuse=False):
            began = began or time.perf_counter()
            tokens.append(step.token)
            live = max(live, sum(array.nbytes for array in jax.live_arrays()))
        took = time.perf_counter() - began
    return {"tokens": tokens, "per_s": (count - 1) / took, "live_bytes": live}


def _mb(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e6:.0f} MB"
