"""The same bytes again: GGUF into a database and out, for all that the format can say."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import gguf
import numpy as np
import pytest
from gguf_cases import ARRAY, BIG, LITTLE, STRING, TENSOR_TYPES, WIDTHS, Spelling
from hypothesis import given, settings
from hypothesis import strategies as st

from genome.db import building, write_rows
from genome.db.connection import Connection
from genome.db.files import DatabaseFile
from genome.errors import DamagedError, Error, NotFoundError
from genome.model import import_gguf
from genome.model.formats.exported import Exported
from genome.model.formats.exporter import export_gguf

text, array, field, spelled = LITTLE.text, LITTLE.array, LITTLE.field, LITTLE.file


def floats(*values: float) -> list[bytes]:
    return [LITTLE.number(6, value) for value in values]


def again(folder: Path, content: bytes) -> bytes:
    """What comes out of a database that a file was imported into."""
    source, database, exported = folder / "a.gguf", folder / "a.db", folder / "b.gguf"
    source.write_bytes(content)
    import_gguf(source, database)
    told = export_gguf(database, exported, force=True)
    assert told == Exported(((exported, hashlib.sha256(content).hexdigest()),), changed=False)
    return exported.read_bytes()


def numbers(kind: int) -> st.SearchStrategy[bytes]:
    """A number's bytes: any at all, so that each NaN, infinity and -0.0 is among them."""
    size = WIDTHS[kind]
    zero = [bytes(size), bytes(size - 1) + b"\x80", b"\x80" + bytes(size - 1)]
    return st.sampled_from(zero) | st.binary(min_size=size, max_size=size)


TEXTS = st.binary(max_size=12) | st.text(max_size=8).map(str.encode)


def flat_value(kind: int, spell: Spelling) -> st.SearchStrategy[bytes]:
    return TEXTS.map(spell.text) if kind == STRING else numbers(kind)


def arrays(depth: int, spell: Spelling) -> st.SearchStrategy[bytes]:
    flat = st.sampled_from([*WIDTHS, STRING]).flatmap(
        lambda kind: st.lists(flat_value(kind, spell), max_size=5).map(lambda items: spell.array(kind, items))
    )
    nested = st.deferred(lambda: st.lists(arrays(depth - 1, spell), max_size=3))
    return flat | nested.map(lambda items: spell.array(ARRAY, items)) if depth else flat


def value_of(kind: int, spell: Spelling) -> st.SearchStrategy[tuple[int, bytes]]:
    return (arrays(3, spell) if kind == ARRAY else flat_value(kind, spell)).map(lambda value: (kind, value))


@st.composite
def vocabularies(draw, spell: Spelling) -> list[bytes]:
    pieces = draw(st.lists(TEXTS, max_size=8))
    parts = st.sampled_from(pieces) | TEXTS if pieces else TEXTS
    merges = draw(st.lists(st.tuples(parts, parts).map(b" ".join) | TEXTS, max_size=8))
    kind = draw(st.sampled_from([0, 1, 3, 4, 5, 11]))
    types = draw(st.lists(st.integers(0, 6), min_size=len(pieces), max_size=len(pieces)))
    scored = draw(st.sampled_from(sorted(WIDTHS)))
    scores = draw(st.lists(numbers(scored), min_size=len(pieces), max_size=len(pieces)))
    model = draw(st.sampled_from([b"gpt2", b"llama", b"\xff"]))
    told = [
        spell.field("tokenizer.ggml.model", STRING, spell.text(model)),
        spell.field("tokenizer.ggml.tokens", ARRAY, spell.texts(*pieces)),
        spell.field("tokenizer.ggml.token_type", ARRAY, spell.numbers(kind, *types)),
        spell.field("tokenizer.ggml.scores", ARRAY, spell.array(scored, scores)),
        spell.field("tokenizer.ggml.merges", ARRAY, spell.texts(*merges)),
    ]
    return draw(st.permutations(told))[: draw(st.integers(1, 5))] if not pieces else draw(st.permutations(told))


@st.composite
def tensors(draw) -> list[tuple[bytes, tuple[int, ...], int, bytes]]:
    made = []
    for name in draw(st.lists(TEXTS, unique=True, max_size=4)):
        kind = draw(st.sampled_from(sorted(TENSOR_TYPES)))
        elements, size = TENSOR_TYPES[kind]
        columns, others = draw(st.integers(0, 2)), draw(st.lists(st.integers(0, 3), max_size=3))
        rows = 1
        for count in others:
            rows *= count
        made.append((name, (columns * elements, *others), kind, draw(bytes_of(rows * columns * size))))
    return made


def bytes_of(size: int) -> st.SearchStrategy[bytes]:
    return st.randoms(use_true_random=False).map(lambda random: random.randbytes(size))


@st.composite
def files(draw) -> bytes:
    spell = draw(st.sampled_from([LITTLE, BIG]))
    keys = draw(st.lists(TEXTS, unique=True, max_size=6))
    fields = [
        spell.field(key, *draw(st.sampled_from(range(13)).flatmap(lambda k: value_of(k, spell)))) for key in keys
    ]
    fields += draw(st.just([]) | vocabularies(spell))
    return spell.file(
        fields,
        draw(tensors()),
        version=draw(st.sampled_from([2, 3])),
        alignment=draw(st.sampled_from([1, 24, 32, 64])),
        fill=draw(st.sampled_from([bytes, b"\xab".__mul__])),
        end=draw(st.none() | st.binary(max_size=80)),
        backwards=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(content=files())
def test_any_file(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    assert again(folder, content) == content


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 32, 64])
def test_every_tensor_type(tmp_path, version, alignment):
    """All types of ggml's own package, with two blocks in each of three rows."""
    described = [
        (f"t{kind}".encode(), (2 * elements, 3), kind, os.urandom(6 * size))
        for kind, (elements, size) in TENSOR_TYPES.items()
    ]
    content = spelled([], described, version=version, alignment=alignment)
    assert again(tmp_path, content) == content


NAN = [b"\1\0\x80\x7f", b"\0\0\xc0\xff", *floats(float("nan"), float("-inf"), -0.0, 0.1)]
"""Two NaN that Python's numbers would turn into others (one signalling, one negative), and what else is odd."""
PIECES = [text(piece) for piece in (b"a", b"\xff", b"a", b"", b"\0", b"b")]
TOKENS = field("tokenizer.ggml.tokens", ARRAY, array(STRING, PIECES))
ODD = {
    "no field and no tensor": [],
    "a signalling NaN": [field("x", 6, NAN[0]), field("y", 12, b"\1\0\0\0\0\0\xf0\x7f"), field("z", 6, NAN[4])],
    "NaN in an array": [field("x", ARRAY, array(6, NAN))],
    "NaN in an array of arrays": [field("x", ARRAY, array(ARRAY, [array(6, NAN), array(0, [])]))],
    "empty arrays": [field(str(k), ARRAY, array(k, [])) for k in (*WIDTHS, STRING, ARRAY)],
    "arrays in arrays": [field("x", ARRAY, array(ARRAY, [array(ARRAY, [array(STRING, [text(b"\xf0")])])] * 2))],
    "the largest integers": [field("x", 10, b"\xff" * 8), field("y", ARRAY, array(10, [b"\xff" * 8]))],
    "no UTF-8": [field("x", STRING, text(b"\xed\xa0\x80"))],
    "no UTF-8 in an array": [field("x", ARRAY, array(STRING, [text(b"\xff\xf0\x9f\x98\x80")]))],
    "a bool that is 7": [field("x", ARRAY, array(7, [b"\7", b"\0"]))],
    "an empty vocabulary": [field("tokenizer.ggml.tokens", ARRAY, array(STRING, []))],
    "the same token twice": [TOKENS],
    "odd scores": [TOKENS, field("tokenizer.ggml.scores", ARRAY, array(6, NAN))],
    "whole scores": [field("tokenizer.ggml.scores", ARRAY, array(10, [b"\xff" * 8] * 6)), TOKENS],
    "merges of no tokens": [TOKENS, field("tokenizer.ggml.merges", ARRAY, array(STRING, [
        text(line) for line in (b"a b", b" a b", b"a  b", b"ab", b"", b" ", b"  ", b"\xff \xfe", b"a b", b"x ")]))],
    "keys out of order": [field(k, 0, b"\0") for k in ("z", "general.architecture", "a", "\u00e9", "")],
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_metadata(tmp_path, name):
    content = spelled(ODD[name])
    assert again(tmp_path, content) == content


TWO = [(b"a", (3,), 24, b"\1\2\3"), (b"b", (2, 2), 24, b"\4\5\6\7")]
PLACED = {
    "usual": spelled([], TWO),
    "no padding at the end": spelled([], TWO, end=b""),
    "less padding at the end": spelled([], TWO, end=b"\0"),
    "bytes after the end": spelled([], TWO, end=b"signed: me"),
    "other padding": spelled([], TWO, fill=b"\xab".__mul__),
    "backwards": spelled([], TWO, backwards=True),
    "zeros after a head alone": spelled([], end=bytes(32)),
    "empty tensors": spelled([], [(b"e", (0, 5), 0, b""), *TWO, (b"s", (), 24, b"\7"), (b"f", (32, 0), 2, b"")]),
}


@pytest.mark.parametrize("name", PLACED)
def test_where_data_lie(tmp_path, name):
    assert again(tmp_path, PLACED[name]) == PLACED[name]


def test_padding_has_a_bound(tmp_path):
    (tmp_path / "a.gguf").write_bytes(spelled([], end=bytes((1 << 20) + 1)))
    with pytest.raises(Error, match="more than 1048576 bytes outside of tensors, at byte 24; wanted one model"):
        import_gguf(tmp_path / "a.gguf", tmp_path / "a.db")
    assert [p.name for p in tmp_path.iterdir()] == ["a.gguf"]


@pytest.mark.parametrize(
    ("key", "kind", "said"),
    [
        ("token_type", 6, "is of type array[float32]; wanted an array of integers: int16, int32"),
        ("scores", STRING, "is of type array[string]; wanted an array of numbers"),
        ("tokens", 0, "is of type array[uint8]; wanted array[string]"),
    ],
)
def test_vocabularies_that_no_table_holds_are_refused(tmp_path, key, kind, said):
    (tmp_path / "a.gguf").write_bytes(spelled([field(f"tokenizer.ggml.{key}", ARRAY, array(kind, []))]))
    with pytest.raises(DamagedError) as told:
        import_gguf(tmp_path / "a.gguf", tmp_path / "a.db")
    assert said in str(told.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gguf"]


def test_smollm2(smollm2_db, smollm2_gguf, tmp_path):
    told = []
    ((_, sha256),) = export_gguf(smollm2_db, tmp_path / "a.gguf", progress=lambda *a: told.append(a)).files
    with (tmp_path / "a.gguf").open("rb") as ours, smollm2_gguf.open("rb") as theirs:
        digests = [hashlib.file_digest(file, "sha256").hexdigest() for file in (ours, theirs)]
    assert digests == [sha256, sha256]
    assert told[-1][0] == "smollm2: export"
    assert told[-1][1] == told[-1][2]


def test_llamacpps_vocabularies(llamacpp_vocab, tmp_path):
    """What llama.cpp's own tests use, written by its converters over the years."""
    found = sorted(llamacpp_vocab.rglob("ggml-vocab-*.gguf"))
    assert found
    for file in found:
        content = file.read_bytes()
        assert again(tmp_path, content) == content, file.name


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's own peak")
def test_memory_does_not_grow_with_the_model(tmp_path):
    """A model of 128 MiB goes out in less than 24 MiB beyond what one of 4 KiB takes."""
    code = (
        "import pathlib, sys\n"
        "from genome.model.formats.exporter import export_gguf\n"
        "export_gguf(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1] + '.gguf'))\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    peaks_kib = []
    for rows in (1, 1 << 15):
        source, database = tmp_path / f"{rows}.gguf", tmp_path / f"{rows}.db"
        source.write_bytes(spelled([], [(b"w", (4096, rows), 24, bytes(4096 * rows))]))
        import_gguf(source, database)
        told = subprocess.check_output([sys.executable, "-c", code, database], timeout=60)
        peaks_kib.append(int(told))
    assert peaks_kib[1] - peaks_kib[0] < 24 << 10


# What deltas changed


def applied(database: Path, change: Callable[[apsw.Connection], object]) -> Exported:
    """Changes a model as an applied delta does, and exports it."""
    db = Connection(DatabaseFile.find(database, "database"), write=True)
    change(db)
    db.execute("INSERT INTO applied VALUES (0, 'delta', 'a', 'b', '2026-01-01', '{}')")
    db.close()
    return export_gguf(database, database.with_name("out.gguf"))


def write_tensor(db: apsw.Connection, name: str, values: np.ndarray, dtype: str) -> None:
    ((number,),) = db.execute("SELECT id FROM tensor WHERE name = ?", (name,))
    raw = values.reshape(-1, values.shape[-1])
    db.execute("DELETE FROM block WHERE array = ?", (number,))
    write_rows(db, number, raw.tobytes(), raw[0].nbytes)
    db.execute("UPDATE tensor SET dtype = ?, row_bytes = ? WHERE id = ?", (dtype, raw[0].nbytes, number))


def test_changed_rows(tiny, tiny_gguf, copied):
    """The file differs in the row's bytes and nowhere else."""
    values = tiny.tensors["blk.1.attn_q.weight"].copy()
    values[5] *= 2
    told = applied(copied, lambda db: write_tensor(db, "blk.1.attn_q.weight", values, "F32"))
    ((path, sha256),) = told.files
    assert told.changed
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    was, now = (np.frombuffer(p.read_bytes(), np.uint8) for p in (tiny_gguf, path))
    begin = (
        next(t.data_offset for t in gguf.GGUFReader(tiny_gguf).tensors if t.name == "blk.1.attn_q.weight") + 5 * 256
    )
    assert set(np.flatnonzero(was != now)) <= set(range(begin, begin + 256))
    assert now[begin : begin + 256].tobytes() == values[5].tobytes()


@pytest.mark.parametrize(("kind", "dtype"), [("F16", np.float16), ("F64", np.float64)])
def test_a_tensor_of_another_type(tiny, copied, kind, dtype):
    """Tensors after one that grew or shrank move; ggml's reader finds all of them."""
    values = tiny.tensors["blk.0.attn_q.weight"].astype(dtype)
    told = applied(copied, lambda db: write_tensor(db, "blk.0.attn_q.weight", values, kind))
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(told.files[0][0]).tensors}
    assert list(found) == list(tiny.tensors)
    assert found["blk.0.attn_q.weight"].tensor_type.name == kind
    for name, wanted in (tiny.tensors | {"blk.0.attn_q.weight": values}).items():
        assert np.array_equal(found[name].data, wanted)
        assert found[name].data_offset % 32 == 0


# What is refused, and leaves nothing


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path) -> Callable[..., str]:
    """Runs an export that must fail; gives its line, after a look at what it left behind."""

    def run(database: Path, file: Path, wanted: type[Error] = Error, **options: bool) -> str:
        before = contents(tmp_path)
        with pytest.raises(wanted) as told:
            export_gguf(database, file, **options)
        assert contents(tmp_path) == before
        assert "\n" not in str(told.value)
        return str(told.value)

    return run


@pytest.fixture
def copied(tiny_db, tmp_path) -> Path:
    """The tiny model, to be altered."""
    path = tmp_path / "tiny.db"
    path.write_bytes(tiny_db.read_bytes())
    return path


def test_a_file_that_exists_stays_unless_told(tiny_db, tiny_gguf, tmp_path, refused):
    file = tmp_path / "a.gguf"
    file.write_text("mine")
    assert "a.gguf exists; choose another name, or replace it with --force" in refused(tiny_db, file)
    export_gguf(tiny_db, file, force=True)
    assert file.read_bytes() == tiny_gguf.read_bytes()


def test_a_file_that_appears_meanwhile_stays(tiny_db, tmp_path):
    file = tmp_path / "a.gguf"
    with pytest.raises(Error, match="has appeared during the export"):
        export_gguf(tiny_db, file, progress=lambda *_: file.write_text("mine"))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.gguf", "mine")]


def test_what_cannot_be_replaced(copied, tmp_path, refused):
    (tmp_path / "folder").mkdir()
    assert "folder cannot be replaced" in refused(copied, tmp_path / "folder", force=True)
    assert "tiny.db cannot be replaced" in refused(copied, copied, force=True)


def test_a_folder_that_is_missing(tiny_db, tmp_path, refused):
    assert "is not a folder; make it first" in refused(tiny_db, tmp_path / "no" / "a.gguf", NotFoundError)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_folder_that_cannot_be_written(tiny_db, refused):
    assert "/proc/a.gguf cannot be written" in refused(tiny_db, Path("/proc/a.gguf"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk(copied, tmp_path, monkeypatch, refused):
    """The hidden file's bytes go to /dev/full, where each write fails as on a full disk."""
    real = Path.open

    def full(path: Path, mode: str = "r"):
        if path.suffix != ".exporting":
            return real(path, mode)
        path.touch()
        return open("/dev/full", "wb")

    monkeypatch.setattr(Path, "open", full)
    assert "a.gguf cannot be written (No space left on device)" in refused(copied, tmp_path / "a.gguf")


def test_a_database_of_another_kind(tmp_path, refused):
    with building(tmp_path / "x.db", "lexicon"):
        pass
    assert "is a lexicon database; wanted a model database" in refused(tmp_path / "x.db", tmp_path / "a.gguf")


DAMAGE = {
    "a block": ("UPDATE block SET data = zeroblob(length(data)) WHERE array = 3", "tensor blk.0.ffn_norm.weight: "),
    "no last block": ("DELETE FROM block WHERE array = 0", "tensor token_embd.weight has 0 of 68096 bytes"),
    "a value": ("UPDATE hyperparameter SET value = 3 WHERE key = 'llama.block_count'", "the SHA-256"),
    "a number that is a text": ("UPDATE hyperparameter SET value = 'x' WHERE type = 'uint32'", "spell a GGUF"),
    "no JSON": ("UPDATE hyperparameter SET type = 'array[int8]', value = '[[' WHERE type = 'string'", "a GGUF"),
    "deep JSON": ("UPDATE hyperparameter SET type = 'array[array]', value = printf('%.*c', 99999, '[')", "a GGUF"),
    "an unknown type": ("UPDATE tensor SET dtype = 'F33'", "it does not spell a GGUF file ('F33')"),
    "a place too far": ("UPDATE tensor SET offset = offset + (1 << 40) WHERE id = 5", "bytes of padding at byte"),
    "a place before": ("UPDATE tensor SET offset = 0 WHERE id = 5", "it does not spell a GGUF file"),
    "a token": ("UPDATE token SET piece = 5 WHERE id = 7", "wanted text or bytes, got 5"),
    "a token less": ("DELETE FROM token WHERE id = 5", "it gives 'tiny.gguf' the SHA-256"),
    "a part of merges less": ("DELETE FROM fragment", "wanted text or bytes, got None"),
    "no facts": (
        "UPDATE file SET layout = json_remove(layout, '$.alignment')",
        "it does not spell a GGUF file ('alignment')",
    ),
    "another source": ("UPDATE meta SET value = 'abc' WHERE key = 'source_sha256'", "its source had abc"),
    "no alignment": (
        "UPDATE file SET layout = json_set(layout, '$.alignment', 0)",
        "it does not spell a GGUF file",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage(copied, tmp_path, refused, what):
    sql, said = DAMAGE[what]
    db = Connection(DatabaseFile.find(copied, "database"), write=True)
    db.execute(sql)
    db.close()
    assert said in refused(copied, tmp_path / "a.gguf", DamagedError)


def test_what_a_killed_export_left_is_removed(tiny_db, tmp_path):
    """A kill in the middle leaves a hidden file; the next export of that name takes it away, and no live one."""
    code = (
        "import os, pathlib, sys\n"
        "from genome.model.formats.exporter import export_gguf\n"
        "export_gguf(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), progress=lambda *_: os._exit(9))\n"
    )
    file, other = tmp_path / "a.gguf", tmp_path / ".b.gguf.01234567.exporting"
    other.touch()
    assert subprocess.run([sys.executable, "-c", code, tiny_db, file], check=False, timeout=60).returncode == 9
    assert len(list(tmp_path.glob(".a.gguf.*.exporting"))) == 1
    inner = []

    def twice(*_: object) -> None:
        if not inner:
            inner.append(export_gguf(tiny_db, file))

    export_gguf(tiny_db, file, force=True, progress=twice)
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.name, "a.gguf"]
