"""What the README tells people to type, open and click exists."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli.program import program
from app.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
READMES = sorted(ROOT.glob("README*.md"))
PAGES = [*READMES, ROOT / "docs/targets.md"]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = "\n".join(body for language, body in BLOCKS if language == "sh")


def commands() -> set[tuple[str, ...]]:
    """Each command of the README: (name,) or (group, name), from the list of them and from the examples."""
    typed = re.findall(r"wecom-sync (.*?)(?:  |$)", "\n".join(body for _, body in BLOCKS), re.MULTILINE)
    found: set[tuple[str, ...]] = set()
    for line in typed:
        if " | " in line:
            found |= {(name,) for name in line.split(" | ")}
        else:
            group, names = re.findall(r"^([a-z]+)(?: ([a-z|]+))?", line)[0]
            found |= {(group, name) for name in names.split("|") if name} or {(group,)}
    return found


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text())
    assert links
    for link in links:
        name, _, heading = link.partition("#")
        led_to = (page.parent / name) if name else page
        assert led_to.exists(), link
        assert not heading or heading in anchors(led_to.read_text()), link


def skeleton(text: str) -> dict[str, list[str]]:
    """What a translation has in common with its original: levels of headings, tables, commands, names, arrows."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    typed = "".join(body for language, body in blocks if language != "mermaid")
    drawn = "".join(body for language, body in blocks if language == "mermaid")
    return {
        "headings": re.findall(r"^(#+) ", text, re.MULTILINE),
        "table rows": re.findall(r"^\|", text, re.MULTILINE),
        "commands": [re.sub(r" *#.*|   +\S.*", "", line) for line in typed.splitlines()],
        "names": sorted(re.findall(r"`((?:WECOM_SYNC_|wecom-sync |make |/)[^`]*)`", text)),
        "arrows": [re.sub(r"\[.*?\]|\{.*?\}|\".*?\"|subgraph .*", "", line) for line in drawn.splitlines()],
    }


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_a_translation_has_everything_that_the_original_has(page: Path) -> None:
    assert skeleton(page.read_text()) == skeleton(README)


def test_every_task_of_make_exists() -> None:
    tasks = set(re.findall(r"\bmake (\w+)", README))
    assert {"demo", "test"} <= tasks
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert tasks <= set(phony)


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(rf"\b{PREFIX}([A-Z_]+)", README))
    assert named == {name.upper() for name in Settings.model_fields}


def test_every_service_that_is_named_exists() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"docker compose (?:up(?: -d)?|exec) ([a-z][a-z-]*)", README))
    assert named == {"app", "app-postgres", "demo"}
    assert [name for name in named if f"\n  {name}:\n" not in compose] == []


@pytest.mark.parametrize("command", sorted(commands()), ids=" ".join)
def test_every_command_exists(command: tuple[str, ...]) -> None:
    found: Any = get_command(program)
    for name in command:
        assert name in found.commands
        found = found.commands[name]


def test_the_options_in_the_examples_exist() -> None:
    program_itself: Any = get_command(program)
    offered = {option for parameter in program_itself.commands["sync"].params for option in parameter.opts}
    assert {"--dry-run", "--wait", "--json"} <= offered
    added = {
        option for parameter in program_itself.commands["source"].commands["add"].params for option in parameter.opts
    }
    typed = set(re.findall(r"--[a-z-]+(?= -$| - |  *ww| 1000002)", SHELL))
    assert {"--corp-id", "--app-secret"} <= typed <= added


def matches(path: str, template: str) -> bool:
    return bool(re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path))


def test_every_address_that_is_called_exists() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "openapi"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    paths: dict[str, dict[str, Any]] = json.loads(done.stdout)["paths"]
    calls = re.findall(r'curl -sG?(?: -X (POST))? "?\$API(/[\w/]+)(?:[^\n]* (-d))?', SHELL)
    assert len(calls) >= 5
    for method, path, data in calls:
        verb = "post" if method or data else "get"
        found = [verb in paths[template] for template in paths if matches(f"/api/v1{path}", template)]
        assert any(found), f"{verb} {path}"
