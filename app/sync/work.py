"""What a task of one source works with, and how it keeps its lease while it waits for the network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from app.core.ports import Reader
from app.errors import Fenced, TryLater
from app.store.db import Database
from app.store.leases import TTL, Lease, claim, release, renew
from app.store.sources import Source, Sources

IN_FLIGHT = 8
"""Reads of single objects under way at once."""

Key = TypeVar("Key")
Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Work:
    """One source, opened for reading under a lease."""

    db: Database
    sources: Sources
    source: Source
    lease: Lease
    reader: Reader


@asynccontextmanager
async def holding(db: Database, lease_id: str, owner: str) -> AsyncIterator[Lease | None]:
    """Claim a lease, renew it in the background, release it at the end; None when another worker has it.

    When the lease is lost (this process was stopped for longer than it lasts) the task is interrupted with Fenced.
    """
    async with db.write() as conn:
        lease = await claim(conn, lease_id, owner)
    if lease is None:
        yield None
        return
    task, lost = asyncio.current_task(), asyncio.Event()
    assert task is not None  # noqa: S101 - a coroutine always runs in a task
    beat = asyncio.create_task(_renewing(db, lease, task, lost))
    try:
        yield lease
    except asyncio.CancelledError:
        if lost.is_set():
            task.uncancel()
            raise Fenced(lease_id) from None
        raise
    finally:
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        if not lost.is_set():
            await asyncio.shield(_release(db, lease))


async def _renewing(db: Database, lease: Lease, task: asyncio.Task[object], lost: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(TTL / 3)
        try:
            async with db.write() as conn:
                await renew(conn, lease)
        except Fenced:
            lost.set()
            task.cancel()
            return
        except TryLater:
            continue  # the database is away: the next renewal or the next fence tells whether the lease is still ours


async def _release(db: Database, lease: Lease) -> None:
    try:
        async with db.write() as conn:
            await release(conn, lease)
    except TryLater:
        return  # it expires by itself


async def gather_bounded(
    keys: Iterable[Key], read: Callable[[Key], Awaitable[Answer]], *, catch: tuple[type[Exception], ...] = ()
) -> tuple[dict[Key, Answer], dict[Key, Exception]]:
    """Read many objects, IN_FLIGHT at once. Errors of the classes in `catch` are returned by key, others are raised."""
    slots = asyncio.Semaphore(IN_FLIGHT)
    answers: dict[Key, Answer] = {}
    errors: dict[Key, Exception] = {}

    async def one(key: Key) -> None:
        async with slots:
            try:
                answers[key] = await read(key)
            except catch as error:
                errors[key] = error

    try:
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(one(key))
    except BaseExceptionGroup as many:
        raise _first(many) from None
    return answers, errors


async def in_batches(items: AsyncIterator[Item], most: int = 50) -> AsyncIterator[list[Item]]:
    """What has arrived since the last look, one to `most`; reading goes on while a batch is stored."""
    queue: asyncio.Queue[Item | None] = asyncio.Queue(most)

    async def pull() -> None:
        try:
            async for item in items:
                await queue.put(item)
        finally:
            await queue.put(None)

    pulling = asyncio.create_task(pull())
    try:
        ended = False
        while not ended:
            batch = [await queue.get()]
            while not queue.empty():
                batch.append(queue.get_nowait())
            ended = batch[-1] is None
            if found := [item for item in batch if item is not None]:
                yield found
        await pulling
    finally:
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
