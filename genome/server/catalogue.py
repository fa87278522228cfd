"""The models of a workbench as Ollama's API describes models."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genome.db import header
from genome.db.connect import meta, opened
from genome.errors import Error, NotFoundError
from genome.model import queries
from genome.workbench import Workbench


def models(workbench: Workbench) -> list[dict[str, Any]]:
    """What /api/tags lists: every model that can be read, by name."""
    found = []
    for name in workbench.names():
        try:
            found.append(described(workbench, name))
        except Error:
            continue  # no model, or damaged: `genome verify` is for that
    return found


def model_path(workbench: Workbench, name: str) -> Path:
    """The file of a model's database.

    Raises:
        NotFoundError: no database has the name, or it is no model.
        DamagedError: it cannot be read.
    """
    if name not in workbench.names():
        raise NotFoundError(f"model {name!r} not found; /api/tags lists the models, `genome pull` makes one")
    path = workbench.path(name)
    if (kind := header(path)["kind"]) != "model":
        raise NotFoundError(f"model {name!r} not found; {name} is a {kind}")
    return path


def described(workbench: Workbench, name: str) -> dict[str, Any]:
    """One entry of /api/tags: size in bytes on disk, digest of the content, architecture, size, quantisation.

    Raises:
        NotFoundError: there is no such model.
        DamagedError: it cannot be read.
    """
    path = model_path(workbench, name)
    with opened(path, "model") as db:
        facts, details = meta(db), _details(queries.hyperparameters(db), queries.tensors(db))
    return {
        "name": f"{name}:latest", "model": f"{name}:latest", "modified_at": _modified(path),
        "size": path.stat().st_size, "digest": facts.get("checksum", ""), "details": details,
    }  # fmt: skip


def shown(workbench: Workbench, name: str) -> dict[str, Any]:
    """What /api/show tells; the template is the Jinja text of the model's own file.

    Raises:
        NotFoundError: there is no such model.
        DamagedError: it cannot be read.
    """
    path = model_path(workbench, name)
    with opened(path, "model") as db:
        facts, tensors, told = meta(db), queries.tensors(db), queries.hyperparameters(db)
    template = told.pop("tokenizer.chat_template", None)
    return {
        "license": facts.get("licence", ""), "modelfile": "", "parameters": "", "template": template or "",
        "details": _details(told, tensors), "modified_at": _modified(path), "capabilities": ["completion"],
        "model_info": {**told, "general.parameter_count": _parameters(tensors)},
    }  # fmt: skip


def context_length(workbench: Workbench, name: str) -> int:
    """The most tokens that prompt and answer may have together; 0 where the file does not say."""
    with opened(model_path(workbench, name), "model") as db:
        architecture = queries.hyperparameter(db, "general.architecture")
        length = queries.hyperparameter(db, f"{architecture}.context_length")
    return length if isinstance(length, int) else 0


def _details(told: dict[str, object], tensors: list[queries.TensorRow]) -> dict[str, Any]:
    family = str(told.get("general.architecture", ""))
    weight = Counter[str]()
    for tensor in tensors:
        weight[tensor.dtype] += _size(tensor)
    return {
        "parent_model": "", "format": "sqlite", "family": family, "families": [family],
        "parameter_size": _short(weight.total()),
        "quantization_level": weight.most_common(1)[0][0] if weight else "",
    }  # fmt: skip


def _size(tensor: queries.TensorRow) -> int:
    count = 1
    for length in tensor.shape:
        count *= length
    return count


def _parameters(tensors: list[queries.TensorRow]) -> int:
    return sum(map(_size, tensors))


def _short(count: int) -> str:
    """A count as people write a model's size.

    Example:
        >>> _short(134_515_008), _short(7_241_748_480), _short(900)
        ('134.52M', '7.2B', '900')
    """
    if count >= 10**9:
        return f"{count / 10**9:.1f}B"
    if count >= 10**6:
        return f"{count / 10**6:.2f}M"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
