"""`serve`, `worker` and `migrate`: the service itself."""

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Annotated, Final

import structlog
import typer
import uvicorn
from fastapi import FastAPI

from app.cli.exits import Exit
from app.cli.screen import say
from app.cli.session import opened, read_settings, tell_of_keys
from app.errors import TryLater, WorkerTaken
from app.main import create_app
from app.settings import Settings, SettingsError
from app.store.db import driver_url, hold_worker_lock, url_of
from app.store.keys import load_keys
from app.store.migrations import migrate as migrate_database
from app.sync.outlets import outlets
from app.sync.tasks import Worker

log = structlog.get_logger()

GRACE_SECONDS: Final = 10
LOCK_ATTEMPTS: Final = 10
LOCK_PAUSE: Final = 0.2

Host = Annotated[str | None, typer.Option(help="Address to listen on; wins over WECOM_SYNC_HOST.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on; wins over WECOM_SYNC_PORT.")]


class Server(uvicorn.Server):
    """Tells when it listens, and leaves signals to the command that runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(host: Host = None, port: Port = None) -> None:
    """Run the service.

    It brings the database to the present schema, answers requests and callbacks, and does the work. On the first
    start the keys and the administrator's token are made in WECOM_SYNC_DATA_DIR. Ends cleanly on SIGTERM and
    Ctrl-C.
    """
    settings = overridden(read_settings(service=True), host, port)
    raise typer.Exit(asyncio.run(_serve(settings)))


def worker() -> None:
    """Do the work only.

    For a service that runs with WECOM_SYNC_WORKER=none; with PostgreSQL on any number of hosts.
    """
    raise typer.Exit(asyncio.run(_work(read_settings(service=True))))


def migrate() -> None:
    """Bring the database to the present schema.

    `serve` and `worker` do it when they start; this does only that.
    """
    settings = read_settings()
    load_keys(settings)  # makes the folder in which SQLite keeps the database
    asyncio.run(migrate_database(url_of(settings)))
    say("The database has the present schema.")


def overridden(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with what was given on the command line."""
    given = {"host": host, "port": port}
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SettingsError when the port is taken or the address is not ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        problem = "another program listens there" if taken else error.strerror or "not an address of this machine"
        remedy = "Stop that program, or choose another port: --port or WECOM_SYNC_PORT."
        raise SettingsError(f"Port {port} on {host} cannot be used:\n  {problem}.\n{remedy}") from None


@asynccontextmanager
async def serving(app: FastAPI, listener: socket.socket) -> AsyncIterator[Server]:
    """The application answering on a socket, in this event loop; shut down gracefully at the end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not server.started:
            raise TryLater("service.not_started", "The service did not start.", "The log says why.")
        yield server
    finally:
        listening.cancel()
        server.should_exit = True
        await task


@contextmanager
def told_to_stop(force: Callable[[], None] = lambda: None) -> Iterator[asyncio.Event]:
    """Set by the first SIGTERM or Ctrl-C; from the second on `force` is called."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def heard() -> None:
        if stop.is_set():
            force()
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, heard)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _serve(settings: Settings) -> Exit:
    tell_of_keys(load_keys(settings), _teller(settings))
    await migrate_database(url_of(settings))
    with ExitStack() as stack:
        if settings.worker == "embedded":
            await _take_lock(settings, stack)
        listener = stack.enter_context(listen(settings.host, settings.port))
        app = create_app(settings)
        async with AsyncExitStack() as running:
            server = await running.enter_async_context(serving(app, listener))
            stop = running.enter_context(told_to_stop(lambda: setattr(server, "force_exit", True)))
            log.info("serving", url=f"http://{settings.host}:{settings.port}", worker=settings.worker)
            await stop.wait()
            log.info("stopping")
    return Exit.OK


async def _work(settings: Settings) -> Exit:
    async with opened(settings) as session, AsyncExitStack() as stack:
        with ExitStack() as locks:
            await _take_lock(settings, locks)
            reaching = outlets(session.db, session.sources, session.targets, session.settings.webhook_allowed)
            owner = f"worker@{session.owner}"
            working = Worker(session.db, session.sources, session.tokens, owner, outlets=reaching)
            await working.start()
            stack.push_async_callback(working.stop)
            stop = stack.enter_context(told_to_stop())
            log.info("working")
            await stop.wait()
            log.info("stopping")
            await stack.aclose()
    return Exit.OK


async def _take_lock(settings: Settings, stack: ExitStack) -> None:
    """On SQLite, be the one process that works. A command that is just looking around gives the lock back at once."""
    if driver_url(url_of(settings)).get_backend_name() != "sqlite":
        return
    for attempt in range(LOCK_ATTEMPTS):
        try:
            stack.enter_context(hold_worker_lock(settings.data_dir))
        except WorkerTaken:
            if attempt == LOCK_ATTEMPTS - 1:
                raise
            await asyncio.sleep(LOCK_PAUSE)
        else:
            return


def _teller(settings: Settings) -> Callable[[str], None]:
    """Plain lines for people, lines of the log where programs read them."""
    return say if settings.log_format == "console" else log.info
