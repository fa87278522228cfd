"""Hand-made GGUF files: what the format can say, each case a file (or the parts of a set) by name.

Spelled after https://github.com/ggml-org/ggml/blob/master/docs/gguf.md with `struct` alone, so that nothing of the
program under test has a hand in it.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import gguf

CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
WIDTHS = {kind: struct.calcsize("<" + code) for kind, code in CODES.items()}
STRING, ARRAY = 8, 9
TENSOR_TYPES = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
"""Elements in a block, bytes in a block, by the type's number."""
GIVEN_UP = {31: (32, 18), 32: (32, 18), 33: (32, 18), 36: (32, 18), 37: (32, 18), 38: (32, 18)}
"""Q4_0_4_4 and its like, IQ4_NL_4_4 and its like: files with them exist, ggml has no names for them any more."""

Tensor = tuple[bytes, tuple[int, ...], int, bytes]
"""Name, shape in the file's order (columns first), type, data."""


class Spelling:
    """Spells parts of a file in one byte order, `<` or `>`."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def number(self, kind: int, value: float) -> bytes:
        return struct.pack(self.order + CODES[kind], value)

    def text(self, value: bytes) -> bytes:
        return struct.pack(self.order + "Q", len(value)) + value

    def array(self, kind: int, elements: list[bytes]) -> bytes:
        return struct.pack(self.order + "IQ", kind, len(elements)) + b"".join(elements)

    def numbers(self, kind: int, *values: float) -> bytes:
        return self.array(kind, [self.number(kind, value) for value in values])

    def texts(self, *values: bytes) -> bytes:
        return self.array(STRING, [self.text(value) for value in values])

    def field(self, key: str | bytes, kind: int, value: bytes) -> bytes:
        raw = key.encode() if isinstance(key, str) else key
        return self.text(raw) + struct.pack(self.order + "I", kind) + value

    def file(
        self,
        fields: list[bytes],
        tensors: list[Tensor] = [],  # noqa: B006 (read only)
        *,
        version: int = 3,
        alignment: int = 32,
        fill: Callable[[int], bytes] = bytes,
        end: bytes | None = None,
        backwards: bool = False,
        gap: int = 0,
    ) -> bytes:
        """A file; `fill` gives the padding, `end` what stands after the last tensor, `gap` zeros before each."""
        order = self.order
        if alignment != 32:
            fields = [*fields, self.field("general.alignment", 4, self.number(4, alignment))]
        data, places = b"", {}
        for number, (*_, raw) in sorted(enumerate(tensors), reverse=backwards):
            data += fill(-len(data) % alignment) + bytes(gap)
            places[number] = len(data)
            data += raw
        head = b"GGUF" + struct.pack(order + "IQQ", version, len(tensors), len(fields)) + b"".join(fields)
        for number, (name, shape, kind, _) in enumerate(tensors):
            place = struct.pack(f"{order}I{len(shape)}QIQ", len(shape), *shape, kind, places[number])
            head += self.text(name) + place
        if tensors:
            head += fill(-len(head) % alignment)
        return head + data + (fill(-len(data) % alignment) if end is None else end)


LITTLE, BIG = Spelling("<"), Spelling(">")


def drawn(size: int, what: str = "") -> bytes:
    """Bytes without a pattern, the same each time."""
    return hashlib.shake_128(what.encode()).digest(size)


def tensor(name: str | bytes, shape: tuple[int, ...], kind: int = 0) -> Tensor:
    """A tensor with drawn data."""
    raw = name.encode() if isinstance(name, str) else name
    elements, size = (TENSOR_TYPES | GIVEN_UP)[kind]
    count = 1
    for length in shape:
        count *= length
    return raw, shape, kind, drawn(count // elements * size, repr(raw))


def scalars(spell: Spelling) -> list[bytes]:
    """Each type with its least and its greatest value."""
    made = []
    for kind, code in CODES.items():
        bits = 8 * WIDTHS[kind]
        bounds = {"f": (-3.4028234663852886e38, 1e-45), "d": (-1.7976931348623157e308, 5e-324)}
        if kind == 7:
            bounds = {"B": (0, 1)}
        low, high = bounds.get(
            code, (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
        )
        made += [spell.field(f"least.{kind}", kind, spell.number(kind, low))]
        made += [spell.field(f"greatest.{kind}", kind, spell.number(kind, high))]
    return [*made, spell.field("text", STRING, spell.text("nå ja".encode()))]


def arrays(spell: Spelling) -> list[bytes]:
    made = [spell.field(f"of.{kind}", ARRAY, spell.numbers(kind, 1, 0, 1)) for kind in CODES]
    made += [spell.field(f"empty.{kind}", ARRAY, spell.array(kind, [])) for kind in (*CODES, STRING, ARRAY)]
    made += [spell.field("texts", ARRAY, spell.texts(b"a", b"", "é".encode()))]
    inner = [spell.numbers(3, -1, 256), spell.texts(b"x", b""), spell.array(12, []), spell.array(ARRAY, [])]
    return [*made, spell.field("nested", ARRAY, spell.array(ARRAY, [*inner, spell.array(ARRAY, inner)]))]


def deep(spell: Spelling, depth: int) -> bytes:
    value = spell.numbers(4, 65)
    for _ in range(depth - 1):
        value = spell.array(ARRAY, [value])
    return value


NANS = (0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7F800000, 0xFF800000, 0x80000000, 0x00000001, 0x7FFFFFFF)
"""float32: NaN quiet, negative, signalling, both; infinities, -0, the least number, another NaN."""


def bits32(spell: Spelling) -> list[bytes]:
    return [struct.pack(spell.order + "I", bits) for bits in NANS]


def bits64(spell: Spelling) -> list[bytes]:
    return [struct.pack(spell.order + "Q", bits << 32 | bits & 1) for bits in NANS]


def odd_floats(spell: Spelling) -> list[bytes]:
    made = [spell.field(f"f32.{n}", 6, raw) for n, raw in enumerate(bits32(spell))]
    made += [spell.field(f"f64.{n}", 12, raw) for n, raw in enumerate(bits64(spell))]
    made += [spell.field("f32s", ARRAY, spell.array(6, bits32(spell)))]
    made += [spell.field("f64s", ARRAY, spell.array(12, bits64(spell)))]
    inner = [spell.array(6, bits32(spell)), spell.array(12, bits64(spell))]
    return [*made, spell.field("nested", ARRAY, spell.array(ARRAY, inner))]


def vocabulary(
    spell: Spelling,
    model: bytes,
    *pieces: bytes,
    types: int = 5,
    scores: list[bytes] | None = None,
    scored: int = 6,
) -> list[bytes]:
    made = [
        spell.field("tokenizer.ggml.model", STRING, spell.text(model)),
        spell.field("tokenizer.ggml.tokens", ARRAY, spell.texts(*pieces)),
        spell.field("tokenizer.ggml.token_type", ARRAY, spell.numbers(types, *[1] * len(pieces))),
    ]
    if scores is not None:
        made.append(spell.field("tokenizer.ggml.scores", ARRAY, spell.array(scored, scores)))
    return made


PIECES = (b"a", b"\xff", b"a", b"", b"\0", "Ġthe".encode(), "▁x".encode(), b"<0x0A>", b"\xed\xa0\x80", b"b")
LINES = (b"a b", b" a b", b"a  b", b"ab", b"", b" ", b"  ", b"\xff \xfe", b"a b", b"x ")


def merges(spell: Spelling) -> list[bytes]:
    return [*vocabulary(spell, b"gpt2", *PIECES), spell.field("tokenizer.ggml.merges", ARRAY, spell.texts(*LINES))]


LOOK_ALIKES = (
    b"w", b"W", b"w ", b" w", b"w\0", b"w\0\0", "\u00e9".encode(), "e\u0301".encode(), "\u212b".encode(),
    "\u00c5".encode(), "ﬁ".encode(), b"fi", b"w\xff", b"w\xfe", b"", b"\0", "w\u200b".encode(),
    "\U0010ffff".encode(), b"\xff", "\U0010ff80".encode(), b"\x80", b"w\n", b"'w'", b'"w"',
)  # fmt: skip
"""Names that something on the way could take for one another: case, blanks, NUL, Unicode's equal forms, bytes."""


def llama(spell: Spelling) -> list[bytes]:
    """Metadata of a model whose heads have 8 rows."""
    return [
        spell.field("general.architecture", STRING, spell.text(b"llama")),
        spell.field("llama.embedding_length", 4, spell.number(4, 64)),
        spell.field("llama.attention.head_count", 4, spell.number(4, 8)),
        spell.field("llama.attention.head_count_kv", 4, spell.number(4, 2)),
    ]


def part(spell: Spelling, number: int, count: int, total: int, size: int, *more: bytes, **options: Any) -> bytes:
    """Part `number` (0 is the first) of a set, after llama.cpp's gguf-split, with `size` of all `total` tensors."""
    fields = [*llama(spell), *merges(spell)] if number == 0 else []
    fields += [spell.field("split.no", 2, spell.number(2, number))]
    fields += [spell.field("split.count", 2, spell.number(2, count))]
    fields += [spell.field("split.tensors.count", 5, spell.number(5, total))]
    tensors = [tensor(f"blk.{number}.attn_q.{n}.weight", (64, 64), 0) for n in range(size)]
    return spell.file([*fields, *more], tensors, **options)


def split(spell: Spelling, sizes: tuple[int, ...], name: str = "big", **options: Any) -> dict[str, bytes]:
    """A set whose parts have so many tensors."""
    count = len(sizes)
    return {
        f"{name}-{number + 1:05}-of-{count:05}.gguf": part(spell, number, count, sum(sizes), size, **options)
        for number, size in enumerate(sizes)
    }


def mixed_split() -> dict[str, bytes]:
    """Parts that differ in byte order, version, alignment and padding; two have metadata of their own."""
    return {
        "big-00001-of-00003.gguf": part(LITTLE, 0, 3, 5, 1, alignment=64),
        "big-00002-of-00003.gguf": part(BIG, 1, 3, 5, 2, *odd_floats(BIG), fill=b"\xab".__mul__, end=b"signed"),
        "big-00003-of-00003.gguf": part(BIG, 2, 3, 5, 2, *arrays(BIG), version=2, alignment=1, backwards=True),
    }


def every_type(spell: Spelling, types: dict[int, tuple[int, int]], **options: Any) -> bytes:
    tensors = [tensor(f"t{kind}", (2 * elements, 3), kind) for kind, (elements, _) in types.items()]
    return spell.file([], tensors, **options)


TWO = [tensor("a", (3,), 24), tensor("b", (2, 2), 24)]
SHAPES = [(), (1,), (4,), (4, 3), (4, 3, 2), (4, 3, 2, 2), (0,), (0, 3), (4, 0), (4, 0, 2), (4, 3, 0), (1, 1, 1, 1)]
SHAPED = [tensor(f"s{number}", shape, 0) for number, shape in enumerate(SHAPES)]


def _byte_orders() -> dict[str, Callable[[], bytes]]:
    """What each byte order and version must say."""
    made: dict[str, Callable[[], bytes]] = {}
    for order, spell in (("little", LITTLE), ("big", BIG)):
        made |= {
            f"{order} endian, version 2": lambda s=spell: s.file(scalars(s), TWO, version=2),
            f"{order} endian, every scalar": lambda s=spell: s.file(scalars(s)),
            f"{order} endian, every array": lambda s=spell: s.file(arrays(s)),
            f"{order} endian, NaN and other odd numbers": lambda s=spell: s.file(odd_floats(s)),
            f"{order} endian, merges": lambda s=spell: s.file(merges(s)),
            f"{order} endian, every tensor type": lambda s=spell: every_type(s, TENSOR_TYPES),
            f"{order} endian, given-up tensor types": lambda s=spell: every_type(s, GIVEN_UP),
            f"{order} endian, all shapes": lambda s=spell: s.file([], SHAPED),
            f"{order} endian, deep arrays": lambda s=spell: s.file([s.field("x", ARRAY, deep(s, 16))]),
            f"{order} endian, nothing at all": lambda s=spell: s.file([]),
            f"{order} endian, version 2, vocabulary": lambda s=spell: s.file(
                vocabulary(s, b"llama", *PIECES, scores=[s.number(6, -n / 7) for n in range(len(PIECES))]),
                version=2,
            ),
        }
    return made


def _values() -> dict[str, Callable[[], bytes]]:
    s = LITTLE
    one = {
        f"an array of type {kind}": lambda k=kind: s.file([s.field("x", ARRAY, s.numbers(k, 0, 1, 1))])
        for kind in CODES
    }
    return one | {
        "an array of strings": lambda: s.file([s.field("x", ARRAY, s.texts(b"", b"a", b"\0", b"\xff" * 9))]),
        "a long array": lambda: s.file([s.field("x", ARRAY, s.array(4, [s.number(4, n) for n in range(3000)]))]),
        "a long string": lambda: s.file([s.field("x", STRING, s.text(b"\n" * 300_000))]),
        "strings that are not UTF-8": lambda: s.file(
            [s.field(f"x{n}", STRING, s.text(raw)) for n, raw in enumerate(PIECES)]
        ),
        "a byte order mark": lambda: s.file([s.field("x", STRING, s.text(b"\xef\xbb\xbfx"))]),
        "a bool that is 7": lambda: s.file([s.field("x", 7, b"\7")]),
        "bools that are 7": lambda: s.file([s.field("x", ARRAY, s.array(7, [b"\7", b"\0"]))]),
        "empty arrays in arrays": lambda: s.file([s.field("x", ARRAY, s.array(ARRAY, [s.array(ARRAY, [])] * 3))]),
        "keys that look alike": lambda: s.file([s.field(key, 0, b"\1") for key in LOOK_ALIKES]),
        "keys out of order": lambda: s.file([s.field(k, 0, b"\0") for k in ("z", "general.architecture", "a")]),
        "a long key": lambda: s.file([s.field("k" * 70_000, 0, b"\0")]),
        "keys of other tables' columns": lambda: s.file([s.field(k, 0, b"\0") for k in ("id", "rowid", "tokens")]),
    }  # fmt: skip


def _vocabularies() -> dict[str, Callable[[], bytes]]:
    s = LITTLE
    zeros = [bytes(4)] * len(PIECES)
    typed = {
        f"token types of type {kind}": lambda k=kind: s.file(vocabulary(s, b"gpt2", *PIECES, types=k))
        for kind in (0, 1, 2, 3, 4, 11)
    }
    return typed | {
        "an empty vocabulary": lambda: s.file(vocabulary(s, b"none")),
        "scores of float64": lambda: s.file(
            vocabulary(s, b"llama", *PIECES, scores=[s.number(12, 0.1)] * len(PIECES), scored=12)
        ),
        "scores that are odd": lambda: s.file(
            vocabulary(s, b"llama", *PIECES, scores=(bits32(s) + zeros)[: len(PIECES)])
        ),
        "scores of uint64": lambda: s.file(
            vocabulary(s, b"llama", *PIECES, scores=[b"\xff" * 8] * len(PIECES), scored=10)
        ),
        "a tokenizer of another kind": lambda: s.file(
            [*vocabulary(s, b"\xff\xfe", *PIECES), s.field("tokenizer.ggml.charsmap", ARRAY, s.numbers(0, 7))]
        ),
        "a kind of tokenizer that is no text": lambda: s.file(
            [s.field("tokenizer.ggml.tokens", ARRAY, s.texts(b"a")), s.field("tokenizer.ggml.model", 0, b"\1")]
        ),
    }  # fmt: skip


def _places() -> dict[str, Callable[[], bytes]]:
    s = LITTLE
    aligned = {
        f"alignment {a}": lambda a=a: s.file(scalars(s), [*SHAPED, *TWO], alignment=a)
        for a in (1, 2, 8, 16, 24, 100, 4096, 65536, 2 << 20)
    }
    wide = s.field("general.alignment", 10, s.number(10, 32))
    heads = [tensor(f"blk.0.attn_{role}.weight", (64, rows), 0) for role, rows in (("q", 64), ("k", 16), ("v", 16))]
    return aligned | {
        "alignment as uint64": lambda: s.file([wide], TWO),
        "no padding at the end": lambda: s.file([], TWO, end=b""),
        "less padding at the end": lambda: s.file([], TWO, end=b"\0"),
        "bytes after the end": lambda: s.file([], TWO, end=b"signed: me"),
        "zeros after a head alone": lambda: s.file([], end=bytes(32)),
        "padding that is not zeros": lambda: s.file([], TWO, fill=b"\xab".__mul__),
        "data backwards": lambda: s.file([], [*SHAPED, *TWO], backwards=True),
        "gaps between tensors": lambda: s.file([], TWO, gap=96),
        "names that look alike": lambda: s.file([], [tensor(name, (3,), 24) for name in LOOK_ALIKES]),
        "a long name": lambda: s.file([], [tensor("n" * 70_000, (1,), 24)]),
        "eight dimensions": lambda: s.file([], [tensor("w", (2,) * 8, 24)]),
        "heads": lambda: s.file(llama(s), [*heads, tensor("blk.0.attn_qkv.weight", (64, 96), 0)]),
        "experts": lambda: s.file(llama(s), [tensor("blk.0.ffn_up_exps.weight", (256, 96, 3), 12)]),
        "a row longer than a block": lambda: s.file([], [tensor("w", (70_000, 3), 24)]),
        "many tensors": lambda: s.file([], [tensor(f"blk.{n}.x.weight", (n % 5,), 24) for n in range(500)]),
    }


def _sets() -> dict[str, Callable[[], dict[str, bytes]]]:
    return {
        "a set of two": lambda: split(LITTLE, (2, 1)),
        "a set whose first part has no tensors": lambda: split(LITTLE, (0, 2, 1)),
        "a set with an empty part": lambda: split(LITTLE, (1, 0, 1)),
        "a set without tensors": lambda: split(LITTLE, (0, 0)),
        "a big-endian set": lambda: split(BIG, (1, 2)),
        "a set of twelve": lambda: split(LITTLE, (1,) * 12),
        "a set of an odd name": lambda: split(LITTLE, (1, 1), name="a b-00001-of-00002.gguf"),
        "a set with a version, an alignment and padding of its own": lambda: split(
            LITTLE, (1, 2), version=2, alignment=64, fill=b"\xab".__mul__, end=b""
        ),
        "a set whose parts differ": mixed_split,
        "a set of one": lambda: split(LITTLE, (2,)),
    }


def _of_one(build: Callable[[], bytes]) -> Callable[[], dict[str, bytes]]:
    return lambda: {"a.gguf": build()}


CASES: dict[str, Callable[[], dict[str, bytes]]] = {
    name: _of_one(build) for name, build in (_byte_orders() | _values() | _vocabularies() | _places()).items()
} | _sets()
"""By what a case is about: a function that makes its files, name -> bytes."""
