"""Changed rows as patches: what goes in comes out, in the smallest encoding, and hostile bytes cost one line."""

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from genome.db.blocks import checksum
from genome.db.patches import LOW_RANK, Patch, between, beyond, decoded
from genome.errors import DamagedError


def laid(patch: Patch, old: np.ndarray, first: int, row_bytes: int) -> np.ndarray:
    """The rows with a patch over them, as a reader does it."""
    found = old.copy()
    changed = patch.first_row - first + patch.changed()
    found[changed] = decoded(patch, old[changed], row_bytes)
    return found


@st.composite
def changes(draw) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows, the same rows with some elements changed (none to all), and the bytes of an element."""
    element = draw(st.sampled_from([1, 2, 4, 18, 34]))
    rows, elements = draw(st.integers(1, 40)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    old = random.integers(0, draw(st.sampled_from([1, 4, 256])), (rows, elements * element), np.uint8)
    new = old.copy()
    share = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    parts = new.reshape(rows, elements, element)
    parts[random.random((rows, elements)) < share] ^= random.integers(0, 256, element, np.uint8)
    return old, new, element


@given(changes())
def test_what_goes_in_comes_out(change: tuple[np.ndarray, np.ndarray, int]):
    old, new, element = change
    patch = between(old, new, 1000, element)
    if patch is None:
        assert np.array_equal(old, new)
        return
    differs = (old != new).any(axis=1)
    assert patch.first_row - 1000 + patch.changed().tolist()[0] == int(np.argmax(differs))
    assert len(patch.changed()) == differs.sum()
    assert len(patch.data) <= differs.sum() * old.shape[1]
    np.testing.assert_array_equal(laid(patch, old, 1000, old.shape[1]), new)


@given(changes())
def test_rows_of_another_type_are_all_there(change: tuple[np.ndarray, np.ndarray, int]):
    _, new, element = change
    patch = between(None, new, 7, element)
    assert patch is not None
    assert patch.rows is None
    np.testing.assert_array_equal(decoded(patch, np.empty((len(new), 3), np.uint8), new.shape[1]), new)


@given(changes())
def test_what_a_product_lacks(change: tuple[np.ndarray, np.ndarray, int]):
    product, new, element = change
    patch = beyond(product, new, 0, element)
    np.testing.assert_array_equal(decoded(patch, product, new.shape[1]), new)
    if np.array_equal(product, new):
        assert (patch.encoding, patch.data) == (LOW_RANK, b"")


def test_the_smallest_encoding_is_taken():
    """Of 16 rows of 64 numbers: one number; the lowest bit of each; all of one value; all at random."""
    random = np.random.default_rng(65)
    old = random.integers(0, 256, (16, 256), np.uint8)
    one = old.copy()
    one[3, 4:8] ^= 255
    bits = old.copy()
    bits[:, ::4] ^= 1
    cases = {"sparse": one, "xor": bits, "dense_zstd": np.full_like(old, 9), "dense": ~random.permutation(old.T).T}
    for name, new in cases.items():
        patch = between(old, new, 0, 4)
        assert patch is not None
        assert patch.encoding == name


def test_places_of_elements_are_as_short_as_they_can_be():
    """256 elements are counted by one byte, 257 by two: a changed byte is 2 or 3 bytes."""
    for elements, size in ((256, 2), (257, 3)):
        old = np.zeros((1, elements), np.uint8)
        new = old.copy()
        new[0, -1] = 1
        patch = between(old, new, 0, 1)
        assert patch is not None
        assert (patch.encoding, len(patch.data)) == ("sparse", size)


def hostile(**other) -> Patch:
    """A patch of two rows of 8 bytes, something of it replaced; its own checksum is right."""
    made = Patch(0, 2, None, "dense", 4, checksum(bytes(16)), 0, bytes(16))._replace(**other)
    return made._replace(checksum=checksum(made.data))


BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 24))
ENDLESS = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 24))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (hostile(data=bytes(15)), "15 bytes are no 2 rows of 8"),
        (hostile(encoding="dense_zstd", data=BOMB), "unpacks to 16777216 bytes; wanted 16"),
        (hostile(encoding="xor", data=BOMB), "unpacks to 16777216 bytes; wanted 16"),
        (hostile(encoding="xor", data=ENDLESS), "unpacks to -1 bytes; wanted 16"),
        (hostile(encoding="xor", data=b"no frame"), "do not unpack"),
        (hostile(encoding="sparse", data=bytes(6)), "6 bytes are no elements of 4 with their places"),
        (hostile(encoding="sparse", data=b"\4" + bytes(4)), "there is no element 4 in 2 rows of 8 bytes"),
        (hostile(encoding="gzip"), "the encoding 'gzip' is not known"),
        (hostile(element_bytes=0), "no elements of 0"),
        (hostile(element_bytes=3), "rows of 8 bytes have no elements of 3"),
        (hostile(data=b"\1" + bytes(15)), "what comes out is not what the patch was made for"),
        (hostile()._replace(checksum=1), "the patch's checksum differs"),
    ],
)
def test_hostile_patches(patch: Patch, message: str):
    with pytest.raises(DamagedError, match=message):
        decoded(patch, np.zeros((2, 8), np.uint8), 8)


def test_rows_outside_of_the_span():
    with pytest.raises(DamagedError, match="outside of its span"):
        hostile(rows=b"\x04").changed()
    with pytest.raises(DamagedError, match="by 2 bytes"):
        hostile(rows=b"\x01\x00").changed()
