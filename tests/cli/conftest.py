"""The real program in processes of its own, in a folder of its own, with a simulated WeCom over real HTTP."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from app.simulator import Company, Membership, Simulator, running
from app.store import runs
from app.store.db import Database, url_of
from app.store.keys import load_keys
from app.store.migrations import migrate
from app.store.sources import Sources
from app.store.tokens import Tokens
from app.sync.tasks import Worker

ROOT = Path(__file__).parents[2]
PATIENCE = 60
CANARIES = ("C" * 20 + "appSecret", "C" * 20 + "contactsSecret", "CanaryToken9", "Canary7" * 6 + "K")
"""App secret, contacts secret, callback Token and EncodingAESKey: no output may ever hold one of them."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Running:
    """A command that goes on; what it writes is in two files."""

    process: asyncio.subprocess.Process
    out_file: Path
    err_file: Path

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def err(self) -> str:
        return self.err_file.read_text()

    async def says(self, text: str) -> None:
        """Wait until it has written this, on stdout or stderr."""
        await until(lambda: text in self.out + self.err or self.process.returncode is not None)
        assert text in self.out + self.err, f"{text!r} is not in\n{self.out}\n{self.err}"

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.ended()


@dataclass
class Program:
    """`python -m app` in a folder of its own."""

    folder: Path
    env: dict[str, str]
    started: list[Running] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def run(self, *args: str, code: int = 0, stdin: str = "", **settings: str) -> Done:
        """Run a command to its end, which must have this exit code."""
        process = await asyncio.create_subprocess_exec(
            *command(args),
            cwd=self.folder,
            env=self.env | settings,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate(stdin.encode())
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            pytest.fail(f"{args} did not end: {out.decode()}\n{err.decode()}")
        done = Done(args, process.returncode or 0, out.decode(), err.decode())
        assert done.code == code, f"{args}: {done.code}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err
        self.keeps_secrets(done.out + done.err)
        return done

    async def start(self, *args: str, **settings: str) -> Running:
        """Start a command that goes on; it is killed at the end of the test at the latest."""
        name = f"{len(self.started)}"
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("w") as out_file, err.open("w") as err_file:
            process = await asyncio.create_subprocess_exec(
                *command(args),
                cwd=self.folder,
                env=self.env | settings,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
            )
        self.started.append(Running(process, out, err))
        return self.started[-1]

    async def serve(self, *args: str, **settings: str) -> tuple[Running, str]:
        """A running service and its address."""
        port = free_port()
        serving = await self.start("serve", "--port", str(port), *args, **settings)
        url = f"http://127.0.0.1:{port}"
        await until(lambda: True if serving.process.returncode is not None else answers(url))
        assert serving.process.returncode is None, serving.err
        return serving, url

    async def add(self, name: str, simulator: Simulator, base_url: str, *args: str, code: int = 0) -> Done:
        """Add a source of the simulated company, its secrets in files."""
        company = simulator.company
        options: list[str] = []
        for option, secret in zip(("app-secret", "contacts-secret"), CANARIES[:2], strict=True):
            (self.folder / option).write_text(secret + "\n")
            options += [f"--{option}", f"@{option}"]
        fixed = ["--corp-id", company.corp_id, "--base-url", base_url, *options, "--schedule", "never"]
        return await self.run("source", "add", name, *fixed, *args, code=code)

    async def prepare(self, simulator: Simulator, base_url: str, *, synced: bool = True, name: str = "HQ") -> str:
        """Make what `source add` and, where it is to be `synced`, `sync` make, without a process for each. The id."""
        settings = Settings.model_construct(data_dir=self.data)
        given = self.env.get("WECOM_SYNC_DATABASE_URL")
        keys, url = load_keys(settings), given or url_of(settings)
        await migrate(url)
        db, sources = await Database.open(url), Sources(keys.sealer)
        config = {"corp_id": simulator.company.corp_id, "base_url": base_url}
        secrets = dict(zip(("app_secret", "contacts_secret"), CANARIES[:2], strict=True))
        try:
            async with db.write() as conn:
                source = await sources.create(conn, name=name, kind="wecom", config=config, secrets=secrets)
                run = await runs.order(conn, source) if synced else None
            if run is not None:
                worker = Worker(db, sources, Tokens(db, keys.sealer, "tests"), "tests")
                await worker.start()
                worker.wake("runs", source.id)
                await worker.settled()
                await worker.stop()
                async with db.read() as conn:
                    assert (await runs.get(conn, run.id)).state == "succeeded"
        finally:
            await db.close()
        return source.id

    async def end(self) -> None:
        for one in self.started:
            if one.process.returncode is None:
                one.process.kill()
                await one.process.wait()
            assert "Traceback" not in one.err, one.err
            self.keeps_secrets(one.out + one.err)

    def keeps_secrets(self, text: str) -> None:
        kept = [
            path.read_text().strip()
            for path in (self.data / "admin-token", self.data / "encryption-keys")
            if path.exists()
        ]
        for secret in (*CANARIES, *kept):
            assert secret not in text


def command(args: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "app", *args]


async def answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with nobody's settings, and without a proxy or a locale."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
async def program(tmp_path: Path, environment: dict[str, str]) -> AsyncIterator[Program]:
    """The program with SQLite in its data folder."""
    program = Program(tmp_path, environment)
    yield program
    await program.end()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_setting(request: pytest.FixtureRequest) -> dict[str, str]:
    """What names each of the databases."""
    given = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    return {"WECOM_SYNC_DATABASE_URL": given}


@pytest.fixture
async def either_program(
    database_setting: dict[str, str], tmp_path: Path, environment: dict[str, str]
) -> AsyncIterator[Program]:
    """The program on either database."""
    program = Program(tmp_path, environment | database_setting)
    yield program
    await program.end()


@pytest.fixture
def company() -> Company:
    """1 ─ 2 研发部 ─ 4 前端组, 1 ─ 3 销售部; 王芳 leads 2, and there are thirty more in 3."""
    company = Company()
    company.app.secret, company.contacts.secret = CANARIES[:2]
    with company.quiet():
        for name, parent in (("研发部", 1), ("销售部", 1), ("前端组", 2)):
            company.create_department(name, parent)
        company.join("WangFang", "王芳", [Membership(2, 7, True)], position="总监", mobile="13800000001")
        company.join("lisi", "李四", [4], direct_leaders=("WangFang",))
        for number in range(30):
            company.join(f"seller{number}", f"销售{number}", [3])
    return company


@pytest.fixture
async def wecom(company: Company) -> AsyncIterator[tuple[Simulator, str]]:
    """The simulated WeCom of that company and its address."""
    async with simulated(company) as both:
        yield both


@asynccontextmanager
async def simulated(company: Company) -> AsyncIterator[tuple[Simulator, str]]:
    simulator = Simulator(company)
    async with running(simulator) as base_url:
        yield simulator, base_url


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]
