"""The guard over single objects: what events and scoped runs may destroy within a day without asking a person."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Change, GuardKind
from app.core.guard import COUNTED, Loss, Policy, destroyed, digest, judge
from app.store import plans, runs
from app.store.bulk import insert
from app.store.changes import recent_losses
from app.store.directory import existing_counts, unmanaged_counts, valued
from app.store.sources import Source
from app.store.tables import RunRow

WINDOW: Final = timedelta(hours=24)


async def withhold_excess(
    conn: AsyncConnection, source: Source, changes: Sequence[Change], *, at: datetime
) -> tuple[list[Change], list[Change]]:
    """Split changes into those that may be made and those withheld, which go onto the source's open approval."""
    allowed, withheld = await split(conn, source, changes, at=at)
    if withheld:
        await _add_to_approval(conn, source, withheld, at)
    return allowed, withheld


async def split(
    conn: AsyncConnection, source: Source, changes: Sequence[Change], *, at: datetime
) -> tuple[list[Change], list[Change]]:
    """Allowed and withheld changes by the limits of the source over the last 24 hours."""
    if not any(change.guarded for change in changes):
        return list(changes), []
    recent = await recent_losses(conn, source.id, at - WINDOW)
    trips = judge(await _losses(conn, source.id, changes, recent), Policy.of(source.guard))
    kinds = {trip.loss.kind for trip in trips}
    return [c for c in changes if c.guarded not in kinds], [c for c in changes if c.guarded in kinds]


async def _losses(
    conn: AsyncConnection, source_id: str, changes: Iterable[Change], recent: dict[str, int]
) -> list[Loss]:
    lost: dict[str, int] = {}
    for change in changes:
        if change.guarded and change.action == COUNTED[change.guarded]:
            names = [f"blank:{name}" for name in change.after] if change.guarded == "blank" else [change.guarded]
            for name in names:
                lost[name] = lost.get(name, 0) + 1
    existing = await existing_counts(conn, source_id)
    losses = []
    for name, count in lost.items():
        kind, _, field = name.partition(":")
        had = await valued(conn, source_id, field) if field else existing[kind]
        losses.append(Loss(cast(GuardKind, kind), count, had, field or None, recent.get(name, 0)))
    return losses


async def _add_to_approval(conn: AsyncConnection, source: Source, changes: Sequence[Change], at: datetime) -> None:
    run_id = source.open_approval
    if run_id is None:
        row = runs.blank_row(source.id, kind="events", trigger="event", state="awaiting_approval")
        message = {"code": "guard.tripped", "message": "Events would destroy more than the limits of a day allow."}
        await insert(conn, RunRow, [row | {"started_at": at, "warnings": [message]}])
        run_id = row["id"]
        await runs.open_approval(conn, source.id, run_id)
    held = await plans.withheld_objects(conn, run_id)
    fresh = [change for change in changes if (change.kind, change.key) not in held]
    await plans.add(conn, run_id, fresh, plans.PEOPLE, state="withheld")
    marks = await plans.marks(conn, run_id, ("withheld",)) | {m for change in fresh for m in destroyed(change)}
    counts = await plans.counts(conn, run_id, {}, await unmanaged_counts(conn, source.id))
    await runs.save(conn, run_id, digest=digest(marks), counts=counts)
