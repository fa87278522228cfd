"""`genome report`: a notebook, executed, as one HTML file that needs no network and says what it was made from."""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genome.errors import Error
from genome.lab.notebooks import find, replace_file
from genome.lab.templating import TEMPLATES
from genome.progress import Progress, silent

if TYPE_CHECKING:
    from nbformat import NotebookNode


def report(
    notebook: str | Path,
    parameters: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    *,
    home: Path | None = None,
    progress: Progress = silent,
) -> Path:
    """Executes a notebook and writes it as one self-contained HTML file.

    The page asks the network for nothing and forbids itself to; two runs with the same databases and
    parameters differ only in the date (SOURCE_DATE_EPOCH fixes that too, where the notebook's own numbers
    are the same).

    Args:
        notebook: a file, or the name of a notebook that travels with the package. A file is executed in its
            own folder, a shipped one in the current folder.
        parameters: names and values (as text) for the cell tagged `parameters`.
        output: the HTML file; None writes `<notebook>.html` in the current folder. Replaced in one move.
        home: the workbench folder that the notebook's `genome.open()` finds; None leaves GENOME_HOME as it is.
        progress: told which cell is executed.

    Returns:
        The file that was written.

    Raises:
        NotFoundError: no such notebook, or an unknown parameter.
        Error: no notebook of Python, a cell that fails, or a file that cannot be written.
    """
    path = find(notebook)
    target = _target(Path(output) if output is not None else Path(path.stem + ".html"))
    nb = _read(path)
    from genome.lab.execute import execute
    from genome.lab.parameters import inject

    in_force = inject(nb, parameters or {}, path.name)
    folder = path.resolve().parent if Path(notebook).is_file() else Path.cwd()
    told = execute(nb, path.name, folder, home, progress)
    facts = {
        "notebook": path.name,
        "notebook_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": in_force,
        "executed": _now().strftime("%Y-%m-%d %H:%M UTC"),
        **told,
    }
    replace_file(target, _html(nb, folder, facts).encode())
    return target


def _target(target: Path) -> Path:
    """The file to write, refused before the work rather than after it."""
    if target.is_dir():
        raise Error(f"{target} is a folder; wanted the name of an HTML file to write")
    if not target.absolute().parent.is_dir():
        raise Error(f"{target.parent} does not exist; wanted a folder to write {target.name} in")
    return target


def _read(path: Path) -> "NotebookNode":
    import nbformat

    try:
        nb = nbformat.reads(path.read_text("utf-8"), as_version=4)
        nbformat.validate(nb)
    except Exception as error:  # nbformat lets through whatever its parser meets: KeyError, AttributeError …
        reason = str(error).strip().partition("\n")[0]
        raise Error(f"{path} is not a notebook ({reason}); wanted a Jupyter notebook (.ipynb)") from error
    language = nb.metadata.get("kernelspec", {}).get("language", "python")
    if language.lower() != "python":
        raise Error(f"{path} is a notebook in {language}; wanted one in Python")
    return nb


def _html(nb: "NotebookNode", folder: Path, facts: dict[str, Any]) -> str:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    resources = {"metadata": {"name": _title(nb) or facts["notebook"], "path": str(folder)}, "facts": facts}
    html, _ = exporter.from_notebook_node(nb, resources=resources)
    return html


def _title(nb: "NotebookNode") -> str | None:
    """The first heading of the first level."""
    lines = (line for cell in nb.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), None)


def _now() -> datetime:
    """The time of the report; SOURCE_DATE_EPOCH (reproducible-builds.org) states it for a build to repeat."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
