"""Which files make up a model in safetensors: one file, a sharded set with its index, or a Hugging Face folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genome.errors import DamagedError, Error, NotFoundError, quoted
from genome.model.formats.importer import sha256_of
from genome.model.formats.jsonfile import MOST_BYTES, read_object

SUFFIX, INDEX = ".safetensors", ".safetensors.index.json"
_PART = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".npz", ".tflite", SUFFIX)
_MOST_FILES = 10_000


@dataclass(frozen=True)
class FileSet:
    """The files of a model.

    Attributes:
        weights: its safetensors files, in the order of their set.
        plain: what stands beside them and is kept as it is.
        left_out: names of what is not kept: weights in other formats, and what is too large for a configuration.
    """

    weights: tuple[Path, ...]
    plain: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()

    def sha256(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of each file, weights first."""
        return [(path.name, sha256_of(path)) for path in (*self.weights, *self.plain)]


def find_files(path: Path) -> FileSet:
    """The files of the model that a path names.

    Args:
        path: a folder, a `.safetensors.index.json`, or a `.safetensors` file; of a part of a sharded set all are
            found. Of a folder, every ordinary file in it that is not hidden belongs to the model.

    Raises:
        NotFoundError: a file of the set is missing.
        DamagedError: the index is no index.
        Error: a folder without weights, or with several files of weights and no index.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; wanted a safetensors file or a Hugging Face folder")
    if not path.is_dir():
        if found := _PART.fullmatch(path.name):
            path = path.with_name(found[1] + INDEX)
            if not path.is_file():
                raise NotFoundError(f"{path} does not exist; wanted the index of the set beside its parts")
        return FileSet(_shards(path), (path,)) if path.name.endswith(INDEX) else FileSet((path,))
    try:
        there = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); wanted a Hugging Face folder") from error
    weights = _weights(path, there)
    others = [p for p in there if p not in weights]
    plain = tuple(p for p in others if not p.name.endswith(_OTHER_WEIGHTS) and p.stat().st_size <= MOST_BYTES)
    if len(there) > _MOST_FILES:
        raise Error(f"{path} holds {len(there)} files; wanted the folder of one model")
    return FileSet(weights, plain, tuple(p.name for p in others if p not in plain))


def _weights(folder: Path, there: Sequence[Path]) -> tuple[Path, ...]:
    indexes = [p for p in there if p.name.endswith(INDEX)]
    alone = [p for p in there if p.name.endswith(SUFFIX)]
    usual = [p for p in (*indexes, *alone) if p.name in ("model" + INDEX, "model" + SUFFIX)]
    for one in (usual, indexes, alone):
        if len(one) == 1 or (one is usual and one):
            return _shards(one[0]) if one[0].name.endswith(INDEX) else (one[0],)
    what = f"{len(alone)} {SUFFIX} files and no index" if alone else f"no {SUFFIX} file"
    raise Error(f"{folder} holds {what}; wanted a Hugging Face folder with one, or with several and their index")


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, in the order of their names."""
    names = set(places(index).values())
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(SUFFIX):
            raise DamagedError(f"{index} names the file {quoted(name)}; wanted {SUFFIX} files beside it")
        if not (index.parent / name).is_file():
            raise NotFoundError(f"{index.parent / name} does not exist, but {index.name} names it; fetch it again")
    if not names:
        raise DamagedError(f"{index} names no file; fetch it again")
    return tuple(index.parent / name for name in sorted(names))


def places(index: Path) -> Mapping[str, str]:
    """The file of each tensor."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise DamagedError(f"{index} has no weight_map from tensors to files; fetch it again")
    return places
