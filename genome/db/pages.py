"""Checksums of pages: a byte that changes anywhere in a database is noticed when its page is read.

SQLite leaves eight bytes at the end of each page free for this (https://www.sqlite.org/fileformat.html, 1.3.4,
"reserved bytes per page"); a layer between SQLite and the file fills them in and compares them.
"""

import atexit
from collections.abc import Iterator
from functools import cache
from itertools import count

import apsw
import xxhash

CHECKSUM_BYTES = 8
_NAME, _PARAMETER, _BLIND = "genome", "page_bytes", "blind"
_PAGE_BYTES_AT, _RESERVED_AT = 16, 20


def parameters(*, page_bytes: int = 0, checked: bool = True) -> str:
    """What the URI of a database ends in.

    Args:
        page_bytes: the size of its pages, where it is made: it has no header yet.
        checked: whether pages are compared with their checksums; `verify` reads on where one differs.
    """
    return (
        f"vfs={layer()}"
        + (f"&{_PARAMETER}={page_bytes}" if page_bytes else "")
        + ("" if checked else f"&{_BLIND}=1")
    )


def damaged(db: apsw.Connection) -> Iterator[int]:
    """Where the pages begin that are not what was written; those that SQLite never wrote are all zeros.

    SQLite's own descriptor reads them: closing another one would end all locks that this process holds on the file.

    Args:
        db: open, and not comparing pages itself.
    """
    _, head = db.read("main", 0, 0, _RESERVED_AT + 1)
    if not (size := _size(head)):
        return
    for at in count(0, size):
        whole, page = db.read("main", 0, at, size)
        if not whole:
            return
        if page[-CHECKSUM_BYTES:] != checksum(page, at) and any(page):
            yield at


def _size(head: bytes) -> int:
    """The size of the pages of a file that begins so; 0 where they have no checksums."""
    size = int.from_bytes(head[_PAGE_BYTES_AT : _PAGE_BYTES_AT + 2], "big")
    return (65536 if size == 1 else size) if head[_RESERVED_AT] == CHECKSUM_BYTES else 0


@cache
def layer() -> str:
    """The name under which SQLite knows the layer; it is there from the first call on."""
    _LAYERS.append(_Layer(_NAME, ""))
    atexit.register(_close_all)
    return _NAME


def _close_all() -> None:
    """Closes what is open when Python ends: later, SQLite would ask the layer by names that apsw has given up."""
    for db in apsw.connections():
        db.close(True)


_LAYERS: list[apsw.VFS] = []
"""SQLite keeps no reference of its own."""


def checksum(page: bytes | memoryview, at: int) -> bytes:
    """XXH3-64 of a page without its last eight bytes, seeded with its place in the file."""
    return xxhash.xxh3_64_digest(memoryview(page)[:-CHECKSUM_BYTES], seed=at)


class _Layer(apsw.VFS):
    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 (SQLite's)
        kind = _Database if flags[0] & apsw.SQLITE_OPEN_MAIN_DB else apsw.VFSFile
        return kind("", name, flags)


class _Database(apsw.VFSFile):
    """A database's file; one that another program made has no checksums, and none are compared."""

    def __init__(self, base: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        told = isinstance(name, apsw.URIFilename)
        self._blind = name.uri_boolean(_BLIND, False) if told else False
        self._page_bytes = name.uri_int(_PARAMETER, 0) if told else 0  # 0: pages have no checksums

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 (SQLite's name)
        size = self._page_bytes
        if self._blind:
            return super().xRead(amount, offset)
        if offset == 0 or not size or offset % size:
            data = super().xRead(amount, offset)
            self._look(data, offset)
            if not self._page_bytes or offset or len(data) != self._page_bytes:
                return data  # the first bytes alone, which are read without a lock
            size = amount
        else:
            data = super().xRead(size, offset)  # SQLite reads what it wants of a long value's page alone
        if len(data) == size and data[-CHECKSUM_BYTES:] != checksum(data, offset):
            raise apsw.CorruptError(f"the page at byte {offset} is not what was written")
        return data[:amount]

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 (SQLite's name)
        self._look(data, offset)
        if self._page_bytes == len(data):
            data = b"".join((data[:-CHECKSUM_BYTES], checksum(data, offset)))
        super().xWrite(data, offset)

    def _look(self, data: bytes, offset: int) -> None:
        """What the header says about pages and what is kept free at their ends."""
        if offset == 0 and len(data) > _RESERVED_AT:
            self._page_bytes = _size(data)
