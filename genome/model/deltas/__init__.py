"""Deltas: the rows in which a model differs from a base, made, laid over it, applied in place and undone."""
