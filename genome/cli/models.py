"""The commands that ask a model's tokenizer: tokens, encode."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from genome.cli.shared import Add, add_json, count, model, print_json, print_table
from genome.errors import Error
from genome.workbench import MODEL


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    tokens = add("tokens", "find the model's tokens that hold a text, with their genome IDs", "genome tokens moth")
    tokens.add_argument("pattern", metavar="PATTERN")
    how = tokens.add_mutually_exclusive_group()
    how.add_argument("--prefix", dest="how", action="store_const", const="prefix", help="tokens that begin with it")
    how.add_argument("--exact", dest="how", action="store_const", const="exact", help="the token that is it")
    tokens.add_argument("--model", metavar="NAME", default=MODEL, help=f"the model's database, else {MODEL}")
    tokens.add_argument("--limit", metavar="N", type=count, default=50, help="at most so many, else 50")
    add_json(tokens)
    tokens.set_defaults(run=_tokens, how="contains")

    encode = add("encode", "turn texts into lists of token numbers, one a line", 'genome encode "My mother sang"')
    encode.add_argument("texts", metavar="TEXT", nargs="*")
    encode.add_argument("--jsonl", metavar="FILE", help="a file of JSON strings, one a line; - is standard input")
    encode.add_argument("--model", metavar="NAME", default=MODEL, help=f"the model's database, else {MODEL}")
    encode.add_argument("--no-special", action="store_true", help="read the names of control tokens as plain text")
    encode.set_defaults(run=_encode)


def _tokens(arguments: argparse.Namespace) -> None:
    with model(arguments) as envelope:
        frame = envelope.tokens(**{arguments.how: arguments.pattern}, limit=arguments.limit)
    if arguments.json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, frame.iter_rows())


def _encode(arguments: argparse.Namespace) -> None:
    if bool(arguments.texts) == bool(arguments.jsonl):
        raise Error("encode wants texts or --jsonl FILE, one of the two")
    texts = _json_lines(arguments.jsonl) if arguments.jsonl else arguments.texts
    with model(arguments) as envelope:
        for text in texts:
            print(json.dumps(envelope.encode(text, special=not arguments.no_special)))


def _json_lines(name: str) -> Iterator[str]:
    """The strings of a file of JSON strings, one a line."""
    with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Error(f"{name}, line {number}: {error}; wanted a JSON string") from error
            if not isinstance(text, str):
                raise Error(f"{name}, line {number}: wanted a JSON string, got {type(text).__name__}")
            yield text
