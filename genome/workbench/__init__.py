"""A folder of reference databases: what makes them, what changes them, and the envelopes assembled from them."""

from genome.workbench.deltas import Deltas
from genome.workbench.files import GENOME
from genome.workbench.workbench import LEXICONS, MODEL, Workbench, default_folder

__all__ = ["GENOME", "LEXICONS", "MODEL", "Deltas", "Workbench", "default_folder"]
