"""A LoRA adapter as PEFT saves it: which tensors of a model it changes, and by what. Knows nothing of a base.

Layout: a folder with adapter_config.json and adapter_model.safetensors (Hu et al. 2021, arXiv 2106.09685;
rank-stabilised scaling: Kalajdzievski 2023, 2312.03732).
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
import regex

from genome.errors import DamagedError, Error, NotFoundError, quoted
from genome.model.deltas.lowrank import DTYPES
from genome.model.formats.safetensors import Safetensors, TensorInfo, reading

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"

_MOST_CONFIG_BYTES = 1 << 20
_PATTERN_SECONDS = 5.0

_REFUSED = {
    "use_dora": "DoRA scales each column by the length of the sum, which is no low-rank change",
    "use_qalora": "QA-LoRA pools its input",
    "alora_invocation_tokens": "an activated LoRA changes only what follows its invocation tokens",
    "layer_replication": "it runs layers of the base more than once",
    "target_parameters": "it changes parameters that are not modules",
    "trainable_token_indices": "it replaces single tokens",
    "use_bdlora": "BD-LoRA's factors are block diagonal",
    "arrow_config": "Arrow routes between several adapters",
    "kasa_config": "KaSA changes the base as well",
    "monteclora_config": "MonteCLoRA draws its factors at random",
}
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

_PREFIX = "base_model.model."
_PART = regex.compile(
    r"(?P<module>.+?)\.(?:"
    r"lora_(?P<factor>[AB])(?:\.(?!weight|bias)[^.]+)?\.(?P<part>weight|bias)|"
    r"lora_embedding_(?P<embedding>[AB])(?:\.[^.]+)?|"
    r"(?:(?:base_layer|modules_to_save)\.(?:(?!weight|bias)[^.]+\.)?)?(?P<own>weight|bias))"
)
"""What a tensor's name in an adapter says; older versions left the adapter's name (`default`) in it."""


@dataclass(frozen=True)
class Product:
    """`scale * left @ right`; a bias that is added is a product of one column and one row."""

    left: TensorInfo | None
    """lora_B (rows, r); None: a one."""
    right: TensorInfo
    """lora_A (r, columns)."""
    scale: float
    turned: bool
    """Whether the tensor is the transpose of that: an embedding's."""


class Change(NamedTuple):
    """What happens to one tensor: other values, a product to be added, or both in that order."""

    values: TensorInfo | None = None
    product: Product | None = None


@dataclass(frozen=True)
class Adapter:
    """An open adapter; `changes` by the tensor's name in the Hugging Face model."""

    path: Path
    """As it was given: the folder, or the file of tensors."""
    config: Path
    file: Path
    changes: Mapping[str, Change]
    fan_in_fan_out: bool
    """Whether the modules that it changes keep their weights transposed (GPT-2's Conv1D)."""
    base: str
    """The base's name or folder, as whoever trained the adapter had it; often empty."""
    _file: Safetensors

    def read(self, tensor: TensorInfo, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Some rows of a tensor as they are stored, all without `rows`; uint8 (rows, row_bytes)."""
        with self._file.data(tensor) as data:
            return np.frombuffer(data, np.uint8).reshape(tensor.row_count, tensor.row_bytes)[rows].copy()


@contextmanager
def opening(path: Path) -> Iterator[Adapter]:
    """Opens an adapter and checks all that can be checked without its base.

    Args:
        path: the folder, or its adapter_model.safetensors.

    Raises:
        NotFoundError: one of the two files is not there.
        DamagedError: they do not fit together, or are damaged.
        Error: a kind of adapter that is no plain LoRA: it is named.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / TENSORS if path.is_dir() else path
    if not file.exists() and (pickled := folder / "adapter_model.bin").exists():
        raise Error(
            f"{pickled} is a pickle, which runs code when it is read; wanted {TENSORS}: save it again with PEFT"
        )
    config = _config(folder / CONFIG)
    with reading(file) as tensors:
        yield Adapter(
            path=path,
            config=folder / CONFIG,
            file=file,
            changes=_changes(file, config, tensors.tensors),
            fan_in_fan_out=bool(config.get("fan_in_fan_out")),
            base=str(config.get("base_model_name_or_path") or ""),
            _file=tensors,
        )


def _config(path: Path) -> dict:
    """The configuration, after refusing what is no plain LoRA."""
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise DamagedError(
                f"{path} has more than {_MOST_CONFIG_BYTES} bytes; wanted an adapter's configuration"
            )
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist; wanted a LoRA adapter as PEFT saves it") from None
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); wanted an adapter's configuration") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is no JSON in UTF-8; fetch the adapter again") from error
    if not isinstance(config, dict):
        raise DamagedError(f"{path} holds no JSON object; fetch the adapter again")
    kind = config.get("peft_type")
    if str(kind).upper() != "LORA":
        raise Error(f"{path}: an adapter of type {quoted(str(kind))} is not supported; wanted LORA")
    for key, why in _REFUSED.items():
        if config.get(key) not in (None, False, [], {}):
            raise Error(f"{path}: {key} is not supported: {why}; wanted plain LoRA, or the merged model")
    start = str(config.get("init_lora_weights")).lower()
    if start.startswith(_CHANGES_BASE):
        raise Error(
            f"{path}: init_lora_weights {quoted(start)} changed the base before training; save the adapter again "
            "with path_initial_model_for_weight_conversion, which makes it a plain LoRA"
        )
    return config


def _changes(path: Path, config: dict, tensors: Mapping[str, TensorInfo]) -> dict[str, Change]:
    factors: dict[str, dict[str, TensorInfo]] = {}
    values: dict[str, TensorInfo] = {}
    for full, tensor in tensors.items():
        name = full.removeprefix(_PREFIX)
        found = _PART.fullmatch(name)
        if found is None:
            raise Error(
                f"{path}: a tensor {quoted(name)} is not supported; wanted lora_A, lora_B or a whole module's"
            )
        if tensor.dtype not in DTYPES or tensor.dtype == "F64":
            raise Error(f"{path}: {quoted(name)} is of type {tensor.dtype}; wanted F32, F16 or BF16")
        if own := found["own"]:
            place, key = values, f"{found['module']}.{own}"
        else:
            place = factors.setdefault(found["module"], {})
            key = "bias" if found["part"] == "bias" else (found["factor"] or f"embedding_{found['embedding']}")
        if key in place:
            raise DamagedError(f"{path} has {quoted(name)} twice; wanted each tensor once: save it again")
        place[key] = tensor
    changes, scales = {name: Change(values=tensor) for name, tensor in values.items()}, _Scales(path, config)
    for module, parts in factors.items():
        for name, product in _products(path, scales, module, parts):
            changes[name] = Change(values.get(name), product)
    return changes


class _Scales:
    """What products are multiplied by: alpha / r, or alpha / sqrt(r); a module may have both of its own."""

    def __init__(self, path: Path, config: dict) -> None:
        self._path, self._stabilised = path, bool(config.get("use_rslora"))
        self._usual = {"rank_pattern": config.get("r", 8), "alpha_pattern": config.get("lora_alpha", 8)}
        self._own = {key: self._patterns(config, key) for key in self._usual}
        self._end = monotonic() + _PATTERN_SECONDS

    def _patterns(self, config: dict, key: str) -> list[tuple[regex.Pattern[str], object]]:
        """Of the ends of modules' names, and what the first one that fits says."""
        try:
            told = dict(config.get(key) or {})
            return [(regex.compile(rf"(.*\.)?({pattern})$"), value) for pattern, value in told.items()]
        except (regex.error, TypeError, ValueError) as error:
            raise self._unusable(key, error) from error

    def _unusable(self, key: str, error: Exception) -> DamagedError:
        return DamagedError(f"{self._path}: {key} of {CONFIG} holds no usable patterns ({error})")

    def of(self, module: str, rank: int) -> float:
        """The number for one module, after comparing the rank of its factors."""
        told, alpha = (self._number(key, module) for key in ("rank_pattern", "alpha_pattern"))
        if told != rank:
            raise DamagedError(f"{self._path}: {module} has rank {rank}; {CONFIG} says {told}: fetch both again")
        return alpha / math.sqrt(rank) if self._stabilised else alpha / rank

    def _number(self, key: str, module: str) -> float:
        found = self._usual[key]
        try:
            for pattern, value in self._own[key]:
                # A stranger's pattern may take for ever, and so may many of them.
                if pattern.match(module, timeout=max(0.001, self._end - monotonic())):
                    found = value
                    break
        except TimeoutError as error:
            raise self._unusable(key, error) from error
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise DamagedError(f"{self._path}: {CONFIG} gives {module} {found!r:.40}; wanted a number")
        return found


def _products(
    path: Path, scales: _Scales, module: str, parts: dict[str, TensorInfo]
) -> Iterator[tuple[str, Product]]:
    turned = "embedding_A" in parts or "embedding_B" in parts
    left, right = (parts.pop(f"embedding_{letter}" if turned else letter, None) for letter in "BA")
    bias = parts.pop("bias", None)
    if left is None or right is None or parts:
        raise DamagedError(f"{path}: {module} wants one lora_A and one lora_B; save the adapter again")
    rank = right.shape[0] if right.shape else 0
    if len(left.shape) != 2 or len(right.shape) != 2 or left.shape[1] != rank or not rank:
        raise Error(
            f"{path}: the factors of {module} have shapes {left.shape} and {right.shape}; wanted (rows, r) and "
            "(r, columns): convolutions are not supported"
        )
    scale = scales.of(module, rank)
    yield f"{module}.weight", Product(left, right, scale, turned)
    if bias is not None:
        if bias.shape != left.shape[:1]:
            raise DamagedError(f"{path}: the bias of {module} has shape {bias.shape}; wanted {left.shape[:1]}")
        yield f"{module}.bias", Product(None, bias, scale, turned=False)
