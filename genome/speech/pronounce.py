"""Text to phones, by the Carnegie Mellon Pronouncing Dictionary (the source `english`)."""

import re
from functools import cache
from pathlib import Path

from genome.errors import Error, NotFoundError, quoted

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_PAUSE = re.compile(r"[.,;:!?]")


def pronounced(text: str, dictionary: Path) -> list[list[str]]:
    """The phones of each word of a text, with their stress: `IY1`. A list of its own, empty, for each pause.

    Args:
        text: English words; a comma, a full stop and the like are pauses.
        dictionary: CMUdict's file.

    Raises:
        NotFoundError: the dictionary lacks a word.
        Error: the text has no word, or a number, which has to be written as words.
    """
    if number := re.search(r"\d+", text):
        raise Error(f"{quoted(number[0])} is a number; write it as words")
    known = read(dictionary)
    phones: list[list[str]] = []
    for found in re.finditer(
        f"{_WORD.pattern}|{_PAUSE.pattern}", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    ):
        word = found[0].lower()
        if _PAUSE.fullmatch(word):
            phones.append([])
        elif word in known:
            phones.append(known[word].split())
        else:
            raise NotFoundError(
                f"CMUdict has no word {quoted(word)}; check the spelling, or write it as other words"
            )
    if not any(phones):
        raise Error(f"{quoted(text)} has no word to speak; wanted English words")
    return phones


@cache
def read(dictionary: Path) -> dict[str, str]:
    """CMUdict's first pronunciation of each word, phones with blanks between.

    Raises:
        OSError: the file is not there.
    """
    words: dict[str, str] = {}
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.partition("#")[0].strip().partition(" ")
            if phones and "(" not in word:
                words.setdefault(word, phones)
    return words
