"""A piece of work in a process of its own: how long it took, how much memory; files out of the cache."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any

from genome.errors import Error

_PROCESS = Path("/proc/self")
_PLAIN = {"JAX_TRACEBACK_FILTERING": "off"}
"""An error's own line is the last one then."""


@dataclass(frozen=True)
class Run:
    """One run: wall-clock seconds of the whole process, its peak memory in bytes (None: unknown), the value."""

    seconds: float
    peak_bytes: int | None
    value: Any


class Child:
    """A process that calls a function of this package, `module:function`, with arguments that JSON can say."""

    def __init__(self, call: str, *arguments: Any, environment: dict[str, str] | None = None) -> None:
        self.call = call
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
        self.process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", "genome.bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_PLAIN, **(environment or {})},
        )
        self.send({"call": call, "arguments": arguments})

    def send(self, value: Any) -> None:
        """A line for the child's `wait`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def line(self) -> dict[str, Any]:
        """What the child tells next: `told`, or at its end `value` and `peak_bytes`.

        Raises:
            Error: it ended without; the text has the last line that it wrote to standard error.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.endswith("\n"):
            return json.loads(line)
        status = self.process.wait()
        said = self.errors().splitlines() or ["nothing said"]
        raise Error(f"{self.call} ended with status {status}: {said[-1]:.400}")

    def ask(self, question: str, *arguments: Any, timeout_s: float = 600) -> Any:
        """What a child that is in `child.answer` answers.

        Raises:
            Error: it took longer, or ended without.
        """
        with self._within(timeout_s):
            self.send([question, *arguments])
            return self.line()["told"]

    def result(self, timeout_s: float = 600) -> dict[str, Any]:
        """The last line, with `value`; what comes before is dropped.

        Raises:
            Error: it took longer, or ended without.
        """
        with self._within(timeout_s):
            while "value" not in (line := self.line()):
                pass
            self.process.wait()
            return line

    @contextmanager
    def _within(self, timeout_s: float) -> Iterator[None]:
        """Ends the child where the block takes longer."""
        clock = Timer(timeout_s, self.process.kill)
        clock.start()
        try:
            yield
        finally:
            clock.cancel()

    def errors(self) -> str:
        """What it has written to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")

    def kill(self) -> int:
        """Ends it at once; its exit status, 0 where it had ended by itself."""
        self.process.kill()
        return self.process.wait()

    def close(self) -> None:
        """Ends it if it still runs, and lets go of its pipes."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


@contextmanager
def begin(call: str, *arguments: Any, environment: dict[str, str] | None = None) -> Iterator[Child]:
    """A child at work; what is left of it ends with the block."""
    child = Child(call, *arguments, environment=environment)
    try:
        yield child
    finally:
        child.close()


def run(call: str, *arguments: Any, timeout_s: float = 600, environment: dict[str, str] | None = None) -> Run:
    """Calls a function in a process of its own, from the process's start to its end.

    Example:
        >>> run("operator:add", 60, 5).value
        65
    """
    started = time.perf_counter()
    with begin(call, *arguments, environment=environment) as child:
        told = child.result(timeout_s)
        return Run(time.perf_counter() - started, told["peak_bytes"], told["value"])


def first_line(program: str, *arguments: str, timeout_s: float = 300) -> Run:
    """Runs a Python program in a process of its own, from its start to the first line that it prints.

    Raises:
        Error: it ended without one, or took longer; the text has the last line that it wrote to standard error.
    """
    command = [sys.executable, "-X", "utf8", "-c", program, *arguments]
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8") as process:
            clock = Timer(timeout_s, process.kill)
            clock.start()
            assert process.stdout is not None
            line = process.stdout.readline()
            took = time.perf_counter() - started
            process.communicate()
            clock.cancel()
        if line.endswith("\n"):
            return Run(took, None, line.rstrip("\n"))
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").splitlines() or ["nothing said"]
        raise Error(f"a program ended with status {process.returncode}: {said[-1]:.400}")


def interleaved(works: Sequence[Callable[[], Run] | None], times: int) -> list[list[Run]]:
    """Runs each work as often, in turns, so that what else the machine does meets all of them; None is left out."""
    found: list[list[Run]] = [[] for _ in works]
    for _ in range(times):
        for runs, work in zip(found, works, strict=True):
            if work is not None:
                runs.append(work())
    return found


def seconds(runs: Sequence[Run]) -> float:
    """The median time of some runs."""
    return median(run.seconds for run in runs)


def peak(runs: Sequence[Run]) -> int | None:
    """The median peak memory of some runs, in bytes."""
    peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
    return int(median(peaks)) if peaks else None


def peak_bytes() -> int | None:
    """The most memory that this process has had resident since it began, or since `forget_peak`."""
    if (found := _status("VmHWM")) is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def resident_bytes() -> int | None:
    """The memory that this process has resident now; None where the system does not say."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Lets the peak begin anew from what is resident now, where the system can."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


@contextmanager
def processors(count: int) -> Iterator[None]:
    """In the block, new processes run on so many processors, where the system can: jax takes all that it may."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_of_them)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def make_cold(file: Path) -> bool:
    """Asks the system to drop a file from its cache, so that it is read from the disk next; False: it cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)  # a page that waits to be written stays
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    return True


def _status(key: str) -> int | None:
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)
