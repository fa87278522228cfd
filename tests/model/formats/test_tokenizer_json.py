"""Tokenizers of Hugging Face models, compared with the `tokenizers` library; kinds that are only kept say so."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Oracle

from genome.db.connect import opened
from genome.errors import DamagedError, Error
from genome.model import queries
from genome.model.formats.dispatch import import_model
from genome.model.formats.tokenizer_json import _LLAMA3, _QWEN2, vocabulary
from genome.model.tokenizer import Tokenizer

TEXT = [
    "My mother sang to me in 1964, and we'll see.",
    "  two  blanks\n\nand  lines ",
    "naïve café 12345 — don't!",
] * 3


def split(pattern: str) -> list:
    return [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]


CUTS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]),
    "llama-bpe": pre_tokenizers.Sequence(split(_LLAMA3)),
    "dbrx": pre_tokenizers.Sequence(split(_LLAMA3)),
    "qwen2": pre_tokenizers.Sequence(split(_QWEN2)),
}


def trained(name: str) -> Oracle:
    """A byte-level BPE of that pre-tokenizer, trained on a few lines."""
    oracle = Oracle(models.BPE(ignore_merges=name == "llama-bpe"))
    oracle.pre_tokenizer = CUTS[name]
    if name == "qwen2":
        oracle.normalizer = normalizers.NFC()
    oracle.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>", "</s>"],
            show_progress=False,
        ),
    )  # fmt: skip
    oracle.add_tokens([AddedToken("<think>", normalized=False)])
    if name == "llama-bpe":
        oracle.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
        )
    return oracle


@pytest.fixture(scope="module", params=CUTS)
def both(request, tmp_path_factory):
    """The library's tokenizer, and a database that was made from its file."""
    folder = tmp_path_factory.mktemp(request.param)
    oracle = trained(request.param)
    oracle.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ bos_token }}x"})
    )
    save_file({"model.embed_tokens.weight": np.zeros((420, 2), np.float32)}, folder / "model.safetensors")
    import_model(folder, folder / "a.db")
    with opened(folder / "a.db") as db:
        yield oracle, db, request.param


@settings(max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u017f")))
def test_random_text(both, text):
    """The long s apart: to the library's `(?i:'s)` it is an s, not to llama.cpp."""
    oracle, db, _ = both
    tokenizer = Tokenizer(db)
    given_text = oracle.normalizer.normalize_str(text) if oracle.normalizer else text
    assert tokenizer.encode(given_text) == oracle.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    "text", [*TEXT[:3], "<s>mother</s> <think>1964", "we'LL DON'T\r\n\r\n  x", "🙂é\u00a0\u3000x"]
)
def test_text(both, text):
    oracle, db, name = both
    tokenizer = Tokenizer(db)
    assert queries.hyperparameter(db, "tokenizer.ggml.pre") == name
    assert tokenizer.encode(text) == oracle.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text, bos=tokenizer.adds_bos) == oracle.encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.bos, tokenizer.eos, tokenizer.adds_bos) == (0, 1, name == "llama-bpe")
    assert tokenizer.chat([]) == "<s>x"


def test_tokens(both):
    oracle, db, _ = both
    rows = {t.piece: (t.id, t.type) for t in queries.all_tokens(db)}
    assert {p: n for p, (n, kind) in rows.items() if kind != 5} == oracle.get_vocab()
    assert (rows["<s>"][1], rows["<think>"][1], rows["Ġ"][1]) == (3, 4, 1)
    # The embedding has more rows than there are tokens: llama.cpp's converter names the others so.
    assert rows["[PAD419]"] == (419, 5)
    assert queries.token_count(db) == 420


OTHERS = {
    "Unigram": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁the", -2.5]]},
    "WordPiece": {"type": "WordPiece", "unk_token": "<unk>", "vocab": {"<unk>": 0, "▁the": 1}},
    "SentencePiece BPE": {
        "type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": {"<unk>": 0, "▁the": 1, "<0x0A>": 2},
        "merges": ["▁ the"],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"), [("Unigram", "t5"), ("WordPiece", "bert"), ("SentencePiece BPE", "llama")]
)
def test_other_kinds_are_kept_and_say_so(tmp_path, name, kind):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": OTHERS[name]}))
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    import_model(tmp_path, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        rows = list(queries.all_tokens(db))
        assert [(t.bytes, t.type) for t in rows[:2]] == [(b"<unk>", 2), (b" the", 1)]
        assert [(t.bytes, t.type) for t in rows[2:]] == ([(b"\n", 6)] if kind == "llama" else [])
        assert rows[1].score == {"t5": -2.5, "bert": None, "llama": -1.0}[kind]
        said = (
            "a normaliser or pre-tokenizer of its own"
            if kind == "llama"
            else f"of the kind '{kind}' .* wanted byte"
        )
        with pytest.raises(Error, match=said):  # it says nothing of blanks, as those of real models do
            Tokenizer(db)


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"normalizer": {"type": "Lowercase"}},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": False}] * 2,
            }
        },
    ],
)
def test_a_rule_that_is_not_known_is_said_when_text_is_encoded(tmp_path, change):
    told = json.loads(trained("gpt-2").to_str()) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    import_model(tmp_path, tmp_path / "a.db")
    with opened(tmp_path / "a.db") as db:
        assert queries.token_count(db) > 256
        with pytest.raises(Error, match="the pre-tokenizer 'other' is not known"):
            Tokenizer(db)


@pytest.mark.parametrize(
    "model",
    [
        {"vocab": {"a": 1 << 40}}, {"vocab": {"a": -1}}, {"vocab": {"a": 0, "b": 0}}, {"vocab": {"a": True}},
        {"vocab": {"a": "0"}}, {"vocab": [[7, 0.5]]},
    ],
)  # fmt: skip
def test_numbers_that_cannot_be(model):
    with pytest.raises(DamagedError, match="wanted"):
        vocabulary("t", {"model": model}, {}, {})


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.booleans(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["model", "vocab", "type", "merges", "added_tokens", "pre_tokenizer", "id", "content", "BPE"]
                ),
                x,
            )
        ),
    )
)
def test_nonsense_is_a_vocabulary_or_told_as_damage(told):  # fmt: skip
    for content in (told, {"model": told}, {"model": {"vocab": told, "merges": told}, "added_tokens": [told]}):
        if isinstance(content, dict):
            with suppress(DamagedError):
                vocabulary("t", content, content, content, rows=3)
