"""What clients ask: the JSON of /api/generate and /api/chat, checked before a model is touched.

Fields, options and defaults are Ollama's (docs/api.md and api/types.go of ollama/ollama). What tunes only speed and
memory is let pass. What would change the answer and is not served is refused by its name, unless it has the value
that changes nothing: an answer never differs silently from what was asked.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genome.errors import Error

KEEP_ALIVE_S = 300.0
FOREVER_S = 100 * 365 * 86400.0
UNLIMITED = 1 << 30

_LATEST = ":latest"
_ROLES = ("system", "user", "assistant")
_ALL = {"model", "options", "keep_alive"}
_BOTH = {"stream", "format", "logprobs", "top_logprobs", *_ALL}
_MOST_LOGPROBS = 20
_PASSED = {"truncate", "shift"}
_FIELDS = {"generate": {"prompt", "system", "raw", *_BOTH}, "chat": {"messages", *_BOTH},
           "embed": {"input", "dimensions", *_ALL}, "embeddings": {"prompt", *_ALL}}  # fmt: skip
_REASONS = {
    "images": "the model reads text only",
    "tools": "the model calls no tools",
    "tool_calls": "the model calls no tools",
    "suffix": "the model only continues a text",
    "template": "a model has the chat template of its file; with raw the prompt is taken as it is",
    "context": "send the whole conversation to /api/chat",
    "think": "the model does not think aloud",
}
_SAMPLING = {
    "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty",
    "repeat_last_n", "seed", "num_predict", "stop",
}  # fmt: skip
_NEUTRAL = {"typical_p": 1, "tfs_z": 1, "mirostat": 0, "embedding_only": False, "vocab_only": False}
_TUNING = {
    "numa", "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "low_vram", "f16_kv", "logits_all",
    "use_mmap", "use_mlock", "num_keep", "draft_num_predict",
    "mirostat_tau", "mirostat_eta", "penalize_newline",  # of samplers that are refused above
}  # fmt: skip
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class EmbedAsk:
    """Texts that are to become vectors.

    Attributes:
        model: the database's name, without `:latest`.
        told_model: the name as the client wrote it.
        texts: what is asked for.
        truncate: of a text that is too long take what the context has room for.
        dimensions: only so many numbers of each vector; 0 all.
        keep_alive_s: how long the model stays in memory after the answer.
        single: answer in the form of /api/embeddings: one text, its vector as it is.
    """

    model: str
    told_model: str
    texts: tuple[str, ...]
    truncate: bool
    dimensions: int
    keep_alive_s: float
    single: bool


@dataclass(frozen=True)
class Ask:
    """One question to a model.

    Attributes:
        model: the database's name, without `:latest`.
        told_model: the name as the client wrote it.
        messages: the conversation; empty for a raw prompt.
        raw: the prompt as it is; None for a conversation.
        chat: answer in the form of /api/chat, else of /api/generate.
        stream: answer in pieces.
        keep_alive_s: how long the model stays in memory after the answer.
        logprobs: tell each token's log probability.
        sampling: options of `Envelope.generate`.
    """

    model: str
    told_model: str
    messages: tuple[dict[str, str], ...]
    raw: str | None
    chat: bool
    stream: bool
    keep_alive_s: float
    logprobs: bool
    sampling: dict[str, Any]

    @property
    def empty(self) -> bool:
        """Nothing to answer: the model is to be loaded, or with `keep_alive` 0 unloaded."""
        return not self.messages and not self.raw


def generate_ask(body: bytes) -> Ask:
    """Reads the body of /api/generate.

    Raises:
        Error: no JSON object, a field of the wrong type, or one that is not served; it is named.
    """
    fields = _checked(body, "generate")
    prompt, system = _text(fields, "prompt"), _text(fields, "system")
    if _flag(fields, "raw", False):
        if system:
            raise Error("a raw prompt takes no system message; write it into the prompt")
        return _ask(fields, (), prompt, chat=False)
    told = [("system", system), ("user", prompt)] if prompt else []
    return _ask(fields, tuple({"role": r, "content": c} for r, c in told if c), None, chat=False)


def chat_ask(body: bytes) -> Ask:
    """Reads the body of /api/chat.

    Raises:
        Error: no JSON object, a field of the wrong type, or one that is not served; it is named.
    """
    fields = _checked(body, "chat")
    messages = fields.get("messages") or []
    if not isinstance(messages, list):
        raise Error(f"messages is {_shown(messages)}; wanted a list of objects with role and content")
    return _ask(fields, tuple(map(_message, messages)), None, chat=True)


def embed_ask(body: bytes) -> EmbedAsk:
    """Reads the body of /api/embed.

    Raises:
        Error: no JSON object, a field of the wrong type, or one that is not served; it is named.
    """
    fields = _checked(body, "embed")
    told = fields.get("input", [])
    texts = [told] if isinstance(told, str) else told
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Error(f"input is {_shown(told)}; wanted a text or a list of texts")
    return _embed_ask(fields, tuple(texts), single=False)


def embeddings_ask(body: bytes) -> EmbedAsk:
    """Reads the body of /api/embeddings, the older of the two.

    Raises:
        Error: no JSON object, a field of the wrong type, or one that is not served; it is named.
    """
    fields = _checked(body, "embeddings")
    return _embed_ask(fields, (_text(fields, "prompt"),), single=True)


def _embed_ask(fields: dict[str, Any], texts: tuple[str, ...], *, single: bool) -> EmbedAsk:
    name, told = model_name(fields)
    dimensions = _whole(fields, "dimensions", 0)
    if dimensions < 0:
        raise Error(f"dimensions is {dimensions}; wanted 0 (all) or more")
    _sampling(fields)  # an option that does not exist is refused here too
    keep = _seconds(fields.get("keep_alive"))
    return EmbedAsk(name, told, texts, _flag(fields, "truncate", True), dimensions, keep, single)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a request's body is.

    Raises:
        Error: it is none; where the text goes wrong is told.
    """
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Error(f"the request's body is no JSON ({error}); wanted one JSON object") from None
    if not isinstance(value, dict):
        raise Error(f"the request's body is {_shown(value)}; wanted one JSON object")
    return value


def model_name(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The database's name and the name as the client wrote it (`smollm2`, `smollm2:latest`).

    Raises:
        Error: there is none.
    """
    told = fields.get("model") or fields.get("name")
    if not isinstance(told, str):
        raise Error("model is missing; wanted a model's name, as /api/tags lists them")
    return told.removesuffix(_LATEST), told


def _checked(body: bytes, endpoint: str) -> dict[str, Any]:
    fields = json_object(body)
    for name, value in fields.items():
        if value and name not in _FIELDS[endpoint] | _PASSED:
            known = f"{endpoint} takes {', '.join(sorted(_FIELDS[endpoint]))}"
            raise Error(f"{_name(name)} is not supported: {_REASONS.get(name, known)}")
    return fields


def _ask(fields: dict[str, Any], messages: tuple[dict[str, str], ...], raw: str | None, *, chat: bool) -> Ask:
    name, told = model_name(fields)
    keep = _seconds(fields.get("keep_alive"))
    logprobs = _flag(fields, "logprobs", False)
    sampling = _sampling(fields) | {"alternatives": _top_logprobs(fields) if logprobs else 0}
    if (schema := _schema(fields)) is not None:
        sampling["schema"] = schema
    return Ask(name, told, messages, raw, chat, _flag(fields, "stream", True), keep, logprobs, sampling)


def _schema(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema that the answer is to keep to: `json` stands for any object; None where nothing is asked."""
    value = fields.get("format")
    if value in (None, ""):
        return None
    if value == "json":
        return {"type": "object"}
    if not isinstance(value, dict):
        raise Error(f'format is {_shown(value)}; wanted "json" or a JSON Schema')
    return value


def _top_logprobs(fields: Mapping[str, Any]) -> int:
    value = fields.get("top_logprobs") or 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_LOGPROBS:
        raise Error(f"top_logprobs is {_shown(value)}; wanted a whole number from 0 to {_MOST_LOGPROBS}")
    return value


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Error(f"a message is {_shown(message)}; wanted an object with role and content")
    role, content = message.get("role"), _text(message, "content")
    if role not in _ROLES:
        raise Error(f"a message's role is {_shown(role)}; wanted one of {', '.join(_ROLES)}")
    for name, value in message.items():
        if value and name not in ("role", "content"):
            raise Error(
                f"{_name(name)} of a message is not supported: {_REASONS.get(name, 'wanted role and content')}"
            )
    return {"role": role, "content": content}


def _sampling(fields: dict[str, Any]) -> dict[str, Any]:
    """Options of `Envelope.generate`; those that are not given have Ollama's defaults.

    But for `repeat_penalty`, which is 1, no penalty, unless it is given.
    """
    options = fields.get("options") or {}
    if not isinstance(options, dict):
        raise Error(f"options is {_shown(options)}; wanted an object")
    options = {name: value for name, value in options.items() if value is not None}
    for name, value in options.items():
        if name in _NEUTRAL and value != _NEUTRAL[name]:
            raise Error(f"the option {name} is not supported; leave it out, or at {_NEUTRAL[name]}")
        if name not in _SAMPLING | _TUNING | set(_NEUTRAL):
            raise Error(f"there is no option {_name(name)}; wanted some of {', '.join(sorted(_SAMPLING))}")
    predict = _whole(options, "num_predict", -1)
    seed = _whole(options, "seed", -1)
    last = _whole(options, "repeat_last_n", 64)
    return {
        "temperature": _number(options, "temperature", 0.8),
        "top_k": max(0, _whole(options, "top_k", 40)),
        "top_p": _number(options, "top_p", 0.9),
        "min_p": _number(options, "min_p", 0.0),
        "repetition_penalty": _number(options, "repeat_penalty", 1.0),
        "presence_penalty": _number(options, "presence_penalty", 0.0),
        "frequency_penalty": _number(options, "frequency_penalty", 0.0),
        "penalty_window": last if last >= 0 else None,
        "seed": seed if seed >= 0 else None,
        "max_tokens": predict if predict > 0 else UNLIMITED,
        "stop": _stops(options.get("stop", [])),
    }


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise Error(f"the option stop is {_shown(value)}; wanted a text or a list of texts")
    return tuple(stops)


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Error(f"the option {name} is {_shown(value)}; wanted a number")
    return value


def _whole(options: Mapping[str, Any], name: str, default: int) -> int:
    value = _number(options, name, default)
    if value != value or value in (float("inf"), float("-inf")) or value != int(value):
        raise Error(f"the option {name} is {_shown(value)}; wanted a whole number")
    return int(value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Error(f"{name} is {_shown(value)}; wanted a text")
    return value


def _flag(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Error(f"{name} is {_shown(value)}; wanted true or false")
    return value


def _seconds(value: Any) -> float:
    """A duration: seconds, or text as Go writes it (`5m`, `1h30m`, `-1s`); below 0 is forever."""
    if value is None:
        return KEEP_ALIVE_S
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < FOREVER_S else FOREVER_S
    elif isinstance(value, str) and (found := list(_durations(value))):
        seconds = sum(found)
    else:
        raise Error(f"keep_alive is {_shown(value)}; wanted seconds, or a duration such as 5m")
    return FOREVER_S if seconds < 0 else min(seconds, FOREVER_S)


def _durations(text: str) -> Iterator[float]:
    """The parts of a duration in seconds, each with the sign of the whole; none where it is no duration."""
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    whole = re.fullmatch(rf"([+-]?)((?:{number}(?:h|ms|m|us|µs|ns|s))+|{number})", text, re.ASCII)
    if whole:
        sign = -1.0 if whole[1] == "-" else 1.0
        for count, unit in re.findall(rf"{number}(h|ms|m|us|µs|ns|s|)", whole[2]):
            yield sign * float(count) * _UNITS_S.get(unit, 1.0)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _shown(value: Any) -> str:
    """A value in an error's line, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(name: str) -> str:
    return name if name.isidentifier() and len(name) <= 60 else _shown(name)
