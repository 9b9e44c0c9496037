"""What the image would hold, and a database for its PostgreSQL service.

No __init__.py beside this file: the folder would then hide the library of its name.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment without anybody's settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WECOM_SYNC_")}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Path:
    """The folder into which the project's wheel is installed, as the Dockerfile does it; the programs are in `bin`."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, env=clean_environment)
    (wheel,) = wheels.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, env=clean_environment)
    return site


@pytest.fixture
def empty_postgresql(postgresql_server: str) -> Iterator[str]:
    """The address of a PostgreSQL database with nothing in it."""
    name = f"wecom_sync_packaging_{secrets.token_hex(4)}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
