"""How a text is cut into words before byte-pair merging: rules by the names of `tokenizer.ggml.pre`.

The expressions are those of the models' own tokenizers, as llama.cpp (src/llama-vocab.cpp, 2026) assigns them to
names. Where a tokenizer applies several expressions one after the other, each cuts what the one before it left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import regex

from genome.errors import Error

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Digits alone, then GPT-2's rule between them, in one expression: a blank before a digit ends its part of the text.
_DIGITS_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
# Either case, but of these letters alone: `(?i:'s)` would take the long s as well.
_CONTRACTIONS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Rule:
    """How one family of models cuts text.

    Attributes:
        pattern: one word after the other; the words cover the text.
        whole_words: a word that is a token needs no merging, even where merges would not lead to it.
        adds_bos: the models of this family begin with a BOS token unless their metadata says otherwise.
    """

    pattern: str
    whole_words: bool = False
    adds_bos: bool = False

    def words(self, text: str) -> Sequence[str]:
        """The words of a text, in order; joined they are the text."""
        return _compiled(self.pattern).findall(text)


_RULES = {
    Rule(_GPT2): (
        "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum", "mpt",
        "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "olmo", "jais", "exaone4"),
    Rule(_DIGITS_GPT2): ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"),
    Rule(_LLAMA3, whole_words=True, adds_bos=True): (
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
    Rule(_LLAMA3): ("dbrx", "smaug-bpe", "chatglm-bpe"),
    Rule(_QWEN2): ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "megrez"),
}  # fmt: skip
_BY_NAME = {name: rule for rule, names in _RULES.items() for name in names}


def rule(name: str) -> Rule:
    """The rule of a name of `tokenizer.ggml.pre`.

    Raises:
        Error: no rule of that name.

    Example:
        >>> rule("smollm").words("In 1964  we'll")
        ['In', ' ', '1', '9', '6', '4', ' ', ' we', "'ll"]
    """
    if name not in _BY_NAME:
        raise Error(f"the pre-tokenizer {name!r} is not known; wanted one of {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name]


@cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)
