"""Query templates: named, commented SQL files whose header says what they answer and which values they take.

A template is one SELECT. Its header, the comment lines at its beginning, is read by people and by this module:

    -- Tokens whose text contains some characters, in the order of their numbers.
    --
    -- roles:   model
    -- :text    text          what stands anywhere in a token, blanks included
    -- :limit   count = 50    at most so many rows
    -- example: text=moth

Roles are the schema names under which databases stand in the SQL (`model.token`): a kind of database, with a number
for a second and a third one (`lexicon2`); `other KIND`, one more database of a kind, under the name `other`; and
`journal`, what the activity touched. Values are text, integer, count (an integer from 0 on), real, bytes or one of
several words (`word|sense|token`); a value with `= default` may be left out.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

from genome.db.kinds import KINDS
from genome.errors import DamagedError, Error, NotFoundError, quoted

Value = str | int | float | bytes | None

RESERVED = ("other", "seconds", "cancel")
"""Names that whoever runs a template uses beside its values."""

MOST_BYTES = 64 * 1024
"""Of a template file."""

_PACKAGED = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ROLE = re.compile(rf"(?:(?P<kind>{'|'.join(KINDS)})[2-9]?|other (?P<other>{'|'.join(KINDS)})|journal)")
_VALUE = re.compile(
    r":(?P<name>[a-z][a-z0-9_]*) +(?P<type>[a-z]+(?:\|[a-z]+)*)(?: = (?P<default>'[^']*'|\S+))?  +(?P<meaning>\S.*)"
)
_WANTED = {
    "text": "text", "integer": "a whole number of 64 bits", "count": "a whole number from 0 on",
    "real": "a finite number", "bytes": "hexadecimal digits, two a byte",
}  # fmt: skip


@dataclass(frozen=True)
class Role:
    """A database that a template reads: its schema name in the SQL, and its kind (`journal` is none)."""

    name: str
    kind: str

    def __str__(self) -> str:
        return f"other {self.kind}" if self.name == "other" else self.name


@dataclass(frozen=True)
class Parameter:
    """A value that a template takes.

    Attributes:
        name: without the colon.
        type: text, integer, count, real, bytes, or words joined by `|`.
        required: whether it has to be given.
        default: what it is where it is not given.
        meaning: for people.
    """

    name: str
    type: str
    required: bool
    default: Value
    meaning: str

    def __str__(self) -> str:
        if self.required:
            return f"{self.name}: {self.type}"
        return f"{self.name}: {self.type} = {'null' if self.default is None else repr(self.default)}"

    def value(self, given: object) -> Value:
        """What somebody gave, as SQLite takes it.

        Numbers and bytes may be told as text (bytes as hexadecimal), yes and no as True and False.

        Raises:
            Error: it is of another type, or beyond what SQLite holds.
        """
        if given is None and not self.required and self.default is None:
            return None
        try:
            if isinstance(given, bool) and self.type == "yes|no":
                return "yes" if given else "no"
            return _converted(self.type, given)
        except (ValueError, TypeError, OverflowError):
            wanted = _WANTED.get(self.type, "one of " + ", ".join(self.type.split("|")))
            shown = quoted(given) if isinstance(given, str) else f"{given!r:.60}"
            raise Error(f"{self.name} is {wanted}, got {shown}") from None


@dataclass(frozen=True)
class Template:
    """A query by name.

    Attributes:
        name: the file's, without `.sql`.
        file: where it was read.
        summary: the header's first sentence.
        about: the header's text as a whole.
        roles: the databases that it reads.
        parameters: the values that it takes.
        example: values as people type them.
        sql: the file's whole text.
    """

    name: str
    file: Path
    summary: str
    about: str
    roles: tuple[Role, ...]
    parameters: tuple[Parameter, ...]
    example: str
    sql: str

    @property
    def packaged(self) -> bool:
        """Whether it came with the program; else it is a user's own."""
        return self.file.parent == _PACKAGED

    def values(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Every parameter's value: what was given, else its default.

        Raises:
            Error: one is missing, unknown, or of another type.
        """
        known = {p.name: p for p in self.parameters}
        takes = ", ".join(map(str, self.parameters)) or "no values"
        for name in given:
            if name not in known:
                raise Error(f"{self.name} takes no value {quoted(name)}{near(name, known)}; it takes {takes}")
        if missing := [p.name for p in self.parameters if p.required and p.name not in given]:
            raise Error(f"{self.name} wants a value for {', '.join(missing)}; it takes {takes}")
        try:
            return {n: p.value(given[n]) if n in given else p.default for n, p in known.items()}
        except Error as error:
            raise Error(f"{self.name}: {error}") from None


def find(name: str, folder: Path | None = None) -> Template:
    """A template by its name; a user's own stands before one of the same name that came with the program.

    Args:
        name: of the file, without `.sql`.
        folder: the user's own templates.

    Raises:
        NotFoundError: there is none; the text names those that are spelled alike.
        DamagedError: its header does not say what it has to.
        Error: it cannot be read.
    """
    there = files(folder)
    if name not in there:
        like = near(name, there) or f"; there are {', '.join(sorted(there))}"
        raise NotFoundError(f"no template is called {quoted(name)}{like}")
    return read(there[name])


def files(folder: Path | None = None) -> dict[str, Path]:
    """The file of each template by its name; a user's own stands before one that came with the program."""
    found = {}
    for place in (_PACKAGED, folder):
        if place is not None and place.is_dir():
            found |= {file.stem: file for file in place.glob("*.sql") if not file.name.startswith(".")}
    return found


def read(file: Path) -> Template:
    """Reads a template's file and the header in it.

    Raises:
        DamagedError: the header lacks something, or a line of it cannot be understood; the text says which.
        Error: it cannot be read, or is longer than `MOST_BYTES`.
    """
    if not _NAME.fullmatch(file.stem):
        raise Error(f"{file}: a template's name is of small letters, digits and _, the first a letter; rename it")
    sql = _text(file)
    about, declared = _header(file, sql)
    roles: list[Role] = []
    parameters: list[Parameter] = []
    example = ""
    for number, line in declared:
        try:
            if line.startswith("roles:"):
                roles += [_role(part.strip()) for part in line.removeprefix("roles:").split(",")]
            elif line.startswith("example:"):
                example = line.removeprefix("example:").strip()
            else:
                parameters.append(_parameter(line))
        except Error as error:
            raise DamagedError(f"{file}, line {number}: {error}") from None
    for what, found in (("role", [r.name for r in roles]), ("value", [p.name for p in parameters])):
        if twice := [name for name in found if found.count(name) > 1]:
            raise DamagedError(f"{file}: the {what} {twice[0]} is declared twice; keep one line")
    first = re.split(r"(?<=[.?!:;]) ", " ".join(about.split()), maxsplit=1)[0].rstrip(".:;")
    return Template(file.stem, file, first, about, tuple(roles), tuple(parameters), example, sql)


def near(name: str, known: Iterable[str]) -> str:
    """The known names that are spelled like one, for the end of a sentence; empty where there is none."""
    found = difflib.get_close_matches(name[:200], list(known), n=3)
    return (
        f"; near it are {', '.join(found)}" if len(found) > 1 else "".join(f"; near it is {one}" for one in found)
    )


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise Error(f"{file} is not a file; wanted a template: one SELECT in a text file")
        if (size := file.stat().st_size) > MOST_BYTES:
            raise Error(f"{file} has {size} bytes; a template has at most {MOST_BYTES}")
        sql = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Error(f"{file} cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if "\0" in sql:
        raise DamagedError(f"{file} holds a character NUL; remove it")
    return sql.replace("\r\n", "\n")


def _header(file: Path, sql: str) -> tuple[str, list[tuple[int, str]]]:
    """What the header says for people, and its lines that declare something, with their numbers."""
    about: list[str] = []
    declared: list[tuple[int, str]] = []
    for number, line in enumerate(sql.split("\n"), start=1):
        if not line.startswith("--"):
            break
        said = line.removeprefix("--").removeprefix(" ").rstrip()
        if re.match(r"roles:|example:|:[a-z]", said):
            declared.append((number, said))
        elif declared and said.startswith(" "):  # goes on from the line above
            declared[-1] = (declared[-1][0], f"{declared[-1][1]} {said.strip()}")
        elif not declared:
            about.append(said)
        elif said:
            raise DamagedError(
                f"{file}, line {number}: {quoted(said)} is no `roles:`, `:value` or `example:`; text about the "
                "template stands before these"
            )
    if not any(about):
        raise DamagedError(f"{file} does not say what it answers; begin it with a comment: -- What it answers.")
    return "\n".join(about).strip(), declared


def _role(told: str) -> Role:
    found = _ROLE.fullmatch(told)
    if found is None:
        raise Error(
            f"{quoted(told)} is no role; wanted {', '.join(KINDS)} (a second one: {KINDS[0]}2), other KIND, journal"
        )
    if told == "journal":
        return Role(told, told)
    return Role("other", found["other"]) if found["other"] else Role(told, found["kind"])


def _parameter(line: str) -> Parameter:
    found = _VALUE.fullmatch(line)
    if found is None:
        raise Error(
            f"{quoted(line)} declares no value; wanted `:name type  meaning` or `:name type = default  meaning`"
        )
    name, kind, default = found["name"], found["type"], found["default"]
    if kind not in _WANTED and "|" not in kind:
        raise Error(f"{kind} is no type; wanted {', '.join(_WANTED)}, or words joined by |")
    if name in RESERVED:
        raise Error(f"the name {name} is kept for whoever runs a template; choose another one")
    plain = Parameter(name, kind, default is None, None, found["meaning"].strip())
    if default is None or default == "null":
        return plain
    return Parameter(name, kind, False, plain.value(default.strip("'")), plain.meaning)


def _converted(kind: str, given: object) -> Value:
    """A value of a parameter's type; ValueError, TypeError or OverflowError where it is none."""
    if isinstance(given, bool):
        raise TypeError
    if kind in ("integer", "count"):
        number = int(_digits(given)) if isinstance(given, str) else index(given)  # pyright: ignore[reportArgumentType]
        if not (0 if kind == "count" else -(1 << 63)) <= number < 1 << 63:
            raise OverflowError
        return number
    if kind == "real":
        if not isinstance(given, str | int | float) and not hasattr(given, "__float__"):
            raise TypeError
        number = float(given)  # pyright: ignore[reportArgumentType]
        if not math.isfinite(number):
            raise ValueError
        return number
    if kind == "bytes":
        return bytes.fromhex(given.removeprefix("0x")) if isinstance(given, str) else bytes(memoryview(_any(given)))
    if not isinstance(given, str) or (kind != "text" and given not in kind.split("|")):
        raise TypeError
    given.encode()  # a lone half of a pair of surrogates is a ValueError
    return given


def _digits(given: str) -> str:
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", given.strip()):
        raise ValueError
    return given


def _any(given: object) -> Any:
    return given
