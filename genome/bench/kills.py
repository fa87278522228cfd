"""Processes killed at random moments of an import, export, swap, apply, undo: the old state, or the new one."""

import hashlib
import random
import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path
from statistics import median
from typing import Any

from genome import db
from genome.bench import made, measure
from genome.bench.child import tell, wait
from genome.db.connect import header, opened
from genome.errors import Error
from genome.model.deltas.inplace import apply_delta, undo
from genome.model.deltas.making import create
from genome.progress import Progress, silent
from genome.workbench import Workbench

_LONGER = 1.3
"""Kills fall evenly between the begin of the work and a little after its usual end."""


def kills(folder: Path, count: int, seed: int, progress: Progress = silent) -> dict[str, Any]:
    """Kills that many processes at work, the works in turns, and looks at what each one leaves.

    Args:
        folder: to work in.
        count: how many.
        seed: of the moments.
        progress: told kills.

    Returns:
        kills, old, new (what was there afterwards), wrong: any other state, as texts.
    """
    made.model(folder / "a.gguf", seed=1)
    made.model(folder / "b.gguf", seed=2)
    home = Workbench(folder / "home")
    for name in ("a", "b"):
        home.pull(folder / f"{name}.gguf", name)
    works = [work(folder, home) for work in WORKS]
    usual = [median(_undisturbed(work) for _ in range(3)) for work in works]
    draw = random.Random(seed)
    found: dict[str, Any] = {"kills": 0, "old": 0, "new": 0, "wrong": []}
    for number in range(count):
        work, usual_s = works[number % len(works)], usual[number % len(works)]
        moment_s = draw.uniform(0, _LONGER * usual_s)
        state = _killed(work, moment_s)
        found["kills"] += 1
        if state in ("old", "new"):
            found[state] += 1
        else:
            found["wrong"].append(f"{work.name} killed after {1000 * moment_s:.1f} ms: {state}")
        progress("kills", number + 1, count, "kills")
    for work in works:
        _undisturbed(work)  # what a killed one left is taken away by the next one
    if left := [p.name for p in folder.rglob(".*") if p.is_file()]:
        found["wrong"].append(f"left behind: {', '.join(left)}")
    return found


def _undisturbed(work: "Work") -> float:
    """The seconds that the work takes; the new state is there afterwards."""
    work.prepare()
    with measure.begin(f"genome.bench.kills:{work.call}", *work.arguments()) as child:
        child.line()
        child.send("go")
        took = child.result()["value"]
    if (state := work.state()) != "new":
        raise Error(f"{work.name}, not killed, gives {state}; wanted the new state")
    return took


def _killed(work: "Work", moment_s: float) -> str:
    work.prepare()
    with measure.begin(f"genome.bench.kills:{work.call}", *work.arguments()) as child:
        child.line()
        child.send("go")
        time.sleep(moment_s)
        if child.kill() > 0:  # a signal's status is negative: this one failed by itself
            return f"it failed: {(child.errors().splitlines() or [''])[-1]:.200}"
    try:
        return work.state()
    except Error as error:
        return f"unreadable: {error}"


class Work(ABC):
    """Something that changes a file, from an old state to a new one.

    Attributes:
        name: for people.
        call: the function below that does it in the child.
    """

    name: str
    call: str

    def __init__(self, folder: Path, home: Workbench) -> None:
        self.folder, self.home = folder, home

    @abstractmethod
    def prepare(self) -> None:
        """Brings the old state."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """What the function in the child is called with."""

    @abstractmethod
    def state(self) -> str:
        """`old`, `new`, or what else is there."""


class Import(Work):
    """A database is replaced by one that is built from another file."""

    name, call = "import", "import_work"

    def prepare(self) -> None:
        """See `Work`."""
        shutil.copyfile(self.home.path("a"), self.folder / "built.db")

    def arguments(self) -> list[str]:
        """See `Work`."""
        return [str(self.folder / "b.gguf"), str(self.folder / "built.db")]

    def state(self) -> str:
        """See `Work`."""
        return _which(self.folder / "built.db", self.home.path("a"), self.home.path("b"))


class Export(Work):
    """A file is replaced by an exported one."""

    name, call = "export", "export_work"

    def prepare(self) -> None:
        """See `Work`."""
        shutil.copyfile(self.folder / "a.gguf", self.folder / "out.gguf")

    def arguments(self) -> list[str]:
        """See `Work`."""
        return [str(self.home.folder), "b", str(self.folder / "out.gguf")]

    def state(self) -> str:
        """See `Work`."""
        states = {_sha(self.folder / "a.gguf"): "old", _sha(self.folder / "b.gguf"): "new"}
        return states.get(_sha(self.folder / "out.gguf"), "a file that is neither")


class Swap(Work):
    """An envelope swaps its model and is saved under the name of one that was saved before."""

    name, call = "swap", "swap_work"

    def __init__(self, folder: Path, home: Workbench) -> None:
        super().__init__(folder, home)
        self._files = {name: _sha(home.path(name)) for name in ("a", "b")}

    def prepare(self) -> None:
        """See `Work`."""
        with self.home.envelope("a") as envelope:
            envelope.save("kept")

    def arguments(self) -> list[str]:
        """See `Work`."""
        return [str(self.home.folder)]

    def state(self) -> str:
        """See `Work`."""
        if changed := [name for name, sha in self._files.items() if _sha(self.home.path(name)) != sha]:
            return f"the file of {changed[0]} has changed"
        with self.home.reopen("kept") as envelope:
            names = ", ".join(envelope.names)
            return {"a": "old", "b": "new"}.get(names, f"an envelope of {names}")


class Apply(Work):
    """A delta is applied in place."""

    name, call = "apply", "apply_work"
    before, after = "base", "applied"

    def __init__(self, folder: Path, home: Workbench) -> None:
        super().__init__(folder, home)
        self._delta = folder / "delta.db"
        self._states = {name: folder / f"{name}.db" for name in ("base", "applied")}
        if not self._delta.exists():
            shutil.copyfile(home.path("a"), self._states["base"])
            shutil.copyfile(home.path("a"), self._states["applied"])
            with opened(home.path("a"), "model") as base, opened(home.path("b"), "model") as other:
                create(base, other, self._delta)
            with opened(self._delta, "delta") as delta:
                apply_delta(self._states["applied"], delta)

    def prepare(self) -> None:
        """See `Work`."""
        shutil.copyfile(self._states[self.before], self.folder / "changing.db")

    def arguments(self) -> list[str]:
        """See `Work`."""
        return [str(self.folder / "changing.db"), str(self._delta)]

    def state(self) -> str:
        """See `Work`."""
        return _which(self.folder / "changing.db", self._states[self.before], self._states[self.after])


class Undo(Apply):
    """An applied delta is taken back."""

    name, call = "undo", "undo_work"
    before, after = "applied", "base"


WORKS: list[type[Work]] = [Import, Apply, Undo, Export, Swap]


def import_work(gguf: str, database: str) -> float:
    """In the child."""
    from genome.model import import_gguf

    return _when_told(lambda: import_gguf(Path(gguf), Path(database)))


def export_work(home: str, name: str, file: str) -> float:
    """In the child."""
    from genome.model.formats import exporter

    assert exporter
    bench = Workbench(home)
    return _when_told(lambda: bench.export(name, file, force=True))


def swap_work(home: str) -> float:
    """In the child."""
    with Workbench(home).envelope("a") as envelope:
        envelope.encode("the mother")

        def swap() -> None:
            envelope.swap("b")
            envelope.encode("the mother")
            envelope.save("kept")

        return _when_told(swap)


def apply_work(model: str, delta: str) -> float:
    """In the child."""
    with opened(Path(delta), "delta") as change:
        return _when_told(lambda: apply_delta(Path(model), change))


def undo_work(model: str, delta: str) -> float:
    """In the child."""
    return _when_told(lambda: undo(Path(model)))


def _when_told(work: Any) -> float:
    tell("ready")
    wait()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _which(path: Path, old: Path, new: Path) -> str:
    """Which of two databases a file holds, by its checksum; it has to be sound."""
    if problems := db.verify(path):
        return f"damaged: {problems[0]}"
    states = {header(old)["checksum"]: "old", header(new)["checksum"]: "new"}
    return states.get(header(path)["checksum"], "a database that is neither")


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
