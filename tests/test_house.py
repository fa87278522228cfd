"""The rules of the house: floors, cheap imports, a README that tells the truth, nothing of this machine."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "genome"

# A room imports from lower floors only. On floor 0 and inside a room, imports run one way (no cycle).
FLOORS = {
    "errors": 0, "ids": 0, "primitives": 0, "progress": 0, "resources": 0, "sizes": 0,
    "db": 1, "sources": 1,
    "model": 2, "decompose": 2, "speech": 2,
    "workbench": 3, "envelope": 3,
    "lab": 4, "server": 4, "bench": 4,
    "cli": 5,
    "__init__": 6, "__main__": 6,
}  # fmt: skip
TOGETHER = [{"workbench", "envelope"}]  # two files, one room: the folder of databases and what it hands out

HEAVY = {"jax", "polars", "altair", "nbformat", "nbclient", "nbconvert", "jupyterlab", "ipywidgets", "IPython",
         "starlette", "uvicorn"}  # fmt: skip

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def room_of(module: str) -> str:
    return module.split(".")[1]


MODULES = {module_of(path): path for path in SOURCES}


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The modules of this package that a tree imports, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "genome.__version__":
                continue
            if name.split(".")[0] == "genome":
                while name not in MODULES and "." in name:
                    name = name.rpartition(".")[0]
                yield ("genome.__init__" if name == "genome" else name), node.lineno


def test_every_room_has_a_floor():
    assert {room_of(module) for module in MODULES} == set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_from_lower_floors_only(module: str):
    room = room_of(module)
    for target, line in imported(ast.parse(MODULES[module].read_text("utf-8"))):
        other = room_of(target)
        allowed = (
            other == room
            or FLOORS[other] < FLOORS[room]
            or FLOORS[other] == FLOORS[room] == 0
            or any({other, room} <= rooms for rooms in TOGETHER)
        )
        assert allowed, f"{module}, line {line}: floor {FLOORS[room]} imports {target} of floor {FLOORS[other]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path):
    """More than 500 lines in a file or 60 in a function is a question about the design."""
    text = path.read_text("utf-8")
    assert text.count("\n") <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < 60, node.name


def test_imports_run_one_way():
    """At import time no module needs itself, over any number of steps."""
    graph = {}
    for module, path in MODULES.items():
        top = [
            node
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        graph[module] = {target for target, _ in imported(ast.Module(top, [])) if target != module}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)


def test_importing_the_face_brings_nothing_heavy():
    """`import genome` is cheap by what it leaves out: no array, chart, notebook or database library."""
    done = run(f"import genome, sys; print({HEAVY | {'numpy', 'tqdm', 'apsw'}} & set(sys.modules))")
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_databases_and_tokenizers_start_without_arrays():
    """Tens of milliseconds to the first token number: the database room leaves NumPy out, the tokenizer JAX."""
    done = run(
        f"import sys, genome.db; print({HEAVY | {'numpy'}} & set(sys.modules));"
        f"import genome.model; print({HEAVY} & set(sys.modules))"
    )
    assert (done.stdout, done.stderr) == ("set()\nset()\n", "")


@pytest.mark.parametrize("command", ["--version", "--help", "decompose --help"])
def test_help_needs_nothing_heavy(command: str):
    code = (
        "import sys\nfrom genome.cli import main\n"
        f"try:\n    main({command.split()})\nexcept SystemExit:\n    pass\n"
        f"sys.exit(str({HEAVY} & set(sys.modules)))"
    )
    assert run(code).stderr == "set()\n"


def test_nothing_prints_or_writes_or_configures_on_import():
    """Every module, in one process: silence, no file opened for writing, no renderer, no 64-bit flag."""
    code = f"""
import importlib, sys
sys.dont_write_bytecode = True
written = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        written.append(arguments[0])
import jax, altair
before = jax.config.jax_enable_x64, altair.renderers.active, dict(jax.config.values)
sys.addaudithook(watch)
for name in {[m.removesuffix(".__init__") for m in MODULES if m != "genome.__main__"]}:
    importlib.import_module(name)
after = jax.config.jax_enable_x64, altair.renderers.active, dict(jax.config.values)
assert before == after, "a flag or a renderer was set"
assert not written, written
"""
    done = run(code)
    assert (done.stdout, done.stderr) == ("", "")


def repository_files() -> list[Path]:
    """What is or may be committed; without git (an unpacked sdist), all files that are not build products."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        told = subprocess.run(git, capture_output=True, text=True, check=True).stdout
        return [path for name in told.split("\0") if name and (path := ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        skip = {"__pycache__", ".venv", "build", "dist", ".git"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not skip & set(p.relative_to(ROOT).parts)]


# Written in halves, so that this file does not hold what it looks for.
FORBIDDEN = [
    one + other
    for one, other in [
        ("../sha", "red"), ("/wo", "rk/"), ("/tm", "p/w"), (".lib", "rary/"), ("/ro", "ot/"), ("/ho", "me/"),
        ("pypi", ".org"), ("python", "hosted"), ("conda.ana", "conda"), ("registry.npm", "js"), ("deb.deb", "ian"),
        ("PIP_INDEX", "_URL="), ("--index", "-url"),
    ]
]  # fmt: skip


def test_nothing_mentions_this_machine_or_a_registry_s_host():
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", "replace")
        for forbidden in FORBIDDEN:
            assert forbidden not in text, f"{path.relative_to(ROOT)} mentions {forbidden}"


def test_the_changelog_knows_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert re.search(
        rf"^## \[(Unreleased|{re.escape(version)})\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )


def test_each_ignored_rule_says_why():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    ignored = re.search(r"^ignore = \[\n(.*?)^\]", text, re.M | re.S)
    assert ignored
    for line in ignored[1].strip().splitlines():
        assert re.fullmatch(r'\s*"[A-Z]+\d+",\s*# .{10,}', line), line
    for path in SOURCES:
        for line in path.read_text("utf-8").splitlines():
            assert "# noqa" not in line or re.search(r"# noqa: [A-Z0-9, ]+ ?(\(|- )\w", line), (path.name, line)


def test_tests_mirror_the_rooms():
    allowed = {room_of(module) for module in MODULES} | {"notebooks", "reference", "bench"}
    for folder in (p for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name != "__pycache__"):
        assert folder.name in allowed, folder.name
