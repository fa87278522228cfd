"""llama.cpp through `llama-cpp-python`, in a process of its own. Imports nothing of ours that costs memory."""

import time
from typing import Any

from genome.bench.child import answer
from genome.bench.rows import Peer

LLAMA = Peer("llama-cpp-python")
THREADS = 2
PLACES = 1024
_F32 = 0
"""ggml's number of the type."""
START = """
import sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_threads=2, n_threads_batch=2, verbose=False)
tokens = model.tokenize(sys.argv[2].encode(), add_bos=False)
print(next(model.generate(tokens, temp=0.0)), flush=True)
"""
"""A program that prints the first token behind a text."""


def serve(file: str) -> None:
    """In the child: a model, and what is asked of it."""
    model = _model(file, n_ctx=PLACES)

    def decode(tokens: list[int], count: int) -> float:
        steps = model.generate(tokens, temp=0.0)
        next(steps)
        started = time.perf_counter()
        for _ in range(count):
            next(steps)
        return time.perf_counter() - started

    def prefill(tokens: list[int]) -> float:
        model.reset()
        started = time.perf_counter()
        next(model.generate(tokens, temp=0.0))
        return time.perf_counter() - started

    def greedy(tokens: list[int], count: int) -> list[int]:
        steps = model.generate(tokens, temp=0.0)
        return [next(steps) for _ in range(count)]

    answer({"decode": decode, "prefill": prefill, "greedy": greedy})


def refer(file: str) -> None:
    """In the child: a model whose keys and values are float32, as its weights should be; its scores."""
    model = _model(file, n_ctx=PLACES // 2, logits_all=True, type_k=_F32, type_v=_F32)

    def behind(prompt: list[int], tokens: list[int]) -> list[float]:
        model.reset()
        model.eval([*prompt, *tokens[:-1]])
        scores = model.scores[len(prompt) - 1 : len(prompt) + len(tokens) - 1]
        return [float(row.max() - row[token]) for row, token in zip(scores, tokens, strict=True)]

    def log_probabilities(tokens: list[int]) -> list[float]:
        model.reset()
        model.eval(tokens)
        return model.logits_to_logprobs(model.scores[len(tokens) - 1]).tolist()

    answer({"behind": behind, "log_probabilities": log_probabilities})


def decoding(file: str, text: str, count: int) -> None:
    """In the child: a text is continued by so many tokens."""
    model = _model(file)
    steps = model.generate(model.tokenize(text.encode(), add_bos=False), temp=0.0)
    for _ in range(count):
        next(steps)


def _model(file: str, **options: Any) -> Any:
    from llama_cpp import Llama  # type: ignore[reportMissingImports]

    return Llama(file, n_threads=THREADS, n_threads_batch=THREADS, verbose=False, **options)
