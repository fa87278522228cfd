"""A Llama model of one format goes out in the other: Hugging Face's safetensors as GGUF, GGUF as such a folder.

Where the types allow it, every weight keeps its value. GGUF has the two rows of a pair of the rotary embedding
beside one another, Hugging Face half a head apart (transformers, convert_llama_weights_to_hf.py): the rows of
queries and keys change their order. Vectors become F32 in GGUF, as its kernels want them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import apsw
import numpy as np

from genome.db.connect import opened, snapshot
from genome.db.replace import replacing, replacing_folder
from genome.errors import DamagedError, Error, quoted
from genome.model import queries
from genome.model.dtypes import numbers, row_bytes
from genome.model.formats.config import config_of, head_rows
from genome.model.formats.exported import Exported
from genome.model.formats.exporter import spelling
from genome.model.formats.gguf_writer import Part, file_bytes
from genome.model.formats.huggingface import CONFIG, SETTINGS, TOKENIZER
from genome.model.formats.names import gguf_name, huggingface_name
from genome.model.formats.safetensors import BITS, header
from genome.model.formats.tokenizer_json import tokenizer_of
from genome.model.queries import FileRow, TensorRow
from genome.model.weights import Weights
from genome.progress import Progress, silent

BOTH = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8")
"""Types that both formats have, under the same names."""
_TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_TURNED = ("attn_q", "attn_k", "attn_q.bias", "attn_k.bias")
_CHUNK_BYTES = 1 << 20


def to_gguf(database: Path, target: Path, *, force: bool = False, progress: Progress = silent) -> Exported:
    """Writes a model that came from safetensors as one GGUF file.

    Args:
        database: of the kind `model`, with a configuration and a byte-level BPE.
        target: the file to write.
        force: replace a file of that name.
        progress: told about bytes of tensors.

    Raises:
        NotFoundError: no such database, or no such folder to write into.
        DamagedError: the database is damaged.
        Error: the model is none that GGUF's Llama can hold: what is in the way is named; or the name is taken,
            or the disk is full or refuses.
    """
    with opened(database, "model") as db, snapshot(db), spelling(database, "a model that can be converted"):
        source = _source(db, gguf_name)
        if (rule := source.facts.get("tokenizer.ggml.pre")) is None or rule == "other":
            kind = source.facts.get("tokenizer.ggml.model")
            what = "no tokenizer" if kind is None else f"a tokenizer ({kind}) that GGUF has no name for"
            raise Error(f"{database} has {what}; wanted a known byte-level BPE")
        made = [
            tensor._replace(dtype="F32", row_bytes=tensor.shape[-1] * 4)
            if len(tensor.shape) == 1 and tensor.dtype in ("F16", "BF16")
            else tensor
            for tensor in source.tensors
        ]
        part = Part(
            FileRow(0, target.name, "gguf", 0, "", {"version": 3, "alignment": 32}), made, [*range(len(made))]
        )
        # Number i of the first half of a head comes before number i of the second one.
        order = np.arange(source.head_rows).reshape(2, -1).T.reshape(-1)
        tell = _Teller(f"{database.stem}: export", sum(t.size_bytes for t in made), progress)
        with replacing(target, force, source=database) as out:
            pieces = file_bytes(
                db, part, tell.wrote, laid_anew=True, data=lambda tensor: source.data(tensor, order, tensor.dtype)
            )
            digest = _write(pieces, out)
    return Exported(((target, digest),), changed=True)


def to_safetensors(database: Path, folder: Path, *, force: bool = False, progress: Progress = silent) -> Exported:
    """Writes a model that came from GGUF as a Hugging Face folder: weights, configuration and tokenizer.

    Args:
        database: of the kind `model`, with plain numbers and a byte-level BPE.
        folder: to write.
        force: replace a folder that holds nothing but files of these names.
        progress: told about bytes of tensors.

    Raises:
        NotFoundError: no such database, or no such folder to write into.
        DamagedError: the database is damaged.
        Error: the model is none that a Hugging Face Llama can hold: what is in the way is named; or the name is
            taken, or the disk is full or refuses.
    """
    with opened(database, "model") as db, snapshot(db), spelling(database, "a model that can be converted"):
        source = _source(db, huggingface_name)
        described = {CONFIG: _config(source)}
        pieces = [(t.piece, t.type) for t in queries.all_tokens(db)]
        described[TOKENIZER], described[SETTINGS] = tokenizer_of(source.facts, pieces, queries.merge_parts(db))
        order = np.arange(source.head_rows).reshape(-1, 2).T.reshape(-1)
        # As the format's library lays them: wide types first, so that each number stands at a multiple of its size.
        laid = sorted(source.tensors, key=lambda t: (-BITS[t.dtype], t.name))
        tell = _Teller(f"{database.stem}: export", sum(t.size_bytes for t in laid), progress)

        def weights() -> Iterator[bytes]:
            yield header([(t.name, t.dtype, t.shape) for t in laid], {"format": "pt"})
            for tensor in laid:
                yield from source.data(tensor, order, tensor.dtype)
                tell.wrote(tensor.size_bytes)

        contents: dict[str, Iterator[bytes]] = {"model.safetensors": weights()}
        for name, content in described.items():
            contents[name] = iter([json.dumps(content, ensure_ascii=False, indent=2).encode() + b"\n"])
        with replacing_folder(folder, force) as growing:
            digests = []
            for name, parts in contents.items():
                with (growing / name).open("xb") as out:
                    digests.append(_write(parts, out))
    return Exported(tuple(zip((folder / name for name in contents), digests, strict=True)), changed=True)


@dataclass(frozen=True)
class _Source:
    """A model to convert: its metadata, its tensors under the other format's names, its weights."""

    facts: dict[str, object]
    tensors: list[TensorRow]
    head_rows: int
    weights: Weights
    stored: dict[int, TensorRow]

    def data(self, tensor: TensorRow, order: np.ndarray, dtype: str) -> Iterator[bytes]:
        """A tensor's bytes: rows of each head of queries and keys in that order, numbers of that type."""
        stored = self.stored[tensor.id]
        turned = stored.role in _TURNED
        unit = len(order) if turned and len(stored.shape) == 2 else 1
        step = max(1, _CHUNK_BYTES // max(1, stored.row_bytes * unit)) * unit
        for first in range(0, stored.row_count if stored.row_bytes else 0, step):
            rows = self.weights.read(stored, first, min(step, stored.row_count - first))
            if turned:
                width = stored.row_bytes if unit > 1 else row_bytes(stored.dtype, 1)
                rows = rows.reshape(-1, len(order), width)[:, order].reshape(rows.shape)
            yield (rows if dtype == stored.dtype else numbers(rows, stored.dtype).astype("<f4")).tobytes()


def _source(db: apsw.Connection, rename: Callable[[str], str]) -> _Source:
    """Refuses what cannot be converted, before anything is written."""
    weights = Weights(db)
    tensors, facts = weights.tensors(), queries.hyperparameters(db)
    if (architecture := facts.get("general.architecture")) != "llama":
        what = "a model of no named architecture" if architecture is None else f"the architecture {architecture!r}"
        raise Error(f"{weights.name}: {what} cannot be converted; wanted llama")
    for key, plain in {"rope.scaling.type": "none", "hidden_activation": "silu"}.items():
        if (told := facts.get(f"llama.{key}", plain)) != plain:
            raise Error(f"{weights.name}: {key} {told!r} cannot be converted; wanted a model without it")
    if odd := next((t for t in tensors if t.dtype not in BOTH), None):
        raise Error(
            f"{weights.name}: tensor {quoted(odd.name)} is {odd.dtype}, which the other format has no type for; "
            f"wanted {', '.join(BOTH)}"
        )
    rows = head_rows(facts)
    if rows is None or rows % 2 or any(t.shape[0] % rows for t in tensors if t.role in _TURNED):
        raise DamagedError(f"{weights.name}: heads of {rows} rows do not fit its queries and keys; build it again")
    renamed = [t._replace(name=rename(t.name)) for t in tensors]
    return _Source(facts, renamed, rows, weights, {t.id: t for t in tensors})


def _config(source: _Source) -> dict[str, object]:
    stored = {t.role: t for t in source.stored.values()}
    embedding = stored.get("token_embd")
    if embedding is None:
        raise Error(f"{source.weights.name} has no input embedding; wanted a whole model")
    config = config_of(source.facts, _TORCH.get(embedding.dtype, "float32"), tied="output" not in stored)
    biases = {"attention_bias": "attn_q.bias" in stored, "mlp_bias": "ffn_up.bias" in stored}
    return config | biases | {"vocab_size": embedding.shape[0]}


@dataclass
class _Teller:
    """Adds up what is written."""

    stage: str
    total: int
    progress: Progress
    done: int = 0

    def wrote(self, size_bytes: int) -> None:
        self.done += size_bytes
        self.progress(self.stage, self.done, self.total)


def _write(pieces: Iterator[bytes], out: BinaryIO) -> str:
    sha = hashlib.sha256()
    for piece in pieces:
        out.write(piece)
        sha.update(piece)
    return sha.hexdigest()
