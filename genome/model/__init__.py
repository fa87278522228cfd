"""Language models that live in a database: import, export, tokenizer, weights, the JAX kernel, sampling.

Each name is imported when it is asked for: the tokenizer needs no numpy, and only `LanguageModel` needs jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genome.model import queries
    from genome.model.exported import Exported
    from genome.model.exporter import export_gguf
    from genome.model.formats import export_model, import_model, source_sha256
    from genome.model.generate import LanguageModel, Step
    from genome.model.importer import import_gguf
    from genome.model.tokenizer import Tokenizer
    from genome.model.weights import embedding_rows

__all__ = [
    "Exported", "LanguageModel", "Step", "Tokenizer", "embedding_rows", "export_gguf", "export_model",
    "import_gguf", "import_model", "queries", "source_sha256",
]  # fmt: skip

_HOMES = {
    "LanguageModel": "generate", "Step": "generate", "Tokenizer": "tokenizer", "embedding_rows": "weights",
    "Exported": "exported", "export_model": "formats", "import_model": "formats", "source_sha256": "formats",
    "export_gguf": "exporter", "import_gguf": "importer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "queries":
        return import_module("genome.model.queries")
    if name in _HOMES:
        return getattr(import_module(f"genome.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
