"""Files of every format that models come in: which one a path names, in and out."""

from pathlib import Path

from genome.db.connect import opened
from genome.errors import DamagedError, Error, NotFoundError, quoted
from genome.model import queries
from genome.model.formats.convert import to_gguf, to_safetensors
from genome.model.formats.exported import FORMATS, Exported
from genome.model.formats.exporter import export_gguf
from genome.model.formats.gguf import reading
from genome.model.formats.huggingface import import_safetensors
from genome.model.formats.huggingface_export import export_safetensors
from genome.model.formats.huggingface_files import INDEX, SUFFIX, find_files
from genome.model.formats.importer import import_gguf, set_sha256, sha256_of
from genome.model.formats.splits import first_part, other_parts, set_name
from genome.progress import Progress, silent


def import_model(path: Path, database: Path, *, progress: Progress = silent, **facts: str) -> None:
    """Writes a model's files into a new `model` database.

    Args:
        path: a GGUF file or a part of a split one, a `.safetensors` file, a `.safetensors.index.json`, or a
            Hugging Face folder.
        database: the database's final name; what stands there is replaced when all is written.
        progress: told about bytes of tensors.
        facts: rows of `meta`, such as source and licence.

    Raises:
        NotFoundError, DamagedError: a file is missing, of no known format, truncated or inconsistent.
        Error: a form that this program does not read, or the disk is full.
    """
    if (path / "adapter_config.json").is_file():
        raise Error(f"{path} is a LoRA adapter, no model; `genome delta create BASE {path}` makes a delta of it")
    convert = import_safetensors if _is_safetensors(path) else import_gguf
    convert(path, database, progress=progress, **facts)


def source_sha256(path: Path) -> str:
    """What tells a model's source: of one file its SHA-256, of several that of the lines `name sha256`, sorted.

    Args:
        path: as `import_model` takes it.

    Raises:
        NotFoundError, DamagedError, Error: as `import_model` does.
    """
    if _is_safetensors(path):
        return set_sha256(find_files(path).sha256())
    with reading(first_part(path)) as first:
        parts = [first, *other_parts(first, path)]
    return set_sha256((part.path.name, sha256_of(part.path)) for part in parts)


def default_name(path: Path) -> str:
    """What a model is called: a folder by its whole name, a file without suffix and number of its part.

    Example:
        >>> default_name(Path("tiny-00001-of-00002.gguf")), default_name(Path("tiny.safetensors.index.json"))
        ('tiny', 'tiny')
    """
    if path.is_dir():
        return path.resolve().name
    for suffix in (INDEX, SUFFIX):
        if path.name.endswith(suffix):
            stem = set_name(Path(path.name.removesuffix(suffix) + ".gguf"))
            # Every model on the hub is called `model`; its folder tells which one it is.
            return path.resolve().parent.name if stem == "model" else stem
    return set_name(path)


def export_model(
    database: Path,
    target: Path,
    *,
    format: str | None = None,  # noqa: A002 (the word that people type)
    force: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Writes a model's files: those that it came from, byte for byte, or in the other format.

    Args:
        database: of the kind `model`.
        target: the file to write, or the folder where there are several files.
        format: `gguf` or `safetensors`; None takes the source's.
        force: replace what has that name.
        progress: told about bytes of tensors.

    Raises:
        NotFoundError: no such database, or no such folder to write into.
        DamagedError: the database does not hold the source's bytes any more.
        Error: no such format, a model that it cannot hold, the name is taken, or the disk is full or refuses.
    """
    if format not in (None, *FORMATS):
        raise Error(f"there is no format {quoted(str(format))}; wanted one of {', '.join(FORMATS)}")
    with opened(database, "model") as db:
        files = queries.files(db)
    if not files:
        raise DamagedError(f"{database} is damaged: it names no file; `genome pull` builds it again")
    source = files[0].format
    if source not in FORMATS:
        raise DamagedError(
            f"{database} is damaged: it came from a {quoted(source)} file; `genome pull` builds it again"
        )
    if format is None or format == source:
        write = export_gguf if source == "gguf" else export_safetensors
    else:
        write = to_gguf if format == "gguf" else to_safetensors
    if write is to_safetensors and target.name.endswith(SUFFIX):
        raise Error(f"{target}: a Hugging Face model is a folder of files; wanted a name without {SUFFIX}")
    return write(database, target, force=force, progress=progress)


def _is_safetensors(path: Path) -> bool:
    """Whether a path names files of that format; what nobody's suffix tells is taken for GGUF."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; wanted a GGUF or safetensors file, or a Hugging Face folder")
    return path.is_dir() or path.name.endswith((SUFFIX, INDEX))
