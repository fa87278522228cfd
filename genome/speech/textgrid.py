"""TextGrids: what Praat notes about a recording, in and out, with the same bytes where nothing was changed.

Praat reads such a file as a row of values that stand free between blanks: numbers, texts in double quotes (a quote
inside is doubled), flags in angle brackets. Everything else, `xmin =` and `intervals [3]:`, is comment, and so is a
line from `!` on. The long form has such comments, the short form has none. Source: Praat's manual, "TextGrid file
formats".

What was read keeps its text. Written again, only the values that differ are put into it; a grid with other tiers or
another number of intervals is laid out anew, as Praat does.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from genome.errors import DamagedError, Error, quoted

Encoding = Literal["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"]
_BOMS: dict[Encoding, bytes] = {"utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
_TOKEN = re.compile(
    r'(?P<space>\s+|![^\r\n]*)|"(?P<text>(?:[^"]+|"")*+)"(?=\s|\Z)|(?P<open>")|(?P<flag><\S*)|(?P<number>[-+\d]\S*)'
    r"|(?P<word>\S+)"
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d{1,4})?")
_NEWLINE = re.compile(r"\r\n|\n|\r")
_CLASSES = {"IntervalTier": "intervals", "TextTier": "points"}


@dataclass(frozen=True)
class Interval:
    """A labelled stretch of a recording."""

    start_s: float
    end_s: float
    label: str

    def __post_init__(self) -> None:
        _check_span(self.start_s, self.end_s)


@dataclass(frozen=True)
class Point:
    """A labelled instant of a recording."""

    time_s: float
    label: str

    def __post_init__(self) -> None:
        _check_span(self.time_s, self.time_s)


@dataclass(frozen=True)
class IntervalTier:
    """A named row of intervals, which may be empty."""

    name: str
    start_s: float
    end_s: float
    intervals: tuple[Interval, ...]

    def __post_init__(self) -> None:
        _check_span(self.start_s, self.end_s)


@dataclass(frozen=True)
class PointTier:
    """A named row of points, which may be empty; Praat's class is `TextTier`."""

    name: str
    start_s: float
    end_s: float
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        _check_span(self.start_s, self.end_s)


Tier = IntervalTier | PointTier


@dataclass(frozen=True)
class Form:
    """How a file is laid out.

    Attributes:
        long: with `xmin =` and `intervals [1]:` between the values.
        encoding: all but `utf-8` begin with a byte order mark.
        newline: what ends a line, also inside a label.
    """

    long: bool = True
    encoding: Encoding = "utf-8"
    newline: Literal["\n", "\r\n", "\r"] = "\n"


@dataclass(frozen=True)
class _Source:
    """The text that was read, its form, its values in order and where each stands."""

    text: str
    form: Form
    values: list[float | str]
    places: list[tuple[int, int]]
    shape: list[tuple[type, int]]


@dataclass(frozen=True)
class TextGrid:
    """Tiers over a stretch of time. `dataclasses.replace(grid, tiers=…)` changes one.

    Example:
        >>> grid = TextGrid(0, 2.5, (IntervalTier("word", 0, 2.5, (Interval(0, 2.5, "mother"),)),))
        >>> parse(to_bytes(grid)) == grid
        True
    """

    start_s: float
    end_s: float
    tiers: tuple[Tier, ...]
    form: Form = Form()
    _source: _Source | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_span(self.start_s, self.end_s)


def read(path: str | Path) -> TextGrid:
    """The TextGrid of a file.

    Args:
        path: long or short form; UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DamagedError: it breaks off, or a value is not what has to stand there; the line is named.
        Error: it is no TextGrid in text form.
        OSError: it cannot be read.
    """
    return parse(Path(path).read_bytes(), str(path))


def parse(content: bytes, named: str = "TextGrid") -> TextGrid:
    """The TextGrid that some bytes are.

    Args:
        content: of a file.
        named: what the errors call it.

    Raises:
        DamagedError, Error: as `read`.
    """
    text, encoding = _decoded(content, named)
    values = _Values(text, quoted(named))
    found_class = values.header()
    if found_class != "TextGrid":
        raise Error(f"{quoted(named)} holds a {quoted(found_class)}; wanted a TextGrid")
    start_s, end_s = values.number("xmin"), values.number("xmax")
    tiers = tuple(_tier(values) for _ in range(values.count("size") if values.exists() else 0))
    values.end()
    newline = _NEWLINE.search(text)
    long = text[: values.places[0][0]].rstrip().endswith("=")
    form = Form(long, encoding, newline[0] if newline else "\n")  # type: ignore[arg-type]
    source = _Source(text, form, values.kept, values.places, _shape(tiers))
    return values.made(TextGrid, start_s, end_s, tiers, form, source)


def to_bytes(grid: TextGrid) -> bytes:
    """A TextGrid as the bytes of a file: those it was read from, save for the values that differ.

    Raises:
        Error: a label holds half a character (a lone surrogate), which no encoding can write.
    """
    encoding = grid.form.encoding
    text = _laid_out(grid) if (kept := _spliced(grid)) is None else kept
    try:
        return _BOMS.get(encoding, b"") + text.encode("utf-8" if encoding == "utf-8-sig" else encoding)
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise Error(f"a label holds {half!r}, half a character; wanted text that Unicode can write") from error


def write(grid: TextGrid, path: str | Path) -> None:
    """Writes a TextGrid, in its own form.

    Raises:
        Error: as `to_bytes`.
        OSError: the file cannot be written.
    """
    Path(path).write_bytes(to_bytes(grid))


class _Values:
    """The values of a text one after the other; keeps those that may be changed, and where they stand."""

    def __init__(self, text: str, named: str) -> None:
        self.kept: list[float | str] = []
        self.places: list[tuple[int, int]] = []
        self._text, self._named = text, named
        self._tokens = (m for m in _TOKEN.finditer(text) if m.lastgroup not in ("space", "word"))
        self._at = 0

    def header(self) -> str:
        """The class of what the file holds."""
        if re.match(r"\s*(File type\s*=\s*)?\"ooTextFile( short)?\"\s", self._text) is None:
            binary = self._text.startswith("ooBinaryFile")
            said = "is a TextGrid in binary form" if binary else "does not begin as a TextGrid does"
            raise Error(f"{self._named} {said}; wanted one saved as text file or short text file")
        self._next("text", "the file type")
        return self._plain(self._next("text", "the class"))

    def text(self, what: str) -> str:
        found = self._next("text", what)
        return self._keep(self._plain(found), found)

    def tier_class(self) -> str:
        found = self._plain(self._next("text", "the class of a tier"))
        if found not in _CLASSES:
            self._refuse(f"wanted the class of a tier, IntervalTier or TextTier, got {quoted(found)}")
        return found

    def number(self, what: str) -> float:
        found = self._next("number", what)
        if not _NUMBER.fullmatch(found[0]) or not math.isfinite(float(found[0])):
            self._refuse(f"wanted a number for {what}, got {quoted(found[0])}")
        return self._keep(float(found[0]), found)

    def count(self, what: str) -> int:
        found = self._next("number", what)
        if not re.fullmatch(r"\d{1,9}", found[0], re.A):
            self._refuse(f"wanted a count for {what}, got {quoted(found[0])}")
        return int(found[0])

    def exists(self) -> bool:
        found = self._next("flag", "<exists>")
        if found[0] not in ("<exists>", "<absent>"):
            self._refuse(f"wanted <exists> or <absent>, got {quoted(found[0])}")
        return found[0] == "<exists>"

    def end(self) -> None:
        if (found := next(self._tokens, None)) is not None:
            self._at = found.start()
            self._refuse(
                f"{quoted(found[0])} stands after the last tier; a size is too small, or two files are one"
            )

    def made(self, kind, *fields):
        """An object of values just read; what it says against them is told with the line."""
        try:
            return kind(*fields)
        except Error as error:
            self._refuse(str(error))

    def _next(self, kind: str, what: str) -> re.Match[str]:
        found = next(self._tokens, None)
        if found is None:
            self._at = len(self._text.rstrip())
            self._refuse(f"the file ends where {what} has to stand; get it anew")
        self._at = found.start()
        if found.lastgroup == "open":
            self._refuse("a text begins here that has no end, or holds a quote that is not doubled")
        if found.lastgroup != kind:
            self._refuse(f"wanted {what} (a {kind}), got {quoted(found[0])}")
        return found

    def _plain(self, found: re.Match[str]) -> str:
        return _NEWLINE.sub("\n", found["text"].replace('""', '"'))

    def _keep(self, value, found: re.Match[str]):
        self.kept.append(value)
        self.places.append(found.span())
        return value

    def _refuse(self, said: str) -> NoReturn:
        line = len(_NEWLINE.findall(self._text, 0, self._at)) + 1
        raise DamagedError(f"{self._named}, line {line}: {said}")


def _tier(values: _Values) -> Tier:
    found, name = values.tier_class(), values.text("the name of a tier")
    start_s, end_s = values.number("xmin"), values.number("xmax")
    count = values.count(f"{_CLASSES[found]}: size")
    if found == "IntervalTier":
        rows = tuple(
            values.made(Interval, values.number("xmin"), values.number("xmax"), values.text("text"))
            for _ in range(count)
        )
        return values.made(IntervalTier, name, start_s, end_s, rows)
    points = tuple(values.made(Point, values.number("number"), values.text("mark")) for _ in range(count))
    return values.made(PointTier, name, start_s, end_s, points)


def _decoded(content: bytes, named: str) -> tuple[str, Encoding]:
    encoding: Encoding = "utf-8"
    for name, bom in _BOMS.items():
        if content.startswith(bom):
            encoding = name
    try:
        return content[len(_BOMS.get(encoding, b"")) :].decode(encoding.removesuffix("-sig")), encoding
    except UnicodeDecodeError as error:
        kind = "UTF-8" if encoding.startswith("utf-8") else "UTF-16"
        raise DamagedError(
            f"{quoted(named)} is not {kind} ({error.reason} at byte {error.start}); "
            "wanted UTF-8, or UTF-16 with a byte order mark"
        ) from error


def _shape(tiers: tuple[Tier, ...]) -> list[tuple[type, int]]:
    return [(type(tier), len(_rows(tier))) for tier in tiers]


def _rows(tier: Tier) -> tuple[Interval, ...] | tuple[Point, ...]:
    return tier.intervals if isinstance(tier, IntervalTier) else tier.points


def _spliced(grid: TextGrid) -> str | None:
    """The text that was read with the values that differ; None where its layout does not fit the grid any more."""
    source = grid._source
    if source is None or _shape(grid.tiers) != source.shape:
        return None
    if (grid.form.long, grid.form.newline) != (source.form.long, source.form.newline):
        return None
    parts, done = [], 0
    for value, before, (start, end) in zip(_values(grid), source.values, source.places, strict=True):
        if value != before:
            parts += [source.text[done:start], _written(value, grid.form.newline)]
            done = end
    return "".join((*parts, source.text[done:]))


def _values(grid: TextGrid) -> Iterator[float | str]:
    """The values that `_Values` keeps, in its order."""
    yield from (grid.start_s, grid.end_s)
    for tier in grid.tiers:
        yield from (tier.name, tier.start_s, tier.end_s)
        for row in _rows(tier):
            yield from (row.start_s, row.end_s) if isinstance(row, Interval) else (row.time_s,)
            yield row.label


def _laid_out(grid: TextGrid) -> str:
    """As Praat lays it out: in the long form a blank ends each line with a value."""
    newline, long = grid.form.newline, grid.form.long
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]

    def add(depth: int, named: str, value: float | str) -> None:
        told = _written(value, newline)
        lines.append(f"{'    ' * depth}{named} {told} " if long else told)

    def title(depth: int, told: str) -> None:
        if long:
            lines.append("    " * depth + told)

    add(0, "xmin =", grid.start_s)
    add(0, "xmax =", grid.end_s)
    lines.append("tiers? <exists> " if long else "<exists>")
    add(0, "size =", len(grid.tiers))
    title(0, "item []: ")
    for number, tier in enumerate(grid.tiers, start=1):
        tier_class = "IntervalTier" if isinstance(tier, IntervalTier) else "TextTier"
        rows = _CLASSES[tier_class]
        title(1, f"item [{number}]:")
        add(2, "class =", tier_class)
        add(2, "name =", tier.name)
        add(2, "xmin =", tier.start_s)
        add(2, "xmax =", tier.end_s)
        add(2, f"{rows}: size =", len(_rows(tier)))
        for place, row in enumerate(_rows(tier), start=1):
            title(2, f"{rows} [{place}]:")
            if isinstance(row, Interval):
                add(3, "xmin =", row.start_s)
                add(3, "xmax =", row.end_s)
                add(3, "text =", row.label)
            else:
                add(3, "number =", row.time_s)
                add(3, "mark =", row.label)
    return newline.join((*lines, ""))


def _written(value: float | str, newline: str) -> str:
    """A value as Praat writes it: a number with as many digits, 15 to 17, as bring it back."""
    if isinstance(value, str):
        return '"' + value.replace('"', '""').replace("\n", newline) + '"'
    return next(told for digits in (15, 16, 17) if float(told := f"{value:.{digits}g}") == value)


def _check_span(start_s: float, end_s: float) -> None:
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise Error(f"wanted times in seconds, got {start_s} to {end_s}")
    if start_s > end_s:
        raise Error(f"wanted an end that does not lie before its start, got {start_s} to {end_s} s")
