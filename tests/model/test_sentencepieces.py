"""SentencePiece's BPE: by scores (llama.cpp's vocabularies) and by ranks, against the `tokenizers` library."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import AddedToken, models, trainers
from tokenizers import Tokenizer as Oracle

from genome.db.connect import opened
from genome.db.connection import looking_up
from genome.errors import Error
from genome.model import Tokenizer, queries
from genome.model.formats.dispatch import import_model
from genome.model.sentencepieces import SentencePieces

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}
PLAIN = {"normalizer": None, "pre_tokenizer": None}


def metaspace(scheme: str) -> dict:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}


MODES = {
    "Llama 2": {"normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}},
    "Gemma": {
        "normalizer": REPLACE,
        "pre_tokenizer": {
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False
        },
    },
    "Metaspace, always": {"pre_tokenizer": metaspace("always")},
    "Metaspace, first": {"pre_tokenizer": metaspace("first")},
    "Metaspace, never": {"pre_tokenizer": metaspace("never")},
}  # fmt: skip
TEXT = ["▁My▁mother▁sang▁to▁me▁in▁1964,▁and▁we'll▁see.", "▁▁two▁▁blanks>▁</\n\nand▁lines▁", "▁naïve▁café▁12345"] * 3
mixed = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.sampled_from([" ", "  ", " the", " mother", "\n", "> </", "▁", "é", "<s>", "</s>", "<think>"]),
    max_size=10,
).map("".join)


def llama_like() -> dict:
    """A `tokenizer.json` as Llama 2's: a BPE of texts with blanks as U+2581, and a token for each byte."""
    oracle = Oracle(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    oracle.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=160, show_progress=False))
    told = json.loads(oracle.to_str())
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learned = sorted(told["model"]["vocab"], key=told["model"]["vocab"].__getitem__)
    told["model"]["vocab"] = {piece: number for number, piece in enumerate([*first, *learned])}
    added = [AddedToken(piece, special=True, normalized=False) for piece in first[:3]]
    oracle = Oracle.from_str(json.dumps(told))
    oracle.add_special_tokens(added)
    oracle.add_tokens([AddedToken("<think>", normalized=False)])
    return json.loads(oracle.to_str())


@pytest.fixture(scope="module", params=MODES)
def both(request, tmp_path_factory):
    """The library's tokenizer, and one from a database that was made from its file."""
    folder = tmp_path_factory.mktemp("spm")
    told = llama_like() | PLAIN | MODES[request.param]
    (folder / "tokenizer.json").write_text(json.dumps(told))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    save_file({"a": np.zeros(1)}, folder / "model.safetensors")
    import_model(folder, folder / "a.db")
    with opened(folder / "a.db") as db:
        yield Oracle.from_str(json.dumps(told)), Tokenizer(db)


@settings(max_examples=150, deadline=None)
@given(text=mixed)
def test_equals_tokenizers(both, text):
    oracle, tokenizer = both
    assert tokenizer.encode(text) == oracle.encode(text, add_special_tokens=False).ids


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
def test_decode_undoes_encode_and_streams_alike(both, text):
    """What a Metaspace leaves open is whether the text began with a blank of its own."""
    _, tokenizer = both
    ids = tokenizer.encode(text, special=False)
    found = tokenizer.decode(ids)
    assert found == text or found == text.removeprefix(" ")
    stream = tokenizer.streamer(begins=True)
    assert "".join(map(stream.feed, ids)) + stream.finish() == found
    goes_on = tokenizer.streamer()
    assert "".join(map(goes_on.feed, ids)) + goes_on.finish() == tokenizer.decode(ids, begins=False)


def test_scores_merge_as_ranks_do(both, tmp_path):
    """The scores that are written for llama.cpp give the tokens that the ranks give."""
    _, tokenizer = both
    by_ranks = tokenizer._words
    by_scores = SentencePieces(tokenizer._db, "llama")
    by_scores._pair = by_scores._scored
    with looking_up(tokenizer._db) as asked:
        for text in TEXT:
            assert by_scores.tokens(text, asked) == by_ranks.tokens(text, asked)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFKC"}}, {"normalizer": PREPEND}, {"pre_tokenizer": metaspace("x")},
        {"pre_tokenizer": metaspace("first") | {"split": True}}, {"pre_tokenizer": {"type": "Whitespace"}},
    ],
)  # fmt: skip
def test_others_are_refused_by_name(tmp_path, change):
    (tmp_path / "tokenizer.json").write_text(json.dumps(llama_like() | PLAIN | change))
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    import_model(tmp_path, tmp_path / "a.db")
    with (
        opened(tmp_path / "a.db") as db,
        pytest.raises(Error, match="has a SentencePiece tokenizer with a normaliser or pre-tokenizer of its own"),
    ):
        Tokenizer(db)


@pytest.mark.parametrize("name", ["llama-spm", "phi-3", "gemma-4"])
@settings(max_examples=40, deadline=None)
@given(text=mixed)
def test_words_lose_no_merge(vocabulary, name, text):
    """Cut into words, a text has the tokens that it has as a whole; Gemma's `>▁</` reaches across words."""
    with opened(vocabulary(name)) as db:
        pieces = SentencePieces(db, "gemma4" if name == "gemma-4" else "llama")
        pieces._uncut = 0
        with looking_up(db) as asked:
            for line in text.splitlines():
                words = list(pieces.words(line, begins=False))
                assert "".join(words) == line
                assert [one for word in words for one in pieces.tokens(word, asked)] == pieces.tokens(line, asked)


def test_the_first_texts_are_not_cut(vocabulary):
    """Looking at all tokens for where a text may be cut takes longer than a short text is worth."""
    with opened(vocabulary("llama-spm")) as db:
        pieces = SentencePieces(db, "llama")
        assert list(pieces.words("one two", begins=True)) == [" one two"]
        assert list(pieces.words("one two " * 128, begins=True))[:3] == [" one", " two", " one"]
        assert list(pieces.words(" ", begins=True)) == ["  "]
        assert list(pieces.words("", begins=True)) == [" "]


def test_a_word_goes_on_where_a_token_reaches_across(vocabulary):
    with opened(vocabulary("gemma-4")) as db:
        pieces = SentencePieces(db, "gemma4")
        pieces._uncut = 0
        assert list(pieces.words("a> </b> c d", begins=False)) == ["a> </b> c", " d"]


def test_special_tokens_of_phi3_take_the_white_space_behind_them(vocabulary):
    """llama.cpp (2026) knows Phi-3 by its name; `<s>` and `<|endoftext|>` leave it alone. ▁a is 263."""
    with opened(vocabulary("phi-3")) as db:
        tokenizer = Tokenizer(db)
        assert tokenizer.encode("<|end|>\n a") == tokenizer.encode("<|end|>a") == [32007, 263]
        assert tokenizer.encode("<s> a") == [1, *tokenizer.encode(" a")]
        # <|system|> is the first that llama.cpp looks for; </s> is user-defined, yet an end, and so no plain text.
        assert tokenizer.encode("</s>") == [2]
        assert 2 not in tokenizer.encode("</s>", special=False)


def test_the_blank_before_a_text(vocabulary):
    """Llama 2: `Hello` is ▁Hello (15043) at the beginning and behind special tokens."""
    with opened(vocabulary("llama-spm")) as db:
        tokenizer = Tokenizer(db)
        assert tokenizer.encode("Hello<s>Hello", bos=True) == [1, 15043, 1, 15043]
        assert tokenizer.decode([1, 15043, 1, 15043]) == "<s>Hello<s>Hello"
        assert tokenizer.decode([15043, 15043]) == "Hello Hello"
        assert tokenizer.decode([15043], begins=False) == " Hello"
        assert (tokenizer.adds_bos, tokenizer.bos, tokenizer.eos) == (True, 1, 2)
        assert tokenizer.encode("") == []
        assert queries.scored_piece(db, "▁Hello") == (15043, -14784.0)
