"""Token Genome: a model's weights, its vocabulary and their meaning in SQLite, over 65 semantic primes."""

from typing import TYPE_CHECKING

from genome.errors import Error
from genome.ids import GenomeID
from genome.primitives import PRIMITIVES as primitives

if TYPE_CHECKING:
    from pathlib import Path

    from genome.workbench import Workbench

__all__ = ["Error", "GenomeID", "open", "primitives"]
__version__ = "0.1.0"


def open(folder: "Path | str | None" = None) -> "Workbench":  # noqa: A001 (people type genome.open, as they type io.open)
    """The workbench in a folder; without one, in GENOME_HOME or else in the user's data folder.

    What it hands out shows itself in a notebook, and long tasks draw progress bars.

    Raises:
        Error: the folder is a file.
    """
    from genome.lab.display import display
    from genome.lab.ipython import set_up
    from genome.lab.progress import Bars
    from genome.workbench import Workbench

    set_up()
    return Workbench(folder, bars=Bars, display=display)
