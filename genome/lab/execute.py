"""Executing a notebook in a fresh kernel, for a report."""

import ast
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbclient.output_widget import OutputWidget
from nbformat import NotebookNode

from genome.errors import Error
from genome.lab.freeze import freeze
from genome.lab.surroundings import REPORT_VARIABLE
from genome.progress import Progress

_PROVENANCE = "__import__('genome.lab.provenance', fromlist=['told'])"
_QUIET: list[str] = ["--HistoryManager.hist_file=:memory:", "--IPKernelApp.log_level=CRITICAL"]


class _Output(OutputWidget):
    """An Output widget that keeps what it is shown and does not tell the kernel.

    nbclient's own writes to the channel on which nbclient waits for the cell's reply, past the event loop, which
    then now and then never sees that the reply is there (one run in ten, nbclient 0.11 with jupyter_client 8.10).
    """

    def sync_state(self) -> None:
        """Keeps the outputs on this side."""


def execute(
    notebook: NotebookNode, name: str, folder: Path, home: Path | None, progress: Progress
) -> dict[str, Any]:
    """Runs all cells in a kernel of this Python and leaves the notebook with plain outputs, widgets frozen.

    Args:
        notebook: changed in place.
        name: its name, for messages.
        folder: where its code runs.
        home: GENOME_HOME of the kernel; None leaves it as it is.
        progress: told which cell is executed.

    Returns:
        What the kernel tells of itself: `databases` it opened and `packages` it ran on.

    Raises:
        Error: a cell failed, a widget's callback failed, or the kernel died.
    """
    # No folder of kernel specifications: "python3" is then this interpreter, whatever a user has installed.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(notebook, km=manager, timeout=None, record_timing=False, coalesce_streams=True)
    client.extra_arguments = [*_QUIET]
    client.widget_registry = {"@jupyter-widgets/output": {"OutputModel": _Output}}
    with ExitStack() as stack:
        try:
            stack.enter_context(client.setup_kernel(cwd=str(folder), env=_environment(home), cleanup_kc=True))
        except RuntimeError as error:  # no answer over the loopback interface, or the kernel ended at once
            reason = str(error).partition("\n")[0]
            raise Error(f"{name}: no kernel answers on 127.0.0.1 ({reason}); no report written") from error
        _ask(client, f"{_PROVENANCE}.watch()")
        for index, cell in enumerate(notebook.cells):
            progress(f"{name}: cells", index, len(notebook.cells), "cells")
            _execute_cell(client, cell, index, name)
        progress(f"{name}: cells", len(notebook.cells), len(notebook.cells), "cells")
        told = json.loads(_ask(client, f"{_PROVENANCE}.told()"))
        client.set_widgets_metadata()
    freeze(notebook)
    for index, cell in enumerate(notebook.cells):
        _refuse_errors(cell, index, name)
    return told


def _environment(home: Path | None) -> dict[str, str]:
    environment = {**os.environ, REPORT_VARIABLE: "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return environment if home is None else environment | {"GENOME_HOME": str(home.resolve())}


def _execute_cell(client: NotebookClient, cell: NotebookNode, index: int, name: str) -> None:
    try:
        client.execute_cell(cell, index)
    except CellExecutionError as error:
        # Where showing a value failed, the kernel's reply names no error ("NoneType: None"), but the outputs do.
        _refuse_errors(cell, index, name)
        raise _failure(cell, index, name, error.ename, error.evalue) from None
    except (DeadKernelError, CellControlSignal) as error:
        reason = "the kernel ended, perhaps for want of memory"
        raise _failure(cell, index, name, type(error).__name__, reason) from error


def _refuse_errors(cell: NotebookNode, index: int, name: str) -> None:
    """A widget's callback that failed has not stopped the notebook; it stops the report."""
    if "raises-exception" in cell.metadata.get("tags", []):
        return
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            raise _failure(cell, index, name, output.ename, output.evalue)


def _failure(cell: NotebookNode, index: int, name: str, kind: str, text: str) -> Error:
    code = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    reason = text.strip().partition("\n")[0]
    return Error(f"{name}, cell {index + 1} `{code}`: {kind}: {reason}; no report written")


def _ask(client: NotebookClient, expression: str) -> str:
    """The value (a string, or None) of an expression in the kernel, outside the notebook's count of cells."""
    assert client.kc is not None
    message = client.kc.execute("", silent=True, user_expressions={"answer": expression})
    reply: Any = client.wait_for_reply(message)
    answer = reply["content"]["user_expressions"]["answer"]
    if answer["status"] != "ok":
        raise Error(f"the kernel cannot run this program: {answer['ename']}: {answer['evalue']}; install it there")
    return ast.literal_eval(answer["data"]["text/plain"])
