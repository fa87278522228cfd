"""What tests of several files of this room share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from genome.db import Journal
from genome.db.connect import opened
from genome.model import LanguageModel, import_gguf


@pytest.fixture(scope="session")
def vocabulary(llamacpp_vocab, tmp_path_factory) -> Callable[[str], Path]:
    """Databases of llama.cpp's vocabularies, each made once."""
    folder = tmp_path_factory.mktemp("vocabularies")

    def made(name: str) -> Path:
        if not (path := folder / f"{name}.db").exists():
            import_gguf(llamacpp_vocab / f"ggml-vocab-{name}.gguf", path)
        return path

    return made


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def model(tiny_db, journal):
    with opened(tiny_db, "model") as db:
        yield LanguageModel(db, "tiny", journal)
