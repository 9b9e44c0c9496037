"""The Dockerfile and docker-compose.yml, as far as they can be tried without a Docker daemon.

The wheel of the image is built and installed, and every service's command and health check run as plain processes on a
free port with a data folder of their own. Not run: the build of the image, the confinement of the containers (user,
read-only root, tmpfs, capabilities), volumes, published ports, and PostgreSQL's own image.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE = 60


@dataclass(frozen=True)
class Image:
    """What the last stage of a Dockerfile says about running it."""

    env: dict[str, str]
    command: list[str]
    health: list[str]
    user: str
    volumes: list[str]


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def read_image(dockerfile: str) -> Image:
    steps = instructions(dockerfile)
    last = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    said = dict(steps[last:])
    return Image(
        env=dict(pair.split("=", 1) for pair in said["ENV"].split()),
        command=json.loads(said["CMD"]),
        health=json.loads(said["HEALTHCHECK"].partition(" CMD ")[2]),
        user=said["USER"],
        volumes=[said["VOLUME"]],
    )


def interpolated(value: Any) -> Any:
    """`value` with ${NAME:-default} replaced by the default, as Compose does where NAME is not set."""
    if isinstance(value, dict):
        return {key: interpolated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


IMAGE = read_image((ROOT / "Dockerfile").read_text())
COMPOSE = interpolated(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def check_command(service: dict[str, Any]) -> list[str]:
    """The health check of a service; the image's own where it has none."""
    test: list[str] = service.get("healthcheck", {}).get("test", ["CMD", *IMAGE.health])
    assert test[0] == "CMD"
    return test[1:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Place:
    """Where a service runs here instead of in its container."""

    folder: Path
    env: dict[str, str]

    def run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.resolve(command), env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE
        )

    def resolve(self, command: list[str]) -> list[str]:
        program = shutil.which(command[0], path=self.env["PATH"])
        assert program, f"no program {command[0]}"
        return [program, *command[1:]]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, installed: Path) -> Place:
    """The environment of the service named by the parameter, with paths, port and database that exist here."""
    service = SERVICES[request.param]
    env = IMAGE.env | {name: str(value) for name, value in service["environment"].items()}
    for name, value in env.items():
        if re.match(r"/(data|tmp)(/|$)", value):
            env[name] = str(tmp_path) + value
    env["WECOM_SYNC_PORT"] = str(free_port())
    if "WECOM_SYNC_DATABASE_URL" in env:
        env["WECOM_SYNC_DATABASE_URL"] = request.getfixturevalue("empty_postgresql")
    env["PATH"] = os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    env |= {"PYTHONPATH": str(installed), "HOME": str(tmp_path)}
    for folder in ("data", "tmp"):
        (tmp_path / folder).mkdir(mode=0o700)
    return Place(tmp_path / "data", env)


def wait_until_healthy(process: "subprocess.Popen[str]", place: Place, check: list[str], log: Path) -> None:
    """Repeat the health check until it succeeds; the failure shows what the service wrote."""
    deadline = time.monotonic() + PATIENCE
    while (answer := place.run(check)).returncode:
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended with exit code {process.wait(0.2)}\n{log.read_text()[-3000:]}")
        if time.monotonic() > deadline:
            pytest.fail(f"not healthy: {answer.stderr[-300:]}\n{log.read_text()[-3000:]}")


def services(names: list[str]) -> list[Any]:
    marks = {name: [pytest.mark.postgres] if name.endswith("postgres") else [] for name in names}
    return [pytest.param(name, name, id=name, marks=marks[name]) for name in names]


@pytest.mark.parametrize(("name", "place"), services(OURS), indirect=["place"])
def test_a_service_becomes_healthy_and_stops_when_told(name: str, place: Place, tmp_path: Path) -> None:
    service, log = SERVICES[name], tmp_path / "log"
    assert place.run(check_command(service)).returncode != 0, "healthy before it runs"
    with log.open("w") as output:
        command = place.resolve(service["command"])
        process = subprocess.Popen(command, env=place.env, cwd=place.folder, stdout=output, stderr=output, text=True)
    try:
        wait_until_healthy(process, place, check_command(service), log)
        assert place.run(IMAGE.health).returncode == 0
        if url := place.env.get("WECOM_SYNC_DATABASE_URL"):
            assert_tables_are_in(url)
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM), log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def assert_tables_are_in(url: str) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
    assert row == (1,)


@pytest.mark.parametrize(("name", "place"), services(["app"]), indirect=["place"])
def test_every_other_command_line_of_the_image_finds_its_migrations(name: str, place: Place) -> None:
    done = place.run(["wecom-sync", "migrate"])
    assert done.returncode == 0, done.stderr
    assert list(place.folder.glob("*.db"))


@pytest.mark.postgres
def test_the_health_check_of_the_database_service(empty_postgresql: str) -> None:
    if not shutil.which("pg_isready"):
        pytest.skip("NOT RUN: pg_isready is not installed (Debian: postgresql-client)")
    parts = psycopg.conninfo.conninfo_to_dict(empty_postgresql)
    env = {"PATH": os.environ["PATH"], "PGHOST": str(parts["host"]), "PGPORT": str(parts.get("port", 5432))}
    check = check_command(SERVICES["db"])
    assert subprocess.run(check, env=env, timeout=10).returncode == 0
    assert subprocess.run(check, env=env | {"PGPORT": str(free_port())}, timeout=10).returncode != 0


def test_the_image_as_docker_builds_it() -> None:
    if os.environ.get("WECOM_SYNC_TEST_DOCKER") != "1":
        pytest.skip("NOT RUN: building the image and its confinement (WECOM_SYNC_TEST_DOCKER=1 where Docker runs)")
    image = subprocess.run(["docker", "build", "--quiet", str(ROOT)], check=True, capture_output=True, text=True)
    confined = ["docker", "run", "--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", image.stdout.strip()]
    subprocess.run([*confined, "wecom-sync", "migrate"], check=True)


def test_the_image_runs_without_rights_and_keeps_its_data() -> None:
    assert IMAGE.user not in ("", "root", "0")
    assert IMAGE.command == ["wecom-sync", "serve"]
    assert IMAGE.env["WECOM_SYNC_DATA_DIR"] in IMAGE.volumes


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves `path` out; the last line that fits it or a folder above it decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        above = [path, *map(str, Path(path).parents)]
        if line and not line.startswith("#") and any(fnmatch(each, pattern) for each in above if each != "."):
            verdict = not line.startswith("!")
    return verdict


def test_what_the_build_copies_exists_and_nothing_else_is_sent() -> None:
    copied = [rest.split()[:-1] for name, rest in instructions((ROOT / "Dockerfile").read_text()) if name == "COPY"]
    local = [path for paths in copied if not paths[0].startswith("--from") for path in paths]
    assert local
    assert [path for path in local if ignored(path) or not (ROOT / path).exists()] == []
    secret = [".env", "data/admin-token", ".git/config", "tests/conftest.py", "app/__pycache__/settings.pyc"]
    assert [path for path in secret if not ignored(path)] == []


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_confined_and_reached_only_from_this_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    folder = service["environment"]["WECOM_SYNC_DATA_DIR"]
    writable = [*service["tmpfs"], *(volume.partition(":")[2] for volume in service.get("volumes", []))]
    assert any(folder == each or folder.startswith(each + "/") for each in writable)


def test_profiles_and_dependencies() -> None:
    assert {name: service.get("profiles", []) for name, service in SERVICES.items()} == {
        "app": [],
        "app-postgres": ["postgres"],
        "db": ["postgres"],
        "demo": ["demo"],
    }
    assert SERVICES["app-postgres"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert "ports" not in SERVICES["db"]
    named = {v.partition(":")[0] for service in SERVICES.values() for v in service.get("volumes", [])}
    assert named == set(COMPOSE["volumes"])
    assert all("healthcheck" in service for service in SERVICES.values())


def test_the_database_address_agrees_with_the_database_service() -> None:
    url = psycopg.conninfo.conninfo_to_dict(SERVICES["app-postgres"]["environment"]["WECOM_SYNC_DATABASE_URL"])
    db = SERVICES["db"]["environment"]
    assert (url["user"], url["password"], url["dbname"]) == (
        db["POSTGRES_USER"],
        db["POSTGRES_PASSWORD"],
        db["POSTGRES_DB"],
    )
    assert url["host"] == "db"
