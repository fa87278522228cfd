"""The errors that people see: what was wanted, what came, and what to do."""


class Error(Exception):
    """Anything that the user, a file or the machine got wrong; its text is one line and names the repair."""


class NotFoundError(Error):
    """A name (word, database, prefix, tensor, source) that is not there."""


class DamagedError(Error):
    """A file whose content is not what was written: truncated, altered, or another program's."""


def quoted(text: str) -> str:
    """What somebody typed, as it stands in an error's one line: in quotes, cut at 60 characters.

    Example:
        >>> quoted("mothre"), len(quoted("m" * 5000))
        ("'mothre'", 62)
    """
    return repr(text if len(text) <= 60 else text[:59] + "…")
