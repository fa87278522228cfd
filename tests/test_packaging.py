"""What travels in the wheel, and that it works without the checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONDA_NAMES = {"xxhash": "python-xxhash"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` builds, made by the same backend without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_all_that_the_program_reads(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in (ROOT / "genome").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in names
    for folder in ("data", "notebooks"):
        shipped = [p for p in (ROOT / folder).iterdir() if p.is_file()]
        assert shipped
        assert {f"genome/{folder}/{p.name}" for p in shipped} <= names
    assert "genome/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "data/", "notebooks/", ".ci/"))]


def test_the_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path):
    """Unpacked into an empty folder by pip (dependencies come from this environment), run from elsewhere."""
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": str(site), "GENOME_HOME": str(tmp_path / "home")}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run("-c", "import genome; print(genome.__file__)").strip()).is_relative_to(site)
    assert run("-m", "genome", "--version") == f"genome {PROJECT['version']}\n"
    assert "usage: genome" in run("-m", "genome", "--help")
    code = """
        from genome import resources
        from genome.db.kinds import KINDS, schema
        assert resources.folder("data").parent.name == resources.folder("notebooks").parent.name == "genome"
        assert all(schema(kind) for kind in KINDS)
        print(*sorted(path.name for path in resources.folder("notebooks").glob("*.ipynb")))
    """
    notebooks = run("-c", "\n".join(line[8:] for line in code.splitlines()))
    assert notebooks.split() == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert "00_tour.ipynb" in notebooks


def test_the_version_is_one(wheel: Path):
    from genome import __version__

    assert __version__ == PROJECT["version"] == wheel.name.split("-")[1]


def names_and_bounds(lines: list[str]) -> dict[str, str]:
    return {found[1]: found[2] for line in lines if (found := re.match(r"([A-Za-z0-9_.-]+)(.*?)\s*(#.*)?$", line))}


def test_the_conda_environment_is_in_step():
    lines = re.findall(r"^ +- (.+)$", (ROOT / "environment.yml").read_text("utf-8"), re.M)
    told = names_and_bounds([line for line in lines if line not in ("conda-forge", "pip", "pip:", "-e .")])
    wanted = names_and_bounds([f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]])
    assert told == {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()}
    assert "-e ." in lines


def test_dependencies_have_lower_bounds_only():
    """But for what is measured against: numbers are compared with those of one version."""
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    for line in lines:
        assert re.fullmatch(
            r"[a-z0-9-]+(\[[a-z]+\])?>=[0-9.]+|token-genome\[(native|serve|test)\]|reminis==[0-9.]+", line
        ), line


def test_each_dependency_is_imported_somewhere():
    """What nothing imports is not asked of a user; tqdm's notebook bars are drawn with ipywidgets."""
    modules = {"ipywidgets": "tqdm.auto", "sqlite-vec": "sqlite_vec", "vl-convert-python": "vl_convert"}
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "genome").rglob("*.py"))
    for name in names_and_bounds(PROJECT["dependencies"]):
        module = modules.get(name, name)
        assert re.search(rf"\b(import|from) {module}\b|\"{module}\"", text), f"nothing imports {name}"
