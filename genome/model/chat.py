"""Chat templates: a model's metadata holds a Jinja program that writes a conversation as the model learned it.

The program is a stranger's: it runs in Jinja's sandbox, sees the messages and a few strings, and changes nothing.
The names it may use are those of `transformers` (apply_chat_template).
"""

import datetime
import json
from collections.abc import Mapping, Sequence

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from genome.errors import Error


def render(template: str, messages: Sequence[Mapping[str, str]], **names: object) -> str:
    """The conversation as text.

    Raises:
        Error: the template is broken, leaves the sandbox, or refuses the messages.

    Example:
        >>> template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        >>> render(template, [{"role": "user", "content": "Hi"}])
        '<user>Hi'
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(template).render(messages=[dict(m) for m in messages], **names)
    except Error:
        raise
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise Error(f"the model's chat template fails: {error}; wanted messages with role and content") from error


def _refuse(text: str) -> None:
    raise Error(f"the model's chat template refuses the messages: {text}")
