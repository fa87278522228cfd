"""The answer to /api/embed and /api/embeddings: texts as vectors."""

from time import perf_counter_ns
from typing import Any

import numpy as np
from anyio.to_thread import run_sync

from genome.server.memory import Models
from genome.server.requests import EmbedAsk


async def embedded(models: Models, ask: EmbedAsk) -> dict[str, Any]:
    """The vectors of texts: of length 1 each, or for /api/embeddings one, as it is.

    Args:
        models: those in memory.
        ask: the texts.

    Raises:
        NotFoundError: there is no such model.
        Error: a text is empty, or too long and not to be truncated.
    """
    begun = perf_counter_ns()
    async with models.use(ask.model, ask.keep_alive_s) as loaded:
        envelope = loaded.envelope
        vectors = await run_sync(lambda: envelope.embed(ask.texts, normalised=False, truncate=ask.truncate))
        count = sum(len(envelope.encode(text, special=False)) for text in ask.texts)
    vectors = vectors[:, : ask.dimensions or None]
    if ask.single:
        return {"embedding": vectors[0].tolist()}
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {
        "model": ask.told_model, "embeddings": vectors.tolist(), "total_duration": perf_counter_ns() - begun,
        "load_duration": loaded.load_ns, "prompt_eval_count": count,
    }  # fmt: skip
