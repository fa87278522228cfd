"""The tokenizer: from a process's start to its first encode, and 1 MB of English, beside `tokenizers`."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from genome.bench import made, measure
from genome.bench.place import Place
from genome.bench.rows import Row
from genome.db.connect import connect, opened
from genome.model import import_gguf, queries
from genome.model.formats.tokenizer_json import tokenizer_of
from genome.model.tokenizer import Tokenizer

_BIG_TOKENS = 262_144
_TEXT = "Hello, the mother of all tokens went home."
_OURS = """
import sys
from genome.db.connect import connect
from genome.model import Tokenizer
Tokenizer(connect(sys.argv[1], "model")).encode(sys.argv[2])
"""
_THEIRS = """
import sys
from tokenizers import Tokenizer
Tokenizer.from_file(sys.argv[1]).encode(sys.argv[2])
"""


def first_encode(place: Place) -> Iterator[Row]:
    """From a process's start to its first encode, in a small and in a large vocabulary."""
    big = place.folder / "tokens.db"
    import_gguf(made.model(place.folder / "tokens.gguf", _BIG_TOKENS, layers=0), big)
    peer = _peer()
    for size, database in (("49k", place.model), ("256k", big)):
        told = place.folder / f"tokens-{size}.json"
        works = [("-c", "pass"), ("-c", _OURS, str(database), _TEXT)]
        if peer:
            told.write_text(json.dumps(_tokenizer_json(database)), "utf-8")
            works.append(("-c", _THEIRS, str(told), _TEXT))
        bare, ours, *theirs = _medians(works, place.times)
        note = f"of that {bare * 1000:.0f} ms Python itself" + ("" if peer else "; tokenizers is not installed")
        value = theirs[0] if theirs else None
        ratio = ours / value if value else None
        what = f"process start to first encode, {size} tokens"
        yield Row(what, "under 40 ms", ours, "s", ours < 0.040, peer, value, ratio, note)


def throughput(place: Place) -> Iterator[Row]:
    """1 MB of words drawn by Zipf's law, encoded by a process that has seen it once."""
    told = measure.run("genome.bench.tokenizers:encode_often", str(place.model), place.count(1_000_000)).value
    speed, more = told["bytes_per_s"], told["more_bytes"]
    note = "words are the model's own, one in five of two tokens"
    yield Row("encoding English, warm", "over 1 MB/s", speed, "B/s", speed > 1e6, note=note)
    met = more is not None and more < 8e6
    yield Row("encoding English: more memory at its peak", "under 8 MB", more, "B", met)


def encode_often(database: str, size: int) -> dict[str, Any]:
    """In the child: the median speed of three warm encodings, and the memory that all took."""
    db = connect(database, "model")
    text = english(db, size)
    tokenizer = Tokenizer(db)
    tokenizer.encode(text[:1000])
    measure.forget_peak()
    before = measure.resident_bytes()
    took = []
    for _ in range(4):
        started = time.perf_counter()
        tokenizer.encode(text)
        took.append(time.perf_counter() - started)
    after = measure.peak_bytes()
    more = after - before if after is not None and before is not None else None
    return {"bytes_per_s": len(text) / median(took[1:]), "more_bytes": more}


def english(db: Any, size: int) -> str:
    """A text of some characters out of a vocabulary's words, the n-th most frequent drawn 1/n as often.

    Args:
        db: a model database with byte-level BPE.
        size: in characters.
    """
    draw = random.Random(65)
    rows = (token.bytes.decode("utf-8", "replace") for token in queries.all_tokens(db))
    words = [word for word in rows if word.startswith(" ") and word[1:].isascii() and word[1:].isalpha()]
    ends = [word[1:] for word in words if 3 < len(word) < 6]
    weights = [1 / (1 + number) for number in range(len(words))]
    drawn = draw.choices(words, weights, k=size)
    kept, length = [], 0
    for word in drawn:
        kept.append(word + draw.choice(ends) if draw.random() < 0.2 else word)
        length += len(kept[-1])
        if length >= size:
            break
    return "".join(kept)[:size]


def _medians(works: list[tuple[str, ...]], times: int) -> list[float]:
    """The median seconds of some runs of Python, in turns."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(times):
        for took, arguments in zip(found, works, strict=True):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, timeout=60)
            took.append(time.perf_counter() - started)
    return [median(took) for took in found]


def _tokenizer_json(database: Path) -> dict:
    with opened(database, "model") as db:
        pieces = [(token.piece, token.type) for token in queries.all_tokens(db)]
        return tokenizer_of(queries.hyperparameters(db), pieces, queries.merge_parts(db))[0]


def _peer() -> str:
    try:
        return f"tokenizers {version('tokenizers')}"
    except PackageNotFoundError:
        return ""


TOKENIZERS = (first_encode, throughput)
