"""Strange prompts and damaged weights: each gives a defined result or one clear line."""

from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Event

import numpy as np

from genome.bench import made
from genome.bench.measure import run
from genome.bench.place import Place
from genome.bench.rows import Row, none
from genome.errors import DamagedError, Error
from genome.model import import_gguf

_PROMPT = list(range(300, 400))
_SPOILT = "blk.0.ffn_up.weight"
_TEXT = "so <|no such token|> it is"


def strange(place: Place) -> Iterator[Row]:
    """Prompts of 0 tokens, of too many, of unknown ones, NaN in a block, a cancelled prompt."""
    sound, spoilt = place.folder / "strange.db", place.folder / "spoilt.db"
    file = made.model(place.folder / "strange.gguf")
    import_gguf(file, sound)
    raw = bytearray(file.read_bytes())
    at = raw.index(made.weights(1000, 64, 2, 65)[_SPOILT].tobytes())
    raw[at + 400 : at + 404] = np.float32(np.nan).tobytes()
    file.write_bytes(raw)
    import_gguf(file, spoilt)
    told = run("genome.bench.strange:wrong", str(sound), str(spoilt)).value
    goal = "a defined result, or one clear line"
    yield none(f"{told['cases']} strange prompts, damaged weights: handled otherwise", goal, told["wrong"], "cases")


def wrong(sound: str, spoilt: str) -> dict[str, object]:
    """In the child: the cases that end otherwise than they should, with what they gave."""
    from genome.db import Journal
    from genome.db.connect import connect
    from genome.model import LanguageModel

    with closing(connect(sound, "model")) as db, closing(connect(spoilt, "model")) as damaged:
        model, other = LanguageModel(db, "sound", Journal()), LanguageModel(damaged, "spoilt", Journal())
        cancelled = Event()
        cancelled.set()

        def tokens(prompt: list[int], cancel: Event | None = None) -> list[int]:
            return [step.token for step in model.generate(prompt, max_tokens=4, past_end=True, cancel=cancel)]

        encode, decode = model.tokenizer.encode, model.tokenizer.decode
        right = tokens(_PROMPT)
        cases: dict[str, tuple[Callable[[], object], object]] = {
            "no token": (lambda: tokens([]), Error),
            "as many tokens as the context": (lambda: tokens(_PROMPT[:1] * model.context), Error),
            "one token less": (lambda: len(tokens(_PROMPT[:1] * (model.context - 1))), 1),
            "an unknown token": (lambda: tokens([1_000_000]), Error),
            "an unknown special token": (lambda: decode(encode(_TEXT)), _TEXT),
            "NaN in a block": (lambda: next(other.generate(_PROMPT)), DamagedError),
            "a cancelled prompt": (lambda: tokens(_PROMPT[::-1], cancelled), []),
            "the next prompt": (lambda: tokens(_PROMPT), right),
        }
        found = {name: _outcome(work, wanted) for name, (work, wanted) in cases.items()}
        return {"cases": len(cases), "wrong": [f"{name}: {said}" for name, said in found.items() if said]}


def _outcome(work: Callable[[], object], wanted: object) -> str:
    """Nothing where it ends as wanted: with this value, or with an error of this class in one line."""
    try:
        found = work()
    except Exception as error:
        lines = str(error).splitlines()
        fine = isinstance(wanted, type) and isinstance(error, wanted) and len(lines) == 1
        return "" if fine else repr(error)
    return "" if found == wanted else repr(found)
