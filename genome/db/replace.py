"""Atomic writing: a file, or a folder of files, appears under its name complete, or not at all."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from genome.db.build import sync_folder
from genome.errors import Error, NotFoundError

_HIDDEN = r"\.{name}\.[0-9a-f]{{8}}\.exporting"


@contextmanager
def replacing(path: Path, force: bool = False, *, source: Path | None = None) -> Iterator[BinaryIO]:
    """A hidden file beside `path` that takes its name at the end of the block, when all is on the disk.

    When the block raises, the hidden file is removed and whatever was at `path` stays; what a killed process
    left is removed by the next one that writes the same name.

    Args:
        path: the final name.
        force: replace a file of that name.
        source: a file that must never be replaced: what is being read.

    Raises:
        NotFoundError: the folder to write into does not exist.
        Error: something has that name, before or after the block, or the disk is full or refuses.
    """
    check_target(path, force, source=source)
    with _written(path):
        growing, handle = _begin(path, folder=False)
        try:
            with growing.open("r+b") as file:
                try:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    with suppress(OSError):
                        file.close()  # what is still in its buffer may find the disk full once more
                    raise
            if not force and os.path.lexists(path):
                raise Error(_APPEARED.format(path=path))
            os.replace(growing, path)
        finally:
            _let_go(handle)
            _remove(growing)
    sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """A hidden folder beside `path`, to be filled, that takes its name at the end of the block.

    With `force` the new folder and the old one change places in one step where the system can do that (Linux,
    macOS), else by two renames. Only a folder is replaced whose every entry the new one has too: a file of
    somebody else's in it is a reason to refuse. An empty folder is replaced without `force`.

    Args:
        path: the folder's final name.
        force: replace a folder of that name.

    Raises:
        NotFoundError: the folder above does not exist.
        Error: something has that name, holds other files, or the disk is full or refuses.
    """
    path = Path(os.path.abspath(path))
    check_target(path, force, folder=True)
    with _written(path):
        growing, handle = _begin(path, folder=True)
        try:
            yield growing
            _sync(growing)
            check_target(path, force, folder=True, entries={entry.name for entry in growing.iterdir()})
            _change_places(growing, path)
        finally:
            _let_go(handle)
            _remove(growing)
    sync_folder(path.parent)


def check_target(
    path: Path, force: bool, *, source: Path | None = None, folder: bool = False, entries: set[str] | None = None
) -> None:
    """Refuses a name that cannot be written, before any work is done for it.

    Args:
        path: the name of a file, or of a folder.
        force: whether what has that name may be replaced.
        source: a file that must not be replaced.
        folder: whether a folder is to be written.
        entries: of a folder, the names that the new one has: a folder with others is not replaced.

    Raises:
        NotFoundError: the folder that would hold it does not exist.
        Error: the name is taken, and may not or cannot be replaced.
    """
    try:
        if not path.parent.is_dir():
            raise NotFoundError(f"{path.parent} is not a folder; make it first, or choose another one")
        if not os.path.lexists(path):
            return
        if folder:
            _check_folder(path, force, entries)
        elif not force:
            raise Error(_EXISTS.format(path=path))
        elif not path.is_file() or (source is not None and path.samefile(source)):
            raise Error(f"{path} cannot be replaced: it is no ordinary file, or the database; choose another name")
    except OSError as error:
        raise Error(f"{path} cannot be looked at ({error.strerror}); choose another folder") from error


_EXISTS = "{path} exists; choose another name, or replace it with --force (in Python force=True)"
_APPEARED = "{path} has appeared during the export; it stays as it is: choose another name"


def _check_folder(path: Path, force: bool, entries: set[str] | None) -> None:
    if path.is_symlink() or not path.is_dir():
        raise Error(f"{path} cannot be replaced: it is no ordinary folder; choose another name")
    if path.samefile(Path.cwd()):
        raise Error(f"{path} is the folder that you are in; wanted the name of a new one")
    found = {entry.name for entry in path.iterdir()}
    if found and not force:
        raise Error(_EXISTS.format(path=path))
    if entries is not None and (others := sorted(found - entries)):
        raise Error(f"{path} holds other files ({others[0]!r:.80}); they stay as they are: choose another folder")


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Error(
            f"{path} cannot be written ({error.strerror}); choose a folder that can be, with space enough"
        ) from error


def _begin(path: Path, *, folder: bool) -> tuple[Path, list[int]]:
    """A new hidden file or folder, and the lock that tells it from what a killed process left."""
    for leftover in path.parent.iterdir():
        if re.fullmatch(_HIDDEN.format(name=re.escape(path.name)), leftover.name):
            _remove_leftover(leftover)
    while True:
        growing = path.with_name(f".{path.name}.{token_hex(4)}.exporting")
        if folder:
            growing.mkdir()
        else:
            growing.open("xb").close()
        handle = []
        with suppress(OSError):  # a disk without locks: what a killed process leaves stays there
            handle.append(_locked(growing))
        if growing.exists():
            return growing, handle
        _let_go(handle)  # taken for a leftover by another process, in the moment before the lock


def _locked(path: Path) -> int:
    """An open, locked file or folder. Windows needs none: it removes no open file, and opens no folder."""
    if os.name == "nt":
        raise OSError("no locks")
    import fcntl

    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _let_go(handle: list[int]) -> None:
    while handle:
        os.close(handle.pop())


def _remove_leftover(leftover: Path) -> None:
    handle = []
    with suppress(OSError):
        if os.name != "nt":
            handle.append(_locked(leftover))
        elif leftover.is_dir():
            return  # a live one could not be told from a dead one
        _remove(leftover)
    _let_go(handle)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _sync(folder: Path) -> None:
    """Brings a folder's files to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("r+b") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _change_places(growing: Path, path: Path) -> None:
    """Puts the new folder in the place of the old one, if there is one; that gets the hidden name."""
    if not os.path.lexists(path):
        os.rename(growing, path)
    elif not _exchanged(growing, path):
        aside = path.with_name(f".{path.name}.{token_hex(4)}.exporting")
        os.rename(path, aside)
        try:
            os.rename(growing, path)
        except OSError:
            os.rename(aside, path)
            raise
        _remove(aside)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    exchange, here = 2, -100 if sys.platform == "linux" else -2  # RENAME_EXCHANGE = RENAME_SWAP; AT_FDCWD
    function = {"linux": "renameat2", "darwin": "renameatx_np"}.get(sys.platform)
    if function is None:
        return False
    import ctypes

    try:
        call = getattr(ctypes.CDLL(None), function)
    except AttributeError:
        return False  # a C library without it
    return call(here, names[0], here, names[1], exchange) == 0
