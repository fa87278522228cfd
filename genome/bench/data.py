"""The goals of the data layer: on SmolLM2, beside reminis where it can do the job."""

from genome.bench.area import Area
from genome.bench.faults import FAULTS
from genome.bench.peers import REMINIS
from genome.bench.speed import SPEED

AREA = Area((*SPEED, *FAULTS), (REMINIS,))
