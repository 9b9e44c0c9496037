"""requirements.lock: in step with pyproject.toml, and its runtime part is what the service needs and no more."""

import ast
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name as canonical

ROOT = Path(__file__).parents[2]


def check(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / ".ci/check_lock.py", folder], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the two files, to be spoilt."""
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_lock_is_in_step() -> None:
    done = check(ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("pyproject.toml", '"rich', '"rich>=99", "rich', "pyproject.toml needs rich>=99, locked is =="),
        ("pyproject.toml", '"rich', '"nowhere", "rich', "pyproject.toml needs nowhere, which is not locked"),
        ("pyproject.toml", "uvicorn[standard]>", "uvicorn>", None),
        ("pyproject.toml", '"rich', '"httpx[http2]", "rich', "httpx needs h2"),
        ("pyproject.toml", '"xmltodict>=1.0",', "", "xmltodict is noted as ours, but pyproject.toml has it not"),
        ("pyproject.toml", '"hatchling>=1.27"]', '"hatchling>=99"]', "pyproject.toml needs hatchling>=99"),
        ("requirements.lock", "# via pydantic\n", "# via nobody\n", "is asked for by nobody"),
        ("requirements.lock", "alembic==", "--find-links x\nalembic==", "neither a pin nor a hash"),
        ("requirements.lock", "alembic==", "alembic @ file:///x", "neither a pin nor a hash"),
        ("requirements.lock", "# ", "# by https://host.example\n# ", "a line names a host"),
        ("requirements.lock", "anyio==", "anyio==0.1\nanyio==", "anyio has no hash"),
    ],
)
def test_what_is_out_of_step_is_named(project: Path, file: str, old: str, new: str, problem: str | None) -> None:
    change(project / file, old, new)
    done = check(project)
    assert done.returncode == (1 if problem else 0), done.stderr
    assert problem is None or problem in done.stderr


def part(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, ".ci/lock.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    blocks = done.stdout.split("\n    --hash=")
    assert len(blocks) > len(done.stdout.splitlines()) / 2, "pins come with their hashes"
    return {line.partition("==")[0] for line in done.stdout.splitlines() if "==" in line}


def imported_by(source: Path) -> set[str]:
    """The top names of everything that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names


def test_the_runtime_part_holds_what_the_service_imports() -> None:
    sources = [*(ROOT / "app").rglob("*.py"), *(ROOT / "alembic").rglob("*.py")]
    names = set().union(*map(imported_by, sources)) - sys.stdlib_module_names - {"app"}
    owners = metadata.packages_distributions()
    packages = {canonical(owner) for name in names for owner in owners[name]}
    assert {"fastapi", "sqlalchemy"} <= packages
    assert packages <= part()


def test_the_runtime_part_holds_no_tools() -> None:
    assert part() & {"pytest", "ruff", "mypy", "uv", "hatchling", "schemathesis", "playwright"} == set()


def test_the_build_part_builds() -> None:
    assert "hatchling" in part("build")
    assert "fastapi" not in part("build")
