"""The tokenizer: from a process's start to its first encode, and 1 MB of English, beside `tokenizers`."""

import json
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from genome import sources
from genome.bench import made
from genome.bench.measure import (
    Run,
    first_line,
    forget_peak,
    interleaved,
    peak_bytes,
    resident_bytes,
    run,
    seconds,
)
from genome.bench.place import Place, median_s
from genome.bench.rows import Peer, Row, none
from genome.db.connect import connect, opened
from genome.model import import_gguf, queries
from genome.model.formats.tokenizer_json import tokenizer_of
from genome.model.tokenizer import Tokenizer

TOKENIZERS = Peer("tokenizers")
_BIG_TOKENS = 262_144
_TEXT = "Hello, the mother of all tokens went home."
_WORDS = 16384
_BARE = "print()"
_OURS = """
import sys
from genome.db.connect import connect
from genome.model import Tokenizer
print(len(Tokenizer(connect(sys.argv[1], "model")).encode(sys.argv[2])), flush=True)
"""
_THEIRS = """
import sys
from tokenizers import Tokenizer
print(len(Tokenizer.from_file(sys.argv[1]).encode(sys.argv[2]).ids), flush=True)
"""
_VECTORS = ("gpt-2", "llama-bpe", "llama-spm", "qwen2", "phi-3", "starcoder", "deepseek-llm")
_BETWEEN = "\n__ggml_vocab_test__\n"


def first_encode(place: Place) -> Iterator[Row]:
    """From a process's start to its first encode, in a small and in a large vocabulary."""
    big = place.folder / "tokens.db"
    import_gguf(made.model(place.folder / "tokens.gguf", _BIG_TOKENS, layers=0), big)
    for size, database in (("49k", place.model), ("256k", big)):
        told = _tokenizer_json(place, database)
        works: list[Callable[[], Run] | None] = [
            partial(first_line, _BARE),
            partial(first_line, _OURS, str(database), _TEXT),
            partial(first_line, _THEIRS, str(told), _TEXT) if TOKENIZERS.version else None,
        ]
        bare, ours, theirs = interleaved(works, 3 * place.times)
        value = seconds(ours)
        note = f"of that {seconds(bare) * 1000:.0f} ms Python itself"
        what = f"process start to first encode, {size} tokens"
        yield TOKENIZERS.beside(what, "under 40 ms", value, "s", median_s(theirs), value < 0.040, note)


def throughput(place: Place) -> Iterator[Row]:
    """1 MB of words drawn by Zipf's law, encoded by a process that has seen it once."""
    size = place.count(1_000_000)
    told, peer = run("genome.bench.tokenizers:encode_often", str(place.model), size).value, {}
    if TOKENIZERS.version:
        file = str(_tokenizer_json(place, place.model))
        peer = run("genome.bench.tokenizers:encode_often_there", str(place.model), size, file).value
    speed, more = told["bytes_per_s"], told["more_bytes"]
    note = "words are the model's own, one in five of two tokens"
    what, theirs = "encoding English, warm", peer.get("bytes_per_s")
    yield TOKENIZERS.beside(what, "over 1 MB/s", speed, "B/s", theirs, speed > 1e6, note)
    what, met = "encoding English: more memory at its peak", more is not None and more < 8e6
    yield TOKENIZERS.beside(what, "under 8 MB", more, "B", peer.get("more_bytes"), met)


def vectors(place: Place) -> Iterator[Row]:
    """llama.cpp's own test cases for tokenizers."""
    folder = sources.fetch("tokenizer-vectors", place.progress).path
    total, wrong = 0, []
    for name in _VECTORS:
        file, database = folder / f"ggml-vocab-{name}.gguf", place.folder / f"{name}.db"
        import_gguf(file, database)
        texts = file.with_suffix(".gguf.inp").read_bytes().decode().split(_BETWEEN)
        wanted = file.with_suffix(".gguf.out").read_text("utf-8").splitlines()
        with opened(database, "model") as db:
            tokenizer = Tokenizer(db)
            # Behind the last separator there may be nothing.
            for number, (text, line) in enumerate(zip(texts, wanted, strict=False)):
                total += 1
                if tokenizer.encode(text, special=False) != [int(token) for token in line.split()]:
                    wrong.append(f"{name} {number}")
    what = f"llama.cpp's own vectors of {len(_VECTORS)} tokenizers: wrong of {total}"
    yield none(what, "none", wrong, "cases")


def encode_often(database: str, size: int) -> dict[str, Any]:
    """In the child: the median speed of three warm encodings, and the memory that all took."""
    db = connect(database, "model")
    return _often(Tokenizer(db).encode, english(db, size))


def encode_often_there(database: str, size: int, file: str) -> dict[str, Any]:
    """In the child: the same of the package `tokenizers`."""
    import tokenizers

    return _often(tokenizers.Tokenizer.from_file(file).encode, english(connect(database, "model"), size))


def _often(encode: Callable[[str], object], text: str) -> dict[str, Any]:
    encode(text[:1000])
    forget_peak()
    before, took = resident_bytes(), []
    for _ in range(4):
        started = time.perf_counter()
        encode(text)
        took.append(time.perf_counter() - started)
    after = peak_bytes()
    more = after - before if after is not None and before is not None else None
    return {"bytes_per_s": len(text) / median(took[1:]), "more_bytes": more}


def english(db: Any, size: int) -> str:
    """A text of some characters out of a vocabulary's words, the n-th most frequent drawn 1/n as often.

    One in five is a word of two tokens, always with the same second one: in 1 MB are then as many different words
    as in 1 MB of Webster's dictionary (22,000).

    Args:
        db: a model database with byte-level BPE.
        size: in characters.
    """
    draw = random.Random(65)
    rows = (token.bytes.decode("utf-8", "replace") for token in queries.all_tokens(db))
    words = [word for word in rows if word.startswith(" ") and word[1:].isascii() and word[1:].isalpha()]
    words = words[:_WORDS]
    ends = [word[1:] for word in words if 3 < len(word) < 6]
    weights = [1 / (1 + number) for number in range(len(words))]
    long = {word: word + draw.choice(ends) for word in words}
    drawn = draw.choices(words, weights, k=size)
    kept, length = [], 0
    for word in drawn:
        kept.append(long[word] if draw.random() < 0.2 else word)
        length += len(kept[-1])
        if length >= size:
            break
    return "".join(kept)[:size]


def _tokenizer_json(place: Place, database: Path) -> Path:
    """A model's tokenizer as the file that `tokenizers` reads."""
    target = place.folder / f"{database.stem}-tokenizer.json"
    with opened(database, "model") as db:
        pieces = [(token.piece, token.type) for token in queries.all_tokens(db)]
        told = tokenizer_of(queries.hyperparameters(db), pieces, queries.merge_parts(db))[0]
    target.write_text(json.dumps(told), "utf-8")
    return target


TOKENIZING = (first_encode, throughput, vectors)
