"""Vowel charts: axes reversed, labels where the means are, from recordings whose formants are known."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from genome.cli import main
from genome.errors import Error
from genome.lab.vowels import vowel_chart
from genome.speech.analysis import analyse
from genome.speech.klatt import synthesise, vowel
from genome.speech.textgrid import Interval, IntervalTier, TextGrid, read, write
from genome.speech.vowels import ellipse, scaled, vowels

RATE_HZ = 16000
SAID = {"i": (270, 2290, 3010), "æ": (660, 1720, 2410), "u": (300, 870, 2240)}
"""Means of men, Peterson & Barney 1952, table II."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Three vowels of 0.3 s one after the other, and a TextGrid that labels them and a stretch without a label."""
    folder = tmp_path_factory.mktemp("vowels")
    widths = (60, 90, 150, 200, 250)
    sounds = [np.asarray(synthesise(vowel((*f, 3500, 4500), widths))) for f in SAID.values()]
    soundfile.write(folder / "anna.wav", 0.3 * np.concatenate([s / np.abs(s).max() for s in sounds]), RATE_HZ)
    rows = [Interval(0.3 * n, 0.3 * (n + 1), label) for n, label in enumerate(SAID)]
    tiers = (IntervalTier("vowel", 0, 0.9, tuple(rows)), IntervalTier("none", 0, 0.9, (Interval(0, 0.9, ""),)))
    write(TextGrid(0, 0.9, tiers), folder / "anna.TextGrid")
    return folder / "anna.wav"


def test_labelled_intervals_become_points(recording):
    found = vowels(analyse(recording), "anna", read(recording.with_suffix(".TextGrid")))
    assert found.labels == tuple(SAID)
    np.testing.assert_allclose(found.f_hz, [f[:2] for f in SAID.values()], rtol=0.06)
    assert abs(scaled(found, "lobanov", "anna").mean()) < 1e-9


def test_the_axes_are_reversed_and_the_means_are_told():
    points = np.array([f[:2] for f in SAID.values()], float)
    chart = vowel_chart(list(SAID), points)
    layers = chart.to_dict()["layer"]
    for layer in layers:
        assert layer["encoding"]["x"]["field"] == "f2"
        assert layer["encoding"]["y"]["field"] == "f1"
        assert layer["encoding"]["x"]["scale"]["reverse"] is layer["encoding"]["y"]["scale"]["reverse"] is True
    assert "i 270 and 2290; æ 660 and 1720" in chart.to_dict()["description"]


def test_an_ellipse_holds_what_a_normal_distribution_says():
    """Two standard deviations in the plane hold 1 - exp(-2) = 86.5 %; the hull of the ellipse is its inside."""
    draw = np.random.default_rng(65)
    points = draw.normal(size=(4000, 2)) @ np.array([[3, 1], [0, 0.5]]) + 10
    around = ellipse(points)
    np.testing.assert_allclose(around[0], around[-1])
    np.testing.assert_allclose(around[:-1].mean(0), points.mean(0))
    edges, from_corner = np.diff(around, axis=0), points[:, None] - around[:-1]
    sides = edges[:, 0] * from_corner[..., 1] - edges[:, 1] * from_corner[..., 0]
    inside = (sides > 0).all(1) | (sides < 0).all(1)
    assert inside.mean() == pytest.approx(1 - np.exp(-2), abs=0.02)


@pytest.mark.parametrize(("ending", "scale"), [("svg", "hz"), ("png", "bark"), ("html", "nearey")])
def test_the_command_draws(recording, tmp_path, capsys, ending, scale):
    out = tmp_path / f"a.{ending}"
    assert main(["formant", "chart", str(recording), "-o", str(out), "--scale", scale]) == 0
    assert capsys.readouterr().out == f"{out}: 3 points for i, æ, u\n"
    if ending == "png":
        assert out.read_bytes().startswith(b"\x89PNG")
        return
    text = out.read_text("utf-8")
    start = text.index("<svg")
    drawn = ElementTree.fromstring(text[start : text.index("</svg>") + 6])
    at = {e.text: e for e in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert set(SAID) <= set(at)
    places = {v: [float(x) for x in re.findall(r"[\d.]+", at[v].attrib["transform"])] for v in SAID}
    across, down = ({v: place[n] for v, place in places.items()} for n in (0, 1))
    assert across["i"] < across["æ"] < across["u"]  # the front on the left
    assert max(down["i"], down["u"]) < down["æ"]  # the open vowel below
    assert "http" not in text.replace("http://www.w3.org/", "")


def test_a_recording_without_labels_is_one_cloud(recording, tmp_path, capsys):
    plain = tmp_path / "bert.wav"
    plain.write_bytes(recording.read_bytes())
    assert main(["formant", "chart", str(plain), "-o", str(tmp_path / "a.svg"), "--scale", "erb"]) == 0
    assert "points for bert\n" in capsys.readouterr().out
    assert ">bert</text>" in (tmp_path / "a.svg").read_text("utf-8")
    found = vowels(analyse(plain), "bert")
    with pytest.raises(Error, match="has 1 different labels; lobanov wants at least three"):
        scaled(found, "lobanov", "bert.wav")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "a.pdf"], "ends in .svg, .png, .html, got 'a.pdf'"),
        (["-o", "a.svg", "--scale", "mel"], "no scale is called 'mel'; wanted one of hz, bark, erb"),
        (["-o", "a.svg", "--tier", "words"], "no interval tier 'words'; there is 'vowel', 'none'"),
        (["-o", "a.svg", "--tier", "none"], "none of the labelled intervals is voiced"),
        (["-o", "nonesuch/a.svg"], "No such file"),
    ],
)
def test_what_the_command_refuses_is_one_line(recording, tmp_path, capsys, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    assert main(["formant", "chart", str(recording), *options]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_silence_has_no_vowels(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), RATE_HZ)
    assert main(["formant", "chart", str(tmp_path / "a.wav"), "-o", str(tmp_path / "a.svg")]) == 2
    assert "'a' has no voice; wanted a recording of vowels" in capsys.readouterr().err
