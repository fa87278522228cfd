"""How a text is cut into words before byte-pair merging: rules by the names of `tokenizer.ggml.pre`.

The expressions are those of the models' own tokenizers, as llama.cpp (src/llama-vocab.cpp, 2026) assigns them to
names. Where a tokenizer applies several expressions one after the other, each cuts what the one before it left.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from genome.errors import Error

if TYPE_CHECKING:
    from regex import Pattern

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Digits alone, then GPT-2's rule between them, in one expression: a blank before a digit ends its part of the text.
_DIGITS_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
# Either case, but of these letters alone: `(?i:'s)` would take the long s as well.
_CONTRACTIONS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_QWEN35 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CAPITALS, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BY_CASE = rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}*{_SMALL}+%s|[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}+{_SMALL}*%s"
_SLASHES = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = _BY_CASE % ("", "") + r"|\p{N}" + _SLASHES
_GPT4O = _BY_CASE % ((f"(?:{_CONTRACTIONS})?",) * 2) + r"|\p{N}{1,3}" + _SLASHES
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_KANA = r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_ASIAN = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_PUNCTUATION = r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
_CASED = """
41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376-377 37B-37D 37F 386 388-38A 38C 38E-3A1
3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A
1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4
1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128
212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183-2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2-2CF3 A640-A66D
A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3
104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
"""
"""The letters of two cases that DeepSeek's first tokenizer names, in hexadecimal; Unicode has more today."""
_LATIN = r"\s?[" + "".join(
    "-".join(rf"\U{int(end, 16):08x}" for end in span.split("-")) for span in _CASED.split()
) + "]+"  # fmt: skip


class Rule(NamedTuple):
    """How one family of models cuts text.

    Attributes:
        patterns: each cuts what the one before it left, and isolates what it matches.
        whole_words: a word that is a token needs no merging, even where merges would not lead to it.
        adds_bos: the models of this family begin with a BOS token unless their metadata says otherwise.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    adds_bos: bool = False

    def words(self, text: str) -> Iterable[str]:
        """The words of a text, in order; joined they are the text."""
        compiled = _compiled_ascii if text.isascii() else _compiled
        words = _isolated(compiled(self.patterns[0]), text)
        for pattern in self.patterns[1:]:
            words = chain.from_iterable(map(partial(_isolated, compiled(pattern)), words))
        return words


_RULES = {
    Rule((_GPT2,)): (
        "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum", "mpt",
        "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "olmo", "jais", "exaone4", "trillion",
        "granite-docling"),
    Rule((_DIGITS_GPT2,)): (
        "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"),
    Rule((_LLAMA3,), whole_words=True, adds_bos=True): (
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
    Rule((_LLAMA3,)): ("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"),
    Rule((_QWEN2,)): (
        "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "megrez", "hunyuan", "solar-open"),
    Rule((_QWEN35,)): ("qwen35",),
    Rule((_TEKKEN,), whole_words=True, adds_bos=True): ("tekken",),
    Rule((_GPT4O,)): ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
    Rule((r"[\r\n]", _LATIN, _PUNCTUATION, r"\s+$", _ASIAN, r"\p{N}+")): ("deepseek-llm",),
    Rule((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _ASIAN, r"\p{N}")): ("deepseek-coder",),
    Rule((r"\p{N}{1,3}", _KANA, _DEEPSEEK3)): ("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
    Rule((r"[\p{P}$+<=>^~|`]+", _GPT2, r"[0-9][0-9][0-9]")): ("falcon",),
    Rule((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")): ("default",),
}  # fmt: skip
_BY_NAME = {name: rule for rule, names in _RULES.items() for name in names}


def rule(name: str) -> Rule:
    """The rule of a name of `tokenizer.ggml.pre`.

    Raises:
        Error: no rule of that name.

    Example:
        >>> list(rule("smollm").words("In 1964  we'll"))
        ['In', ' ', '1', '9', '6', '4', ' ', ' we', "'ll"]
    """
    if name not in _BY_NAME:
        raise Error(f"the pre-tokenizer {name!r} is not known; wanted one of {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name]


@cache
def _compiled(pattern: str) -> "Pattern[str]":
    import regex  # 10 ms that English does not wait for

    return regex.compile(pattern)


_ASCII = {
    r"\s": r"\t-\r ", r"\p{L}": "A-Za-z", r"\p{Lu}": "A-Z", r"\p{Ll}": "a-z", r"\p{N}": "0-9",
    r"\p{P}": r"""!"#%&'()*,\-./:;?@\[\\\]_{}""", r"\p{S}": "$+<=>\\^`|~",
    r"\p{Lt}": "", r"\p{Lm}": "", r"\p{Lo}": "", r"\p{M}": "",
}  # fmt: skip
"""Classes of Unicode as far as ASCII goes, as parts of a set."""


_SET = re.compile(r"(\[\^?(?:\\p\{\w+\}|\\.|[^\]\\])+\])")
_CLASS = re.compile(r"\\p\{\w+\}|\\s|\\S")


@cache
def _compiled_ascii(pattern: str) -> re.Pattern[str]:
    """The same for texts of ASCII alone, in Python's own `re`, which is there at once.

    White space is spelled out: that of `re` has four separators (U+001C to U+001F) more than Unicode's.
    """
    parts = _SET.split(pattern)  # every other one is a set
    parts[1::2] = [_CLASS.sub(lambda found: _ASCII[found[0]], part) for part in parts[1::2]]
    parts[::2] = [_CLASS.sub(lambda found: _alone(found[0]), part) for part in parts[::2]]
    return re.compile("".join(parts))


def _alone(name: str) -> str:
    """A class that stands outside of a set."""
    return f"[{_ASCII[name]}]" if name in _ASCII else f"[^{_ASCII[name.lower()]}]"


def _isolated(pattern: "re.Pattern[str] | Pattern[str]", text: str) -> Iterator[str]:
    """What the pattern matches, and what lies between; no empty text."""
    place = 0
    for found in pattern.finditer(text):
        begin, end = found.span()
        if begin > place:
            yield text[place:begin]
        if end > begin:
            yield found[0]
        place = end
    if place < len(text):
        yield text[place:]
