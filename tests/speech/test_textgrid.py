"""TextGrids of every form come back with the same bytes; Praat reads ours, and we lay out as Praat does."""

import random
from dataclasses import replace
from pathlib import Path

import parselmouth
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parselmouth.praat import call

from genome.errors import DamagedError, Error
from genome.speech.textgrid import (
    Form,
    Interval,
    IntervalTier,
    Point,
    PointTier,
    TextGrid,
    parse,
    read,
    to_bytes,
    write,
)  # fmt: skip

FORMS = [
    Form(long, encoding, newline)  # type: ignore[arg-type]
    for long in (True, False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be")
    for newline in ("\n", "\r\n", "\r")
]
BOM = {"utf-8": b"", "utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
LABELS = ["", " ", "a", 'say "ah"', '"', '""', "two\nlines", "\n", "ŋəˈʃæ̃", "母親", "\U0001d400", "! no comment",
          "<exists>", "12", "xmin = 3", "\t", "a\u00a0b", "\\ae", "[1]:", "e\u0301"]  # fmt: skip


def made_by_hand(draw: random.Random, form: Form) -> bytes:
    """A file as other programs write them: numbers with zeros, odd blanks, comments. Not by our own writer."""

    def number(x: float) -> str:
        return draw.choice([f"{x:.6f}", f"{x:.3f}", f"{x:g}", repr(x), f"+{x:.2e}"])

    def line(depth: int, named: str, value: str) -> str:
        end = draw.choice(["", " ", "  "])
        return f"{draw.choice([' ', chr(9)]) * depth}{named} = {value}{end}" if form.long else value + end

    def text(label: str) -> str:
        return '"' + label.replace('"', '""').replace("\n", form.newline) + '"'

    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        line(0, "xmin", "0"),
        line(0, "xmax", "9"),
    ]
    tiers = draw.randrange(4)
    lines += ["tiers? <exists> " if form.long else "<exists>", line(0, "size", str(tiers))]
    for tier in range(tiers):
        points, count = draw.random() < 0.4, draw.choice([0, 0, 1, 2, 7])
        lines += [f"    item [{tier + 1}]:"] if form.long else []
        lines += [line(2, "class", text("TextTier" if points else "IntervalTier"))]
        lines += [
            line(2, "name", text(draw.choice(LABELS))),
            line(2, "xmin", number(0)),
            line(2, "xmax", number(9)),
        ]
        lines += [line(2, f"{'points' if points else 'intervals'}: size", str(count))]
        for row in range(count):
            lines += [f"        {'points' if points else 'intervals'} [{row + 1}]:"] if form.long else []
            lines += [line(3, "xmin", number(row + draw.random() * 0.4))]
            lines += [] if points else [line(3, "xmax", number(row + 0.5 + draw.random()))]
            lines += [line(3, "text", text(draw.choice(LABELS)))]
        lines += draw.choice([[], [], ['! a comment, 12 "of" one\'s own'], [""]])
    whole = form.newline.join(lines) + draw.choice(["", form.newline, form.newline * 3])
    return BOM[form.encoding] + whole.encode(form.encoding.removesuffix("-sig"))


def test_two_hundred_files_come_back_with_the_same_bytes(tmp_path: Path):
    draw, seen = random.Random(65), set()
    for number in range(200):
        form = FORMS[number % len(FORMS)]
        content = made_by_hand(draw, form)
        (tmp_path / "a.TextGrid").write_bytes(content)
        grid = read(tmp_path / "a.TextGrid")
        assert grid.form == form
        write(grid, tmp_path / "b.TextGrid")
        assert (tmp_path / "b.TextGrid").read_bytes() == content
        anew = TextGrid(grid.start_s, grid.end_s, grid.tiers, form)
        assert parse(to_bytes(anew)) == grid
        seen |= {(type(tier), "empty" if not getattr(tier, "intervals", getattr(tier, "points", ())) else "full")
                 for tier in grid.tiers}  # fmt: skip
    assert seen == {(kind, how) for kind in (IntervalTier, PointTier) for how in ("empty", "full")}


time_s = st.floats(0, 1e6)
label = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))
interval = (
    st.tuples(time_s, time_s)
    .map(sorted)
    .flatmap(lambda t: st.builds(Interval, st.just(t[0]), st.just(t[1]), label))
)
tier = st.one_of(
    st.builds(IntervalTier, label, st.just(0.0), time_s, st.lists(interval, max_size=4).map(tuple)),
    st.builds(
        PointTier, label, st.just(0.0), time_s, st.lists(st.builds(Point, time_s, label), max_size=4).map(tuple)
    ),
)


@settings(deadline=None, max_examples=100)
@given(st.builds(TextGrid, st.just(0.0), time_s, st.lists(tier, max_size=3).map(tuple), st.sampled_from(FORMS)))
def test_any_grid_is_read_as_it_was_written(grid: TextGrid):
    content = to_bytes(grid)
    again = parse(content)
    assert again == grid
    assert to_bytes(again) == content


def test_a_changed_label_changes_nothing_else():
    content = made_by_hand(random.Random(3), Form()).replace(b"\n", b"  \n")
    content = content[: content.index(b"size")] + (
        b'size = 1\nclass "IntervalTier" name "w" 0.00 9.000 intervals: 2 0.000 4.50 "one" ! seen\n4.50 9.0 "two"\n'
    )
    grid = parse(content)
    words = grid.tiers[0]
    assert isinstance(words, IntervalTier)
    first = replace(words.intervals[0], label='a "b"')
    changed = replace(grid, tiers=(replace(words, intervals=(first, words.intervals[1])),))
    assert to_bytes(changed) == content.replace(b'"one"', b'"a ""b"""')
    shorter = replace(grid, tiers=(replace(words, intervals=(first,)),))
    assert parse(to_bytes(shorter)) == shorter
    assert to_bytes(replace(grid, form=Form(encoding="utf-16-le")))[2:].decode("utf-16-le") == content.decode()


def of_praat(folder: Path, grid: TextGrid):
    write(grid, folder / "ours.TextGrid")
    return parselmouth.read(str(folder / "ours.TextGrid"))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_praat_reads_the_same(tmp_path: Path, form: Form):
    labels = ["", 'say "ah"', "ŋə", "12"]
    words = IntervalTier('my "words"', 0, 4.5, tuple(Interval(i, i + 1.125, text) for i, text in enumerate(labels)))
    bells = PointTier("bells", 0, 4.5, (Point(0.1, "ding"), Point(1 / 3, "")))
    theirs = of_praat(tmp_path, TextGrid(0, 4.5, (words, bells, PointTier("none", 0, 4.5, ())), form))
    assert call(theirs, "Get number of tiers") == 3
    assert call(theirs, "Get tier name", 1) == 'my "words"'
    assert [call(theirs, "Get label of interval", 1, n) for n in (1, 2, 3, 4)] == labels
    assert [call(theirs, "Get end time of interval", 1, n) for n in (1, 2, 3, 4)] == [1.125, 2.125, 3.125, 4.125]
    assert call(theirs, "Get time of point", 2, 2) == 1 / 3
    assert call(theirs, "Get number of points", 3) == 0


@pytest.mark.parametrize(("how", "long"), [("Save as text file", True), ("Save as short text file", False)])
@pytest.mark.parametrize("text", ["mother", "ŋə"])
def test_what_praat_wrote_is_what_we_write(tmp_path: Path, how: str, long: bool, text: str):
    """Praat writes ASCII where it can, else UTF-16, high byte first. Laid out anew, ours has the same bytes."""
    theirs = call("Create TextGrid", 0, 2.3, "words bells", "bells")
    call(theirs, "Insert boundary", 1, 2 / 3)
    call(theirs, "Set interval text", 1, 1, text)
    call(theirs, "Set interval text", 1, 2, 'a "b"')
    call(theirs, "Insert point", 2, 0.1, "ding")
    call(theirs, how, str(tmp_path / "a.TextGrid"))
    content = (tmp_path / "a.TextGrid").read_bytes()
    grid = read(tmp_path / "a.TextGrid")
    assert grid.form == Form(long, "utf-8" if text.isascii() else "utf-16-be")
    assert to_bytes(grid) == content
    assert to_bytes(TextGrid(grid.start_s, grid.end_s, grid.tiers, grid.form)) == content


WHOLE = to_bytes(TextGrid(0, 1, (IntervalTier("w", 0, 1, (Interval(0, 1, "a"),)),)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin as a TextGrid"),
        (b"RIFF\x10\0\0\0WAVE", "does not begin as a TextGrid"),
        (b"ooBinaryFile\x08TextGrid", "binary form; wanted one saved as text file"),
        (WHOLE.replace(b'"TextGrid"', b'"PitchTier"'), "holds a 'PitchTier'; wanted a TextGrid"),
        (WHOLE[:-14], "the file ends where text has to stand"),
        (WHOLE[:-3], "line 18: a text begins here that has no end"),
        (WHOLE.replace(b'"a"', b'"a"b"'), "line 18: a text begins here that has no end, or holds a quote"),
        (WHOLE.replace(b'"a"', b"5"), r"line 18: wanted text \(a text\), got '5'"),
        (WHOLE.replace(b"xmax = 1 ", b"xmax = 1_0 "), "line 5: wanted a number for xmax, got '1_0'"),
        (WHOLE.replace(b"xmax = 1 ", b"xmax = 1e999 "), "line 5: wanted a number for xmax, got '1e999'"),
        (WHOLE.replace(b"xmin = 0 ", b"xmin = 7 "), "line 19: wanted an end|line 18: wanted an end"),
        (WHOLE.replace(b"intervals: size = 1 ", b"intervals: size = 2 "), "the file ends where xmin"),
        (WHOLE.replace(b"intervals: size = 1 ", b"intervals: size = 0 "), "stands after the last tier; a size"),
        (WHOLE.replace(b"intervals: size = 1 ", b"intervals: size = -1 "), "wanted a count for intervals: size"),
        (WHOLE.replace(b"<exists>", b"<perhaps>"), "wanted <exists> or <absent>, got '<perhaps>'"),
        (WHOLE.replace(b"IntervalTier", b"PitchTier"), "wanted the class of a tier, .* got 'PitchTier'"),
        (WHOLE.replace(b'"a"', b'"\xe9"'), "is not UTF-8 .*; wanted UTF-8, or UTF-16"),
        (b"\xff\xfe" + WHOLE.decode().encode("utf-16-le")[:-1], "is not UTF-16"),
    ],
)  # fmt: skip
def test_damage_is_one_line(content: bytes, said: str):
    with pytest.raises(Error, match=said) as caught:
        parse(content, "my.TextGrid")
    assert "\n" not in str(caught.value)
    assert "my.TextGrid" in str(caught.value)


def test_cut_anywhere_it_is_refused_or_whole():
    """Only what follows the last quote may be missing."""
    for end in range(len(WHOLE)):
        if end >= len(WHOLE.rstrip()):
            assert parse(WHOLE[:end]) == parse(WHOLE)
        else:
            with pytest.raises(Error):
                parse(WHOLE[:end])


def test_a_quote_that_never_ends_costs_no_time():
    with pytest.raises(DamagedError, match="has no end"):
        parse(WHOLE[:-3] + b'""' * 200_000)


def test_no_tiers_and_half_a_character():
    absent = WHOLE[: WHOLE.index(b"tiers?")] + b"tiers? <absent> \n"
    assert parse(absent).tiers == ()
    assert to_bytes(parse(absent)) == absent
    with pytest.raises(Error, match="half a character"):
        to_bytes(TextGrid(0, 1, (PointTier("p", 0, 1, (Point(0, "\ud800"),)),)))
    with pytest.raises(Error, match="wanted times in seconds, got nan"):
        Point(float("nan"), "")
    with pytest.raises(Error, match="lie before its start"):
        Interval(2, 1, "")
