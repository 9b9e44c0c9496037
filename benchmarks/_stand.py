"""What the benchmark of NocoBase stands on: a NocoBase, the service, and a gateway between the two."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.simulator import Simulator
from benchmarks.callback import SECRET
from benchmarks.full_sync import free_port

UP = Path(__file__).parents[1] / "tests" / "nocobase" / "up"
LIMITS = httpx.Limits(keepalive_expiry=4.0)  # NocoBase closes an idle connection after 5 seconds

Push = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """The simulated WeCom, and the service that has read it."""

    simulator: Simulator
    client: httpx.AsyncClient
    source_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """A NocoBase with nobody in it, and a client that may push and read there."""

    url: str
    key: str
    client: httpx.AsyncClient


@dataclass(slots=True)
class Gateway:
    """What stands before NocoBase: the pushes that passed it, and the seconds that NocoBase took for them."""

    url: str = ""
    pushes: list[Push] = field(default_factory=list)
    seconds: float = 0.0


@asynccontextmanager
async def nocobase() -> AsyncIterator[Place]:
    """Started on a blank database and stopped at the end; SystemExit where none can be had (75)."""
    starting = await asyncio.create_subprocess_exec(UP, stdout=asyncio.subprocess.PIPE)
    told, _ = await starting.communicate()
    if starting.returncode:
        raise SystemExit(starting.returncode)
    known = dict(line.split("=", 1) for line in told.decode().splitlines())
    url, key = known["NOCOBASE_URL"], known["NOCOBASE_API_KEY"]
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with httpx.AsyncClient(base_url=f"{url}/api/", headers=headers, timeout=600, limits=LIMITS) as client:
            yield Place(url, key, client)
    finally:
        await (await asyncio.create_subprocess_exec(UP, "--stop")).wait()


@asynccontextmanager
async def service(folder: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service, which runs in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"DATA_DIR": folder, "ADMIN_TOKEN": SECRET, "PUBLIC_URL": url, "LOG_LEVEL": "warning"}
    env = os.environ | {f"WECOM_SYNC_{name}": value for name, value in own.items()}
    command = (sys.executable, "-m", "app", "serve", "--port", str(port))
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=sys.stderr)
    try:
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            yield client
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def gateway(onward: httpx.AsyncClient | None = None) -> AsyncIterator[Gateway]:
    """Takes every push down and passes it on to NocoBase; without one it answers at once."""
    seen = Gateway()

    async def take(request: Request) -> Response:
        body = await request.body()
        seen.pushes.append(json.loads(body))
        if onward is None:
            taken = {"resource": "users", "detail": {"failedRecords": []}}
            return JSONResponse({"data": {"code": 0, "result": [taken]}})
        began = time.perf_counter()
        answer = await onward.post("/userData:push", content=body, headers={"Content-Type": "application/json"})
        seen.seconds += time.perf_counter() - began
        return Response(answer.content, answer.status_code, media_type="application/json")

    app = Starlette(routes=[Route("/api/userData:push", take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # who comes before it serves waits
        seen.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield seen
        finally:
            server.should_exit = True
            await serving
