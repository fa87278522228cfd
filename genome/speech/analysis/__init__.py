"""Analysis: recordings to formant tracks."""

from genome.speech.analysis.analyse import HOP_S, Sound, analyse, analyse_all
from genome.speech.analysis.track import Track

__all__ = ["HOP_S", "Sound", "Track", "analyse", "analyse_all"]
