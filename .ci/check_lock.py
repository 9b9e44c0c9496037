"""Fails unless requirements.lock is in step with pyproject.toml; run in the project's folder with its environment.

In step: every requirement (extras and build tools too) is pinned to a version it allows, every pin has hashes and is
asked for by somebody, what the installed packages ask for is pinned as well, and no line names a host.
"""

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from lock import PROJECT, Pin, canonical, read_pins
from packaging.requirements import Requirement


def project_requirements(pyproject: str) -> list[Requirement]:
    """What the project asks for: to run, in each extra, and to be built."""
    data = tomllib.loads(pyproject)
    extras = data["project"]["optional-dependencies"].values()
    lines = [*data["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in [*lines, *data["build-system"]["requires"]]]


def unmet(requirement: Requirement, pins: dict[str, list[Pin]], asker: str) -> list[str]:
    """Why the lock does not satisfy one requirement: nothing when it does."""
    found = pins.get(canonical(requirement.name), [])
    if not found:
        return [f"{asker} needs {requirement}, which is not locked"]
    versions = [Requirement(pin.line).specifier for pin in found]
    wrong = [
        str(v) for v in versions if not requirement.specifier.contains(str(v).removeprefix("=="), prereleases=True)
    ]
    return [f"{asker} needs {requirement}, locked is {each}" for each in wrong]


def asked_for(requirement: Requirement) -> list[Requirement]:
    """What the installed package of `requirement` asks for here, with the extras named in it."""
    found = [Requirement(line) for line in metadata.requires(requirement.name) or []]
    extras = ["", *requirement.extras]
    return [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)]


def installed_problems(roots: list[Requirement], pins: dict[str, list[Pin]]) -> list[str]:
    """Follows the installed packages from the project's requirements on and compares each with its pin."""
    problems: list[str] = []
    waiting, seen = list(roots), set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(str(requirement))
        try:
            needs = asked_for(requirement)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is not installed: make setup")
            continue
        problems += [p for need in needs for p in unmet(need, pins, requirement.name)]
        waiting += [Requirement(str(need).partition(";")[0]) for need in needs]
    return problems


def lock_problems(lock: str, pins: list[Pin], roots: list[Requirement]) -> list[str]:
    """What is wrong with the lock itself, whatever is installed."""
    names = {canonical(root.name) for root in roots}
    known = {pin.name for pin in pins} | {PROJECT}
    problems = [f"{pin.name} has no hash" for pin in pins if not pin.hashes]
    problems += [f"{pin.name} is asked for by nobody" for pin in pins if not pin.via & known]
    problems += [
        f"{p.name} is noted as ours, but pyproject.toml has it not"
        for p in pins
        if PROJECT in p.via and p.name not in names
    ]
    problems += [
        f"{p.name} is ours, but the lock has no note of it" for p in pins if p.name in names and PROJECT not in p.via
    ]
    problems += [
        f"a line names a host: {line.strip()}" for line in lock.splitlines() if "://" in line or "--index" in line
    ]
    return problems


def main(folder: Path) -> int:
    lock = (folder / "requirements.lock").read_text()
    roots = project_requirements((folder / "pyproject.toml").read_text())
    try:
        pins = read_pins(lock)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    by_name: dict[str, list[Pin]] = {}
    for pin in pins:
        by_name.setdefault(pin.name, []).append(pin)
    problems = lock_problems(lock, pins, roots)
    problems += [p for root in roots for p in unmet(root, by_name, "pyproject.toml")]
    problems += installed_problems(roots, by_name)
    sys.stderr.writelines(f"{problem}\n" for problem in dict.fromkeys(problems))
    if problems:
        sys.stderr.write("requirements.lock is out of step with pyproject.toml: make lock\n")
        return 1
    sys.stdout.write(f"requirements.lock: {len(pins)} pins, in step with pyproject.toml\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path()))
