"""The compiled kernel: whether it is used here and why, made once for this machine and kept in the cache folder.

Kept is only what has passed the self-test, signed with this user's key; its name follows sources, compiler and
processor. What failed leaves its reason there under the same name, and is not tried again until one of them changes
or the note is removed. Without the kernel pure JAX computes the same.
"""

import ctypes
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import jax.ffi

from genome import sources
from genome.errors import Error
from genome.model.kernel.executables import processor, secret, signed_with

SETTING = "GENOME_KERNEL"
_SOURCES = ("kernel.cpp", "products.h", "attention.h", "threads.h", "lanes.h")
_COMPILE_S, _TEST_S = 240, 120
_SIGNATURE_BYTES = 32


class Kernel(NamedTuple):
    """Who computes the products of one vector on this machine's processor, and why.

    `name` is `native` or `jax`; `library` tells compiled kernels apart, empty for pure JAX.
    """

    name: str
    why: str
    library: str = ""


class Compiler(NamedTuple):
    """A C++ compiler: its command, the file that it is, and what it wants besides."""

    command: tuple[str, ...]
    file: Path
    options: tuple[str, ...] = ()


def kernel() -> Kernel:
    """The kernel of this process; the native one is compiled, tested and loaded by the first call.

    GENOME_KERNEL=jax asks for pure JAX, GENOME_KERNEL=native for the native one with any compiler of this machine;
    without it the native one is used where the extra is installed (`pip install 'token-genome[native]'`).

    Raises:
        Error: the setting has another value.
    """
    return _kernel(os.environ.get(SETTING, ""), sources.cache_folder())


@cache
def _kernel(setting: str, folder: Path) -> Kernel:
    if setting not in ("", "jax", "native"):
        raise Error(f"{SETTING} is {setting!r}; wanted native, jax, or nothing")
    if setting == "jax":
        return Kernel("jax", f"{SETTING} asks for it")
    if jax.default_backend() != "cpu":
        return Kernel("jax", f"the native kernel is for processors, and jax uses {jax.default_backend()}")
    if not setting and find_spec("ziglang") is None:
        return Kernel("jax", "the extra is not installed (pip install 'token-genome[native]')")
    reasons = []
    for compiler in compilers():
        try:
            file = made(compiler, folder)
            return Kernel("native", *loaded(file))
        except (Error, OSError) as error:
            reasons.append(f"{compiler.file.name}: {error}")
    return Kernel("jax", "; ".join(reasons) or "no C++ compiler was found")


def compilers() -> Iterator[Compiler]:
    """The extra's, then those on the path."""
    if (found := find_spec("ziglang")) and found.origin:
        file = Path(found.origin).parent / ("zig.exe" if sys.platform == "win32" else "zig")
        if file.exists():
            yield Compiler((str(file), "c++"), file, ("-nostdlib++",))
    for name in ("c++", "g++", "clang++"):
        if told := shutil.which(name):
            yield Compiler((told,), Path(told).resolve())


def made(compiler: Compiler, folder: Path, *options: str) -> Path:
    """The kernel that a compiler makes, from the cache folder or compiled and tested.

    Args:
        compiler: to compile with.
        folder: the cache folder.
        options: for the compiler, besides those that it always gets.

    Raises:
        Error: it could not be compiled, or computes something else than pure JAX; now, or when it was tried last.
        OSError: the folder cannot be written, or it took too long.
    """
    file = folder / f"native-{_digest(compiler, options)}{_ending()}"
    note, key = file.with_suffix(".failed"), secret()
    if key is None:
        raise Error("there is no folder to keep it in; set GENOME_CACHE to one that can be written")
    with suppress(OSError):
        signature = file.with_suffix(".signature").read_bytes()
        if hmac.compare_digest(signature, signed_with(key, file.name, file.read_bytes())):
            return file
    with suppress(OSError):
        raise Error(note.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".native-", ignore_cleanup_errors=True) as work:
        fresh = Path(work) / file.name
        try:
            _compile(compiler, fresh, options)
            _test(fresh)
        except Error as error:
            note.write_text(str(error), "utf-8")
            raise
        signature = Path(work) / "signature"
        signature.write_bytes(signed_with(key, file.name, fresh.read_bytes()))
        fresh.replace(file)
        signature.replace(file.with_suffix(".signature"))
    return file


def loaded(file: Path) -> tuple[str, str]:
    """What a compiled kernel uses of the processor, and the name that tells it apart; jax knows it from now on.

    Raises:
        OSError: it cannot be loaded.
    """
    library = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return _registered(file, library), library


def target(library: str, function: str) -> str:
    """The name under which jax knows a function of a loaded kernel: `product` or `attention`."""
    return f"genome_{function}_{library}"


@cache
def _registered(file: Path, library: str) -> str:
    code = ctypes.CDLL(str(file))
    code.genome_lanes.restype = ctypes.c_char_p
    for function in ("product", "attention"):
        capsule = jax.ffi.pycapsule(getattr(code, f"genome_{function}"))
        jax.ffi.register_ffi_target(target(library, function), capsule, platform="cpu")
    return code.genome_lanes().decode()


def _digest(compiler: Compiler, options: tuple[str, ...]) -> str:
    told = hashlib.sha256()
    state = compiler.file.stat()
    told.update(repr((compiler, state.st_size, state.st_mtime_ns, options, processor())).encode())
    for path in (*(Path(__file__).with_name(name) for name in _SOURCES), _interface()):
        told.update(path.read_bytes())
    return told.hexdigest()[:16]


def _interface() -> Path:
    """XLA's own description of how it calls foreign functions."""
    return Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"


def _ending() -> str:
    return {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def _compile(compiler: Compiler, file: Path, options: tuple[str, ...]) -> None:
    """Compiles for this very processor; the compiler's own intermediate files go where the result goes."""
    source = Path(__file__).with_name(_SOURCES[0])
    native = "-march=native" if processor().startswith(("x86_64", "AMD64")) else "-mcpu=native"
    independent = () if sys.platform == "win32" else ("-fPIC",)
    command = (
        *compiler.command, "-std=c++17", "-O2", native, "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-w",
        *independent, *compiler.options, *options, "-shared", f"-I{jax.ffi.include_dir()}", str(source),
        "-o", str(file),
    )  # fmt: skip
    folders = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(file.parent / "zig"))
    _run(command, _COMPILE_S, "does not compile", **folders)


def _test(file: Path) -> None:
    """In a process of its own: a kernel that crashes must not take this one along."""
    command = (sys.executable, "-m", "genome.model.kernel.native.checking", str(file))
    _run(command, _TEST_S, "fails its self-test", JAX_PLATFORMS="cpu")


def _run(command: tuple[str, ...], limit_s: int, failing: str, **variables: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env=os.environ | variables, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:  # a busy machine: tried again, so no note of it is left
        raise TimeoutError(f"the native kernel {failing} within {limit_s} s") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
        raise Error(f"the native kernel {failing} (exit status {done.returncode}): {told[:300]}")
