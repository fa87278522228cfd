"""Our side of the measurements of generation, in a process of its own."""

import time
from importlib import import_module

from genome.bench.child import answer

SETTING = "GENOME_KERNEL"
KERNELS = {
    "pure JAX": {SETTING: "jax", "JAX_PLATFORMS": "cpu"},
    "native": {SETTING: "native", "JAX_PLATFORMS": "cpu"},
}
"""Who computes the products of one vector: the environment that asks for it."""
START = """
import sys
import genome
with genome.open(sys.argv[1]).envelope(sys.argv[2]) as envelope:
    print(next(envelope.generate(sys.argv[3])).token, flush=True)
"""
"""A program that prints the first token behind a text."""


def serve(home: str, model: str) -> None:
    """In the child: a model, and what is asked of it."""
    from genome.workbench import Workbench

    with Workbench(home).envelope(model) as envelope:

        def decode(tokens: list[int], count: int) -> float:
            steps = envelope.generate(tokens, max_tokens=count + 1, past_end=True, reuse=False)
            next(steps)
            started = time.perf_counter()
            for _ in steps:
                pass
            return time.perf_counter() - started

        def prefill(tokens: list[int]) -> float:
            started = time.perf_counter()
            next(envelope.generate(tokens, max_tokens=1, reuse=False))
            return time.perf_counter() - started

        def greedy(tokens: list[int], count: int) -> list[int]:
            return [step.token for step in envelope.generate(tokens, max_tokens=count, past_end=True, reuse=False)]

        def kernel() -> list[str]:
            from genome.model.kernel.native import library

            return [library.kernel().name, library.kernel().why]

        answer(
            {"decode": decode, "prefill": prefill, "greedy": greedy, "encode": envelope.encode, "kernel": kernel}
        )


def decoding(home: str, model: str, text: str, count: int) -> None:
    """In the child: a text is continued by so many tokens."""
    from genome.workbench import Workbench

    with Workbench(home).envelope(model) as envelope:
        for _ in envelope.generate(text, max_tokens=count, past_end=True):
            pass


def idle() -> None:
    """In the child: nothing but jax, at work once."""
    import jax

    jax.numpy.zeros(1).block_until_ready()


def stages(began: float, home: str, model: str, text: str) -> dict[str, float]:
    """The seconds that a start to the first token takes, by what they are spent on.

    Args:
        began: when the process began, as `time.time` tells it.
        home: the workbench's folder.
        model: its name.
        text: the prompt.
    """
    told: dict[str, float] = {}
    last = began

    def done(stage: str) -> None:
        nonlocal last
        told[stage], last = time.time() - last, time.time()

    done("Python")
    import jax  # noqa: F401 (what it costs alone)

    done("import jax")
    face = import_module("genome")  # as users do: this room lies below it
    import_module("genome.model.generate")
    from genome.model.kernel.engine import Engine
    from genome.model.kernel.executables import Executables

    done("other imports")
    within = {"weights": 0.0, "executables": 0.0}
    _clocked(Engine, "params", within, "weights")
    _clocked(Executables, "get", within, "executables")
    with face.open(home).envelope(model) as envelope:
        steps = envelope.generate(text)
        done("opening, encoding")
        next(steps)
        done("prompt")
    return told | within | {"prompt": told["prompt"] - sum(within.values())}


def _clocked(owner: type, name: str, spent: dict[str, float], stage: str) -> None:
    """Adds what a method takes to a stage."""
    method = getattr(owner, name)

    def clocked(*arguments: object) -> object:
        started = time.perf_counter()
        try:
            return method(*arguments)
        finally:
            spent[stage] += time.perf_counter() - started

    setattr(owner, name, clocked)
