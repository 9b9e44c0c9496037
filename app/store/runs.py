"""Runs: what was asked for, how far it is, how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Action, Change, GuardKind, Kind
from app.core.guard import digest as digest_of_marks
from app.errors import Refused
from app.store import deliveries, targets
from app.store.bulk import insert, table_of
from app.store.db import new_id, now
from app.store.deliveries import Delivery
from app.store.plans import OUTCOMES, REMOVALS, add, counts, marks
from app.store.sources import Source
from app.store.tables import RunRow, SourceRow, StagedPageRow, TargetRow
from app.store.targets import Target

runs = table_of(RunRow)
sources = table_of(SourceRow)
pages = table_of(StagedPageRow)
target_table = table_of(TargetRow)

ACTIVE = ("queued", "running")
ENDED = ("succeeded", "partial", "failed", "cancelled", "rejected")


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands; the fields are those of RunRow."""

    id: str
    source_id: str
    target_id: str | None
    kind: str
    trigger: str
    state: str
    dry_run: bool
    scope: dict[str, Any] | None
    stage: str | None
    done: int
    total: int
    counts: dict[str, dict[str, int]]
    digest: str | None
    warnings: list[dict[str, Any]]
    error: dict[str, Any] | None
    retry_of: str | None
    approval: dict[str, Any] | None
    cancel_requested: bool
    attempts: int
    api_calls: int
    sweep_from: int
    fingerprint: str | None
    read_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def approved(self) -> bool:
        """Whether a person has allowed what this run withheld."""
        return bool(self.approval and self.approval.get("decision") == "approve")


async def order(
    conn: AsyncConnection,
    source: Source,
    *,
    kind: str = "full",
    trigger: str = "api",
    dry_run: bool = False,
    scope: Mapping[str, Any] | None = None,
    retry_of: str | None = None,
) -> Run:
    """Queue a run. Raises Refused `source.disabled`, and `run.already_active` while a full run is queued or running."""
    if not source.enabled:
        raise Refused("source.disabled", "The source is disabled.", "Enable it first.")
    if kind == "full":
        await conn.execute(select(sources.c.id).where(sources.c.id == source.id).with_for_update(key_share=True))
        active = await active_full(conn, source.id)
        if active:
            raise Refused("run.already_active", "A full run is already active.", extra={"run_id": active})
    row = blank_row(source.id, kind=kind, trigger=trigger, state="queued") | {
        "dry_run": dry_run,
        "scope": dict(scope) if scope else None,
        "retry_of": retry_of,
    }
    await insert(conn, RunRow, [row])
    return await get(conn, row["id"])


async def order_purge(conn: AsyncConnection, source_id: str, trigger: str = "api") -> Run:
    """Queue the erasure of a deleted source; the one that is queued or running already, if there is one."""
    query = select(runs.c.id).where(runs.c.source_id == source_id, runs.c.kind == "purge", runs.c.state.in_(ACTIVE))
    run_id = await conn.scalar(query)
    if run_id is None:
        row = blank_row(source_id, kind="purge", trigger=trigger, state="queued")
        await insert(conn, RunRow, [row])
        run_id = row["id"]
    return await get(conn, str(run_id))


async def order_resync(
    conn: AsyncConnection,
    target_id: str,
    source_id: str,
    *,
    trigger: str = "api",
    dry_run: bool = False,
    retry_of: str | None = None,
) -> Run:
    """Queue a comparison of a target with the whole directory. Refused `run.already_active` while there is one."""
    if active := await active_resync(conn, target_id):
        raise Refused("run.already_active", "A resync is already active.", extra={"run_id": active})
    row = blank_row(source_id, kind="resync", trigger=trigger, state="queued")
    own = {"target_id": target_id, "dry_run": dry_run, "retry_of": retry_of}
    await insert(conn, RunRow, [row | own])
    return await get(conn, row["id"])


async def active_resync(conn: AsyncConnection, target_id: str) -> str | None:
    """The resync of a target that is queued or running, if any."""
    query = select(runs.c.id).where(runs.c.target_id == target_id, runs.c.state.in_(ACTIVE))
    return await conn.scalar(query.order_by(runs.c.state.desc(), runs.c.id).limit(1))


async def hold_removals(conn: AsyncConnection, target: Target, excess: Sequence[Delivery]) -> None:
    """Keep removals back on the target's open approval, made where there is none."""
    run_id = target.open_approval
    if run_id is None:
        message = {"code": "guard.tripped", "message": "More would be removed from the target than its limit allows."}
        row = blank_row(target.source_id, kind="resync", trigger="event", state="awaiting_approval")
        await insert(conn, RunRow, [row | {"target_id": target.id, "started_at": now(), "warnings": [message]}])
        run_id = row["id"]
        await targets.record(conn, target.id, open_approval=run_id)
    await deliveries.hold(conn, [one.id for one in excess], run_id)
    await add(conn, run_id, [_removal(one) for one in excess], REMOVALS, state="withheld")
    found = await marks(conn, run_id, ("withheld",))
    await save(conn, run_id, digest=digest_of_marks(found), counts=await counts(conn, run_id, {}, {}))


def _removal(one: Delivery) -> Change:
    action: Action = "remove" if one.kind == "department" else "deactivate"
    guarded: GuardKind = "department" if one.kind == "department" else "deactivate"
    kind: Kind = "department" if one.kind == "department" else "user"
    return Change(kind, action, one.key, {}, {}, 0, one.object_id, guarded=guarded)


def blank_row(source_id: str, *, kind: str, trigger: str, state: str) -> dict[str, Any]:
    """The values of a new run's row."""
    defaults = RunRow(id=new_id("run"), source_id=source_id, kind=kind, trigger=trigger, state=state, created_at=now())
    return defaults.model_dump()


async def get(conn: AsyncConnection, run_id: str) -> Run:
    """One run; Refused 404 `run.not_found`."""
    row = (await conn.execute(select(runs).where(runs.c.id == run_id))).mappings().first()
    if row is None:
        raise Refused("run.not_found", "There is no such run.", status=404)
    return run_of(row)


async def next_of(conn: AsyncConnection, source_id: str) -> Run | None:
    """The run of a source that is to be carried on with: one that a worker left behind, else the oldest queued."""
    query = select(runs).where(runs.c.source_id == source_id, runs.c.state.in_(ACTIVE), runs.c.target_id.is_(None))
    row = (await conn.execute(query.order_by(runs.c.state.desc(), runs.c.id).limit(1))).mappings().first()
    return run_of(row) if row else None


async def waiting_sources(conn: AsyncConnection) -> list[str]:
    """Sources that have a run to be worked on."""
    query = select(runs.c.source_id).where(runs.c.state.in_(ACTIVE), runs.c.target_id.is_(None)).distinct()
    return list((await conn.execute(query)).scalars())


async def begin(conn: AsyncConnection, run: Run) -> bool:
    """Put a run that waits, or was left behind, under way; False when it was cancelled meanwhile."""
    values = {"state": "running", "attempts": run.attempts + 1, "started_at": run.started_at or now()}
    query = update(runs).where(runs.c.id == run.id, runs.c.state.in_(ACTIVE)).values(**values).returning(runs.c.id)
    return (await conn.execute(query)).first() is not None


async def cancel_requested(conn: AsyncConnection, run_id: str) -> bool:
    """Whether somebody asked for a run to be stopped."""
    return bool(await conn.scalar(select(runs.c.cancel_requested).where(runs.c.id == run_id)))


async def save(conn: AsyncConnection, run_id: str, **values: Any) -> bool:
    """Write a run's progress or result; returns whether its cancellation was asked for."""
    query = update(runs).where(runs.c.id == run_id).values(**values)
    returned = (await conn.execute(query.returning(runs.c.cancel_requested, runs.c.source_id, runs.c.kind))).first()
    settled = values.get("state") in (*ENDED, "awaiting_approval")
    if returned is not None and settled and returned.kind != "events":  # those are told change by change
        await deliveries.tell(conn, returned.source_id, "run", run_id)
    return bool(returned and returned.cancel_requested)


async def approve(conn: AsyncConnection, run_id: str, digest: str, reason: str | None, by: str) -> Run:
    """Allow what a run withheld, or carry a dry run out: what it would destroy becomes a ceiling; it is queued anew."""
    run = await _decidable(conn, run_id, digest)
    if run.target_id is not None:
        return await _approve_removals(conn, run, _decision("approve", digest, reason, by))
    ceiling = await marks(conn, run_id, ("planned",) if run.dry_run else ("withheld",))
    approval = _decision("approve", digest, reason, by) | {"ceiling": sorted(ceiling)}
    values = {"state": "queued", "dry_run": False, "approval": approval, "finished_at": None, "error": None}
    await save(conn, run_id, **values, stage=None, done=0, total=0, sweep_from=0, cancel_requested=False)
    await close_approval(conn, run.source_id, run_id)
    return await get(conn, run_id)


async def reject(conn: AsyncConnection, run_id: str, digest: str, reason: str | None, by: str) -> Run:
    """Refuse what a run withheld; its destructive part is never made by it."""
    run = await _decidable(conn, run_id, digest)
    error = {"code": "rejected", "message": reason or "An administrator rejected it.", "hint": ""}
    approval = _decision("reject", digest, reason, by)
    await save(conn, run_id, state="rejected", approval=approval, error=error, finished_at=now())
    if run.target_id is not None:
        await deliveries.drop_held(conn, run_id)
    await close_approval(conn, run.source_id, run_id)
    return await get(conn, run_id)


async def end_needless(conn: AsyncConnection, target: Target) -> None:
    """End a target's open approval when everything that it held back is there again."""
    if target.open_approval is not None and not await deliveries.held_by(conn, target.open_approval):
        error = {"code": "superseded", "message": "Nothing of it is to be removed any more.", "hint": ""}
        await save(conn, target.open_approval, state="rejected", error=error, finished_at=now())
        await close_approval(conn, target.source_id, target.open_approval)


async def _approve_removals(conn: AsyncConnection, run: Run, approval: dict[str, Any]) -> Run:
    """Let a target's removals go, or carry a dry run of a resync out: it compares anew, under the target's guard."""
    await deliveries.release(conn, run.id)
    state = {"state": "queued", "dry_run": False, "stage": None} if run.dry_run else {"state": "running"}
    await save(conn, run.id, approval=approval, finished_at=None, error=None, cancel_requested=False, **state)
    await close_approval(conn, run.source_id, run.id)
    return await get(conn, run.id)


async def supersede_approval(conn: AsyncConnection, source_id: str, by: str | None = None) -> None:
    """End the open approval of a source (unless it is `by` itself): a later plan has taken its place."""
    open_ = await conn.scalar(select(sources.c.open_approval).where(sources.c.id == source_id))
    if open_ is None or open_ == by:
        return
    error = {"code": "superseded", "message": "A later run has made a new plan.", "hint": ""}
    waiting = update(runs).where(runs.c.id == open_, runs.c.state == "awaiting_approval")
    await conn.execute(waiting.values(state="rejected", error=error, finished_at=now()))
    await close_approval(conn, source_id, open_)


async def open_approval(conn: AsyncConnection, source_id: str, run_id: str) -> None:
    """Make a run the open approval of its source."""
    await supersede_approval(conn, source_id, run_id)
    await conn.execute(update(sources).where(sources.c.id == source_id).values(open_approval=run_id))


async def close_approval(conn: AsyncConnection, source_id: str, run_id: str) -> None:
    """The source, or the target, waits for this run's approval no longer."""
    where = (sources.c.id == source_id, sources.c.open_approval == run_id)
    await conn.execute(update(sources).where(*where).values(open_approval=None))
    waiting = update(target_table).where(target_table.c.open_approval == run_id)
    await conn.execute(waiting.values(open_approval=None))


async def cancel(conn: AsyncConnection, run_id: str) -> Run:
    """Stop a run: at once when nobody works on it, else between two pages or batches. Refused `run.finished`."""
    run = await _locked(conn, run_id)
    if run.state in ENDED:
        raise Refused("run.finished", "The run has already finished.")
    if run.state == "running":
        await save(conn, run_id, cancel_requested=True)
    else:
        await save(conn, run_id, state="cancelled", finished_at=now())
        await deliveries.drop_held(conn, run_id)
        await close_approval(conn, run.source_id, run_id)
    return await get(conn, run_id)


async def retry(conn: AsyncConnection, run_id: str, source: Source, trigger: str = "retry") -> Run:
    """Queue the same run again. Refused `run.not_finished` while it is not finished."""
    run = await get(conn, run_id)
    if run.state not in ENDED:
        raise Refused("run.not_finished", "The run has not finished yet.")
    if run.target_id is not None:
        return await order_resync(
            conn, run.target_id, run.source_id, trigger=trigger, dry_run=run.dry_run, retry_of=run.id
        )
    kind = "full" if run.kind == "events" else run.kind
    return await order(conn, source, kind=kind, trigger=trigger, dry_run=run.dry_run, scope=run.scope, retry_of=run.id)


def no_counts() -> dict[str, dict[str, int]]:
    """The counts of a run that has done nothing."""
    return {kind: dict.fromkeys(OUTCOMES, 0) for kind in ("departments", "users", "memberships")}


def run_of(row: RowMapping) -> Run:
    """A run from its row."""
    return Run(**{**row, "counts": row["counts"] or no_counts()})


async def _locked(conn: AsyncConnection, run_id: str) -> Run:
    await conn.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update())
    return await get(conn, run_id)


async def _decidable(conn: AsyncConnection, run_id: str, digest: str) -> Run:
    run = await _locked(conn, run_id)
    carried_out = run.dry_run and run.state in ("succeeded", "partial")
    if run.state != "awaiting_approval" and not carried_out:
        raise Refused("run.not_awaiting_approval", "The run is not awaiting approval.")
    if digest != run.digest:
        raise Refused("run.digest_mismatch", "The digest is not that of the run's present plan.")
    return run


async def active_full(conn: AsyncConnection, source_id: str) -> str | None:
    """The full run of a source that is queued or running, if any; one queued by an approval does not count."""
    query = select(runs.c.id).where(runs.c.source_id == source_id, runs.c.kind == "full", runs.c.state.in_(ACTIVE))
    fresh = or_(runs.c.approval.is_(None), runs.c.state == "running")
    return await conn.scalar(query.where(fresh).limit(1))


async def is_no_answer(conn: AsyncConnection, run_id: str) -> bool:
    """Whether a full run says nothing about what happens from now on: it reads already, or changes nothing."""
    run = await get(conn, run_id)
    return run.state != "queued" or run.dry_run


def _decision(decision: str, digest: str, reason: str | None, by: str) -> dict[str, Any]:
    return {"decision": decision, "digest": digest, "reason": reason, "by": by, "at": now().isoformat()}


async def ended_with_staging(conn: AsyncConnection, *, before: datetime) -> list[str]:
    """Runs that ended before a time and still have staged rows."""
    staged = select(pages.c.run_id).distinct()
    query = select(runs.c.id).where(runs.c.id.in_(staged), runs.c.finished_at < before).limit(10)
    return list((await conn.execute(query)).scalars())
