"""The commands that ask a model: tokens, encode, run."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from genome.cli.shared import Add, add_json, count, print_json, print_table, read_stdin, seed, workbench
from genome.envelope import Envelope
from genome.errors import Error, quoted
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

    run = add(
        "run", "generate text with a model, as it comes",
        'genome run smollm2 "The capital of France is" --greedy --raw --max-tokens 32 --json',
    )  # fmt: skip
    run.add_argument("model", metavar="MODEL")
    run.add_argument(
        "prompt", metavar="PROMPT", nargs="?", help="else standard input, or a conversation in a terminal"
    )
    run.add_argument("--greedy", action="store_true", help="always the likeliest token")
    run.add_argument("--raw", action="store_true", help="no chat template, no BOS added: the prompt as it is")
    run.add_argument("--max-tokens", metavar="N", type=count, default=256, help="at most so many, else 256")
    run.add_argument("--temperature", metavar="T", type=_from_zero, default=0.8, help="0 is greedy; else 0.8")
    run.add_argument("--top-k", metavar="K", type=count, help="choose among the K likeliest")
    run.add_argument(
        "--top-p", metavar="P", type=_share, help="choose among the likeliest that together have share P"
    )
    run.add_argument("--seed", metavar="N", type=seed, help="the same seed gives the same text")
    add_json(run)
    run.set_defaults(run=_run)


def _tokens(arguments: argparse.Namespace) -> None:
    with _model(arguments) as envelope:
        frame = envelope.tokens(**{arguments.how: arguments.pattern}, limit=arguments.limit)
    if arguments.json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, frame.iter_rows())


def _encode(arguments: argparse.Namespace) -> None:
    if bool(arguments.texts) == bool(arguments.jsonl):
        raise Error("encode wants texts or --jsonl FILE, one of the two")
    texts = _json_lines(arguments.jsonl) if arguments.jsonl else arguments.texts
    with _model(arguments) as envelope:
        for text in texts:
            print(json.dumps(envelope.encode(text, special=not arguments.no_special)))


def _run(arguments: argparse.Namespace) -> None:
    with _model(arguments) as envelope:
        if arguments.prompt is None and sys.stdin.isatty() and not arguments.json:
            _converse(envelope, arguments)
            return
        prompt = read_stdin() if arguments.prompt is None else arguments.prompt
        ids = envelope.encode(prompt) if arguments.raw else envelope.chat(prompt)
        show = (lambda _: None) if arguments.json else _stream
        tokens, text = _generate(envelope, ids, arguments, show)
        if arguments.json:
            print_json({"prompt": prompt, "tokens": tokens, "text": text})
        else:
            print()


def _model(arguments: argparse.Namespace) -> Envelope:
    """The envelope of the model that was asked for."""
    envelope = workbench(arguments).envelope(arguments.model)
    if envelope.roles.model is None:
        kind = " and ".join(d.kind for d in envelope.roles.databases)
        raise Error(f"{arguments.model} is no model ({kind}); `genome list` shows which databases are")
    return envelope


def _converse(envelope: Envelope, arguments: argparse.Namespace) -> None:
    """One line of the user, one answer, until the end of input."""
    messages: list[dict[str, str]] = []
    while True:
        try:
            said = input(">>> ")
        except EOFError:
            print()
            return
        if not said.strip():
            continue
        messages.append({"role": "user", "content": said})
        ids = envelope.encode(said) if arguments.raw else envelope.chat(messages)
        _, answer = _generate(envelope, ids, arguments, _stream)
        messages.append({"role": "assistant", "content": answer})
        print()


def _generate(
    envelope: Envelope, ids: list[int], arguments: argparse.Namespace, show: Callable[[str], None]
) -> tuple[list[int], str]:
    sampling = {
        "temperature": 0.0 if arguments.greedy else arguments.temperature,
        "top_k": arguments.top_k, "top_p": arguments.top_p, "seed": arguments.seed,
    }  # fmt: skip
    options = {name: value for name, value in sampling.items() if value is not None}
    tokens, parts = [], []
    for step in envelope.generate(ids, max_tokens=arguments.max_tokens, **options):
        tokens.append(step.token)
        parts.append(step.text)
        show(step.text)
    return tokens, "".join(parts)


def _stream(text: str) -> None:
    print(text, end="", flush=True)


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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted a number, got {quoted(text)}") from None


def _from_zero(text: str) -> float:
    if not 0 <= (value := _number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number of at least 0, got {quoted(text)}")
    return value


def _share(text: str) -> float:
    if not 0 < (value := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"wanted a number above 0 and up to 1, got {quoted(text)}")
    return value
