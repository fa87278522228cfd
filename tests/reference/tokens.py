# ruff: noqa: RUF001 - signs that look like others are the point of these lines
"""Makes tests/model/data/smollm2_tokens.jsonl: 1,000 lines of mixed text and llama.cpp's tokens for each.

    python tests/reference/tokens.py SmolLM2-135M-Instruct.Q4_1.gguf

Needs `pip install llama-cpp-python==0.3.36`. Each line of the file is JSON: [text, [token, …]]; no BOS, control
tokens in the text parsed (`parse_special`). The lines are drawn with a fixed seed from the material below.
"""

import json
import random
import sys
import unicodedata
from pathlib import Path

from llama_cpp import Llama

TARGET = Path(__file__).parent.parent / "model" / "data" / "smollm2_tokens.jsonl"

ENGLISH = (
    "The mother sang to her child until the storm had passed over the hills.",
    "We can't say what they'd've done; it's not what you're after, I'm told.",
    "DON'T SHOUT! It's RUDE, they'Ll hear you'RE here.",
    "“Curly quotes” – and dashes — aren't ‘ASCII’…",
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse",
    "antidisestablishmentarianism floccinaucinihilipilification supercalifragilisticexpialidocious",
    "naïve café façade coöperate Ångström El Niño über straße",
    "I think (therefore) I am... am I? Yes; no: maybe!? [sic] {braces} <tags/> & more @home #tag $5 50% ^_^",
    "He said: don't, won't, shouldn't've; y'all'd've 'twas 'em rock'n'roll o'clock",
    "http://example.org/path/to?query=1&x=%20#frag mail@example.org C:\\Windows\\System32 /usr/local/bin",
)  # fmt: skip
CODE = (
    "def f(x: int, *, y=None) -> list[int]:\n\treturn [i**2 for i in range(x) if i % 2 == 0]  # squares",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 0x1F; }\r\n",
    "SELECT id, name FROM token WHERE piece LIKE '%moth%' ORDER BY id LIMIT 10;",
    '{"key": [1, 2.5e-3, null, true], "nested": {"a": "\\u00e9\\n"}}',
    "    if (x == y) {\n        return;\n    }\n\n\n",
    "#!/bin/sh\nset -eu; for f in *.txt; do wc -l \"$f\" | awk '{print $1}'; done",
    "\\begin{equation} \\sum_{i=0}^{n} \\frac{1}{2^i} \\end{equation}",
    "fn main() -> Result<(), Box<dyn Error>> { println!(\"{:?}\", vec![1u8, 2, 3]); Ok(()) }",
    "x = a if b else c; y <<= 2; z = ~x ^ y | 0b1010 & 0o17 // 3",
    "<div class=\"a b\"><p>Text&nbsp;&amp; more</p><!-- comment --></div>",
)  # fmt: skip
NUMBERS = (
    "0",
    "7",
    "42",
    "1984",
    "3.14159",
    "1,000,000",
    "1e-9",
    "0xDEADBEEF",
    "12:34:56",
    "2026-11-22",
    "٣٤٥",
    "½",
    "²",
    "Ⅷ",
    "၃",
    "१२३",
)
EMOJI = ("😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "🤖🔥✨", "☃", "🧑🏿‍🚀", "©️®️", "1️⃣", "🫠🫥", "♻︎")
SCRIPTS = (
    "日本語のテキストです。", "机器学习很有趣，对吗？", "한국어 문장입니다.", "母は歌った",
    "繁體中文測試", "Привет, мир! Ёлка", "γνῶθι σεαυτόν", "שלום עולם", "مرحبا بالعالم",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "Tiếng Việt có dấu", "ქართული ენა", "Հայերեն", "አማርኛ",
    "ᚠᚢᚦᚨᚱᚲ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𓀀𓂀𓃰", "ﬁ ﬂ ﷽", "ｆｕｌｌｗｉｄｔｈ　ｓｐａｃｅ",
    "ᏣᎳᎩ", "ʃɪp θɪŋk ˈmʌðɚ", "żółć ŁÓDŹ", "ſtrange K Å", "İstanbul ı",
)  # fmt: skip
COMBINING = (
    "e\u0301",
    "a\u0308\u0304",
    "Z\u0351\u036b\u0343\u036a\u0302",
    "n\u0303o",
    "\u0301",
    " \u0308",
    "q\u0307\u0323",
    "g\u0338\u0338\u0338",
    "क्षि",
    "\u1100\u1161\u11a8",
)
CONTROL = (
    "\x00",
    "\x01\x02",
    "\x07",
    "\x08",
    "\x0b",
    "\x0c",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "\x9f",
    "\u200b",
    "\u200d",
    "\u200e",
    "\ufeff",
    "\u00ad",
    "\ufffd",
    "\ufffe",
    "\u2028",
    "\u2029",
    "\U000e0001",
    "\U0010ffff",
    "\ue000",
)
BLANKS = (
    " ",
    "  ",
    "   ",
    "\t",
    "\t\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n",
    "\n ",
    " \t ",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u1680",
    "\u205f",
    "\u2009 ",
    "        ",
    "\n\n\n \n",
    " \r\n \r\n",
)
SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>user\nHi<|im_end|>\n",
    "<|im_start |>",
    "<|im_",
    "end|>",
    "<repo_name>",
    "<file_sep>",
    "<|<|im_end|>|>",
)
PUNCTUATION = (
    "!!!",
    "...",
    "?!",
    "--",
    "==",
    "'",
    "''",
    "'s",
    "'S",
    "'re",
    "(",
    ")",
    "_",
    "~~",
    "```",
    "#",
    "§",
    "¿¡",
    "«»",
    "、。",
    "‽",
    "€£¥",
    "→⇒",
    "∀∃∈",
    "°C",
    "™",
)
ALL = (ENGLISH, CODE, NUMBERS, EMOJI, SCRIPTS, COMBINING, CONTROL, BLANKS, SPECIAL, PUNCTUATION)


def main(gguf: str) -> None:
    """Draws the lines and writes them with llama.cpp's tokens."""
    model = Llama(gguf, vocab_only=True, verbose=False)
    lines = sorted({line for kind in ALL for line in kind})
    draw = random.Random(65)
    while len(lines) < 1000:
        line = _line(draw)
        if line not in lines:
            lines.append(line)
    TARGET.parent.mkdir(exist_ok=True)
    with TARGET.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            tokens = model.tokenize(line.encode(), add_bos=False, special=True)
            file.write(json.dumps([line, tokens], separators=(",", ":")) + "\n")


def _line(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.15:  # any characters at all
        return "".join(_any(draw) for _ in range(draw.randint(1, 24)))
    if kind < 0.3:  # words of plain text in odd spacing
        words = draw.choice(ENGLISH).split()
        return "".join(word + draw.choice((" ", " ", *BLANKS)) for word in draw.sample(words, min(len(words), 6)))
    parts = [draw.choice(draw.choice(ALL)) for _ in range(draw.randint(2, 5))]
    parts = [part[: draw.randint(1, 40)] for part in parts]
    return draw.choice(("", " ", "", draw.choice(BLANKS))).join(parts)


def _any(draw: random.Random) -> str:
    """A character; new ones of Unicode are left out, because tables of different age disagree about their class."""
    while True:
        top = draw.choice((0x80, 0x250, 0x3000, 0xA000, 0x20000))
        char = chr(draw.randrange(top))
        if not 0xD800 <= ord(char) < 0xE000 and _assigned_early(char):
            return char


def _assigned_early(char: str) -> bool:
    return unicodedata.ucd_3_2_0.category(char) != "Cn"


if __name__ == "__main__":
    main(sys.argv[1])
