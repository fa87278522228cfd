"""Everything that is measured of one area, in order: each part by itself, and what it was measured on."""

import os
import platform
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw

from genome import __version__
from genome.bench.place import Part, Place
from genome.bench.rows import Peer, Row
from genome.errors import Error, NotFoundError
from genome.progress import Progress, silent
from genome.sizes import machine_bytes
from genome.workbench import MODEL, Workbench


@dataclass(frozen=True)
class Area:
    """What is measured together.

    Attributes:
        parts: in their order.
        peers: what stands beside it.
    """

    parts: tuple[Part, ...]
    peers: tuple[Peer, ...]

    @property
    def names(self) -> list[str]:
        """Of the parts."""
        return [part.__name__ for part in self.parts]

    def measured(
        self, bench: Workbench, *, only: Collection[str] = (), quick: bool = False, progress: Progress = silent
    ) -> dict[str, Any]:
        """Measures, in a temporary folder; the workbench is only read.

        Args:
            bench: where SmolLM2's database is.
            only: names of parts; all of them without any.
            quick: a tenth of the counts, fewer repeats.
            progress: told parts, and what takes long.

        Returns:
            `machine` (what it was measured on), `rows` (a dictionary for each `Row`).

        Raises:
            NotFoundError: there is no such part; the workbench has no SmolLM2.
        """
        if wrong := sorted(set(only) - set(self.names)):
            raise NotFoundError(f"there is no measurement {wrong[0]!r}; wanted some of {', '.join(self.names)}")
        parts = [part for part in self.parts if not only or part.__name__ in only]
        rows: list[Row] = []
        with tempfile.TemporaryDirectory(prefix="genome-bench-") as name:
            place = placed(bench, Path(name).resolve(), quick, progress)
            for number, part in enumerate(parts):
                progress("measurements", number, len(parts), "measurements")
                try:
                    rows += part(place)
                except Error as error:
                    rows.append(Row((part.__doc__ or "").rstrip("."), "", None, "", False, note=str(error)))
            progress("measurements", len(parts), len(parts), "measurements")
        return {"machine": self.machine(), "rows": [asdict(row) for row in rows]}

    def machine(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "memory_bytes": machine_bytes(),
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
            "jax": version("jax"),
            "genome": __version__,
            **{peer.name: peer.version for peer in self.peers},
            "cold": hasattr(os, "posix_fadvise"),
        }


def placed(bench: Workbench, folder: Path, quick: bool = False, progress: Progress = silent) -> Place:
    """A folder as the place to measure at: SmolLM2's database copied into it, and its GGUF file."""
    source = bench.path(MODEL)
    home = Workbench(folder / "home")
    home.folder.mkdir()
    shutil.copyfile(source, home.folder / f"{MODEL}.db")
    return Place(folder, home, home.export(MODEL, folder / f"{MODEL}.gguf").path, quick, progress)
