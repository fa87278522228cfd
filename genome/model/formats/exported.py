"""What an export wrote."""

from dataclasses import dataclass
from pathlib import Path

FORMATS = ("gguf", "safetensors")
"""The formats that a model can go out in."""


@dataclass(frozen=True)
class Exported:
    """The files that an export wrote.

    Attributes:
        files: path and SHA-256 (hexadecimal) of each, in the order of their set.
        changed: whether they differ from the source's: deltas were applied to the model, or another format
            was asked for.
    """

    files: tuple[tuple[Path, str], ...]
    changed: bool

    @property
    def path(self) -> Path:
        """The file, or the folder of several files."""
        first = self.files[0][0]
        return first if len(self.files) == 1 else first.parent
