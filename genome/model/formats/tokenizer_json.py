"""A Hugging Face tokenizer as tokens and merges under GGUF's metadata, and back.

Format: `tokenizer.json` of the `tokenizers` library, `tokenizer_config.json` of transformers. What a byte-level BPE
does is told by its pre-tokenizer; those that `pretokenizers` knows are recognised by their parts.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from genome.errors import DamagedError, Error, quoted
from genome.model.formats.config import Fields
from genome.model.formats.vocabulary import MERGES, SCORES, TOKENS, TYPES
from genome.model.pretokenizers import rule
from genome.model.sentencepieces import BLANK, BLANKS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""GGUF's types of tokens."""
_MOST_GAPS = 1 << 16
_Token = tuple[str, int, float | None]
"""Piece, GGUF's type, score."""
_MARKS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "sep": "seperator", "mask": "mask"}
"""Marked tokens: Hugging Face's names and GGUF's (which spells the separator so)."""

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + _WORDS + r"\p{N}{1,3}" + _SIGNS
_QWEN2 = _CONTRACTIONS + _WORDS + r"\p{N}" + _SIGNS

_DIGITS = {"type": "Digits", "individual_digits": True}
_LETTERS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_GPT2 = _LETTERS | {"use_regex": True}


def _split(pattern: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_PRETOKENIZERS: dict[str, tuple[dict, ...]] = {
    "gpt-2": (_GPT2,), "smollm": (_DIGITS, _GPT2), "llama-bpe": (_split(_LLAMA3), _LETTERS),
    "dbrx": (_split(_LLAMA3), _LETTERS), "qwen2": (_split(_QWEN2), _LETTERS),
}  # fmt: skip
"""The parts of a pre-tokenizer by the name of its rule."""
_NFC = ("qwen2",)
"""Rules of models whose text is normalised; others leave it as it is."""
_VARIANTS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
"""What a BPE may do and ours does not."""

_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
_PREPEND = {"type": "Prepend", "prepend": BLANK}
_METASPACE = {"type": "Metaspace", "replacement": BLANK, "split": False}
_BY_BLANKS = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
"""Gemma's; of no effect, since its normaliser leaves no blank."""
_LEAST = -1e9
"""SentencePiece's score of what no merge makes."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their numbers, merges, and what GGUF's metadata say of them.

    Attributes:
        tokens: piece, GGUF's type, score or None.
        merges: two pieces with a blank between, most frequent first.
        fields: rows of metadata; None for what has tables of its own.
    """

    tokens: Sequence[_Token]
    merges: Sequence[bytes] = ()
    fields: Fields = field(default_factory=dict)


def vocabulary(
    name: str, tokenizer: Mapping, settings: Mapping, config: Mapping, *, rows: int = 0, template: str | None = None
) -> Vocabulary:
    """The vocabulary of a `tokenizer.json`.

    Args:
        name: the file, for errors.
        tokenizer: its content.
        settings: `tokenizer_config.json`, or nothing.
        config: `config.json`, or nothing.
        rows: of the input embedding; numbers without a token are unused ones, as llama.cpp's converter writes them.
        template: the chat template where it is a file of its own.

    Raises:
        DamagedError: tokens without numbers, or with numbers that cannot be.
    """
    model = _object(tokenizer, "model")
    added = [t for t in _list(tokenizer, "added_tokens") if isinstance(t, dict)]
    found = _numbered(name, model, added)
    tokens = _filled(name, found, rows)
    merges = [line for pair in _list(model, "merges") if (line := _line(pair)) is not None]
    kind = _kind(tokenizer, model)
    fields: Fields = {"tokenizer.ggml.model": ("string", kind)}
    if kind == "gpt2":
        fields["tokenizer.ggml.pre"] = ("string", _rule_of(tokenizer, model))
    elif kind == "llama":
        fields |= _blanks(tokenizer, model)
        tokens = _scored(tokens, model)
    fields |= {TOKENS: ("array[string]", None), TYPES: ("array[int32]", None)}
    if any(score is not None for _, _, score in tokens):
        fields[SCORES] = ("array[float32]", None)
    if merges:
        fields[MERGES] = ("array[string]", None)
    numbers = {piece: number for number, (piece, _, _) in found.items()}
    fields |= _marks(numbers, settings, config)
    fields["tokenizer.ggml.add_bos_token"] = ("bool", int(_adds_bos(tokenizer, settings, fields, numbers)))
    if text := template or _template(settings):
        fields["tokenizer.chat_template"] = ("string", text)
    return Vocabulary(tokens, merges, fields)


def _numbered(name: str, model: Mapping, added: Sequence[Mapping]) -> dict[int, _Token]:
    """Tokens by number; added ones stand over those of the model."""
    vocab = model.get("vocab")
    if isinstance(vocab, list):  # Unigram: pieces with their log probabilities
        rows = [(i, *entry) for i, entry in enumerate(vocab) if isinstance(entry, list) and len(entry) == 2]
    else:
        rows = [(number, piece, None) for piece, number in _object(model, "vocab").items()]
    found: dict[int, _Token] = {}
    unknown = model.get("unk_id")
    for number, piece, score in rows:
        if type(number) is not int or not isinstance(piece, str) or number in found:
            raise DamagedError(f"{name}: token {quoted(str(piece))} has the number {number!r:.40}; wanted its own")
        byte = model.get("byte_fallback") is True and len(piece) == 6 and piece.startswith("<0x")
        plain = UNKNOWN if number == unknown or piece == model.get("unk_token") else BYTE if byte else NORMAL
        told = float(score) if isinstance(score, int | float) and math.isfinite(score) else None
        found[number] = piece, plain, told
    for token in added:
        number, piece = token.get("id"), token.get("content")
        if type(number) is not int or not isinstance(piece, str):
            raise DamagedError(f"{name}: an added token is {token!r:.60}; wanted id and content")
        kind = CONTROL if token.get("special") is True else USER_DEFINED
        _, before, score = found.get(number, ("", NORMAL, None))
        found[number] = piece, UNKNOWN if before == UNKNOWN else kind, score
    return found


def _filled(name: str, found: Mapping[int, _Token], rows: int) -> list[_Token]:
    most = len(found) + _MOST_GAPS
    if found and not 0 <= min(found) <= max(found) < most:
        wrong = min(found) if min(found) < 0 else max(found)
        raise DamagedError(
            f"{name}: token {quoted(found[wrong][0])} has the number {wrong!r:.40}; wanted 0 to {most - 1}"
        )
    count = max(rows if rows <= most else 0, max(found, default=-1) + 1) if found else 0
    return [found.get(number) or (f"[PAD{number}]", UNUSED, None) for number in range(count)]


def _line(pair: object) -> bytes | None:
    """A merge as GGUF writes it; older files hold it as one text."""
    if isinstance(pair, str):
        return pair.encode()
    if isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair):
        return " ".join(pair).encode()
    return None


def _kind(tokenizer: Mapping, model: Mapping) -> str:
    """GGUF's name of the kind: gpt2 for byte-level BPE; the library's own name where GGUF has none."""
    kind = str(model.get("type") or ("BPE" if "merges" in model else "unknown"))[:40]
    if kind == "BPE":
        letters = any(
            step.get("type") == "ByteLevel" for step in _steps(tokenizer, "pre_tokenizer", "pretokenizers")
        )
        return "gpt2" if letters else "llama" if model.get("byte_fallback") else "BPE"
    return {"Unigram": "t5", "WordPiece": "bert"}.get(kind, kind)


def _rule_of(tokenizer: Mapping, model: Mapping) -> str:
    """The name of the pre-tokenizer's rule, `other` where it is none that this program knows."""
    steps = _steps(tokenizer, "pre_tokenizer", "pretokenizers")
    normal = [step.get("type") for step in _steps(tokenizer, "normalizer", "normalizers")]
    plain = not any(model.get(key) for key in _VARIANTS)
    for name, parts in _PRETOKENIZERS.items():
        same = len(steps) == len(parts) and all(map(_same, steps, parts))
        whole = bool(model.get("ignore_merges")) == rule(name).whole_words
        if same and whole and plain and normal in ([], ["NFC"] if name in _NFC else []):
            return name
    return "other"


def _blanks(tokenizer: Mapping, model: Mapping) -> Fields:
    """How a SentencePiece BPE treats blanks; the rule `other` where it does more than that."""
    steps = _steps(tokenizer, "pre_tokenizer", "pretokenizers")
    normal = _steps(tokenizer, "normalizer", "normalizers")
    mode = None
    if not any(model.get(key) for key in (*_VARIANTS, "ignore_merges")):
        if normal in ([_REPLACE], [_PREPEND, _REPLACE]) and steps in ([], [_BY_BLANKS]):
            mode = "each" if _PREPEND in normal else "never"
        elif not normal and len(steps) == 1 and _same(steps[0], _METASPACE):
            usual = "always" if steps[0].get("add_prefix_space", True) else "never"
            told = {"always": "each, unless there is one", "first": "first, unless there is one", "never": "never"}
            mode = told.get(str(steps[0].get("prepend_scheme", usual)))
    fields: Fields = {"tokenizer.ggml.pre": ("string", "default" if mode else "other")}
    if mode:
        fields["tokenizer.ggml.add_space_prefix"] = ("bool", int(mode != "never"))
    if mode not in (None, "each", "never"):
        fields[BLANKS] = ("string", mode)
    return fields


def _scored(tokens: Sequence[_Token], model: Mapping) -> list[_Token]:
    """Scores that merge as the ranks do, for programs that know SentencePiece by its scores (llama.cpp)."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(_list(model, "merges")):
        left, right = pair if isinstance(pair, list) and len(pair) == 2 else str(pair).partition(" ")[::2]
        ranks.setdefault(f"{left}{right}", rank)
    return [
        (piece, kind, (-1.0 - ranks[piece] if piece in ranks else _LEAST) if kind == NORMAL else 0.0)
        for piece, kind, _ in tokens
    ]


def _same(step: Mapping, part: Mapping) -> bool:
    """Whether a step does the same; where offsets begin changes no token, and `use_regex` is on unless told."""
    told = {"use_regex": True, "invert": False} | dict(step)
    return all(told.get(key) == value for key, value in part.items() if key != "trim_offsets")


def _steps(tokenizer: Mapping, key: str, several: str) -> list[dict]:
    one = tokenizer.get(key)
    steps = one.get(several) if isinstance(one, dict) and one.get("type") == "Sequence" else [one]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _marks(numbers: Mapping[str, int], settings: Mapping, config: Mapping) -> Fields:
    fields: Fields = {}
    for ours, theirs in _MARKS.items():
        told = settings.get(f"{ours}_token")
        piece = told.get("content") if isinstance(told, dict) else told
        number = numbers.get(piece) if isinstance(piece, str) else None
        if number is None:
            told = config.get(f"{ours}_token_id")
            number = told[0] if isinstance(told, list) and told else told
        if type(number) is int and 0 <= number < 1 << 32:
            fields[f"tokenizer.ggml.{theirs}_token_id"] = ("uint32", number)
    return fields


def _adds_bos(tokenizer: Mapping, settings: Mapping, fields: Fields, numbers: Mapping[str, int]) -> bool:
    """Whether a text begins with the BOS token: the post-processor does it, else the settings say so."""
    bos = fields.get("tokenizer.ggml.bos_token_id", ("", None))[1]
    for step in _steps(tokenizer, "post_processor", "processors"):
        single = step.get("single")
        if step.get("type") == "TemplateProcessing" and isinstance(single, list):
            first = single[0] if single and isinstance(single[0], dict) else {}
            piece = _object(first, "SpecialToken").get("id")
            return isinstance(piece, str) and bos is not None and numbers.get(piece) == bos
    return bos is not None and settings.get("add_bos_token") is True


def _template(settings: Mapping) -> str | None:
    """The chat template; of several by name the default one."""
    told = settings.get("chat_template")
    if isinstance(told, list):
        named = {t.get("name"): t.get("template") for t in told if isinstance(t, dict)}
        told = named.get("default")
    return told if isinstance(told, str) else None


def tokenizer_of(
    hyperparameters: Mapping[str, object],
    tokens: Sequence[tuple[str | bytes, int]],
    merges: Iterator[tuple[str | bytes, int, str | bytes | None]],
) -> tuple[dict, dict]:
    """`tokenizer.json` and `tokenizer_config.json` of a byte-level BPE.

    Args:
        hyperparameters: GGUF's metadata by key.
        tokens: piece and GGUF's type, in the order of numbers.
        merges: first part, whether there is a second one, the second one.

    Raises:
        Error: another kind of tokenizer, or one that the format cannot tell: the token or merge is named.
    """
    if (kind := hyperparameters.get("tokenizer.ggml.model")) != "gpt2":
        raise Error(f"a tokenizer of the kind {kind!r} cannot be converted; wanted byte-level BPE ('gpt2')")
    cut = rule(str(hyperparameters.get("tokenizer.ggml.pre") or "default"))
    name = next(name for name in _PRETOKENIZERS if rule(name) == cut)
    vocab: dict[str, int] = {}
    for number, (piece, _) in enumerate(tokens):
        if not isinstance(piece, str) or piece in vocab:
            raise Error(
                f"token {number}, {piece!r:.60}, is no UTF-8 or another's spelling; wanted a text of its own"
            )
        vocab[piece] = number
    told = hyperparameters.get("tokenizer.ggml.add_bos_token")
    bos = hyperparameters.get("tokenizer.ggml.bos_token_id")
    begins = [bos] if (cut.adds_bos if told is None else told) and isinstance(bos, int) else []
    steps, spelled = [dict(part) for part in _PRETOKENIZERS[name]], list(vocab)
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": number, "content": piece, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": kind != USER_DEFINED}
            for number, (piece, kind) in enumerate(tokens) if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ],
        "normalizer": {"type": "NFC"} if name in _NFC else None,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "post_processor": _beginning(spelled[begins[0]], begins[0]) if begins else _LETTERS,
        "decoder": _GPT2,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": cut.whole_words, "vocab": vocab, "merges": list(_pairs(merges, vocab)),
        },
    }  # fmt: skip
    return tokenizer, _settings(hyperparameters, spelled, bool(begins))


def _pairs(
    merges: Iterator[tuple[str | bytes, int, str | bytes | None]], vocab: Mapping[str, int]
) -> Iterator[list[str]]:
    for rank, (left, _, right) in enumerate(merges):
        parts = left, right, left + right if isinstance(left, str) and isinstance(right, str) else None
        if not all(isinstance(part, str) and part in vocab for part in parts):
            raise Error(
                f"merge {rank}, {left!r:.40} and {right!r:.40}, is of parts that are no tokens, which a "
                "tokenizer.json cannot tell; wanted tokens"
            )
        yield [str(left), str(right)]


def _beginning(piece: str, number: int) -> dict:
    """A post-processor that puts one token before each text."""
    token, first, second = ({"SpecialToken": {"id": piece, "type_id": n}} for n in (0, 0, 1))
    a, b = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing", "single": [token, a], "pair": [first, a, second, b],
        "special_tokens": {piece: {"id": piece, "ids": [number], "tokens": [piece]}},
    }  # fmt: skip


def _settings(hyperparameters: Mapping[str, object], spelled: Sequence[str], begins: bool) -> dict:
    settings: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": begins, "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    for ours, theirs in _MARKS.items():
        number = hyperparameters.get(f"tokenizer.ggml.{theirs}_token_id")
        if isinstance(number, int) and 0 <= number < len(spelled):
            settings[f"{ours}_token"] = spelled[number]
    for ours, theirs in {
        "model_max_length": "llama.context_length",
        "chat_template": "tokenizer.chat_template",
    }.items():
        if hyperparameters.get(theirs) is not None:
            settings[ours] = hyperparameters[theirs]
    return settings


def _object(mapping: Mapping, key: str) -> dict:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def _list(mapping: Mapping, key: str) -> list:
    value = mapping.get(key)
    return value if isinstance(value, list) else []
