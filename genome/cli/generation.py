"""The command that lets a model write: run."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genome.cli.shared import Add, add_json, count, model, print_json, read_stdin, seed
from genome.envelope import Envelope
from genome.errors import Error, quoted
from genome.sizes import size_bytes

if TYPE_CHECKING:
    from genome.model import Step


def add_commands(add: Add) -> None:
    """Adds it to the parser."""
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
    run.add_argument("--stop", metavar="TEXT", action="append", help="end where it comes; may be given again")
    run.add_argument(
        "--memory", metavar="SIZE", type=_size,
        help="weights, cache and buffers within 200 MB or the like; the tokens are the same",
    )  # fmt: skip
    run.add_argument("--seed", metavar="N", type=seed, help="the same seed gives the same text")
    _add_sampling(run)
    _add_grammars(run)
    run.add_argument(
        "--alternatives", metavar="N", type=count,
        help="with --json: each step's log probability, and of the N likeliest tokens",
    )  # fmt: skip
    add_json(run)
    run.set_defaults(run=_run)


def _add_sampling(run: argparse.ArgumentParser) -> None:
    """How the next token is chosen."""
    how = run.add_argument_group("how the next token is chosen")
    how.add_argument("--temperature", metavar="T", type=_from_zero, default=0.8, help="0 is greedy; else 0.8")
    how.add_argument("--top-k", metavar="K", type=count, help="choose among the K likeliest")
    how.add_argument(
        "--top-p", metavar="P", type=_share, help="choose among the likeliest that together have share P"
    )
    how.add_argument("--min-p", metavar="P", type=_share, help="leave out what is below P times the likeliest")
    how.add_argument(
        "--repetition-penalty", metavar="R", type=_number,
        help="divide the score of what was there by R; above 1 repeats less",
    )  # fmt: skip
    how.add_argument("--presence-penalty", metavar="A", type=_number, help="take A off the score of what was there")
    how.add_argument("--frequency-penalty", metavar="A", type=_number, help="take it off for each time")
    how.add_argument(
        "--penalty-window", metavar="N", type=count, help="penalties look at the last N tokens, else all"
    )
    how.add_argument(
        "--logit-bias", metavar="TOKEN=B", type=_bias, action="append",
        help="add B to a token's score, -inf bans it; may be given again",
    )  # fmt: skip


def _add_grammars(run: argparse.ArgumentParser) -> None:
    """What the answer keeps to."""
    kept = run.add_argument_group("what the answer keeps to").add_mutually_exclusive_group()
    kept.add_argument(
        "--schema", metavar="JSON|FILE", help="JSON of this JSON Schema; --max-tokens may cut it off inside"
    )
    kept.add_argument("--regex", metavar="PATTERN", help="the whole answer matches this regular expression")
    kept.add_argument("--grammar", metavar="FILE", help="a context-free grammar: Lark's notation, or GBNF")


def _run(arguments: argparse.Namespace) -> None:
    if arguments.alternatives and not arguments.json:
        raise Error("--alternatives are for a program to read; give --json too")
    with model(arguments) as envelope:
        if arguments.prompt is None and sys.stdin.isatty() and not arguments.json:
            _converse(envelope, arguments)
            return
        prompt = read_stdin() if arguments.prompt is None else arguments.prompt
        ids = envelope.encode(prompt) if arguments.raw else envelope.chat(prompt)
        show = (lambda _: None) if arguments.json else _stream
        steps = _generate(envelope, ids, arguments, show)
        if arguments.json:
            told = {"prompt": prompt, "tokens": [step.token for step in steps], "text": _text(steps)}
            print_json(told | ({"steps": [_told(step) for step in steps]} if arguments.alternatives else {}))
        else:
            print()


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
        answer = _text(_generate(envelope, ids, arguments, _stream))
        messages.append({"role": "assistant", "content": answer})
        print()


def _generate(
    envelope: Envelope, ids: list[int], arguments: argparse.Namespace, show: Callable[[str], None]
) -> "list[Step]":
    steps = []
    for step in envelope.generate(ids, **_options(arguments)):
        steps.append(step)
        show(step.text)
    return steps


def _text(steps: "list[Step]") -> str:
    return "".join(step.text for step in steps)


def _told(step: "Step") -> dict[str, Any]:
    others = [{"token": o.token, "text": o.text, "logprob": o.logprob} for o in step.alternatives]
    return {"token": step.token, "text": step.text, "logprob": step.logprob, "alternatives": others}


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of `Envelope.generate`: those that were given."""
    names = (
        "max_tokens", "stop", "memory", "seed", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
        "presence_penalty", "frequency_penalty", "penalty_window", "alternatives", "regex",
    )  # fmt: skip
    told = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.greedy:
        told["temperature"] = 0.0
    if (schema := arguments.schema) is not None:
        told["schema"] = schema if schema.lstrip()[:1] in ("{", "") or schema == "true" else _read(schema)
    if arguments.grammar is not None:
        told["grammar"] = _read(arguments.grammar)
    return told | {"logit_bias": dict(arguments.logit_bias or ())}


def _read(name: str) -> str:
    """A file's text."""
    try:
        return Path(name).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Error(f"{name} is not UTF-8 ({error.reason} at byte {error.start}); convert it first") from error


def _stream(text: str) -> None:
    print(text, end="", flush=True)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted a number, got {quoted(text)}") from None


def _size(text: str) -> int:
    try:
        return size_bytes(text)
    except Error as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _from_zero(text: str) -> float:
    if not 0 <= (value := _number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number of at least 0, got {quoted(text)}")
    return value


def _share(text: str) -> float:
    if not 0 < (value := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"wanted a number above 0 and up to 1, got {quoted(text)}")
    return value


def _bias(text: str) -> tuple[int, float]:
    token, _, bias = text.partition("=")
    if not token.isdecimal() or len(token) > 9:
        raise argparse.ArgumentTypeError(f"wanted TOKEN=B, a token's number and what is added, got {quoted(text)}")
    return int(token), _number(bias)
