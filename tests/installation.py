"""The service as a process of its own, that can be killed, stopped and started again."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet

ROOT = Path(__file__).parents[1]
TOKEN = "administrator-of-the-tests"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Installation:
    """`wecom-sync serve` on one port; what it logs is kept in a file."""

    folder: Path
    database_url: str
    keys: str = field(default_factory=lambda: Fernet.generate_key().decode())
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / f"{self.port}.log").read_text()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30, trust_env=False
        )

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        given = {
            "DATA_DIR": str(self.folder),
            "DATABASE_URL": self.database_url,
            "ADMIN_TOKEN": TOKEN,
            "PORT": str(self.port),
            "ENCRYPTION_KEYS": self.keys,
            "LOG_FORMAT": "json",
            "PUBLIC_URL": self.url,
        }
        env = {name: value for name, value in os.environ.items() if not name.startswith("WECOM_SYNC_")}
        env |= {f"WECOM_SYNC_{name}": value for name, value in given.items()} | {"PYTHONPATH": str(ROOT)}
        with (self.folder / f"{self.port}.log").open("ab") as log:
            command = [sys.executable, "-m", "app", "serve"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log)  # noqa: ASYNC220 - returns at once
        async with asyncio.timeout(30):
            while not await self._answers():
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """As the kernel does when memory runs out: nothing can be put in order any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Let it do nothing, as on a machine that hangs, until `go_on`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def get(self, path: str, **query: Any) -> Any:
        async with self.client() as client:
            answer = await client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any, *, expect: int = 202, **headers: str) -> Any:
        async with self.client() as client:
            answer = await client.post(f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def _answers(self) -> bool:
        async with self.client() as client:
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False


@asynccontextmanager
async def installed(folder: Path, database_url: str, **given: Any) -> AsyncIterator[Installation]:
    """A running installation, killed at the end."""
    installation = Installation(folder, database_url, **given)
    try:
        await installation.start()
        yield installation
    finally:
        installation.kill()
