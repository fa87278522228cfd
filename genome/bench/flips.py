"""One flipped byte anywhere in a model database: is it found, and does any read give a wrong answer?"""

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from genome import db
from genome.bench.child import tell
from genome.db.connect import meta, opened
from genome.db.layout import plain as without_comments
from genome.errors import Error
from genome.model import Tokenizer, queries
from genome.model.weights import Weights

TEXT = "The mother of all models: aab zy, 65 primes."


def flips(database: str, count: int, seed: int) -> dict[str, Any]:
    """Changes one byte of a database, looks, and puts it back, again and again.

    Args:
        database: a model of this program's; the file is written to.
        count: how many bytes, one at a time, drawn from the whole file.
        seed: which bytes, and what they become.

    Returns:
        changed: how many changed what a table holds, or made the file unreadable; missed: those of them that
        `verify` does not find; wrong: reads that gave another answer than before instead of an error; raw: what was
        raised that is no `Error`. The last three as texts that name the byte.
    """
    path, draw = Path(database), random.Random(seed)
    size, wanted, right = path.stat().st_size, _content(path), dict(_answers(path))
    found: dict[str, Any] = {"flips": count, "changed": 0, "missed": [], "wrong": [], "raw": []}
    if broken := [name for name, answer in right.items() if not answer.startswith("sha ")]:
        raise Error(f"{path} cannot be read before any byte is changed: {broken[0]}; wanted a sound model")
    for number in range(count):
        at, bits = draw.randrange(size), draw.randrange(1, 256)
        _flip(path, at, bits)
        try:
            changed = _content(path) != wanted
            found["changed"] += changed
            noticed = _noticed(path)
            if noticed is not True and (changed or noticed):
                found["raw" if noticed else "missed"].append(f"byte {at} ^ {bits}: {noticed or 'not found'}")
            for name, answer in _answers(path):
                if answer.startswith("raw "):
                    found["raw"].append(f"byte {at} ^ {bits}: {name}: {answer}")
                elif answer.startswith("sha ") and answer != right[name]:
                    found["wrong"].append(f"byte {at} ^ {bits}: {name}")
        finally:
            _flip(path, at, bits)
        tell(number + 1)
    return found


def _flip(path: Path, at: int, bits: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ bits]))


def _content(path: Path) -> str:
    """What the tables hold, as SQLite alone reads it in the order of their rows: no check of this program's."""
    sha = hashlib.sha256()
    try:
        plain = apsw.Connection(
            f"{path.resolve().as_uri()}?immutable=1", apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY
        )
        try:
            sha.update(repr((plain.pragma("application_id"), plain.pragma("user_version"))).encode())
            for *names, sql in plain.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid"):
                told = repr((names, without_comments(sql or "")))  # a comment says nothing to SQLite
                sha.update(told.encode("utf-8", "surrogatepass"))
            for (table,) in plain.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"):
                for row in plain.execute(f'SELECT * FROM "{table}" NOT INDEXED'):
                    sha.update(repr(row).encode("utf-8", "surrogatepass"))
        finally:
            plain.close(True)
    except (apsw.Error, UnicodeError) as error:
        return f"unreadable: {error}"
    return sha.hexdigest()


def _noticed(path: Path) -> bool | str:
    """Whether `verify` finds something; the text of what it raised where that is no `Error`."""
    try:
        return bool(db.verify(path))
    except Error:
        return True
    except Exception as error:
        return f"verify: {error!r:.200}"


def _answers(path: Path) -> Iterator[tuple[str, str]]:
    """What each way to read gives: `sha` and a digest, `error`, or `raw` and what was raised."""
    for name, read in _READS.items():
        try:
            with opened(path, "model") as database:
                yield name, "sha " + hashlib.sha256(repr(read(database)).encode()).hexdigest()
        except Error as error:
            yield name, f"error {error}"
        except Exception as error:
            yield name, f"raw {error!r:.200}"


def _by_bytes(database: apsw.Connection) -> object:
    wanted = [word.encode() for word in ("a", "ab", "zz", "abc", "bcd")]
    return [queries.find_tokens(database, exact=raw) for raw in wanted]


def _tensors(database: apsw.Connection) -> object:
    weights = Weights(database)
    return [(t, hashlib.sha256(weights.read(t).tobytes()).digest()) for t in weights.tensors()]


_READS: dict[str, Callable[[apsw.Connection], object]] = {
    "header": meta,
    "token by bytes": _by_bytes,
    "tokens by prefix": lambda database: queries.find_tokens(database, prefix="a"),
    "tokens by number": lambda database: list(queries.all_tokens(database)),
    "metadata": queries.hyperparameters,
    "tensors": _tensors,
    "encode": lambda database: Tokenizer(database).encode(TEXT),
    "merges": lambda database: list(queries.merge_parts(database)),
}
"""Ways to read a model; each is asked on a connection of its own."""
