import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genome import db
from genome.errors import Error, NotFoundError
from genome.lab.report import report

Write = Callable[..., Path]
Requests = Callable[[str], list[str]]

EVERYTHING = (
    "# A small notebook\n\nWith *prose* and ![a picture](https://example.org/a.png).",
    "print(word * count)",
    """from IPython.display import HTML, SVG, display
display(HTML('<script src="https://example.org/a.js"></script><b>bold</b>'))""",
    """import ipywidgets
ipywidgets.interact(lambda size: print('the size is', size * 2), size=ipywidgets.IntSlider(21, 0, 99));""",
    """import altair, polars
from genome.lab.ipython import set_up
set_up()
frame = polars.DataFrame({'word': ['mother', 'kill'], 'weight': [0.3, 0.7]})
altair.Chart(frame, description='Two words and their weights').mark_bar().encode(x='word', y='weight')""",
    "frame",
)
PARAMETERS = "word = 'mother'\ncount = 2"


@pytest.fixture(scope="module")
def page(new_notebook_file: Write, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    path = new_notebook_file(folder, *EVERYTHING, parameters=PARAMETERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        return report(path, {"word": "kill<b>"}, folder / "small.html").read_text("utf-8")


def test_a_report_holds_all_that_the_notebook_shows(page: str) -> None:
    shown = {
        "title": "<title>A small notebook</title>",
        "prose": "<em>prose</em>",
        "code": '<span class="nb">print</span>',
        "printed, with the parameter, escaped": "kill&lt;b&gt;kill&lt;b&gt;",
        "html": "<b>bold</b>",
        "the widget's setting": "<b>size</b>\N{NO-BREAK SPACE}21",
        "what the widget drew": "the size is 42",
        "table": 'class="dataframe"',
        "date": "2023-11-14 22:13 UTC",  # 1700000000 seconds after 1970
    }
    assert [what for what, text in shown.items() if text not in page] == []


def test_a_chart_is_an_svg_in_a_labelled_figure(page: str) -> None:
    figure = re.search(r"<figure.*?</figure>", page, re.DOTALL)
    assert figure
    assert '<div aria-label="Two words and their weights" role="img"><svg' in figure[0]
    assert "<figcaption" in figure[0]


def test_the_page_forbids_itself_what_the_notebook_asked_for(page: str, requests: Requests) -> None:
    policy = re.search(r'<meta content="([^"]*)" http-equiv="Content-Security-Policy"/>', page)
    assert policy
    assert policy[1].split(";")[:2] == ["default-src 'none'", " img-src data:"]
    # What this notebook itself wrote into its cells, and nothing else, is what the policy stops.
    assert requests(page) == ["img src=https://example.org/a.png", "script", "script src=https://example.org/a.js"]


def test_the_end_tells_parameters_versions_and_the_notebooks_digest(page: str) -> None:
    end = page[page.index('id="provenance"') :]
    assert "<code>'kill&lt;b&gt;'</code>" in end
    assert re.search(r'<th scope="row">count</th><td><code>2</code>', end)
    for package in ("token-genome", "python", "jax", "numpy", "polars", "apsw", "SQLite", "sqlite-vec", "altair"):
        assert re.search(rf'<th scope="row">{package}</th><td>[0-9.]+', end), package
    assert re.search(r"SHA-256 <code>[0-9a-f]{64}</code>", end)


def test_two_runs_write_the_same_bytes(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path = write(*EVERYTHING, parameters=PARAMETERS)
    first, second = (report(path, {}, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_the_databases_that_were_opened_stand_in_the_report(write: Write, tmp_path: Path) -> None:
    for name in ("used", "unused"):
        with db.building(tmp_path / f"{name}.db", "lexicon", source=f"source of {name}", licence="none"):
            pass
    checksum = db.header(tmp_path / "used.db")["checksum"]
    path = write("from genome import db\ndb.connect('used.db', 'lexicon').close()")
    page = report(path, output=tmp_path / "out.html").read_text("utf-8")
    assert f"<td>lexicon</td><td><code>{checksum}</code></td><td>source of used</td>" in page
    assert "source of unused" not in page


def test_the_kernel_knows_the_workbench_and_that_it_makes_a_report(write: Write, tmp_path: Path) -> None:
    path = write("import os\nprint(os.environ['GENOME_HOME'], os.environ['GENOME_REPORT'])")
    page = report(path, output=tmp_path / "out.html", home=tmp_path / "bench").read_text("utf-8")
    assert f"{tmp_path / 'bench'} 1" in page


def test_a_database_that_is_damaged_meanwhile_is_told_without_its_path(write: Write, tmp_path: Path) -> None:
    with db.building(tmp_path / "mine.db", "lexicon", source="my notes", licence="CC0"):
        pass
    damage = "open('mine.db', 'r+b').truncate(200)"  # the mark, in the first 100 bytes, stays
    path = write(f"from genome import db\ndb.connect('mine.db', 'lexicon').close()\n{damage};")
    page = report(path, output=tmp_path / "out.html").read_text("utf-8")
    assert re.search(r"<td>unreadable</td><td><code>[^<]*mine\.db", page)
    assert str(tmp_path) not in page


def test_a_report_does_not_tell_where_its_maker_keeps_the_workbench(write: Write, tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    with db.building(bench / "mine.db", "lexicon", source="my notes", licence="CC0"):
        pass
    path = write("import genome\nbench = genome.open()\nbench", "bench.envelope('mine')", "bench.databases()")
    page = report(path, output=tmp_path / "out.html", home=bench).read_text("utf-8")
    assert "<code>bench</code>" in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1\n1 / 0", r"small\.ipynb, cell 1 `x = 1`: ZeroDivisionError: division by zero; no report written"),
        ("raise ValueError('two\\nlines')", r"ValueError: two; no report"),
        ("import os\nos._exit(3)", r"cell 1 `import os`: DeadKernelError: the kernel ended"),
        ("import ipywidgets\nipywidgets.interact(lambda n: 1 / n, n=(0, 0));", r"ZeroDivisionError"),
        (
            "class X:\n    def _repr_html_(self):\n        return 1 / 0\nX()",
            r"`class X:`: ZeroDivisionError: division",
        ),
    ],
)
def test_a_failing_cell_is_one_line_and_leaves_the_old_report(
    write: Write, tmp_path: Path, code: str, told: str
) -> None:
    (tmp_path / "out.html").write_text("old")
    with pytest.raises(Error, match=told) as error:
        report(write(code), output=tmp_path / "out.html")
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "small.ipynb"]
    assert (tmp_path / "out.html").read_text() == "old"


def test_an_unknown_parameter_is_refused_before_anything_runs(write: Write, tmp_path: Path) -> None:
    path = write("open('ran', 'w').close()", parameters=PARAMETERS)
    with pytest.raises(NotFoundError, match=r"no parameter wrod; its parameters: word, count"):
        report(path, {"wrod": "kill"}, tmp_path / "out.html")
    assert [p.name for p in tmp_path.iterdir()] == ["small.ipynb"]


@pytest.mark.parametrize(
    "content",
    [b"", b"not JSON", b"{}", b"[]", b'{"cells": 3}', b"\xff\xfe\x00", b'{"nbformat": 4, "nbformat_minor": 5}'],
)
def test_what_is_no_notebook_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_bytes(content)
    with pytest.raises(Error, match=r"broken\.ipynb is not a notebook \(.*\); wanted a Jupyter notebook") as error:
        report(path, output=tmp_path / "out.html")
    assert "\n" not in str(error.value)


def test_a_notebook_in_another_language_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(Error, match="is a notebook in R; wanted one in Python"):
        report(write("1", language="R"), output=tmp_path / "out.html")


@pytest.mark.parametrize(("output", "told"), [(".", "is a folder"), ("missing/out.html", "does not exist")])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    write: Write, tmp_path: Path, output: str, told: str
) -> None:
    with pytest.raises(Error, match=told):
        report(write("open('ran', 'w').close()"), output=tmp_path / output)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_ends_the_kernel_too_and_leaves_nothing(write: Write, tmp_path: Path) -> None:
    path = write("import os, time\nopen('running', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    command = [sys.executable, "-m", "genome", "report", str(path), "-o", str(tmp_path / "out.html")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    running = tmp_path / "running"
    _wait(lambda: running.exists() and running.read_text() != "", seconds=60)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "")
    _wait(lambda: not _alive(int(running.read_text())), seconds=30)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["running", "small.ipynb"]


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
