"""The Makefile and .ci/run, as a newcomer and a build server meet them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "sh", "make", "timeout", "tee", "grep", "tail", "mktemp", "rm", "dirname", "env", "echo")


def run(*command: str, cwd: Path, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "WECOM_SYNC_"))}
    env |= {"PATH": path} if path else {}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the set-up reads, and nothing set up."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def a_program(folder: Path, name: str, script: str) -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_help_lists_every_task_that_is_not_a_part_of_another() -> None:
    done = run("make", cwd=ROOT)
    listed = re.findall(r"^  make ([\w-]+) +\S", done.stdout, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == [task for task in phony.split() if not task.startswith("check-")]


def test_a_python_that_is_too_old_is_named(clone: Path) -> None:
    old = a_program(clone, "python3.9", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    done = run("make", "setup", f"PYTHON={old}", cwd=clone)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_missing_python_is_named(clone: Path) -> None:
    done = run("make", "test", "PYTHON=no-such-python", cwd=clone)
    assert done.returncode != 0
    assert "apt install python3 python3-venv" in done.stderr


def test_a_python_without_venv_says_what_to_install(clone: Path) -> None:
    bare = a_program(clone, "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = run("make", "demo", f"PYTHON={bare}", cwd=clone)
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_second_set_up_does_nothing_until_a_requirement_changes(clone: Path) -> None:
    calls = clone / "calls"
    script = f'echo "$*" >>{calls}; if [ "$2" = venv ]; then mkdir -p .venv/bin; cp "$0" .venv/bin/python; fi'
    recording = a_program(clone, "python3", script)
    assert run("make", "setup", f"PYTHON={recording}", cwd=clone).returncode == 0
    assert "--require-hashes -r requirements.lock" in calls.read_text()
    calls.unlink()
    assert run("make", "setup", f"PYTHON={recording}", cwd=clone).returncode == 0
    assert not calls.exists()
    with (clone / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert run("make", "setup", f"PYTHON={recording}", cwd=clone).returncode == 0
    assert calls.exists()
    assert len(list((clone / ".venv").glob(".set-up-*"))) == 1


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A folder with .ci/run and tasks that succeed; the machine has few programs and no apt-get."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    (tmp_path / "Makefile").write_text(
        "setup:\n\t@echo set up\ncheck:\n\t@echo checked\n"
        "test-nocobase:\n\t@tests/nocobase/up\n"
        "test:\n\t@echo postgres $$WECOM_SYNC_TEST_REQUIRE_POSTGRES; echo '===== 3 passed, 1 skipped in 0.12s ====='\n"
    )
    (tmp_path / "tests/nocobase").mkdir(parents=True)
    a_program(tmp_path / "tests/nocobase", "up", "exit 0")
    return tmp_path


def ci(build: Path) -> "subprocess.CompletedProcess[str]":
    return run("bash", ".ci/run", cwd=build, path=str(build / "bin"))


def closing(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """The last lines of .ci/run: each stage with its result."""
    return dict(re.findall(r"^(setup|packages|check|test|nocobase) +(\S.*)$", done.stdout, re.MULTILINE))


def test_the_closing_lines_name_every_stage_and_what_did_not_run(build: Path) -> None:
    done = ci(build)
    assert done.returncode == 0, done.stdout + done.stderr
    results = closing(done)
    assert [results[name].split()[0] for name in ("setup", "check", "test", "nocobase")] == ["ok"] * 4
    assert results["packages"].startswith("NOT RUN: no apt-get here; missing: chromium")
    assert "postgres 1" in done.stdout
    assert done.stdout.count("3 passed, 1 skipped in 0.12s") == 2


@pytest.mark.parametrize("broken", ["check", "test"])
def test_a_failed_stage_fails_the_whole_and_the_others_still_run(build: Path, broken: str) -> None:
    tasks = (build / "Makefile").read_text()
    (build / "Makefile").write_text(tasks.replace(f"{broken}:\n\t@", f"{broken}:\n\t@exit 3; "))
    done = ci(build)
    results = closing(done)
    assert done.returncode == 1
    assert results[broken].startswith("FAILED")
    assert [name for name in ("setup", "check", "test") if results[name].startswith("ok")] == [
        name for name in ("setup", "check", "test") if name != broken
    ]


def test_a_run_without_postgresql_is_no_success(build: Path) -> None:
    tasks = (build / "Makefile").read_text()
    (build / "Makefile").write_text(tasks + "\t@echo '7 tests did NOT run: they need PostgreSQL'\n")
    done = ci(build)
    assert done.returncode == 1
    assert closing(done)["test"].startswith("FAILED")


def test_where_no_nocobase_can_be_had_the_closing_lines_say_so(build: Path) -> None:
    a_program(build / "tests/nocobase", "up", "exit 75")
    done = ci(build)
    assert done.returncode == 0, done.stdout + done.stderr
    assert closing(done)["nocobase"].startswith("NOT RUN: no NocoBase can be had here")


def test_a_nocobase_that_does_not_start_is_a_failure(build: Path) -> None:
    a_program(build / "tests/nocobase", "up", "exit 1")
    done = ci(build)
    assert done.returncode == 1
    assert closing(done)["nocobase"].startswith("FAILED")


def test_without_a_set_up_nothing_else_runs(build: Path) -> None:
    (build / "Makefile").write_text("setup:\n\t@exit 1\n")
    done = ci(build)
    assert done.returncode == 1
    assert closing(done) == {
        "setup": "FAILED (exit 2)",
        "packages": "NOT RUN: the set-up failed",
        "check": "NOT RUN: the set-up failed",
        "test": "NOT RUN: the set-up failed",
        "nocobase": "NOT RUN: the set-up failed",
    }
    assert "pytest printed no closing line" in done.stdout
