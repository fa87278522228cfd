"""The GGUF reader against ggml's own reader, and against files that are not what they say."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genome.errors import DamagedError, Error, NotFoundError
from genome.model.formats.gguf import GGUF, reading, unpacked
from genome.model.formats.gguf_form import Array, TensorInfo, name_bytes, packed, shown_name


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def field(key: str, kind: int, value: bytes) -> bytes:
    return text(key.encode()) + struct.pack("<I", kind) + value


def write(path: Path, *fields: bytes, version: int = 3, tensors: tuple[bytes, ...] = (), data: bytes = b"") -> Path:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(fields)) + b"".join(fields) + b"".join(tensors)
    path.write_bytes(head + (b"\0" * (-len(head) % 32) + data if tensors else b""))
    return path


def described(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ONE_OF_EACH = (
    field("u8", 0, b"\xff"), field("i8", 1, b"\xff"), field("u16", 2, b"\xfe\xff"), field("i16", 3, b"\xfe\xff"),
    field("u32", 4, b"\0\0\0\x80"), field("i32", 5, b"\0\0\0\x80"), field("f32", 6, struct.pack("<f", 0.1)),
    field("yes", 7, b"\1"), field("text", 8, text("né".encode())), field("u64", 10, b"\xff" * 8),
    field("i64", 11, b"\xff" * 8), field("f64", 12, struct.pack("<d", 0.1)),
    field("shorts", 9, struct.pack("<IQ3h", 3, 3, -1, 0, 1)),
    field("texts", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b"")),
    field("empty", 9, struct.pack("<IQ", 5, 0)),
    field("nested", 9,
          struct.pack("<IQ", 9, 2) + struct.pack("<IQ2B", 0, 2, 7, 8) + struct.pack("<IQ", 8, 1) + text(b"z")),
)  # fmt: skip


@pytest.mark.parametrize("version", [2, 3])
def test_every_value_type(tmp_path, version):
    with reading(write(tmp_path / "a.gguf", *ONE_OF_EACH, version=version)) as source:
        found = {f.key: (f.type, f.value) for f in source.fields.values()}
        assert source.version == version
    assert found["u8"] == ("uint8", 255)
    assert found["i8"] == ("int8", -1)
    assert found["u16"] == ("uint16", 65534)
    assert found["i16"] == ("int16", -2)
    assert found["u32"] == ("uint32", 1 << 31)
    assert found["i32"] == ("int32", -(1 << 31))
    assert found["f32"] == ("float32", float(np.float32(0.1)))
    assert found["yes"] == ("bool", 1)
    assert found["text"] == ("string", "né".encode())
    assert found["u64"] == ("uint64", (1 << 64) - 1)
    assert found["i64"] == ("int64", -1)
    assert found["f64"] == ("float64", 0.1)
    assert found["shorts"][0] == "array[int16]"
    assert found["shorts"][1].numbers().tolist() == [-1, 0, 1]
    assert found["texts"] == ("array[string]", Array("string", items=(b"a", b"")))
    assert len(found["empty"][1]) == 0
    assert found["nested"] == (
        "array[array]",
        Array("array", items=(Array("uint8", b"\7\x08"), Array("string", items=(b"z",)))),
    )


def test_equals_ggmls_reader(tiny_gguf):
    oracle = gguf.GGUFReader(tiny_gguf)
    with reading(tiny_gguf) as source:
        assert list(source.fields) == [key for key in oracle.fields if not key.startswith("GGUF.")]
        for key, found in source.fields.items():
            wanted = oracle.fields[key].contents()
            if isinstance(found.value, bytes):
                assert found.value.decode() == wanted
            elif not isinstance(found.value, Array):
                assert found.value == pytest.approx(wanted)
            elif found.value.type == "string":
                assert [item.decode() for item in found.value.items] == wanted
            else:
                assert found.value.numbers().tolist() == wanted
        assert [t.name for t in source.tensors] == [t.name for t in oracle.tensors]
        for tensor, wanted in zip(source.tensors, oracle.tensors, strict=True):
            assert (tensor.offset, tensor.size_bytes) == (wanted.data_offset, wanted.n_bytes)
            assert tensor.shape == tuple(reversed(wanted.shape.tolist()))
            with source.data(tensor) as data:
                assert bytes(data) == wanted.data.tobytes()


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_alignment(tmp_path, tiny, alignment):
    path = tiny.write(tmp_path / "a.gguf", more=lambda w: w.add_custom_alignment(alignment))
    oracle = gguf.GGUFReader(path)
    with reading(path) as source:
        assert source.alignment == alignment
        assert [t.offset for t in source.tensors] == [t.data_offset for t in oracle.tensors]


def test_every_truncation_is_told(tmp_path):
    """A file of 16 fields and one tensor, cut after each of its bytes but the last."""
    whole = write(
        tmp_path / "a.gguf", *ONE_OF_EACH, tensors=(described(b"w", (4,), 0, 0),), data=b"\0" * 16
    ).read_bytes()
    path = tmp_path / "cut.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError, match=r"cut\.gguf (is|is not|is truncated)"), reading(path):
            pass


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mutated")
    return write(folder / "a.gguf", *ONE_OF_EACH, tensors=(described(b"w", (4,), 0, 0),), data=b"\0" * 16)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_altered_bytes_give_an_answer_or_one_line(small, changes):
    """A change may also spell an odd but whole file, which is read."""
    raw = bytearray(small.read_bytes())
    for place, value in changes:
        raw[place % len(raw)] = value
    path = small.with_name("b.gguf")
    path.write_bytes(raw)
    try:
        with reading(path) as source:
            sizes = [(tensor.size_bytes, _length(source, tensor)) for tensor in source.tensors]
    except Error as error:
        lines = str(error).splitlines()
    else:
        lines = ["read"]
        assert all(wanted == found for wanted, found in sizes)
    assert len(lines) == 1


def _length(source: GGUF, tensor: TensorInfo) -> int:
    with source.data(tensor) as data:
        return len(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"This is a text about GGUF files.\n", "is not a GGUF file: wanted it to begin with b'GGUF', got b'This'"),
        (b"", "is not a GGUF file"),
        (b"GGUF\1\0\0\0" + b"\0" * 16, "has GGUF version 1; this program reads versions 2 and 3"),
        (b"GGUF\0\0\0\1" + b"\0" * 16, "has GGUF version 1; this program reads"),
        (b"GGUF\0\0\0\0" + b"\0" * 16, "has GGUF version 0; this program reads"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "wants 1152921504606846976 metadata fields, got only 0"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "wants 9223372036854775808 tensors"),
    ],
)  # fmt: skip
def test_what_is_no_gguf(tmp_path, content, said):
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(Error) as told, reading(path):
        pass
    assert said in str(told.value)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    ("fields", "tensors", "said"),
    [
        ((field("a", 4, b"\0" * 4), field("a", 4, b"\0" * 4)), (), "has the metadata key 'a' twice"),
        ((field("a", 13, b"\0" * 8),), (), "'a' has the value type 13; GGUF knows 0 to 12"),
        ((field("a", 9, struct.pack("<IQ", 13, 1) + b"\0" * 8),), (), "'a' is an array of type 13"),
        ((field("a", 9, struct.pack("<IQ", 9, 1) * 17 + b"\0" * 16),), (), "array of type 9, 16 deep"),
        ((field("general.alignment", 4, b"\0\0\0\0"),), (), "general.alignment is 0; wanted a number of bytes"),
        ((field("general.alignment", 8, text(b"32")),), (), "general.alignment is b'32'; wanted a number of bytes"),
        ((), (described(b"w", (1,) * 9, 0, 0),), "has 9 dimensions"),
        ((), (described(b"w", (4,), 99, 0),), "tensor 'w' has the unknown type 99; update Token Genome"),
        ((), (described(b"w", (33,), 8, 0),), "rows of 33; Q8_0 wants whole 32s"),
        ((), (described(b"w", (1 << 63, 0), 0, 0),), "has 0 rows of 36893488147419103232 bytes; wanted fewer"),
        ((), (described(b"w", (5,), 0, 0),), "tensor 'w' ends at byte"),
        ((), (described(b"w", (2,), 0, 0), described(b"w", (2,), 0, 8)), "has the tensor 'w' twice"),
        ((), (described(b"v", (4,), 0, 0), described(b"w", (2,), 0, 8)), "tensor 'w' overlaps another one"),
        ((), (described(b"w", (1 << 60, 1 << 60), 0, 0),), "is truncated: tensor 'w' ends at byte"),
    ],
)  # fmt: skip
def test_what_cannot_be(tmp_path, fields, tensors, said):
    path = write(tmp_path / "a.gguf", *fields, tensors=tensors, data=b"\0" * 16)
    with pytest.raises(Error) as told, reading(path):
        pass
    assert said in str(told.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist; wanted a GGUF file"), reading(tmp_path / "a.gguf"):
        pass
    with pytest.raises(Error, match="is not a file"), reading(tmp_path):
        pass


@given(st.binary(max_size=30) | st.text(max_size=10).map(str.encode))
@example("\U0010ff7f\U0010ff80\U0010ffff".encode() + b"\xf4\x8f\xbf")
def test_any_name_is_text_and_comes_back(raw):
    shown = shown_name(raw)
    assert name_bytes(shown) == raw
    assert shown.encode().decode() == shown


@given(st.text(alphabet=st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])))
def test_usual_names_stay(name):
    assert shown_name(name.encode()) == name


def test_an_array_is_spelled_in_both_orders():
    """array[array] of one array[int16] of -2 and 258: types 9 and 3, counts of 8 bytes, then the numbers."""
    array = Array("array", items=(Array("int16", raw=b"\xfe\xff\2\1"),))
    little = "09000000 0100000000000000 03000000 0200000000000000 feff 0201"
    big = "00000009 0000000000000001 00000003 0000000000000002 fffe 0102"
    assert packed(array) == bytes.fromhex(little)
    assert packed(array, ">") == bytes.fromhex(big)
    assert unpacked(packed(array)) == array


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.gguf")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Error, match=r"a\.gguf cannot be read \(Permission denied\); wanted"), reading(path):
        pass
