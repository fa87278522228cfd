"""A mixture of experts: what a token reads of it, and whether its scores are those of all experts in memory."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from genome.bench import made
from genome.bench.llamacpp import LLAMA
from genome.bench.measure import begin, run
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.model import import_gguf

EXPERTS, USED, LAYERS, WIDTH, TOKENS = 64, 8, 4, 128, 1000
_PROMPT = [300, 77, 651, 12, 498, 903, 5, 222]
_MOST_PROMPTS = 20


def mixture(place: Place) -> Iterator[Row]:
    """A mixture of 64 experts with random weights, 8 used."""
    file, database = place.folder / "mixture.gguf", place.folder / "mixture.db"
    made.model(file, TOKENS, WIDTH, LAYERS, experts=EXPERTS, used=USED)
    import_gguf(file, database)
    told = run("genome.bench.experts:read", str(database), TOKENS, _PROMPT).value
    what = f"mixture of {EXPERTS} experts, {USED} used"
    share = told["token_bytes"] / told["bytes"]
    note = f"{told['token_bytes']:,} of {told['bytes']:,} bytes, from a process's first token"
    yield Row(f"{what}: read for a token", "under 20 % of the model", share, "B/B", share < 0.2, note=note)
    gap, all_read = told["difference"], told["experts"] == EXPERTS * LAYERS
    note = f"after {told['experts']} of {EXPERTS * LAYERS} experts were read"
    goal, unit = "same as with all experts in memory", "log probability"
    yield Row(f"{what}: largest difference", goal, gap, unit, gap == 0 and all_read, note=note)
    if LLAMA.version is not None:
        whole = place.folder / "mixture-float32.gguf"
        made.as_float32(file, whole)
        with begin("genome.bench.llamacpp:refer", str(whole)) as reference:
            theirs = np.array(reference.ask("log_probabilities", _PROMPT))
        gap = float(np.abs(np.array(told["log_probabilities"]) - theirs).max())
        goal = "same as llama.cpp's, all in memory"
        yield Row(f"{what}: largest difference", goal, gap, unit, gap < 1e-3, LLAMA.told, note="float32 there")


def read(database: str, tokens: int, prompt: list[int]) -> dict[str, Any]:
    """In the child: a prompt is read, then others until all experts are in memory, then the first one again.

    Returns:
        bytes: of the whole model; token_bytes: read from the database for the first token of the process;
        log_probabilities: of all tokens behind the prompt; difference: the largest one from those of the second
        time; experts: how many had been read by then.
    """
    from genome.db import Journal
    from genome.db.connect import connect
    from genome.model import LanguageModel, queries

    with closing(connect(database, "model")) as db:
        journal = Journal()
        model = LanguageModel(db, "mixture", journal)
        next(model.generate(prompt[:1], max_tokens=1, past_end=True))
        first = sum(_read(journal).values())
        before = _log_probabilities(model, prompt, tokens)
        draw, others = np.random.default_rng(65), 0
        while _experts(journal) < EXPERTS * LAYERS and (others := others + 1) <= _MOST_PROMPTS:
            text = draw.integers(tokens, size=made.CONTEXT // 2).tolist()
            next(model.generate(text, max_tokens=1, past_end=True))
        after = _log_probabilities(model, prompt, tokens)
        return {
            "bytes": sum(tensor.size_bytes for tensor in queries.tensors(db)), "token_bytes": first,
            "log_probabilities": before.tolist(), "difference": float(np.abs(after - before).max()),
            "experts": _experts(journal),
        }  # fmt: skip


def _log_probabilities(model: Any, prompt: list[int], tokens: int) -> np.ndarray:
    """Of all tokens behind a prompt, by their numbers."""
    (step,) = model.generate(prompt, max_tokens=1, past_end=True, alternatives=tokens, reuse=False)
    found = np.full(tokens, np.nan)
    for other in step.alternatives:
        found[other.token] = other.logprob
    return found


def _read(journal: Any) -> dict[tuple[str, int], int]:
    """What came from the database: the bytes of each tensor's rows, by its name and the first row."""
    told = journal.columns()
    rows = zip(told["object"], told["row"], told["bytes"], told["source"], strict=True)
    return {(name, row): size for name, row, size, source in rows if source == "disk" and name.endswith(".weight")}


def _experts(journal: Any) -> int:
    """How many experts have been read."""
    return sum(name.endswith("ffn_gate_exps.weight") for name, _ in _read(journal))
