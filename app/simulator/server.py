"""Serving the simulator over real HTTP: inside a running event loop, or as a program."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from app.simulator.generate import generate_company
from app.simulator.settings import SimulatorSettings
from app.simulator.simulator import ConnectionCut, Simulator


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()


class _Guest(_Server):
    """Leaves signals to whoever owns the event loop."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _NoCuts(logging.Filter):
    """Drops the server's complaint about connections that were cut on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ConnectionCut))


def _config(simulator: Simulator, host: str, port: int) -> uvicorn.Config:
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(one, _NoCuts) for one in logger.filters):
        logger.addFilter(_NoCuts())
    return uvicorn.Config(
        simulator.app,
        host,
        port,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )


@asynccontextmanager
async def running(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve in this event loop while inside; gives the base URL. Port 0 takes a free one."""
    # Without the protocol spelt out asyncio does not switch Nagle's delay off, and each answer takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listening = asyncio.Event()
        server = _Guest(_config(simulator, host, port), listening.set)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await listening.wait()
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            simulator.release()
            server.should_exit = True
            await task


def run(
    host: str = "127.0.0.1",
    port: int = 8900,
    users: int = 500,
    departments: int = 40,
    seed: int = 1,
    *,
    settings: SimulatorSettings | None = None,
    ready: Callable[[Simulator], None] | None = None,
) -> None:
    """Generate a company and serve it until interrupted; `ready` is told once it listens. Prints nothing itself."""
    simulator = Simulator(generate_company(users, departments, seed), settings)
    gc.freeze()  # a full collection over a million people would stop every answer for more than a second
    _Server(_config(simulator, host, port), lambda: ready(simulator) if ready else None).run()
