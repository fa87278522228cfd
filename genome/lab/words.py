"""Numbers and definitions, as people read them."""

import re


def percent(share: float) -> str:
    """A share of 1 as a percentage that keeps two digits.

    Example:
        >>> percent(0.344), percent(0.0344), percent(0.0004)
        ('34%', '3.4%', '<0.1%')
    """
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def size(size_bytes: int) -> str:
    """A number of bytes, in decimal units.

    Example:
        >>> size(101_234_567), size(1_234), size(512)
        ('101 MB', '1.2 kB', '512 B')
    """
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def around(definition: str, word: str) -> tuple[str, str, str]:
    """A definition before, at and after the first place where a word begins; all before where it does not.

    Example:
        >>> around("a woman who has given birth", "give")
        ('a woman who has ', 'given', ' birth')
    """
    found = re.search(rf"(?<!\w){re.escape(word)}\w*", definition, re.IGNORECASE) if word else None
    if found is None:
        return definition, "", ""
    return definition[: found.start()], found[0], definition[found.end() :]
