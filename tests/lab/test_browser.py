"""JupyterLab in a real Chromium: what a researcher does after `genome lab`.

GENOME_CHROMIUM names the browser, else `chromium`, `chromium-browser` or `google-chrome` is taken. Without one
the test is skipped, unless GENOME_REQUIRE_BROWSER=1. A screenshot of the end is in the test's folder; pytest
prints where that is when a test fails.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genome.lab.launch import jupyter_command, jupyter_environment
from genome.lab.notebooks import copy_shipped
from genome.lab.report import report
from genome.workbench import Workbench

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Write = Callable[..., Path]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S, CELLS_S = 90, 240


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, the notebook's address in it, and its log."""

    origin: str
    tour: str
    log: Path


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("GENOME_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        reason = "no Chromium; install one (apt-get install chromium) or name it in GENOME_CHROMIUM"
        if os.environ.get("GENOME_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def lab(workbench: Workbench, tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab as `genome lab` starts it, with folders of its own and a token."""
    folder, settings = tmp_path / "notebooks", tmp_path / "settings"
    copy_shipped(folder)
    # Cells far below are drawn when they are scrolled to; the test looks at all of them.
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text(json.dumps({"windowingMode": "none"}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, log = secrets.token_hex(16), tmp_path / "jupyterlab.log"
    own = {"HOME": "home", "IPYTHONDIR": "ipython", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    own |= {f"JUPYTER_{kind}_DIR": f"jupyter/{kind}" for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = jupyter_environment(workbench.folder) | {name: str(tmp_path / at) for name, at in own.items()}
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    command = [
        *jupyter_command(folder, port=port, browser=False),
        "--ServerApp.ip=127.0.0.1",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=written, stderr=subprocess.STDOUT)
    try:
        origin = f"http://127.0.0.1:{port}"
        _wait_for(f"{origin}/api/status?token={token}", process, log)
        yield Lab(origin, f"{origin}/lab/tree/00_tour.ipynb?token={token}", log)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"JupyterLab does not answer ({error}):\n{log.read_text()[-3000:]}")
            time.sleep(0.3)


@pytest.fixture
def page(browser: "Browser", tmp_path: Path) -> "Iterator[Page]":
    """A page that leaves a picture of itself at the end."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(30_000)
    yield page
    page.screenshot(path=tmp_path / "last.png")
    print(f"the last thing to see: {tmp_path / 'last.png'}")
    page.close()


def test_the_tour_runs_in_jupyterlab_and_its_widgets_answer(lab: Lab, page: "Page") -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(lab.tour)
    ready = """() => {
        const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
        return session?.isReady && session.session?.kernel?.status === 'idle';
    }"""
    page.wait_for_function(ready, timeout=START_S * 1000)
    page.set_default_timeout(CELLS_S * 1000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    slider = page.locator(".widget-interact .widget-slider .noUi-handle")
    slider.wait_for()
    neighbours = page.locator(".widget-interact table.dataframe tbody tr")
    neighbours.nth(4).wait_for()
    page.set_default_timeout(30_000)

    shown = page.locator(".jp-OutputArea-output")
    assert shown.locator("xpath=self::*[contains(@data-mime-type, 'error')]").all_inner_texts() == []
    assert page.locator(".genome .unit", has_text="mother").is_visible()
    drawn = page.locator("svg[aria-label^='Composition of mother: SOMEONE']").bounding_box()
    assert drawn is not None
    assert drawn["width"] > 400
    assert page.locator(".genome .tokens .token").count() > 10
    charts = page.locator("figure.genome-figure [role=img] svg")
    assert [chart.is_visible() for chart in charts.all()] == [True] * 3  # the sentence, the accesses, the two words

    assert neighbours.count() == 5
    slider.focus()
    page.keyboard.press("ArrowRight")
    neighbours.nth(5).wait_for()

    page.locator(".widget-interact input[type=text]").first.fill("teacher")
    page.keyboard.press("Enter")
    page.locator(".widget-interact [role=img][aria-label*='teacher']").wait_for()

    assert page.locator(".Toastify__toast").all_inner_texts() == []  # no questions over the tour
    assert [url for url in asked if not url.startswith((lab.origin, "data:", "blob:"))] == []


WANTING = """
from IPython.display import HTML
HTML('''
<script src="http://example.org/a.js"></script>
<link rel="stylesheet" href="http://example.org/a.css">
<style>@import url(http://example.org/b.css); b { background: url(http://example.org/b.png) }</style>
<iframe src="http://example.org/"></iframe>
<b>bold</b>
''')
"""


def test_a_report_asks_the_network_for_nothing(new_notebook_file: Write, page: "Page", tmp_path: Path) -> None:
    path = new_notebook_file(tmp_path, "# A page and ![a picture](http://example.org/a.png)", WANTING)
    written = report(path, output=tmp_path / "small.html")
    fate: dict[str, str | None] = {}
    page.on("requestfailed", lambda request: fate.update({request.url: request.failure}))
    page.on("requestfinished", lambda request: fate.update({request.url: "answered"}))
    page.goto(written.as_uri())
    assert page.locator("b", has_text="bold").is_visible()
    page.wait_for_load_state("networkidle")
    # The browser tells of each wish that the page's own policy refused; none of them left the browser.
    assert fate.pop(written.as_uri()) == "answered"
    assert fate == {f"http://example.org/{name}": "csp" for name in ("a.png", "a.js", "a.css", "b.css", "b.png")}
