"""A lens fitted to an envelope's model and genome database: the model reads words, the lens learns from that."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genome.errors import Error
from genome.progress import Progress

if TYPE_CHECKING:
    from genome.decompose.lens import Lens
    from genome.decompose.usages import Usage
    from genome.model import LanguageModel, Tokenizer

BREAK = "\n"
"""Before every text, and between sentences. Models lay aside at the first token what says nothing of it."""

_PIECE = 512


def fitted(model: "LanguageModel", usages: "Sequence[Usage]", progress: Progress) -> "Lens":
    """A lens for a model, from words in use.

    Args:
        model: reads them, several in a text of up to 512 tokens.
        usages: words by themselves and in sentences.
        progress: told of the texts read and the layers fitted.

    Raises:
        Error: there are too few usages.
    """
    from genome.decompose.lens import fit_lens, level

    order = np.random.default_rng(0).permutation(len(usages))  # else frequent words, or one word's, keep company
    shuffled = [usages[number] for number in order]
    whole = [
        *_texts(model, [u for u in shuffled if not u.in_use]),
        *_texts(model, [u for u in shuffled if u.in_use]),
    ]
    read: list[Usage] = []
    states = []
    for number, (ids, places, own) in enumerate(whole, start=1):
        states.append(level(model.hidden(ids)[:, places]))
        read += own
        progress("lens: read words in use", number, len(whole), "texts")
    if not read:
        raise Error("no word of the genome database is in use: wanted one with the compositions of words")
    weights = np.stack([usage.weights for usage in read])
    words, in_use = [usage.word for usage in read], [usage.in_use for usage in read]
    return fit_lens(np.concatenate(states, axis=1), words, weights, in_use, progress)


def _texts(
    model: "LanguageModel", usages: "Sequence[Usage]"
) -> "Iterator[tuple[list[int], list[int], list[Usage]]]":
    """Usages side by side: token numbers, the place of each word's last token, and the usages."""
    room = min(_PIECE, model.context - 1)
    start = model.tokenizer.encode(BREAK)
    ids, places, own = list(start), [], []
    for usage in usages:
        told, place = _read(model.tokenizer, usage)
        if len(start) + len(told) > room or place is None:
            continue
        if len(ids) + len(told) > room:
            yield ids, places, own
            ids, places, own = list(start), [], []
        places.append(len(ids) + place)
        own.append(usage)
        ids += told
    if own:
        yield ids, places, own


def _read(tokenizer: "Tokenizer", usage: "Usage") -> tuple[list[int], int | None]:
    """A usage's tokens, and the place of the word's last one; None where a token reaches beyond the word."""
    begun = tokenizer.encode(f" {usage.text}", special=False)
    if not usage.in_use:
        return begun, len(begun) - 1
    told = tokenizer.encode(f" {usage.text}{usage.rest}{BREAK}", special=False)
    return told, len(begun) - 1 if told[: len(begun)] == begun else None
