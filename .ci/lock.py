"""Reads requirements.lock; as a program, prints the part that runs the service or, with `build`, that builds its wheel.

The hashes come along, so that pip can insist on them. Only the standard library is used: an image is built with this
before anything is installed.
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

PROJECT = "wecom-sync (pyproject.toml)"


@dataclass(frozen=True)
class Pin:
    """One locked package: its line `name==version ; marker`, its hashes, and who asks for it."""

    name: str
    line: str
    hashes: tuple[str, ...]
    via: frozenset[str]

    def text(self) -> str:
        return " \\\n".join([self.line, *(f"    --hash={each}" for each in self.hashes)])


def canonical(requirement: str) -> str:
    """The name of a requirement line as package indexes compare it (PEP 503)."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def read_pins(lock: str) -> list[Pin]:
    """Every pin of a lock; a line that is no pin, hash or comment raises ValueError."""
    blocks: list[tuple[str, list[str], set[str]]] = []
    for number, line in enumerate(lock.splitlines(), start=1):
        text = line.strip().removesuffix("\\").strip()
        if re.match(r"[a-z0-9][a-z0-9._-]*==[^ @]+( ; .+)?$", line.removesuffix(" \\")):
            blocks.append((text, [], set()))
        elif text.startswith("--hash=") and blocks:
            blocks[-1][1].append(text.removeprefix("--hash="))
        elif line.startswith("    #") and blocks:
            blocks[-1][2].add(text.lstrip("# ").removeprefix("via").strip())
        elif text and not line.startswith("#"):
            raise ValueError(f"requirements.lock line {number} is neither a pin nor a hash: {text}")
    return [Pin(canonical(line), line, tuple(hashes), frozenset(via - {""})) for line, hashes, via in blocks]


def needed(pins: list[Pin], requirements: list[str]) -> list[Pin]:
    """The pins that `requirements` lead to, by the lock's own notes of who asks for what."""
    wanted = {canonical(each) for each in requirements}
    while more := {pin.name for pin in pins if pin.via & wanted} - wanted:
        wanted |= more
    return [pin for pin in pins if pin.name in wanted]


if __name__ == "__main__":
    pyproject = tomllib.loads(Path("pyproject.toml").read_text())
    build = sys.argv[1:] == ["build"]
    wanted = pyproject["build-system"]["requires"] if build else pyproject["project"]["dependencies"]
    pins = read_pins(Path("requirements.lock").read_text())
    sys.stdout.writelines(pin.text() + "\n" for pin in needed(pins, wanted))
