"""Names that a database can have on every machine."""

import re

from genome.errors import Error, quoted

_NAME = r"(?!(?i:con|nul|aux|prn|(?:com|lpt)[0-9])(?:\.|$))[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def valid(name: str) -> str:
    """The name itself.

    Raises:
        Error: it cannot name a file everywhere.
    """
    if not re.fullmatch(_NAME, name):
        raise Error(
            f"{quoted(name)} cannot name a database; wanted up to 100 letters, digits and . _ - "
            "(first no sign, and no name that Windows keeps for itself)"
        )
    return name


def safe(stem: str) -> str:
    """A file's stem as a database's name.

    Example:
        >>> safe("My model (final)")
        'My-model-final'
    """
    return valid(re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:100] or "model")
