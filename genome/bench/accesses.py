"""What the journal costs: decoding with it and without it, in turns."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from genome.bench.measure import run
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.workbench import MODEL

_TOKENS = 200


def journaling(place: Place) -> Iterator[Row]:
    """Decoding with the journal on, beside decoding with it off."""
    told = run("genome.bench.accesses:cost", str(place.home.folder), MODEL, _TOKENS, place.count(20)).value
    share = told["on_s"] / told["off_s"] - 1
    note = f"median step {told['on_s'] * 1e3:.3f} ms with it, {told['off_s'] * 1e3:.3f} ms without; "
    note += f"{told['accesses']:,} accesses noted in {told['steps']:,} steps"
    yield Row(
        "journal on, against off: decoding takes longer by", "under 3 %", share, "s/s", share < 0.03, note=note
    )


def cost(home: str, model: str, tokens: int, times: int) -> dict[str, Any]:
    """Steps of the same generations in turns, with the journal and without: a busy machine slows both alike.

    Returns:
        on_s, off_s: the median steps; steps: how many with it; accesses: how many it noted in them.
    """
    from genome.workbench import Workbench

    took: dict[bool, list[float]] = {True: [], False: []}
    with Workbench(home).envelope(model) as envelope:
        prompt = "Once upon a time there was a"
        for number in range(times):
            envelope.journal.enabled = False
            steps = envelope.generate(prompt, max_tokens=tokens, past_end=True)
            for _ in range(2):  # reads the prompt; compiles the step
                next(steps)
            for turn in range(number, number + tokens - 2):
                envelope.journal.enabled = on = turn % 2 == 0
                started = time.perf_counter()
                next(steps)
                took[on].append(time.perf_counter() - started)
        noted = int(envelope.accesses()["times"].sum())
    return {"on_s": median(took[True]), "off_s": median(took[False]), "steps": len(took[True]), "accesses": noted}
