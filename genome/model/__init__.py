"""Language models that live in a database: import, export, tokenizer, weights, the JAX kernel, sampling.

Each name is imported when it is asked for: the tokenizer needs no numpy, and only `LanguageModel` needs jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genome.model import queries
    from genome.model.formats.dispatch import export_model, import_model, source_sha256
    from genome.model.formats.exported import Exported
    from genome.model.formats.exporter import export_gguf
    from genome.model.formats.importer import import_gguf
    from genome.model.generate import LanguageModel
    from genome.model.options import Options
    from genome.model.steps import Alternative, Step
    from genome.model.tokenizer import Tokenizer
    from genome.model.weights import embedding_rows

__all__ = [
    "Alternative", "Exported", "LanguageModel", "Options", "Step", "Tokenizer", "embedding_rows", "export_gguf",
    "export_model", "import_gguf", "import_model", "queries", "source_sha256",
]  # fmt: skip

_HOMES = {
    "LanguageModel": "generate", "Step": "steps", "Alternative": "steps", "Options": "options",
    "Tokenizer": "tokenizer", "embedding_rows": "weights",
    "Exported": "formats.exported", "export_model": "formats.dispatch", "import_model": "formats.dispatch",
    "source_sha256": "formats.dispatch", "export_gguf": "formats.exporter", "import_gguf": "formats.importer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "queries":
        return import_module("genome.model.queries")
    if name in _HOMES:
        return getattr(import_module(f"genome.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
