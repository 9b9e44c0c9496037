"""Working off one target: under the lease of its channel, with its writer opened and closed."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.outgoing import Origin
from app.core.ports import Check, Writer
from app.errors import AskAdmin, Refused
from app.store import runs
from app.store.db import Database, now
from app.store.sources import Sources
from app.store.targets import Target, Targets
from app.sync.deliver import Delivering, deliver
from app.sync.resync import end_resyncs, resync
from app.sync.work import holding
from app.targets.kinds import KINDS

OpenWriter = Callable[[Target], Awaitable[Writer]]


@dataclass(frozen=True, slots=True)
class Outlets:
    """The targets of one database and how their writers are opened."""

    db: Database
    targets: Targets
    open_writer: OpenWriter

    async def work_off(self, target_id: str, owner: str) -> None:
        """Plan what was asked for, send what waits, unless the target is deleted, also meanwhile. Raises TryLater and
        AskAdmin when it has to wait."""
        target = await self._living(target_id)
        if target is None:
            return
        # Targets in one place are written in turn, whichever processes run.
        async with holding(self.db, f"deliver:{target.channel}", owner) as lease:
            target = await self._living(target_id) if lease else None
            if lease is None or target is None:
                return
            writer = await self.open_writer(target)
            try:
                await _work(Delivering(self.db, self.targets, target, lease, writer))
            except Refused:
                if await self._living(target_id):
                    raise
            finally:
                await writer.aclose()

    async def _living(self, target_id: str) -> Target | None:
        try:
            async with self.db.read() as conn:
                return await self.targets.get(conn, target_id)
        except Refused:
            return None


def outlets(db: Database, sources: Sources, targets: Targets, allowed: Sequence[str]) -> Outlets:
    """Every target, opened by its kind; `allowed` is the setting WEBHOOK_ALLOW."""

    async def open_writer(target: Target) -> Writer:
        config, origin = await _configured(db, sources, targets, target)
        return KINDS[target.kind].open_writer(config, origin, allowed)

    return Outlets(db, targets, open_writer)


async def check(
    db: Database, sources: Sources, targets: Targets, target: Target, allowed: Sequence[str]
) -> list[Check]:
    """Whether a target can be reached and written to."""
    config, origin = await _configured(db, sources, targets, target)
    return await KINDS[target.kind].check(config, origin, allowed)


async def _configured(db: Database, sources: Sources, targets: Targets, target: Target) -> tuple[Any, Origin]:
    async with db.read() as conn:
        config = KINDS[target.kind].config.model_validate(await targets.revealed(conn, target.id))
        source = await sources.get(conn, target.source_id)
    return config, Origin(source.id, source.corp_id)


async def _work(work: Delivering) -> None:
    async with work.db.read() as conn:
        run_id = await runs.active_resync(conn, work.target.id)
        run = None if run_id is None else await runs.get(conn, run_id)
    if run is not None and (run.state == "queued" or run.stage == "plan"):
        try:
            await resync(work, run)
        except AskAdmin as error:
            async with work.db.fenced(work.lease) as conn:
                await runs.save(conn, run.id, state="failed", error=error.record(), finished_at=now())
            raise
    await deliver(work)
    await end_resyncs(work)
