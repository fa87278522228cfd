"""Parameters of a notebook, after papermill's convention: a cell tagged `parameters` holds names and defaults.

Source: https://papermill.readthedocs.io/en/latest/usage-parameterize.html
"""

import ast
from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from genome.errors import Error, NotFoundError

DECLARED, INJECTED = "parameters", "injected-parameters"
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def inject(notebook: NotebookNode, given: Mapping[str, str], name: str) -> dict[str, str]:
    """Adds a cell that sets the given parameters, behind the one that declares them.

    Args:
        notebook: changed in place.
        given: parameter name -> its value as text; read as the type that the default has.
        name: the notebook's name, for messages.

    Returns:
        Every parameter with the Python source of the value that is in force.

    Raises:
        NotFoundError: a name that the notebook does not declare.
        Error: a value that is not of the default's type.
    """
    tagged = [i for i, cell in enumerate(notebook.cells) if DECLARED in cell.metadata.get("tags", [])]
    defaults = _assignments(notebook.cells[tagged[0]].source) if tagged else {}
    if unknown := sorted(given.keys() - defaults.keys()):
        known = ", ".join(defaults) or "none (no cell is tagged `parameters`)"
        raise NotFoundError(f"{name} has no parameter {', '.join(unknown)}; its parameters: {known}")
    values = {key: repr(_typed(key, text, defaults[key])) for key, text in given.items()}
    if values:
        _place(notebook, tagged[0], "\n".join(f"{key} = {value}" for key, value in values.items()))
    return {key: values.get(key, ast.unparse(default)) for key, default in defaults.items()}


def _assignments(source: str) -> dict[str, ast.expr]:
    """Names and default expressions of the simple assignments of a cell; nothing where it is not Python."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return {}
    found: dict[str, ast.expr] = {}
    for statement in statements:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets: list[ast.expr] = [statement.target]
        elif isinstance(statement, ast.Assign):
            targets = statement.targets
        else:
            continue
        assert statement.value is not None
        found.update({target.id: statement.value for target in targets if isinstance(target, ast.Name)})
    return found


def _typed(key: str, text: str, default: ast.expr) -> Any:
    """A value given as text, as the type of its default; a default of no plain type leaves the choice to the text.

    Example:
        >>> _typed("word", "123", ast.parse("'mother'", mode="eval").body)
        '123'
        >>> _typed("max_tokens", "48", ast.parse("32", mode="eval").body)
        48
    """
    wanted = _literal(default)
    if isinstance(wanted, str):
        return text
    if isinstance(wanted, bool) and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if isinstance(wanted, float) and type(value) is int:
        return float(value)
    if wanted is not None and type(value) is not type(wanted):
        raise Error(f"{key}={text} is not of the wanted type {type(wanted).__name__}; the default is {wanted!r}")
    return value


def _literal(expression: ast.expr) -> Any:
    try:
        return ast.literal_eval(expression)
    except ValueError:
        return None


def _place(notebook: NotebookNode, declared: int, source: str) -> None:
    """Puts the cell behind the declaring one, in place of one from an earlier injection."""
    cell = new_code_cell(source, id=INJECTED, metadata={"tags": [INJECTED]})
    notebook.cells[:] = [
        *notebook.cells[: declared + 1],
        cell,
        *(c for c in notebook.cells[declared + 1 :] if INJECTED not in c.metadata.get("tags", [])),
    ]
