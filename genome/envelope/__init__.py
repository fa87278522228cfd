"""The databases that one activity works with: which goes with which, what is open, what is asked of them."""

from genome.envelope.envelope import Envelope
from genome.envelope.roles import Database, Roles, assign

__all__ = ["Database", "Envelope", "Roles", "assign"]
