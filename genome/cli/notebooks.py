"""The commands about notebooks: lab, report."""

import argparse

from genome.cli.shared import Add, bars, port, workbench
from genome.errors import Error, quoted


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    lab = add("lab", "build the default workbench where it lacks something, then open JupyterLab", "genome lab")
    lab.add_argument("--build-only", action="store_true", help="build, and open nothing")
    lab.add_argument("--port", type=port, help="the port that JupyterLab listens on")
    lab.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    lab.set_defaults(run=_lab)

    report = add(
        "report", "execute a notebook and write it as one self-contained HTML file with its provenance",
        "genome report notebooks/00_tour.ipynb -p word=mother -o tour.html",
    )  # fmt: skip
    report.add_argument("notebook", metavar="NOTEBOOK", help="a file, or the name of a notebook that travels along")
    report.add_argument("-p", dest="parameters", metavar="KEY=VALUE", action="append", default=[], type=_pair,
                        help="a value for the cell tagged `parameters`; may be given several times")  # fmt: skip
    report.add_argument(
        "-o", dest="output", metavar="FILE", help="the HTML file; else NOTEBOOK.html in this folder"
    )
    report.set_defaults(run=_report)


def _lab(arguments: argparse.Namespace) -> None:
    from genome.lab.launch import lab

    lab(
        workbench(arguments),
        build_only=arguments.build_only,
        port=arguments.port,
        browser=not arguments.no_browser,
    )


def _report(arguments: argparse.Namespace) -> None:
    from genome.lab.report import report

    given = dict(arguments.parameters)
    if len(given) < len(arguments.parameters):
        raise Error("a parameter is given twice; wanted each once")
    with bars() as progress:
        path = report(
            arguments.notebook, given, arguments.output, home=workbench(arguments).folder, progress=progress
        )
    print(path)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"wanted KEY=VALUE, got {quoted(text)}")
    return key, value
