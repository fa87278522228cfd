"""Small JSON files of strangers: read whole, but never at the cost of more memory than a machine has to spare."""

import json
import re
from pathlib import Path

from genome.errors import DamagedError, Error, NotFoundError

MOST_BYTES = 100_000_000
_MOST_VALUES = 8_000_000
_MOST_CONTAINERS = 2_000_000
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_object(path: Path) -> dict:
    """The JSON object in a file.

    Raises:
        NotFoundError: no such file.
        DamagedError: no JSON object in UTF-8.
        Error: it cannot be read, or is larger than any configuration or tokenizer (100 MB, 8 million values).
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Error(f"{path} has {path.stat().st_size} bytes; wanted at most {MOST_BYTES}")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist; wanted a JSON file") from None
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}); wanted a JSON file") from error
    return parsed(raw, str(path))


def parsed(raw: bytes, name: str) -> dict:
    """The JSON object that bytes spell; `name` says in errors where they come from."""
    # A value takes up to a hundred bytes of memory, a container more: their number is known before they are made.
    if raw.count(b",") > _MOST_VALUES or raw.count(b"[") + raw.count(b"{") > _MOST_CONTAINERS:
        raise Error(f"{name} holds more than {_MOST_VALUES} values; wanted a configuration or a tokenizer")
    try:
        found = json.loads(raw.decode("utf-8-sig"))
        if _SURROGATE.search(raw):  # half of a character, alone, is no text
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is no JSON in UTF-8; fetch it again") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{name} holds no JSON object; fetch it again")
    return found
