"""A process's start to its first token, what the time is spent on, and the memory that decoding takes."""

import json
import shutil
import time
from collections.abc import Iterator

from genome.bench import generating, llamacpp
from genome.bench.llamacpp import LLAMA, THREADS
from genome.bench.measure import Run, first_line, interleaved, peak, processors, run, seconds
from genome.bench.place import Place, median_s
from genome.bench.rows import Row
from genome.envelope.held import EXECUTABLES
from genome.workbench import MODEL

_TOKENS = 16
_DECODED = 64
_TEXT = "Once upon a time there was a village where everybody knew the mother of all the children"
_STAGED = """
import json, sys
from genome.bench.generating import stages
print(json.dumps(stages(float(sys.argv[1]), *sys.argv[2:])), flush=True)
"""


def start(place: Place) -> Iterator[Row]:
    """From a process's start to its first token, when another process has run before."""
    home, text = str(place.home.folder), prompt_of(place, _TOKENS)

    def ours() -> Run:
        return first_line(generating.START, home, MODEL, text)

    def theirs() -> Run:
        return first_line(llamacpp.START, str(place.gguf), text)

    def staged() -> Run:
        return first_line(_STAGED, str(time.time()), home, MODEL, text)

    shutil.rmtree(place.home.folder / EXECUTABLES, ignore_errors=True)
    with processors(THREADS):
        first = ours()
        own, stages, other = interleaved([ours, staged, theirs if LLAMA.version else None], place.times)
    spent = json.loads(sorted(stages, key=lambda one: one.seconds)[len(stages) // 2].value)
    note = ", ".join(f"{stage} {1000 * took:.0f} ms" for stage, took in spent.items())
    note += f"; the first start, which compiles, {first.seconds:.1f} s"
    what = f"process start to first token, prompt of {_TOKENS} tokens"
    value = seconds(own)
    yield LLAMA.beside(what, "at most 1.0 s", value, "s", median_s(other), value <= 1.0, note)


def memory(place: Place) -> Iterator[Row]:
    """The most memory that a process has resident while it decodes."""
    home, text = str(place.home.folder), prompt_of(place, _TOKENS)

    def ours() -> Run:
        return run("genome.bench.generating:decoding", home, MODEL, text, _DECODED)

    def theirs() -> Run:
        return run("genome.bench.llamacpp:decoding", str(place.gguf), text, _DECODED)

    with processors(THREADS):
        ours()  # compiles
        own, other = interleaved([ours, theirs if LLAMA.version else None], 3)
        idle = run("genome.bench.generating:idle").peak_bytes
    value = peak(own)
    note = "" if idle is None else f"of that an idle process with jax {idle / 1e6:.0f} MB"
    what = f"peak memory, {_TOKENS} tokens read and {_DECODED} decoded"
    met = value is not None and value <= 400e6
    yield LLAMA.beside(what, "at most 400 MB", value, "B", peak(other), met, note)


def prompt_of(place: Place, count: int) -> str:
    """A text of so many tokens."""
    with place.home.envelope(MODEL) as envelope:
        return envelope.decode(envelope.encode(_TEXT)[:count])


STARTS = (start, memory)
