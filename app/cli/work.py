"""Following a run that another process works on, or working on it here when nobody else does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

from app.api.schemas.runs import SETTLED
from app.cli.screen import say
from app.cli.session import Session
from app.cli.watch import Watch
from app.errors import WorkerTaken
from app.store import runs, workers
from app.store.db import hold_worker_lock, now
from app.store.runs import Run
from app.sync.outlets import outlets
from app.sync.tasks import Worker

ALIVE_WITHIN: Final = timedelta(seconds=15)
GLANCE_SECONDS: Final = 0.2
RESTART_SECONDS: Final = 10.0
"""A service that is only being restarted comes back within this time, and must find the work free."""


@asynccontextmanager
async def at_work(session: Session) -> AsyncIterator[Worker]:
    """A worker in this process. Raises WorkerTaken where another process works already."""
    async with AsyncExitStack() as stack:
        if session.db.dialect == "sqlite":
            stack.enter_context(hold_worker_lock(session.settings.data_dir))
        elif await _living(session):
            raise WorkerTaken("another process works on this database")
        reaching = outlets(session.db, session.sources, session.targets, session.settings.webhook_allowed)
        worker = Worker(session.db, session.sources, session.tokens, session.owner, outlets=reaching)
        await worker.start()
        stack.push_async_callback(worker.stop)
        yield worker


@asynccontextmanager
async def at_work_if_alone(session: Session) -> AsyncIterator[Worker | None]:
    """A worker in this process, None where another process works already."""
    async with AsyncExitStack() as stack:
        yield await _started(session, stack)


async def followed(session: Session, run: Run, worker: Worker | None) -> Run:
    """Wait until a run settles, showing how far it is. When the process that works on it is gone for good, this one
    takes over."""
    if worker is not None:
        say("No service works on this database: doing it here.")
        worker.wake(*(("deliver", run.target_id) if run.target_id else ("runs", run.source_id)))
    async with AsyncExitStack() as stack:
        watch, loop = stack.enter_context(Watch()), asyncio.get_running_loop()
        seen_alive = loop.time()
        try:
            while run.state not in SETTLED:
                await asyncio.sleep(GLANCE_SECONDS)
                run = await _read(session, run.id)
                watch.show(run.stage, run.done, run.total)
                seen_alive = loop.time() if await _living(session) else seen_alive
                if worker is None and loop.time() - seen_alive > RESTART_SECONDS:
                    worker = await _started(session, stack)
        except asyncio.CancelledError:
            say(f"Interrupted. Run {run.id} is kept: {'the service' if worker is None else 'the next worker'} goes on.")
            raise
    return run


async def _started(session: Session, stack: AsyncExitStack) -> Worker | None:
    try:
        return await stack.enter_async_context(at_work(session))
    except WorkerTaken:
        return None


async def _living(session: Session) -> bool:
    async with session.db.read() as conn:
        return bool(await workers.living(conn, now() - ALIVE_WITHIN))


async def _read(session: Session, run_id: str) -> Run:
    async with session.db.read() as conn:
        return await runs.get(conn, run_id)
