"""The tokenizer against llama.cpp (vectors and fixture) and against `tokenizers`, live."""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from genome.db import Journal
from genome.db.connect import connect, opened
from genome.errors import Error
from genome.model import Tokenizer, import_gguf, queries
from genome.model.bytelevel import spelled, unspelled
from genome.model.pretokenizers import rule

DATA = Path(__file__).parent / "data"
VECTORS = [
    "gpt-2", "llama-bpe", "llama-spm", "qwen2", "phi-3", "starcoder", "deepseek-llm", "deepseek-coder", "falcon",
    "gemma-4", "qwen35",
]  # fmt: skip


@pytest.fixture(scope="session")
def smollm2(smollm2_db):
    with opened(smollm2_db, "model") as db:
        yield Tokenizer(db)


@pytest.fixture(scope="session")
def small(tiny_db):
    with opened(tiny_db, "model") as db:
        yield Tokenizer(db)


@pytest.mark.parametrize("name", VECTORS)
def test_llamacpp_vectors(llamacpp_vocab, vocabulary, name):
    """llama.cpp's own cases; it encodes them without special tokens and writes no BOS."""
    path = llamacpp_vocab / f"ggml-vocab-{name}.gguf"
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = path.with_suffix(".gguf.out").read_text("utf-8").removesuffix("\n").split("\n")
    texts, wanted = texts[: len(wanted)], wanted[: len(texts)]  # behind the last separator there may be nothing
    assert len(texts) == len(wanted) == (50 if name == "qwen35" else 46)
    with opened(vocabulary(name)) as db:
        tokenizer = Tokenizer(db)
        for text, line in zip(texts, wanted, strict=True):
            found = tokenizer.encode(text, special=False)
            assert found == [int(number) for number in line.split()], text
            assert tokenizer.decode(found) == text


def test_a_thousand_lines_equal_llamacpp(smollm2):
    """Made by tests/reference/tokens.py."""
    rows = [json.loads(line) for line in (DATA / "smollm2_tokens.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 1000
    for text, wanted in rows:
        assert smollm2.encode(text) == wanted, text


@pytest.fixture(scope="session")
def reference(smollm2_db) -> tokenizers.Tokenizer:
    """SmolLM2's tokenizer in the library of its makers: digits alone, then GPT-2's rule."""
    with opened(smollm2_db, "model") as db:
        rows = list(queries.all_tokens(db))
        piece = {t.id: t.piece for t in rows}
        merges = [(piece[a], piece[b]) for a, b in db.execute("SELECT left_id, right_id FROM merge ORDER BY rank")]
    made = tokenizers.Tokenizer(tokenizers.models.BPE({t.piece: t.id for t in rows}, merges))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.add_special_tokens([tokenizers.AddedToken(t.piece, normalized=False) for t in rows if t.type == 3])
    return made


known = st.characters(exclude_categories=["Cs", "Cn"]).filter(lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn")
mixed = st.lists(
    st.one_of(
        st.text(known, max_size=8),
        st.sampled_from([" ", "  ", "\n", "\t", "'s", " the", "12", "<|im_end|>", "é", "e\u0301"]),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=mixed)
def test_equals_tokenizers(smollm2, reference, text):
    """Characters that Unicode 3.2 knows: of newer ones, two libraries' tables may disagree about the class."""
    assert smollm2.encode(text) == reference.encode(text).ids


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_decode_undoes_encode(small, text):
    assert small.decode(small.encode(text, special=False)) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(), cut=st.integers(0, 5))
def test_streaming_gives_the_same_text_in_whole_characters(small, text, cut):
    ids = small.encode(text)[cut:]  # may begin inside a character
    stream = small.streamer()
    parts = [stream.feed(token) for token in ids]
    assert "".join(parts) + stream.finish() == small.decode(ids)


def test_streaming_holds_a_character_back(small):
    stream = small.streamer()
    assert [stream.feed(token) for token in small.encode("é😀")] == ["", "é", "", "", "", "😀"]
    assert stream.finish() == ""


def test_a_character_that_never_ends(small):
    assert small.decode(small.encode("😀")[:3]) == "\ufffd"


def test_merges_by_hand(tiny, small):
    """' the' by Ġ t, h e, Ġt he; ' both' by o t, ot h; in 'other', h e comes first and leaves nothing to join."""
    assert [tiny.pieces[t] for t in small.encode(" the both")] == ["Ġthe", "Ġ", "b", "oth"]
    assert [tiny.pieces[t] for t in small.encode("other")] == ["o", "t", "he", "r"]
    assert [tiny.pieces[t] for t in small.encode("ot")] == ["o", "t"]  # merged to a part that is no token


def test_special_tokens(tiny, small):
    text = "<|im_start|>me<|im_end|>"
    assert [tiny.pieces[t] for t in small.encode(text)] == ["<|im_start|>", "m", "e", "<|im_end|>"]
    plain = small.encode(text, special=False)
    assert not set(plain) & {0, 1, 2}
    assert small.decode(small.encode(text), special=False) == "me"
    assert small.decode(small.encode(text)) == text
    assert small.ends == {0, 2}


def test_errors_are_one_line(small):
    with pytest.raises(Error, match=r"lone surrogate \(U\+D800\) at character 1"):
        small.encode("a\ud800")
    with pytest.raises(Error, match="names no BOS token"):
        small.encode("a", bos=True)
    with pytest.raises(Error, match=r"there is no token 266; .* has tokens 0 to 265"):
        small.decode([266])
    with pytest.raises(Error, match="there is no token -1"):
        small.decode([-1])


def test_token_numbers_are_any_integers(small):
    """Token 265 is the piece "mother"; NumPy's integers reach SQLite as no number at all."""
    assert small.decode(np.array([265, 265])) == "mothermother"
    assert small.bytes(np.int64(265)) == b"mother"
    with pytest.raises(Error, match=rf"there is no token {2**70};"):
        small.decode([2**70])


@pytest.mark.parametrize(
    ("ids", "said"),
    [("Hi", "got str; `encode` gives"), (b"Hi", "got bytes"), ([1.7], "got float"), (["1"], "got str")],
)
def test_what_is_no_token_number_is_refused(small, ids, said):
    with pytest.raises(Error, match=said):
        small.decode(ids)


def test_unknown_rules_are_named(tmp_path, tiny):
    import_gguf(tiny.write(tmp_path / "a.gguf", pre="nonesuch"), tmp_path / "a.db")
    with (
        opened(tmp_path / "a.db") as db,
        pytest.raises(Error, match="the pre-tokenizer 'nonesuch' is not known; wanted one of"),
    ):
        Tokenizer(db)


def test_what_sentencepiece_spells(vocabulary):
    """It writes a blank as U+2581 and a byte as <0x0A>; the bytes column says what they stand for."""
    with opened(vocabulary("llama-spm")) as db:
        found = {t.piece: t.bytes for t in queries.all_tokens(db) if t.id in (13, 278)}
    assert found == {"<0x0A>": b"\n", "\u2581the": b" the"}


def test_other_kinds_are_named(tmp_path, tiny):
    path = tiny.write(tmp_path / "a.gguf")
    path.write_bytes(path.read_bytes().replace(b"gpt2", b"rwkv"))
    import_gguf(path, tmp_path / "a.db")
    said = r"a tokenizer of the kind 'rwkv'; wanted byte-level BPE \('gpt2'\) or SentencePiece's BPE \('llama'\)"
    with opened(tmp_path / "a.db") as db, pytest.raises(Error, match=said):
        Tokenizer(db)


def test_chat(small, smollm2):
    assert (
        small.chat([{"role": "user", "content": "Hi"}]) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    # SmolLM2's own template adds its system message; the text is the one that its model card shows.
    assert smollm2.chat([{"role": "user", "content": "Hi"}]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refuses the messages: roles must alternate"),
        ("{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ messages[0].content + 1 }}", "chat template fails"),
    ],
)
def test_a_strangers_template(tmp_path, tiny, template, said):
    path = tiny.write(
        tmp_path / "a.gguf",
        template=template,
    )
    import_gguf(path, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db, pytest.raises(Error, match=said):
        Tokenizer(db).chat([{"role": "user", "content": "Hi"}])


def test_byte_spelling():
    every = bytes(range(256))
    assert unspelled(spelled(every)) == every
    assert spelled(b" \n") == "ĠĊ"


def test_words_cover_the_text():
    text = "I'm 42\t\tyears\u00a0old,\r\n  isn't IT'S?  "
    for name in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
        assert "".join(rule(name).words(text)) == text


def test_a_long_word_takes_its_length(small):
    """100,000 letters in one word: a quadratic search would take minutes."""
    assert len(small.encode("he" * 50_000)) == 50_000


def test_needs_neither_jax_nor_numpy(tiny_db):
    code = (
        "import sys; from genome.db.connect import connect; from genome.model import Tokenizer, queries;"
        f"Tokenizer(connect({str(tiny_db)!r})).encode('the mother');"
        "assert not {'jax', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_caches_are_bounded(tiny_db):
    """60,000 words of their own; one of a million letters is not kept at all."""
    with opened(tiny_db) as db:
        tokenizer = Tokenizer(db)
        text = " ".join(map(str, range(60_000)))
        tokenizer.encode(text.translate({48 + digit: chr(0x61 + digit) for digit in range(10)}))
        before = len(tokenizer._plain)
        assert 0 < before <= 49152
        tokenizer.encode("h" * 1000)
        assert len(tokenizer._plain) == before


def test_stays_usable_on_a_plain_connection(tiny_db):
    db = connect(tiny_db, "model")
    try:
        assert Tokenizer(db).decode([0], special=False) == ""
    finally:
        db.close()


def touched(journal: Journal) -> list[tuple]:
    """What the journal was told since it was last asked."""
    frame = journal.frame()
    assert set(frame["object"]) | {"token"} == {"token"}
    assert set(frame["database"]) | {"tiny"} == {"tiny"}
    return frame.select("row", "bytes", "source").rows()


def test_the_journal_tells_the_tokens_that_a_text_touches(tiny_db):
    """'Ġthe' is one token of four bytes; 'Ġmoth' is none: its parts are 'Ġm', 'o', 't', 'h' or what merges give."""
    journal = Journal()
    with opened(tiny_db, "model") as db:
        tokenizer = Tokenizer(db, "tiny", journal)
        ids = tokenizer.encode(" the moth the")
        told = touched(journal)
        assert [row for row, _, _ in told] == ids
        assert [size for _, size, _ in told] == [len(queries.token_bytes(db, number)[0]) for number in ids]
        assert [source for *_, source in told] == ["disk"] * (len(ids) - 1) + ["memory"]
        tokenizer.encode(" moth")
        assert [row[2] for row in touched(journal)[len(ids) :]] == ["memory"] * (len(ids) - 2)


def test_the_journal_tells_the_tokens_that_are_decoded_and_those_written_out(tiny_db):
    journal = Journal()
    with opened(tiny_db, "model") as db:
        tokenizer = Tokenizer(db, "tiny", journal)
        assert tokenizer.decode([265, 2, 265]) == "mother<|im_end|>mother"
        assert touched(journal) == [(265, 6, "disk"), (2, 10, "disk"), (265, 6, "memory")]
        tokenizer.streamer().feed(265)
        assert tokenizer.encode("<|im_end|>") == [2]
        assert touched(journal)[3:] == [(265, 6, "memory"), (2, 10, "memory")]


def test_a_journal_that_is_off_hears_nothing_and_changes_no_token(tiny_db):
    journal = Journal()
    journal.enabled = False
    with opened(tiny_db, "model") as db:
        assert Tokenizer(db, "tiny", journal).encode(" the mother") == Tokenizer(db).encode(" the mother")
    assert touched(journal) == []


@given(st.text())
def test_the_bytes_of_a_text_are_those_of_its_tokens(small, text):
    journal = Journal()
    tokenizer = Tokenizer(small._db, "tiny", journal)
    tokenizer.encode(text, special=False)
    assert journal.frame()["bytes"].sum() == len(text.encode())
