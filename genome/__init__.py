"""Token Genome: a model's weights, its vocabulary and their meaning in SQLite, over 65 semantic primes."""

from genome.errors import Error
from genome.ids import GenomeID
from genome.primitives import PRIMITIVES as primitives

__all__ = ["Error", "GenomeID", "primitives"]
__version__ = "0.1.0"
