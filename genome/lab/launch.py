"""`genome lab`: the default workbench, the user's copies of the notebooks, and JupyterLab on the tour."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from genome.lab.notebooks import copy_shipped

if TYPE_CHECKING:
    from genome.workbench import Workbench

TOUR = "00_tour.ipynb"
OPENED = f"/lab/tree/{TOUR}"
"""What the browser opens, and what is printed for those who open it themselves."""
DEFAULTS = Path(__file__).parent / "jupyter"
"""A folder of Jupyter's configuration: settings of JupyterLab that a user has not chosen."""


def lab(
    workbench: "Workbench",
    *,
    build_only: bool = False,
    port: int | None = None,
    browser: bool = True,
) -> None:
    """Builds what the default workbench lacks and gives this process over to JupyterLab.

    Args:
        workbench: where the databases are and the notebooks' copies go (`notebooks/`); it shows its own progress.
        build_only: return when the workbench and the copies are there.
        port: where JupyterLab listens; None takes its default, or the next free port.
        browser: open the tour in a browser.
    """
    workbench.build_default()
    folder = workbench.folder.resolve() / "notebooks"
    copies = copy_shipped(folder)
    for name in copies.kept:
        print(f"{folder / name} stays as you edited it; rename it to get the newer version of {name}")
    if build_only:
        print(f"the workbench is ready in {workbench.folder.resolve()}; `genome lab` opens it")
        return
    command = jupyter_command(folder, port=port, browser=browser)
    _become(command, folder, jupyter_environment(workbench.folder))


def jupyter_command(folder: Path, *, port: int | None = None, browser: bool = True) -> list[str]:
    """The command that opens the tour in JupyterLab, run by the Python that runs now.

    JupyterLab refuses root until it is told otherwise; in a container root is the only user there is.
    """
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url={OPENED}",
    ]
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def jupyter_environment(home: Path) -> dict[str, str]:
    """This process's environment, with the workbench's folder, and this Python's kernel before any other's.

    JupyterLab's own questions (official news? a newer version?), which ask the network, get the answer no;
    that is a default, and a user's own settings come before it.
    """
    configuration = [str(DEFAULTS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return {
        **os.environ,
        "GENOME_HOME": str(home.resolve()),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_CONFIG_PATH": os.pathsep.join(configuration),
    }


def _become(command: list[str], folder: Path, environment: dict[str, str]) -> NoReturn:
    os.chdir(folder)
    sys.stdout.flush()
    if os.name == "nt":  # exec on Windows leaves the console to two processes at once
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
    os.execve(command[0], command, environment)
