"""Language models that live in a database: import, tokenizer, weights, the JAX kernel, sampling.

`LanguageModel` and `Step` are found when they are asked for: they need jax, the rest does not.
"""

from typing import TYPE_CHECKING, Any

from genome.model import queries
from genome.model.importer import import_gguf
from genome.model.tokenizer import Tokenizer
from genome.model.weights import embedding_rows

if TYPE_CHECKING:
    from genome.model.generate import LanguageModel, Step

__all__ = ["LanguageModel", "Step", "Tokenizer", "embedding_rows", "import_gguf", "queries"]


def __getattr__(name: str) -> Any:
    if name in ("LanguageModel", "Step"):
        from genome.model import generate

        return getattr(generate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
