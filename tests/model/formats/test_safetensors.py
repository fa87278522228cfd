"""Safetensors files: what the `safetensors` package writes is read the same; what cannot be is one line."""

import json
import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save, save_file

from genome.errors import DamagedError, Error, NotFoundError
from genome.model.formats.safetensors import BITS, reading


def spelled(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of a header (JSON, or bytes as they are) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def described(dtype: str = "U8", shape: tuple[int, ...] = (2,), begin: int = 0, end: int = 2, **more) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


@pytest.fixture
def refusal(tmp_path):
    """The one line that a file of these bytes is refused with."""

    def line(content: bytes) -> str:
        path = tmp_path / "a.safetensors"
        path.write_bytes(content)
        with pytest.raises(Error) as caught, reading(path):
            pass
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400 + len(str(path))
        return str(caught.value)

    return line


def test_what_the_package_writes(tmp_path):
    draw = np.random.default_rng(65)
    arrays = {
        "f32": draw.normal(size=(3, 4)).astype(np.float32),
        "f16": draw.normal(size=(2, 3, 4)).astype(np.float16),
        "bf16": draw.normal(size=(5,)).astype(ml_dtypes.bfloat16),
        "f8": draw.normal(size=(4, 2)).astype(ml_dtypes.float8_e4m3fn),
        "f64": np.float64([np.nan, -0.0]), "bool": np.array([[True, False]]), "c64": np.complex64([1j]),
        "i8": np.int8([[-1]]), "u16": np.uint16([65535]), "i64": np.int64([-(1 << 63)]),
        "scalar": np.array(7, np.float32), "empty": np.empty((0, 5), np.int32), "no columns": np.empty((5, 0)),
        "émoji 🙂": np.uint8([1]),
    }  # fmt: skip
    path = tmp_path / "a.safetensors"
    save_file(arrays, path, {"format": "np", "long": "x" * 5000})
    with reading(path) as file, safe_open(path, "np") as oracle:
        assert file.metadata == oracle.metadata()
        assert file.tensors.keys() == set(oracle.keys()) == arrays.keys()
        for name, tensor in file.tensors.items():
            told = oracle.get_slice(name)
            assert (list(tensor.shape), tensor.dtype) == (told.get_shape(), told.get_dtype())
            assert tensor.row_count * tensor.row_bytes == tensor.size_bytes
            with file.data(tensor) as data:
                assert bytes(data) == arrays[name].tobytes()
        assert (file.tensors["f16"].row_count, file.tensors["f16"].row_bytes) == (6, 8)
        assert (file.tensors["scalar"].row_count, file.tensors["scalar"].row_bytes) == (1, 4)
        assert file.head() == path.read_bytes()[: file.head_bytes]


def test_types_and_sizes_are_the_package_s():
    """Every type that the package reads, at its size; four bits twice make a byte."""
    for dtype, bits in BITS.items():
        assert len(next(iter(deserialized(spelled({"a": described(dtype, (8,), 0, bits)}, bytes(bits)))))) == 2
        with pytest.raises(SafetensorError):
            deserialized(spelled({"a": described(dtype, (8,), 0, bits + 1)}, bytes(bits + 1)))


def deserialized(content: bytes) -> list:
    from safetensors import deserialize

    return deserialize(content)


def test_rows_that_end_inside_a_byte_are_one_row(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(spelled({"a": described("F4", (2, 3), 0, 3), "b": described("F4", (3, 2), 3, 6)}, bytes(6)))
    with reading(path) as file:
        assert (file.tensors["a"].row_count, file.tensors["a"].row_bytes) == (1, 3)
        assert (file.tensors["b"].row_count, file.tensors["b"].row_bytes) == (3, 1)


def test_a_type_of_the_future_is_kept_as_one_row(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(spelled({"a": described("F3", (2, 4), 0, 3)}, b"abc"))
    with reading(path) as file:
        (tensor,) = file.tensors.values()
        assert (tensor.dtype, tensor.row_count, tensor.row_bytes) == ("F3", 1, 3)


def test_odd_files_that_the_package_reads(tmp_path):
    """No tensors, blanks, another order than the data's, escapes, unknown facts: all is allowed."""
    cases = [
        b"{}", b" { }   ", b'{"__metadata__":{}}', b' {"a":1}'[1:].replace(b"1", json.dumps(described()).encode()),
        json.dumps({"b": described(begin=2, end=4), "a": described()}, indent=2).encode(),
        b'{"\\u00e9\\n\\"}" : {"shape":[2],"more":null,"data_offsets" : [0, 2],"dtype":"U8"} }  ',
    ]  # fmt: skip
    for header in cases:
        size = 4 if b'"b"' in header else 2 if b"shape" in header else 0
        content = spelled(header, b"abcd"[:size])
        path = tmp_path / "a.safetensors"
        path.write_bytes(content)
        wanted = {name: bytes(told["data"]) for name, told in deserialized(content)}
        with reading(path) as file:
            found = {}
            for name, tensor in file.tensors.items():
                with file.data(tensor) as data:
                    found[name] = bytes(data)
        assert found == wanted


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "wanted the header's length"),
        (b"\0" * 7, "wanted the header's length"),
        (spelled(b"{}", length=3), "wanted a header of 3 bytes"),
        (spelled(b"{}", length=(1 << 64) - 1), "wanted a header of 18446744073709551615 bytes"),
        (spelled(b""), "wants a JSON object, got b''"),
        (spelled(b"[]"), "wants a JSON object"),
        (spelled(b"{"), "wants a name and a colon"),
        (spelled(b'{"a"'), "wants a name and a colon"),
        (spelled(b'{"a":'), "wants a tensor's description"),
        (spelled(b'{"a":[[[[[[[['), "wants a tensor's description"),
        (spelled(b'{"__metadata__":{"a":1}}'), "wants a text"),
        (spelled(b'{"__metadata__":{},"__metadata__":{}}'), "'__metadata__' twice"),
        (spelled(b'{"a":{}}'), "wanted dtype, shape and data_offsets"),
        (spelled(b'{"\xff":{}}'), "is no UTF-8 text in JSON"),
        (spelled(b'{"\\ud800":{}}'), "is no UTF-8 text in JSON"),
        (spelled(b'{}{}'), "has more than one header"),
        (spelled({"a": described(end=3)}, b"abc"), "has 3 bytes; U8 of shape [2] wants 2"),
        (spelled({"a": described("F4", (3,), 0, 1)}, b"a"), "has 1 bytes; F4 of shape [3] wants 1.5"),
        (spelled({"a": described(shape=(-2,))}, b"ab"), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described(shape=(2.0,))}, b"ab"), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described(shape=(1 << 63,))}), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described(shape=(1,) * 65)}), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described(shape=(True, 2))}, b"ab"), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described(dtype=7)}, b"ab"), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described(begin=2, end=0)}, b"ab"), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described()}, b"a"), "is truncated: its tensors end at byte 70, the file at 69"),
        (spelled({"a": described()}, b"abc"), "has 1 bytes behind its last tensor"),
        (spelled({"a": described(begin=1, end=3)}, b"abc"), "leaves bytes 68 to 68 unused"),
        (spelled({"a": described(), "b": described(begin=1, end=3)}, b"abc"), "'b' overlaps another one"),
        (spelled({"a": described("F32", (1 << 31, 1 << 30), 0, 1 << 63)}), "wanted dtype, shape and data_offsets"),
        (spelled({"a": described("U8", (1 << 62,), 0, 1 << 62)}), "is truncated: its tensors end at byte 46116860"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(refusal, content, line):
    assert line in refusal(content)
    with pytest.raises(SafetensorError):
        deserialized(content)


def test_a_name_twice(refusal):
    one = json.dumps(described())
    assert "has the name 'a' twice" in refusal(spelled(f'{{"a":{one},"a":{one}}}'.encode(), b"ab"))


def test_no_file(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"), reading(tmp_path / "a.safetensors"):
        pass
    with pytest.raises(Error, match="is not a file"), reading(tmp_path):
        pass


@pytest.mark.parametrize(
    "part", [b'"a":[],', b"[" * 8, b'"\\\\\\\\', b'{"a":', b'"a":{"shape":[0,0,0,0,0,0,0,0,', b"\\\\" * 4, b" "]
)
@pytest.mark.parametrize("start", [b"{", b'{"', b'{"__metadata__":{"', b'{"a":{"dtype":['])
def test_a_hostile_header_costs_no_memory(refusal, part, start):
    """Sixteen million bytes of nothing: refused with less memory than a tenth of them."""
    content = spelled(start + part * ((1 << 24) // len(part)))
    tracemalloc.start()
    try:
        refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_many_names_are_refused(refusal):
    header = b'{"__metadata__":{' + b'"":"",' * ((1 << 20) + 1)
    assert "has more than 1048576 tensors" in refusal(spelled(header))


@given(st.data())
def test_a_changed_header_is_read_as_the_package_reads_it_or_refused(tmp_path_factory, data):
    """Where both read a file, they read the same; and no change makes anything but an `Error`."""
    content = bytearray(save({"a": np.float32([[1, 2]]), "b": np.int8([3])}, {"k": "v"}))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(content)
    try:
        with reading(path) as file:
            found = {name: (t.dtype, t.shape) for name, t in file.tensors.items()}
    except Error:
        return
    try:
        wanted = {name: (told["dtype"], tuple(told["shape"])) for name, told in deserialized(bytes(content))}
    except SafetensorError:
        return
    assert {n: s for n, (_, s) in found.items()} == {n: s for n, (_, s) in wanted.items()}


def test_damage_is_told_as_damage(refusal, tmp_path):
    refusal(b"")
    with pytest.raises(DamagedError), reading(tmp_path / "a.safetensors"):
        pass
