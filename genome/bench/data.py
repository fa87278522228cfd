"""The goals of the data layer, each measured: on SmolLM2, beside reminis where it can do the job."""

import os
import platform
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apsw

from genome import __version__
from genome.bench import peers
from genome.bench.faults import FAULTS
from genome.bench.rows import Place, Row
from genome.bench.speed import SPEED
from genome.errors import Error
from genome.progress import Progress, silent
from genome.workbench import MODEL, Workbench


def measured(bench: Workbench, *, quick: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Measures everything, in a temporary folder; the workbench is only read.

    Args:
        bench: where SmolLM2's database is.
        quick: a tenth of the counts, fewer repeats.
        progress: told rows, and what takes long.

    Returns:
        `machine` (what it was measured on), `rows` (a dictionary for each `Row`).

    Raises:
        NotFoundError: the workbench has no SmolLM2.
    """
    source = bench.path(MODEL)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="genome-bench-") as name:
        folder = Path(name).resolve()
        home = Workbench(folder / "home")
        home.folder.mkdir()
        shutil.copyfile(source, home.folder / f"{MODEL}.db")
        gguf = home.export(MODEL, folder / f"{MODEL}.gguf").path
        place = Place(folder, home, gguf, peers.peer_version(), quick, progress)
        parts = (*SPEED, *FAULTS)
        for number, part in enumerate(parts):
            progress("measurements", number, len(parts), "measurements")
            try:
                rows += part(place)
            except Error as error:
                rows.append(Row((part.__doc__ or "").rstrip("."), "", None, "", False, note=str(error)))
        progress("measurements", len(parts), len(parts), "measurements")
    return {"machine": machine(), "rows": [asdict(row) for row in rows]}


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "genome": __version__,
        "reminis": peers.peer_version(),
        "cold": hasattr(os, "posix_fadvise"),
    }


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
