"""Safetensors files, alone, as a sharded set or as a Hugging Face folder, become a `model` database.

Headers and the small files of the folder are kept as they are; the tensors' bytes stand in row blocks. What the
configuration and the tokenizer say stands under GGUF's keys too, so that one kernel and one tokenizer do for both.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import apsw
import zstandard

from genome.db.blocks import write_rows
from genome.db.build import building
from genome.errors import DamagedError, quoted
from genome.model.formats.config import fields_of, head_rows
from genome.model.formats.huggingface_files import INDEX, FileSet, find_files, places
from genome.model.formats.importer import set_sha256
from genome.model.formats.jsonfile import read_object
from genome.model.formats.names import role_and_layer, unit_rows
from genome.model.formats.safetensors import Safetensors, TensorInfo, reading
from genome.model.formats.tokenizer_json import Vocabulary, vocabulary
from genome.model.formats.vocabulary import stands_for, write_merges
from genome.progress import Progress, silent

CONFIG, TOKENIZER, SETTINGS = "config.json", "tokenizer.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
_LICENCE = re.compile(rb"\A---\r?\n(?:(?!---).*\n)*?license:[ \t]*[\"']?([\w.+-]{1,80})")


def import_safetensors(path: Path, database: Path, *, progress: Progress = silent, **facts: str) -> None:
    """Writes a model's files into a new `model` database.

    Args:
        path: as `find_files` takes it.
        database: the database's final name; what stands there is replaced when all is written.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence.

    Raises:
        NotFoundError, DamagedError: a file is missing, truncated or inconsistent.
        Error: what a path names is no model, or the disk is full.
    """
    files = find_files(path)
    with ExitStack() as stack:
        sources = [stack.enter_context(reading(file)) for file in files.weights]
        _check_names(files, sources)
        beside = {file.name: file for file in files.plain}
        config = read_object(beside[CONFIG]) if CONFIG in beside else {}
        fields = fields_of(config) if config else {}
        words = _vocabulary(beside, config, sources)
        fields |= words.fields
        hashes = files.sha256()
        told = {"source": path.name, "licence": _licence(beside), **facts}
        told |= {"source_sha256": set_sha256(hashes)}
        told |= {"architecture": str(fields.get("general.architecture", ("", "unknown"))[1])}
        if files.left_out:
            told["left_out"] = ", ".join(files.left_out)
        with building(database, "model", **told) as db:
            _write_files(db, sources, files.plain, dict(hashes))
            rows = ((at, key, kind, value) for at, (key, (kind, value)) in enumerate(fields.items()))
            db.executemany("INSERT INTO hyperparameter VALUES (?, ?, ?, ?)", rows)
            _write_vocabulary(db, words)
            metadata = {key: value for key, (_, value) in fields.items()}
            _write_tensors(db, sources, metadata, progress, f"{database.stem}: import")


def _check_names(files: FileSet, sources: Sequence[Safetensors]) -> None:
    """Each tensor is in one file: the one that the index says."""
    found: dict[str, str] = {}
    for source in sources:
        for name in source.tensors:
            if name in found:
                raise DamagedError(f"{source.path} and {found[name]} both hold {quoted(name)}; wanted it once")
            found[name] = source.path.name
    for index in (p for p in files.plain if p.name.endswith(INDEX) and len(sources) > 1):
        for name, file in places(index).items():
            if found.get(name) != file:
                raise DamagedError(f"{index}: {quoted(file)} has no tensor {quoted(name)}; fetch the set again")


def _vocabulary(beside: Mapping[str, Path], config: Mapping, sources: Sequence[Safetensors]) -> Vocabulary:
    if TOKENIZER not in beside:
        return Vocabulary(())
    shapes = [
        t.shape for s in sources for t in s.tensors.values() if role_and_layer(t.name) == ("token_embd", None)
    ]
    try:
        template = beside[TEMPLATE].read_text("utf-8") if TEMPLATE in beside else None
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError(f"{beside[TEMPLATE]} is no UTF-8 text; fetch it again") from error
    return vocabulary(
        str(beside[TOKENIZER]),
        read_object(beside[TOKENIZER]),
        read_object(beside[SETTINGS]) if SETTINGS in beside else {},
        config,
        rows=shapes[0][0] if shapes and shapes[0] else 0,
        template=template,
    )


def _licence(beside: Mapping[str, Path]) -> str:
    """The licence that the model card's head names."""
    if "README.md" not in beside:
        return ""
    with beside["README.md"].open("rb") as card:
        found = _LICENCE.match(card.read(1 << 16))
    return found[1].decode() if found else ""


def _write_files(
    db: apsw.Connection, sources: Sequence[Safetensors], plain: Sequence[Path], sha256: Mapping[str, str]
) -> None:
    pack = zstandard.ZstdCompressor(level=9).compress
    heads = [(s.path, "safetensors", s.size_bytes, s.head()) for s in sources]
    insert = "INSERT INTO file VALUES (?, ?, ?, ?, ?, '{}', ?)"
    for number, (path, form, size, head) in enumerate(heads):
        db.execute(insert, (number, path.name, form, size, sha256[path.name], pack(head)))
    for number, path in enumerate(plain, len(heads)):
        raw = path.read_bytes()
        db.execute(insert, (number, path.name, "plain", len(raw), sha256[path.name], pack(raw)))


def _write_vocabulary(db: apsw.Connection, words: Vocabulary) -> None:
    kind = str(words.fields.get("tokenizer.ggml.model", ("", ""))[1])
    rows = (
        (number, piece, stands_for(piece, form, kind), form, score)
        for number, (piece, form, score) in enumerate(words.tokens)
    )
    db.executemany("INSERT INTO token VALUES (?, ?, ?, ?, ?)", rows)
    write_merges(db, words.merges, [piece.encode() for piece, _, _ in words.tokens])


def _write_tensors(
    db: apsw.Connection,
    sources: Sequence[Safetensors],
    hyperparameters: Mapping[str, object],
    progress: Progress,
    stage: str,
) -> None:
    rows, architecture = head_rows(hyperparameters), str(hyperparameters.get("general.architecture", ""))
    total, done = sum(t.size_bytes for s in sources for t in s.tensors.values()), 0
    every = ((file, source, tensor) for file, source in enumerate(sources) for tensor in source.tensors.values())
    for number, (file, source, tensor) in enumerate(every):
        role, layer = role_and_layer(tensor.name, architecture)
        db.execute(
            "INSERT INTO tensor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, tensor.name, role, layer, tensor.dtype, json.dumps(tensor.shape),
             tensor.row_count, tensor.row_bytes, file, tensor.offset),
        )  # fmt: skip
        if tensor.size_bytes:
            _write_data(db, source, number, tensor, unit_rows(role, tensor.shape, rows))
        done += tensor.size_bytes
        progress(stage, done, total)


def _write_data(
    db: apsw.Connection, source: Safetensors, number: int, tensor: TensorInfo, unit: int | None
) -> None:
    with source.data(tensor) as data:
        write_rows(db, number, data, tensor.row_bytes, unit if tensor.row_count > 1 else None)
