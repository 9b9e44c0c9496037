"""The full sync: read everything into staging, compare, plan, ask the guard, apply in small batches.

It may be killed anywhere: staged pages, planned changes and their marks are rows, and the next worker goes on.
"""

from dataclasses import asdict

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.guard import Policy, digest, judge
from app.store import plans, runs, staging
from app.store.changes import lock, recent_losses
from app.store.db import now
from app.store.directory import unmanaged_counts
from app.store.evidence import reopen_overtaken, settle
from app.store.runs import Run
from app.sync.apply import apply_plan
from app.sync.planning import Planner
from app.sync.report import Report
from app.sync.sweep import Sweep, Swept
from app.sync.withhold import WINDOW
from app.sync.work import Work


class FullSync:
    """One full run of one source under its lease."""

    def __init__(self, work: Work, run: Run) -> None:
        self.work, self.run, self.db = work, run, work.db
        self.report = Report(work, run)
        self.swept: Swept | None = None
        self.readable: frozenset[str] = frozenset()

    async def execute(self) -> None:
        """Carry the run to its end; raises ServiceError when it cannot, Cancelled when it should not."""
        if self.run.stage != "apply":
            sweep = Sweep(self.work, self.run, self.report)
            self.swept = await sweep.read()
            self.readable = await Planner(self.work, self.run, sweep, self.report).plan()
            if await self._judge():
                return
        await self._apply()

    async def _judge(self) -> bool:
        """Withhold what exceeds the limits; True when the run ends here because it is a dry run."""
        run, source = self.run, self.work.source
        async with self.db.fenced(self.work.lease) as conn:
            approved = await self._within_ceiling(conn)
            recent = await recent_losses(conn, source.id, now() - WINDOW)
            losses = await plans.losses(conn, run.id, source.id, recent)
            trips = [] if approved else judge(losses, Policy.of(source.guard))
            if not approved and run.approved and not trips:
                trips = judge(losses, Policy.of({"max_percent": 0, "max_count": 0, "floor": 0}))
            for trip in trips:
                self.report.warn("guard.would_trip" if run.dry_run else "guard.tripped", trip.message)
            if trips and not run.dry_run:
                await plans.withhold(conn, run.id, trips)
            states = ("planned",) if run.dry_run else ("withheld",)
            if self.swept is not None and not run.dry_run:
                facts = {"range": asdict(self.swept.range), "readable": sorted(self.readable)}
                await self.work.sources.record(conn, source.id, **facts)
            value = digest(await plans.marks(conn, run.id, states))
            total = await plans.total(conn, run.id, "planned")
            stage = {"stage": "plan" if run.dry_run else "apply", "done": 0, "total": total}
            await runs.save(conn, run.id, digest=value, warnings=self.report.warnings, **stage)
        if run.dry_run:
            await self._finish()
        return run.dry_run

    async def _within_ceiling(self, conn: AsyncConnection) -> bool:
        if not self.run.approved or not self.run.approval:
            return False
        ceiling = {tuple(mark) for mark in self.run.approval["ceiling"]}
        return await plans.marks(conn, self.run.id, ("planned",)) <= ceiling

    async def _apply(self) -> None:
        await apply_plan(self.work, self.run, self.report)
        await self._finish()

    async def _finish(self) -> None:
        run, source = self.run, self.work.source
        async with self.db.fenced(self.work.lease) as conn:
            await lock(conn, source.id)
            complete = not await plans.any_in(conn, run.id, "failed", kind="department")
            state = await self._outcome(conn)
            if not run.dry_run and complete:
                await settle(conn, source.id, run.id, at=now())
            if not run.dry_run:
                await reopen_overtaken(conn, source.id, run.id)
            if state == "awaiting_approval":
                await runs.open_approval(conn, source.id, run.id)
            elif not run.dry_run and complete:
                await runs.supersede_approval(conn, source.id)
            seen = await staging.staged_counts(conn, run.id)
            counts = await plans.counts(conn, run.id, seen, await unmanaged_counts(conn, source.id))
            ended = None if state == "awaiting_approval" else now()
            await runs.save(
                conn, run.id, state=state, counts=counts, finished_at=ended, api_calls=self.report.api_calls
            )

    async def _outcome(self, conn: AsyncConnection) -> str:
        if not self.run.dry_run and await plans.any_in(conn, self.run.id, "withheld"):
            return "awaiting_approval"
        return "partial" if await plans.any_in(conn, self.run.id, "failed") else "succeeded"
