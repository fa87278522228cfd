"""Files as nobody should hand them over: mutated GGUF, safetensors and databases, each through the workbench."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

from genome.bench import made, measure
from genome.bench.child import tell
from genome.errors import Error
from genome.progress import Progress, silent
from genome.workbench import Workbench

KINDS = ("gguf", "safetensors", "db")
MOST_BYTES = 1 << 30
PATIENCE_S = 30
_LONGEST_LINE = 1000


def malformed(folder: Path, count: int, seed: int, progress: Progress = silent) -> dict[str, Any]:
    """Hands that many mutated files to the workbench, in children that are ended where they hang.

    Args:
        folder: to work in.
        count: how many; the kinds take turns.
        seed: of the mutations.
        progress: told files.

    Returns:
        files, refused, accepted (all the same: each verified, and exported byte for byte); wrong: what happened
        that should not, as texts that name the file: a traceback, a hang, too much memory, a changed export;
        peak_bytes: the most memory that a file took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made.model(folder / "sound.gguf", tokens=400, width=32, layers=1)
    told = made.safetensors(made.weights(400, 32, 1, seed))
    (folder / "sound.safetensors").write_bytes(told)
    shutil.copyfile(Workbench(folder / "home").pull(folder / "sound.gguf", "sound"), folder / "sound.db")
    found: dict[str, Any] = {"files": 0, "refused": 0, "accepted": 0, "wrong": [], "peak_bytes": 0}
    first = 0
    while first < count:
        first = _round(folder, first, count, seed, found, progress)
    return found


def _round(folder: Path, first: int, count: int, seed: int, found: dict[str, Any], progress: Progress) -> int:
    """One child from one file on, until it is through or ends; the number of the file to go on with."""
    at = first
    with measure.begin("genome.bench.malformed:handed_over", str(folder), first, count, seed) as child:
        while at < count:
            clock = Timer(PATIENCE_S, child.process.kill)
            clock.start()
            try:
                told = child.line()["told"]
            except Error as error:
                slow = not clock.is_alive()
                told = {"wrong": f"no answer in {PATIENCE_S} s" if slow else str(error), "peak_bytes": 0}
            finally:
                clock.cancel()
            name = f"{at}.{KINDS[at % len(KINDS)]}"
            found["files"] += 1
            if wrong := told.get("wrong"):
                found["wrong"].append(f"{name}: {wrong}")
            else:
                found["accepted" if told["accepted"] else "refused"] += 1
            if (peak := told["peak_bytes"] or 0) > MOST_BYTES:
                found["wrong"].append(f"{name}: {peak >> 20} MB of memory")
            found["peak_bytes"] = max(found["peak_bytes"], peak)
            at += 1
            progress("malformed files", at, count, "files")
            if child.process.poll() not in (None, 0):
                break
    return at


def handed_over(folder: str, first: int, count: int, seed: int) -> None:
    """In the child: the files from one on, each told when it is done."""
    home = Workbench(Path(folder) / "home")
    for number in range(first, count):
        kind = KINDS[number % len(KINDS)]
        sound = (Path(folder) / f"sound.{kind}").read_bytes()
        raw = mutated(sound, random.Random(seed * 1_000_003 + number))
        measure.forget_peak()
        told: dict[str, Any] = {"accepted": False}
        try:
            told["accepted"] = (_database if kind == "db" else _source)(home, Path(folder), kind, raw)
        except Error as error:
            if "\n" in str(error) or len(str(error)) > _LONGEST_LINE:
                told["wrong"] = f"not one line: {error!r:.200}"
        except Exception as error:
            told["wrong"] = f"traceback: {error!r:.200}"
        tell({**told, "peak_bytes": measure.peak_bytes()})


def _source(home: Workbench, folder: Path, kind: str, raw: bytes) -> bool:
    """Pulled; where that is accepted, nothing may be lost."""
    file, back = folder / f"mutated.{kind}", folder / f"back.{kind}"
    file.write_bytes(raw)
    (home.folder / "mutated.db").unlink(missing_ok=True)
    home.pull(file, "mutated")
    if problems := home.verify("mutated"):
        raise AssertionError(f"accepted, but damaged: {problems[0]}")
    home.export("mutated", back, force=True)
    if back.read_bytes() != raw:
        raise AssertionError("accepted, but exported with other bytes")
    return True


def _database(home: Workbench, folder: Path, kind: str, raw: bytes) -> bool:
    """Every question, each of which may be refused; True where none is."""
    (home.folder / "mutated.db").write_bytes(raw)
    answered = 0
    for ask in _QUESTIONS:
        try:
            ask(home, folder)
            answered += 1
        except Error as error:
            if "\n" in str(error):
                raise
    return answered == len(_QUESTIONS)


def _asked(home: Workbench) -> Iterator[object]:
    with home.envelope("mutated") as envelope:
        yield envelope.tokens(prefix="a", limit=5)
        yield envelope.encode("the mother of all")


_QUESTIONS: tuple[Callable[[Workbench, Path], object], ...] = (
    lambda home, folder: home.info("mutated"),
    lambda home, folder: home.databases(),
    lambda home, folder: list(_asked(home)),
    lambda home, folder: home.verify("mutated"),
    lambda home, folder: home.export("mutated", folder / "back.gguf", force=True),
)


def mutated(sound: bytes, draw: random.Random) -> bytes:
    """A sound file with one to four changes, most of them near its begin, where its counts and offsets are."""
    raw = bytearray(sound)
    for _ in range(draw.choice((1, 1, 2, 4))):
        reach = len(raw) if draw.random() < 0.3 else min(len(raw), 4096)
        at = draw.randrange(reach) if reach else 0
        draw.choice(_CHANGES)(raw, at, draw)
    return bytes(raw)


def _flip(raw: bytearray, at: int, draw: random.Random) -> None:
    for place in range(at, min(len(raw), at + draw.choice((1, 1, 3)))):
        raw[place] ^= draw.randrange(1, 256)


def _number(raw: bytearray, at: int, draw: random.Random) -> None:
    """A number that nobody expects where one may be."""
    size = draw.choice((4, 8))
    values = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, len(raw))
    number = draw.choice(values) & ((1 << 8 * size) - 1)
    raw[at : at + size] = number.to_bytes(size, draw.choice(("little", "big")))


def _cut(raw: bytearray, at: int, draw: random.Random) -> None:
    del raw[at:]


def _removed(raw: bytearray, at: int, draw: random.Random) -> None:
    del raw[at : at + draw.choice((1, 8, 100, 5000))]


def _repeated(raw: bytearray, at: int, draw: random.Random) -> None:
    raw[at:at] = raw[at : at + draw.choice((1, 8, 100, 5000))]


def _filled(raw: bytearray, at: int, draw: random.Random) -> None:
    length = min(draw.choice((8, 64, 4096)), len(raw) - at)
    raw[at : at + length] = bytes([draw.choice((0, 0xFF, 0x7B, 0x5B, 0x22))]) * length


_CHANGES = (_flip, _flip, _number, _number, _cut, _removed, _repeated, _filled)
