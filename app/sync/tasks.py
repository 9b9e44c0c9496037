"""The worker of one process: it wakes up for work, holds a lease while it does it, and ticks for what was lost.

The tables are the truth: a wake-up that never arrives costs a tick (about a second), never the work.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from app.core.backoff import backoff
from app.core.ports import Reader, TokenStore
from app.errors import AskAdmin, Fenced, Refused, ServiceError, TryLater
from app.sources.kinds import KINDS
from app.store import deliveries, inbox, runs, staging, targets, workers
from app.store.db import Database, now
from app.store.leases import Lease, free_own
from app.store.purge import erase_some
from app.store.runs import Run
from app.store.sources import Source, Sources
from app.sync.events import drain
from app.sync.full import FullSync
from app.sync.outlets import Outlets
from app.sync.report import Cancelled
from app.sync.schedule import next_time
from app.sync.scoped import sync_scope
from app.sync.work import Work, holding

TICK_SECONDS: Final = 1.0
BEAT_EVERY: Final = 5
HOUSEKEEPING_EVERY: Final = 60
HANGING_SECONDS: Final = 8.0
AT_ONCE: Final = 8
INTERRUPTIONS: Final = 50

log = structlog.get_logger()

KEPT_DELIVERIES: Final = timedelta(days=7)

OpenReader = Callable[[Source], Awaitable[Reader]]


@dataclass(slots=True)
class _Job:
    task: asyncio.Task[None] | None = None
    again: bool = False
    failures: int = 0
    not_before: float = 0.0
    version: int = 0


@dataclass(slots=True)
class Worker:
    """Works off events and runs of every source, and brings the targets up to date, which `outlets` opens. `owner` is
    this process's stable name: what it held when it died is freed when it starts again."""

    db: Database
    sources: Sources
    tokens: TokenStore
    owner: str
    open_reader: OpenReader | None = None
    outlets: Outlets | None = None
    tick_seconds: float = TICK_SECONDS
    tries: int = 4
    _jobs: dict[tuple[str, str], _Job] = field(default_factory=dict)
    _readers: dict[tuple[str, str], tuple[int, Reader]] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Free what a former process of this name held, and begin to tick."""
        async with self.db.write() as conn:
            await free_own(conn, self.owner)
            await workers.beat(conn, self.owner, now())
        self._ticking = asyncio.create_task(self._tick_for_ever())

    async def stop(self) -> None:
        """Stop between two statements; what is unfinished stays in the tables for the next worker."""
        tasks = [job.task for job in self._jobs.values() if job.task]
        for task in [*tasks, *([self._ticking] if self._ticking else [])]:
            task.cancel()
        await asyncio.gather(*tasks, *([self._ticking] if self._ticking else []), return_exceptions=True)
        self._jobs.clear()
        for _, reader in self._readers.values():
            await reader.aclose()
        with suppress(TryLater):
            async with self.db.write() as conn:
                await workers.leave(conn, self.owner)

    def wake(self, task: str, key: str) -> None:
        """Start "events" or "runs" of a source, or "deliver" of a target, now, or once more if it is under way.

        After a failure events wait for their pause to end, however many callbacks come; what is asked for does not.
        """
        job = self._job(task, key)
        if job.task is not None and not job.task.done():
            job.again = True
        elif task != "events" or asyncio.get_running_loop().time() >= job.not_before:
            job.task = asyncio.create_task(self._run(task, key, job), name=f"{task} of {key}")

    def _job(self, task: str, key: str) -> _Job:
        return self._jobs.setdefault((task, key), _Job())

    def _forgive(self, source: Source) -> None:
        """A corrected configuration is tried at once, whatever failed before."""
        for task in ("events", "runs"):
            job = self._job(task, source.id)
            if job.version != source.version:
                job.version, job.failures, job.not_before = source.version, 0, 0.0

    async def settled(self) -> None:
        """Wait until everything that was started has come to rest."""
        while tasks := [job.task for job in self._jobs.values() if job.task and not job.task.done()]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, task: str, key: str, job: _Job) -> None:
        loop = asyncio.get_running_loop()
        while True:
            job.again = False
            try:
                async with self._slots:
                    await self._do(task, key, job)
                job.failures = 0
            except (TryLater, AskAdmin) as error:
                job.failures += 1
                job.not_before = loop.time() + backoff(job.failures, after=getattr(error, "after", None))
                log.warning("work_waits", task=task, key=key, code=error.code, failures=job.failures)
                return
            except Fenced:
                log.warning("lease_lost", task=task, key=key)
                return
            except Exception:  # a bug: it is reported, and the other sources go on
                job.failures += 1
                job.not_before = loop.time() + backoff(job.failures)
                log.exception("bug", task=task, key=key)
                return
            if not job.again:
                return

    async def _do(self, task: str, key: str, job: _Job) -> None:
        if task == "deliver":
            if self.outlets is not None:
                await self.outlets.work_off(key, self.owner)
            return
        await self._of_source(task, key, job)
        async with self.db.read() as conn:
            ids = await targets.of_source(conn, key)
        for target_id in ids:
            self.wake("deliver", target_id)

    async def _of_source(self, task: str, key: str, job: _Job) -> None:
        async with holding(self.db, f"{key}:{'events' if task == 'events' else 'sync'}", self.owner) as lease:
            if lease is None:
                return
            async with self.db.read() as conn:
                source = await self.sources.get(conn, key)
            if source.deleted_at is not None and task == "runs":
                await self._close_down(lease, source)
            if source.deleted_at is not None or (task == "events" and not source.enabled):
                return
            async with self._reading(task, source) as reader:
                work = Work(self.db, self.sources, source, lease, reader)
                await (drain(work) if task == "events" else self._work_off_runs(work, job))
        await self._recheck(task, key)

    @asynccontextmanager
    async def _reading(self, task: str, source: Source) -> AsyncIterator[Reader]:
        """The source's reader with its warm connections; a new one after a change of configuration or a failure."""
        version, reader = self._readers.pop((task, source.id), (0, None))
        if reader is not None and version != source.version:
            await reader.aclose()
            reader = None
        reader = reader or await self._open(source)
        try:
            yield reader
        except BaseException:
            await reader.aclose()
            raise
        self._readers[task, source.id] = (source.version, reader)

    async def _close_down(self, lease: Lease, source: Source) -> None:
        """End what was under way for a deleted source, and erase it where that was asked for."""
        while True:
            async with self.db.read() as conn:
                run = await runs.next_of(conn, source.id)
            if run is None:
                return
            async with self.db.fenced(lease) as conn:
                await runs.save(conn, run.id, state="running", started_at=run.started_at or now())
            more = run.kind == "purge" and not run.cancel_requested
            while more:
                async with self.db.fenced(lease) as conn:
                    more = await erase_some(conn, source.id, run.id)
                await asyncio.sleep(0)
            state = "succeeded" if run.kind == "purge" and not run.cancel_requested else "cancelled"
            async with self.db.fenced(lease) as conn:
                await runs.save(conn, run.id, state=state, finished_at=now())

    async def _recheck(self, task: str, key: str) -> None:
        """Work that came between the last look and the release of the lease had its wake-up refused; and a drain may
        have ordered a run."""
        async with self.db.read() as conn:
            waiting = key in await runs.waiting_sources(conn)
        if waiting and task == "runs":
            self._job(task, key).again = True
        elif waiting:
            self.wake("runs", key)

    async def _work_off_runs(self, work: Work, job: _Job) -> None:
        while True:
            async with self.db.read() as conn:
                run = await runs.next_of(conn, work.source.id)
                source = await self.sources.get(conn, work.source.id)
            if run is None:
                return
            await self._one_run(Work(self.db, self.sources, source, work.lease, work.reader), run, job)
            job.failures = 0
            self.wake("events", work.source.id)

    async def _one_run(self, work: Work, run: Run, job: _Job) -> None:
        """One run to its end; a passing fault leaves it as it is, to be resumed at its page after a pause."""
        async with self.db.fenced(work.lease) as conn:
            if not await runs.begin(conn, run):
                return
        log.info("run_started", run=run.id, source=work.source.id, kind=run.kind, attempt=run.attempts + 1)
        try:
            if run.attempts >= INTERRUPTIONS:
                message = f"The run was interrupted {INTERRUPTIONS} times."
                raise AskAdmin("run.gave_up", message, "Look at the service's log.")
            if run.cancel_requested:
                raise Cancelled
            await (FullSync(work, run).execute() if run.kind == "full" else sync_scope(work, run))
        except Cancelled:
            await self._end(work, run, "cancelled", None)
        except ServiceError as error:
            if isinstance(error, TryLater) and job.failures + 1 < self.tries:
                raise
            await self._end(work, run, "failed", error)
        except Fenced:
            raise
        except Exception:  # a bug: the run ends honestly, and the log tells where
            log.exception("bug", run=run.id, source=work.source.id)
            await self._end(
                work, run, "failed", ServiceError("internal", "An unexpected error; see the service's log.")
            )
        log.info("run_ended", run=run.id, source=work.source.id)

    async def _end(self, work: Work, run: Run, state: str, error: ServiceError | None) -> None:
        async with self.db.fenced(work.lease) as conn:
            record = error.record() if error else None
            await runs.save(conn, run.id, state=state, error=record, finished_at=now())

    async def _open(self, source: Source) -> Reader:
        if self.open_reader is not None:
            return await self.open_reader(source)
        kind = KINDS[source.kind]
        async with self.db.read() as conn:
            config = kind.config.model_validate(await self.sources.revealed(conn, source.id))
        return kind.open_reader(config, tokens=self.tokens, observe=self.db.observe)

    async def _tick_for_ever(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(self.tick_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            count += 1
            try:
                await self.tick()
                if count % BEAT_EVERY == 0:
                    async with self.db.write() as conn:
                        await workers.beat(conn, self.owner, now())
                        await workers.end_hanging(conn, HANGING_SECONDS)
                if count % HOUSEKEEPING_EVERY == 0:
                    await self.keep_house()
            except TryLater as error:
                log.warning("tick_failed", code=error.code)

    async def tick(self) -> None:
        """Find what is due: events, runs that wait or were left behind, schedules."""
        async with self.db.read() as conn:
            events = await inbox.sources_due(conn, now())
            waiting = await runs.waiting_sources(conn)
            sources = await self.sources.list(conn)
            outlets = await targets.due(conn, now()) if self.outlets else []
        loop = asyncio.get_running_loop()
        for key in outlets:
            if loop.time() >= self._job("deliver", key).not_before:
                self.wake("deliver", key)
        for key in events:
            self.wake("events", key)
        for key in waiting:
            if loop.time() >= self._job("runs", key).not_before:
                self.wake("runs", key)
        for source in sources:
            self._forgive(source)
            if source.schedule and source.enabled and (source.next_run_at is None or source.next_run_at <= now()):
                await self._scheduled(source)

    async def _scheduled(self, source: Source) -> None:
        """Order the run that is due and note the next time, in one transaction: a missed time runs once."""
        assert source.schedule is not None  # noqa: S101 - asked by the caller
        async with self.db.write() as conn:
            fresh = await self.sources.get(conn, source.id)
            if fresh.next_run_at != source.next_run_at:
                return
            if source.next_run_at is not None:
                with suppress(Refused):  # one is under way already
                    await runs.order(conn, fresh, trigger="schedule")
            await self.sources.record(conn, source.id, next_run_at=next_time(source.schedule, now()))
        self.wake("runs", source.id)

    async def keep_house(self) -> None:
        """Delete, a little at a time, what ended runs had staged and what is kept for a day only."""
        async with self.db.write() as conn:
            ended = await runs.ended_with_staging(conn, before=now() - timedelta(hours=1))
        for run_id in ended:
            more = True
            while more:
                async with self.db.write() as conn:
                    more = await staging.clear(conn, run_id)
                await asyncio.sleep(0)
        async with self.db.write() as conn:
            await deliveries.purge(conn, before=now() - KEPT_DELIVERIES)
