"""Greedy tokens against llama.cpp on the same weights as float32: how far both say the same."""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from genome.bench import made
from genome.bench.generating import KERNELS
from genome.bench.llamacpp import LLAMA, THREADS
from genome.bench.measure import Child, begin, processors
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.workbench import MODEL

_TOKENS = 128
_TIE = 0.02
_PROMPTS = (
    "Once upon a time there was a", "The capital of France is", "To make bread you need", "My mother told me that",
    "In 1969 the first people", "def fibonacci(n):", "The best way to learn a language is", "Dear Sir or Madam,",
    "Water boils at", "She opened the door and saw", "The theory of evolution says", "Roses are red,",
    "A triangle has three sides. A square has", "The doctor asked the patient", "Yesterday I went to the",
    "The most important thing about friendship is", "Planets move around the sun because", "First, open the file.",
    "He had never seen so much snow", "The words 'know' and 'think' differ in",
)  # fmt: skip


def greedy(place: Place) -> Iterator[Row]:
    """Greedy tokens of weights as they are stored, against the same weights as float32."""
    prompts = _PROMPTS[: place.count(len(_PROMPTS))]
    what = f"{len(prompts)} prompts, greedy: {_TOKENS} tokens of pure JAX equal to float32's"
    goal = f"all, up to the first near-tie ({_TIE})"
    if LLAMA.version is None:
        yield LLAMA.beside(what, goal, None, "prompts", None, None, "float32 is computed by llama.cpp")
        return
    whole = place.folder / "float32.gguf"
    made.as_float32(place.gguf, whole)
    with processors(THREADS), ExitStack() as stack:
        call, jax = "genome.bench.generating:serve", KERNELS["pure JAX"]
        ours = stack.enter_context(begin(call, str(place.home.folder), MODEL, environment=jax))
        theirs = stack.enter_context(begin("genome.bench.llamacpp:serve", str(place.gguf)))
        reference = stack.enter_context(begin("genome.bench.llamacpp:refer", str(whole)))
        found: dict[Child, list[tuple[int, bool]]] = {ours: [], theirs: []}
        for number, text in enumerate(prompts):
            place.progress("prompts", number, len(prompts), "prompts")
            prompt = ours.ask("encode", text)
            for system, ends in found.items():
                tokens = system.ask("greedy", prompt, _TOKENS)
                ends.append(agreed(reference.ask("behind", prompt, tokens)))
    whole.unlink()
    equal, peer = (sum(fine for _, fine in ends) for ends in found.values())
    lengths = [[length for length, _ in ends] for ends in found.values()]
    note = (
        f"first difference or end after {min(lengths[0])} to {max(lengths[0])} tokens, median {_half(lengths[0])}"
    )
    note += f"; llama.cpp on the stored weights after {min(lengths[1])} to {max(lengths[1])}, {_half(lengths[1])}"
    yield LLAMA.beside(what, goal, equal, "prompts", peer, equal == len(prompts), note)


def agreed(behind: list[float]) -> tuple[int, bool]:
    """How many tokens were the reference's own, and whether the first that was not is a near-tie.

    Args:
        behind: how far each token's score is behind the reference's best, which has seen the same tokens.

    Example:
        >>> agreed([0.0, 0.0, 0.01, 3.0]), agreed([0.0, 0.5]), agreed([0.0, 0.0])
        ((2, True), (1, False), (2, True))
    """
    first = next((number for number, gap in enumerate(behind) if gap > 0), len(behind))
    return first, first == len(behind) or behind[first] < _TIE


def _half(lengths: list[int]) -> str:
    return f"{median(lengths):.0f}"


EXACT = (greedy,)
