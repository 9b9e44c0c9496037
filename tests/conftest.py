"""Databases for tests: each test gets a migrated one of its own, on SQLite and on PostgreSQL.

`database` is an open Database, `database_url` the address of one that nobody has opened. PostgreSQL is the server at
WECOM_SYNC_TEST_POSTGRES, else the one at 127.0.0.1:5432, else a private cluster of the installed binaries; without any,
its tests are skipped loudly, or fail where WECOM_SYNC_TEST_REQUIRE_POSTGRES is set.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from app.store.db import Database
from app.store.migrations import migrate

LOCAL_SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"
PARAMETERS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))


@pytest.fixture(params=PARAMETERS)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a migrated database that is this test's own."""
    with request.getfixturevalue(f"{request.param}_databases")() as url:
        yield url


@pytest.fixture
async def database(database_url: str, open_database: "OpenDatabase") -> Database:
    return await open_database(database_url)


@pytest.fixture
async def open_database() -> AsyncIterator["OpenDatabase"]:
    """Opens databases that are closed after the test, however it ends."""
    async with AsyncExitStack() as opened:

        async def open_(url: str) -> Database:
            database = await Database.open(url)
            opened.push_async_callback(database.close)
            return database

        yield open_


@pytest.fixture
def sqlite_url(sqlite_databases: "Databases") -> Iterator[str]:
    """The address of a migrated SQLite database, for what differs there."""
    with sqlite_databases() as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_databases: "Databases") -> Iterator[str]:
    """The address of a migrated PostgreSQL database; mark such a test with `postgres`."""
    with postgresql_databases() as url:
        yield url


OpenDatabase = Callable[[str], Awaitable[Database]]
Databases = Callable[[], "contextmanager[str]"]


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Copies of one migrated file."""
    folder = tmp_path_factory.mktemp("sqlite")
    template = folder / "template.db"
    asyncio.run(migrate(f"sqlite:///{template}"))

    @contextmanager
    def make() -> Iterator[str]:
        path = folder / secrets.token_hex(4) / "wecom-sync.db"
        path.parent.mkdir()
        shutil.copyfile(template, path)
        yield f"sqlite:///{path}"
        shutil.rmtree(path.parent)

    return make


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: str) -> Iterator[Databases]:
    """Copies of one migrated database per test process."""
    template = f"wecom_test_{secrets.token_hex(6)}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{template}"')
        asyncio.run(migrate(_named(postgresql_server, template)))

        @contextmanager
        def make() -> Iterator[str]:
            name = f"{template}_{secrets.token_hex(4)}"
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            yield _named(postgresql_server, name)
            _all_closed(admin, name)
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

        yield make
        admin.execute(f'DROP DATABASE "{template}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server on which databases may be made."""
    given = os.environ.get("WECOM_SYNC_TEST_POSTGRES")
    if given or _answers(LOCAL_SERVER):
        yield given or LOCAL_SERVER
    elif binaries := _binaries():
        with _private_cluster(binaries) as url:
            yield url
    elif os.environ.get("WECOM_SYNC_TEST_REQUIRE_POSTGRES"):
        pytest.fail("these tests need PostgreSQL: none answers and none is installed")
    else:
        pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 and none is installed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", ())
        if "postgresql" in report.nodeid or "postgres" in report.keywords
    ]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests did NOT run: they need PostgreSQL", red=True, bold=True)


def _named(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _all_closed(admin: "psycopg.Connection[Any]", name: str) -> None:
    """A connection that nobody closed fails the test that opened it, not one that runs when it is collected."""
    query = "SELECT application_name, state, query FROM pg_stat_activity WHERE datname = %s"
    left, until = admin.execute(query, [name]).fetchall(), time.monotonic() + 10
    while left and time.monotonic() < until:
        time.sleep(0.02)  # a server process takes a moment to end after its connection
        left = admin.execute(query, [name]).fetchall()
    assert not left, f"connections were left open: {left}"


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def _binaries() -> Path | None:
    """The newest installed folder with initdb and pg_ctl."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True
    )
    found = shutil.which("initdb")
    candidates = [*folders, Path(found).parent] if found else folders
    return next(
        (folder for folder in candidates if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None
    )


@contextmanager
def _private_cluster(binaries: Path) -> Iterator[str]:
    """A server of our own on a socket in a temporary folder, run by `postgres` where we are root."""
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="wecom-pg-"))
    if user:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=folder, env={"LC_ALL": "C"}, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    # fsync off: what a crash of the machine does to a cluster that lives for one test run is nobody's concern.
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c max_connections=100"
    try:
        run(str(binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8")
        run(str(binaries / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        yield f"postgresql://postgres@/postgres?host={folder}"
        run(str(binaries / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
