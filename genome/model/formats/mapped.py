"""Files of weights through a memory map, whose pages go back to the system as soon as they are read."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def open_map(mapped: mmap.mmap) -> Iterator[mmap.mmap]:
    """A map, closed at the end of the block; an error on its way holds views of it, and then it ends with them."""
    try:
        yield mapped
    finally:
        with suppress(BufferError):
            mapped.close()


@contextmanager
def viewed(mapped: mmap.mmap, offset: int, size_bytes: int) -> Iterator[memoryview]:
    """Some bytes of a map; their memory goes back to the system at the end of the block."""
    end = offset + size_bytes
    with memoryview(mapped) as whole, whole[offset:end] as view:
        yield view
    if hasattr(mapped, "madvise") and size_bytes:
        begin = offset // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, begin, end - begin)
