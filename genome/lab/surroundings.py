"""Where what is drawn will be seen: a live notebook, a report, or neither."""

import os
import sys

REPORT_VARIABLE = "GENOME_REPORT"
"""Set in the kernel that executes a notebook for a report: nobody is there to move a slider."""


def in_report() -> bool:
    """Whether this process executes a notebook for `genome report`."""
    return os.environ.get(REPORT_VARIABLE) == "1"


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel (a terminal's IPython is not)."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"
