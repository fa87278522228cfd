"""Patches: how some rows' bytes become others, each in the smallest of several encodings.

A patch says which rows of a span change and holds, of those rows, the new bytes (`dense`, `dense_zstd`), the
elements that differ (`sparse`), or old XOR new (`xor`: first bytes of all elements, second bytes ..., compressed).
With it go a checksum of what it holds, and one of what comes out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import zstandard

from genome.db.blocks import checksum
from genome.errors import DamagedError

LOW_RANK = "low_rank"
"""The encoding of rows that a product gives: the caller computes them, and the patch holds what they lack."""

_LEVEL = 3


class Patch(NamedTuple):
    """Some changed rows; the columns of the tables `patch` and `inverse`."""

    first_row: int
    row_count: int
    rows: bytes | None
    encoding: str
    element_bytes: int
    result: int
    checksum: int
    data: bytes

    def changed(self) -> np.ndarray:
        """The rows that change, counted from `first_row`; int64, ascending. Takes memory for `row_count` numbers.

        Raises:
            DamagedError: they are not within the span.
        """
        if self.rows is None:
            return np.arange(self.row_count)
        if len(self.rows) != -(-self.row_count // 8):
            raise DamagedError(f"a patch of {self.row_count} rows says by {len(self.rows)} bytes which change")
        bits = np.unpackbits(np.frombuffer(self.rows, np.uint8), bitorder="little")
        if bits[self.row_count :].any():
            raise DamagedError("a patch changes rows outside of its span")
        return np.flatnonzero(bits)


def between(old: np.ndarray | None, new: np.ndarray, first_row: int, element_bytes: int) -> Patch | None:
    """The smallest patch that turns some rows into others.

    Args:
        old: uint8, the shape of `new`; None where all rows are new (another type).
        new: uint8, shape (rows, row_bytes).
        first_row: the number of the first of these rows.
        element_bytes: the bytes of one number or one quantised block.

    Returns:
        None where nothing differs.

    Example:
        >>> old = np.zeros((4, 64), np.uint8)
        >>> new = old.copy()
        >>> new[2, 8] = 7
        >>> patch = between(old, new, 100, element_bytes=4)
        >>> patch.first_row, patch.row_count, patch.encoding, len(patch.data)
        (102, 1, 'sparse', 5)
    """
    if old is None:
        return _patch(first_row, None, len(new), element_bytes, new, _smallest(None, new, element_bytes))
    differs = np.flatnonzero((old != new).any(axis=1))
    if not len(differs):
        return None
    begin, end = int(differs[0]), int(differs[-1]) + 1
    rows = None
    if len(differs) < end - begin:
        bits = np.zeros(end - begin, np.uint8)
        bits[differs - begin] = 1
        rows = np.packbits(bits, bitorder="little").tobytes()
    changed = new[differs]
    encoded = _smallest(old[differs], changed, element_bytes)
    return _patch(first_row + begin, rows, end - begin, element_bytes, changed, encoded)


def beyond(product: np.ndarray, new: np.ndarray, first_row: int, element_bytes: int) -> Patch:
    """The patch of rows that a product gives, alone or up to a remainder.

    Args:
        product: uint8, shape (rows, row_bytes): what the product gives.
        new: uint8, the same shape: what shall come out.
        first_row: the number of the first of these rows.
        element_bytes: the bytes of one number.
    """
    data = b"" if np.array_equal(product, new) else _xored(product, new, element_bytes)
    if len(data) > new.nbytes:
        return _patch(first_row, None, len(new), element_bytes, new, ("dense", new.tobytes()))
    return _patch(first_row, None, len(new), element_bytes, new, (LOW_RANK, data))


def decoded(patch: Patch, before: np.ndarray, row_bytes: int) -> np.ndarray:
    """The changed rows as they are afterwards.

    Args:
        patch: what changes.
        before: the same rows as they were, or as the product gives them: uint8, shape (changed rows, bytes).
        row_bytes: of a row afterwards.

    Returns:
        uint8, shape (changed rows, row_bytes).

    Raises:
        DamagedError: the patch is not what was written, does not fit these rows, or they were not these.
    """
    if checksum(patch.data) != patch.checksum:
        raise DamagedError("the patch's checksum differs")
    if patch.element_bytes < 1 or row_bytes % patch.element_bytes:
        raise DamagedError(f"rows of {row_bytes} bytes have no elements of {patch.element_bytes}")
    decode = _DECODERS.get(patch.encoding)
    if decode is None:
        raise DamagedError(f"the encoding {patch.encoding!r:.40} is not known; update Token Genome")
    found = decode(patch, before, (len(before), row_bytes))
    if checksum(found.data) != patch.result:
        raise DamagedError("what comes out is not what the patch was made for")
    return found


def _patch(
    first_row: int, rows: bytes | None, count: int, element_bytes: int, new: np.ndarray, encoded: tuple[str, bytes]
) -> Patch:
    encoding, data = encoded
    result = checksum(np.ascontiguousarray(new).data)
    return Patch(first_row, count, rows, encoding, element_bytes, result, checksum(data), data)


def _smallest(old: np.ndarray | None, new: np.ndarray, element_bytes: int) -> tuple[str, bytes]:
    """Encoding and data; of equally small ones that which is decoded fastest."""
    raw = new.tobytes()
    found = [("dense", raw), ("dense_zstd", _compressed(raw))]
    if old is not None:
        found += [("xor", _xored(old, new, element_bytes))]
        if (data := _sparse(old, new, element_bytes)) is not None:
            found.insert(1, ("sparse", data))
    return min(found, key=lambda pair: len(pair[1]))


def _compressed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(raw)


def _xored(old: np.ndarray, new: np.ndarray, element_bytes: int) -> bytes:
    return packed(old ^ new, element_bytes)


def packed(rows: np.ndarray, element_bytes: int) -> bytes:
    """Bytes compressed: the first bytes of all elements, then the second ones ..., which resemble each other.

    Args:
        rows: uint8, any shape.
        element_bytes: the bytes of one number.
    """
    return _compressed(rows.reshape(-1, element_bytes).T.tobytes())


def unpacked(data: bytes, shape: tuple[int, int], element_bytes: int) -> np.ndarray:
    """What `packed` was given; uint8 of that shape.

    Raises:
        DamagedError: it was something else. No more memory is taken than the shape wants.
    """
    planes = np.frombuffer(_unpacked(data, shape[0] * shape[1]), np.uint8).reshape(element_bytes, -1)
    return np.ascontiguousarray(planes.T).reshape(shape)


def _sparse(old: np.ndarray, new: np.ndarray, element_bytes: int) -> bytes | None:
    """The places of the elements that differ, then these; None where that is longer than all of them."""
    was, now = old.reshape(-1, element_bytes), new.reshape(-1, element_bytes)
    places = np.flatnonzero((was != now).any(axis=1))
    place = _place(len(now))
    if place is None or len(places) * (place.itemsize + element_bytes) >= new.size:
        return None
    return places.astype(place).tobytes() + now[places].tobytes()


def _place(elements: int) -> np.dtype | None:
    """The smallest integers that count so many elements."""
    return next((np.dtype(f"<u{size}") for size in (1, 2, 4) if elements <= 1 << 8 * size), None)


def _from_dense(patch: Patch, before: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if len(patch.data) != shape[0] * shape[1]:
        raise DamagedError(f"{len(patch.data)} bytes are no {shape[0]} rows of {shape[1]}")
    return np.frombuffer(patch.data, np.uint8).reshape(shape)


def _from_zstd(patch: Patch, before: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.frombuffer(_unpacked(patch.data, shape[0] * shape[1]), np.uint8).reshape(shape)


def _from_sparse(patch: Patch, before: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    size = patch.element_bytes
    found = _same_length(before, shape).copy()
    elements = found.reshape(-1, size)
    place = _place(len(elements))
    if place is None or len(patch.data) % (place.itemsize + size):
        raise DamagedError(f"{len(patch.data)} bytes are no elements of {size} with their places")
    count = len(patch.data) // (place.itemsize + size)
    places = np.frombuffer(patch.data, place, count)
    if count and places.max() >= len(elements):
        raise DamagedError(f"there is no element {places.max()} in {shape[0]} rows of {shape[1]} bytes")
    elements[places] = np.frombuffer(patch.data, np.uint8, offset=count * place.itemsize).reshape(count, size)
    return found


def _from_xor(patch: Patch, before: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return _same_length(before, shape) ^ unpacked(patch.data, shape, patch.element_bytes)


def _from_product(patch: Patch, before: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if patch.data:
        return _from_xor(patch, before, shape)
    return np.ascontiguousarray(_same_length(before, shape))


def _same_length(before: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if before.shape != shape:
        raise DamagedError(f"a patch of rows of {before.shape[1]} bytes gives no rows of {shape[1]}")
    return before


def _unpacked(data: bytes, size: int) -> bytes:
    """Compressed bytes that are to become `size`: what a frame says beforehand bounds the memory."""
    try:
        told = zstandard.frame_content_size(data)
        if told == size:
            return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise DamagedError(f"the patch's bytes do not unpack ({error})") from error
    raise DamagedError(f"the patch unpacks to {told} bytes; wanted {size}")


_DECODERS: dict[str, Callable[[Patch, np.ndarray, tuple[int, int]], np.ndarray]] = {
    "dense": _from_dense, "dense_zstd": _from_zstd, "sparse": _from_sparse, "xor": _from_xor,
    LOW_RANK: _from_product,
}  # fmt: skip
