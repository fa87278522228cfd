"""Every hand-made file goes into a database and comes out the same, and says what ggml's own reader finds in it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_cases import CASES

from genome.db import verify
from genome.model.formats.exporter import export_gguf
from genome.model.formats.gguf import reading
from genome.model.formats.gguf_form import Array, Field, name_bytes
from genome.model.formats.importer import import_gguf


def test_there_are_enough():
    assert len(CASES) >= 60
    assert len({tuple(build().values()) for build in CASES.values()}) == len(CASES)


@pytest.mark.parametrize("name", CASES)
def test_in_and_out(tmp_path, name):
    files = CASES[name]()
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    import_gguf(tmp_path / list(files)[-1], tmp_path / "model.db")
    assert verify(tmp_path / "model.db") == []
    told = export_gguf(tmp_path / "model.db", tmp_path / "out")
    assert {p.name if len(files) > 1 else "a.gguf": p.read_bytes() for p, _ in told.files} == _named(files)
    assert [sha for _, sha in told.files] == [hashlib.sha256(content).hexdigest() for content in files.values()]
    assert not told.changed


def _named(files: dict[str, bytes]) -> dict[str, bytes]:
    return files if len(files) > 1 else {"a.gguf": next(iter(files.values()))}


REFUSED_BY_GGML = {
    "little endian, given-up tensor types", "big endian, given-up tensor types", "keys that look alike",
    "names that look alike", "alignment 24", "alignment 100", "alignment as uint64",
}  # fmt: skip
"""Names that are not UTF-8, alignments that are no power of two or no uint32, types without a name."""


@pytest.mark.parametrize("name", CASES)
def test_ggmls_reader_finds_the_same(tmp_path, name):
    refused = False
    for file, content in CASES[name]().items():
        path = tmp_path / file
        path.write_bytes(content)
        try:
            oracle = gguf.GGUFReader(path)
        except Exception:
            refused = True
        else:
            _compare(path, oracle)
    assert refused == (name in REFUSED_BY_GGML)


def _compare(path: Path, oracle: gguf.GGUFReader) -> None:
    with reading(path) as source:
        wanted = {key: field for key, field in oracle.fields.items() if not key.startswith("GGUF.")}
        assert [name_bytes(key) for key in source.fields] == [key.encode() for key in wanted]
        for found, field in zip(source.fields.values(), wanted.values(), strict=True):
            assert list(_elements(found)) == [_little(field.parts[index]) for index in field.data], found.key
        assert [name_bytes(t.name) for t in source.tensors] == [t.name.encode() for t in oracle.tensors]
        for info, tensor in zip(source.tensors, oracle.tensors, strict=True):
            assert (info.offset, info.size_bytes) == (tensor.data_offset, tensor.n_bytes)
            with source.data(info) as data:
                assert bytes(data) == tensor.data.tobytes()


def _little(part: np.ndarray) -> bytes:
    return part.astype(part.dtype.newbyteorder("<")).tobytes()


def _elements(field: Field) -> Iterator[bytes]:
    """A value's numbers and strings as bytes, one after the other, whatever arrays they stand in."""
    if isinstance(field.value, Array):
        yield from _flat(field.value)
    else:
        yield field.value if isinstance(field.value, bytes) else field.raw


def _flat(array: Array) -> Iterator[bytes]:
    if array.raw:
        yield from (number.tobytes() for number in array.numbers())
    for item in array.items:
        if isinstance(item, bytes):
            yield item
        else:
            yield from _flat(item)
