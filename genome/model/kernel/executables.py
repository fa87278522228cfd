"""Compiled functions that outlive the process: what was compiled once is loaded in a twentieth of the time.

An executable is machine code in a pickle, and loading one runs it. So each file is signed (HMAC-SHA-256) with a
secret of this user that lies outside of the folder: what another person put there, or what is damaged, is not
loaded but compiled again. Files of another jax, processor or version of this program have other names.
"""

import hashlib
import hmac
import os
import pickle
import platform
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import jax
import jaxlib.version
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from genome import sources

_SIGNATURE_BYTES = 32
_CODE = ("*.py", "native/*.py", "../quant.py")
"""What executables are made of, from this folder on: a change of it makes new ones."""

_MOST_KEPT = 96
"""Files in a folder, of 1 MB each: a model asks for ten or so; those that were not asked for longest go first."""
_LEFT_S = 3600
"""A file that is still being written after so long was left by a process that was killed."""

Call = Callable[..., Any]

_ready: dict[str, Call] = {}
"""Those of this process, for all models of the same shapes."""
_making = Lock()


class Executables:
    """Executables in a folder; each is loaded, or else compiled and kept, when it is first asked for.

    Args:
        folder: where they are kept; made when it is needed. None keeps nothing. Where it cannot be written to,
            the next process compiles again.

    Attributes:
        compiled: how many had to be compiled, neither made in this process before nor kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.compiled = 0

    def get(self, function: Any, static: Any, *arguments: Any) -> Call:
        """The executable of `function(static, *arguments)`; call it with arguments of the same shapes.

        Args:
            function: from `jax.jit`; its first argument is static.
            static: that one: its `repr` tells what it is.
            arguments: trees of arrays or `jax.ShapeDtypeStruct`; their shapes count, not their numbers.
        """
        name = _name(function, static, arguments)
        with _making:
            if (found := _ready.get(name) or self._load(name)) is None:
                self.compiled += 1
                found = function.lower(static, *arguments).compile()
                self._keep(name, found)
            _ready[name] = found
        return found

    def _load(self, name: str) -> Call | None:
        if self._folder is None:
            return None
        try:
            signed = (self._folder / name).read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(self._folder / name)  # asked for today: `_tidy` leaves it
        signature, told = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        key = secret()
        if key is None or not hmac.compare_digest(signature, signed_with(key, name, told)):
            return None
        return deserialize_and_load(*pickle.loads(told))

    def _keep(self, name: str, compiled: Any) -> None:
        key = None if self._folder is None else secret()
        if self._folder is None or key is None:
            return
        try:
            told = pickle.dumps(serialize(compiled))
        except (ValueError, NotImplementedError):  # a backend that cannot: it compiles each time
            return
        whole = self._folder / f".{name}.{os.getpid()}"
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            whole.write_bytes(signed_with(key, name, told) + told)
            whole.replace(self._folder / name)
            _tidy(self._folder)


class Steps:
    """The executables of one model, found again by short keys: to name them by their arguments takes longer.

    Args:
        executables: where they are kept.
        static: the first argument of all of them.
    """

    def __init__(self, executables: Executables, static: Any) -> None:
        self._executables, self._static = executables, static
        self._found: dict[tuple, Call] = {}

    def get(self, function: Call, key: tuple, *given: Any) -> Call:
        """As `Executables.get`.

        Args:
            function: from `jax.jit`.
            key: tells apart what is given: the same function with the same key is the same step.
            given: the other arguments.
        """
        if (found := self._found.get((function, *key))) is None:
            found = self._found[function, *key] = self._executables.get(function, self._static, *given)
        return found

    def run(self, function: Call, key: tuple, *given: Any) -> Any:
        """What the step gives."""
        return self.get(function, key, *given)(*given)


def _tidy(folder: Path) -> None:
    """Removes what other versions of this program or of jax have left, and processes that were killed."""
    found = [(entry.stat().st_mtime, entry.name) for entry in os.scandir(folder)]
    kept = sorted((at, name) for at, name in found if re.fullmatch("[0-9a-f]{40}", name))
    left = [name for at, name in found if name.startswith(".") and time.time() - at > _LEFT_S]
    for name in [*left, *(name for _, name in kept[:-_MOST_KEPT])]:
        with suppress(OSError):
            (folder / name).unlink()


def _name(function: Any, static: Any, arguments: Any) -> str:
    """A digest of everything that an executable depends on."""
    leaves, tree = jax.tree.flatten(arguments)
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    told = (*_machine(), function.__module__, function.__qualname__, static, tree, shapes)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:40]


@cache
def _machine() -> tuple[str, ...]:
    """The processor with its abilities, the libraries, this program's code."""
    device = jax.devices()[0]
    code = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(Path(__file__).parent.glob(pattern)):
            code.update(path.read_bytes())
    versions = (jax.__version__, jaxlib.version.__version__, device.client.platform_version)
    return (device.platform, device.device_kind, str(jax.device_count()), *versions, processor(), code.hexdigest())


def processor() -> str:
    """What tells this machine's processor and its abilities from another one."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return " ".join((platform.machine(), platform.processor(), *told))


def secret() -> bytes | None:
    """This user's key, made when it is missing; None where it can be neither read nor written."""
    path = sources.cache_folder() / "executables.key"
    with suppress(OSError):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = path.with_suffix(f".{os.getpid()}")
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_SIGNATURE_BYTES))
            made.replace(path)
        return path.read_bytes()
    return None


def signed_with(key: bytes, name: str, told: bytes) -> bytes:
    """What only who has the user's key can write under bytes of that name."""
    return hmac.digest(key, name.encode() + told, "sha256")
