"""The query templates of a workbench: the program's, and a user's own in a folder of the workbench."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genome.db import templates
from genome.db.query import explain
from genome.db.templates import Template
from genome.envelope.asking import functions
from genome.errors import Error

if TYPE_CHECKING:
    import polars as pl

FOLDER = "templates"
"""Inside the workbench's folder, for templates of a user's own."""


def find(folder: Path, name: str) -> Template:
    """A template by its name.

    Args:
        folder: of the workbench.
        name: of the file, without `.sql`.

    Raises:
        NotFoundError: there is none; the text names those that are spelled alike.
        DamagedError: its header cannot be understood.
    """
    return templates.find(name, folder / FOLDER)


def catalogue(folder: Path) -> "pl.DataFrame":
    """All templates, each checked against the schemas: name, answers, roles, values, file, fault.

    Args:
        folder: of the workbench.
    """
    import polars as pl

    schema = {
        "name": pl.String, "answers": pl.String, "roles": pl.List(pl.String), "values": pl.List(pl.String),
        "file": pl.String, "fault": pl.String,
    }  # fmt: skip
    rows = [_row(name, file) for name, file in sorted(templates.files(folder / FOLDER).items())]
    return pl.DataFrame(rows, schema=schema)


def _row(name: str, file: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "answers": "", "roles": [], "values": [], "file": str(file), "fault": None}
    try:
        found = templates.read(file)
        row["answers"] = found.summary
        row["roles"] = [str(role) for role in found.roles]
        row["values"] = [f"{value}  {value.meaning}" for value in found.parameters]
        explain(found, functions())
    except Error as error:
        row["fault"] = str(error)
    return row
