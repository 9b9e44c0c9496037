"""Figures read from the tables, for monitoring."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import table_of
from app.store.tables import DeliveryRow, DepartmentRow, InboxRow, RunRow, SourceRow, TargetRow, UserRow
from app.store.targets import condition
from app.store.workers import last_beat

sources = table_of(SourceRow)
runs = table_of(RunRow)
inbox = table_of(InboxRow)
targets = table_of(TargetRow)
deliveries = table_of(DeliveryRow)

Samples = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers by their labels; times are seconds since 1970. Sources and targets that were deleted are left out."""

    runs: Samples
    running: Samples
    succeeded: Samples
    approvals: Samples
    objects: Samples
    changes: Samples
    events: Samples
    last_events: Samples
    beats: Samples
    targets: Samples
    deliveries: Samples
    backlog: Samples
    oldest: Samples
    delivered: Samples


async def read(conn: AsyncConnection) -> Facts:
    """All figures, in one snapshot."""
    living = (await conn.execute(select(sources).where(sources.c.deleted_at.is_(None)))).mappings().all()
    ids = [row["id"] for row in living]
    by_state = await _rows(conn, _count(runs, ids, runs.c.kind, runs.c.state))
    events = await _rows(conn, _count(inbox, ids, inbox.c.state))
    beat = await last_beat(conn)
    return Facts(
        runs=_samples(by_state),
        running={
            (id_,): float(sum(row[-1] for row in by_state if row[0] == id_ and row[2] == "running")) for id_ in ids
        },
        succeeded=_samples(await _rows(conn, _last_success(ids))),
        approvals={(row["id"],): float(row["open_approval"] is not None) for row in living},
        objects=await _objects(conn, ids),
        changes={(row["id"],): float(row["next_seq"] - 1) for row in living},
        events=_samples(events),
        last_events={(row["id"],): row["last_event_at"].timestamp() for row in living if row["last_event_at"]},
        beats={(): beat.timestamp()} if beat else {},
        **await _targets(conn),
    )


async def _targets(conn: AsyncConnection) -> dict[str, Samples]:
    living = (await conn.execute(select(targets).where(targets.c.deleted_at.is_(None)))).mappings().all()
    ids = [row["id"] for row in living]
    mine = (deliveries.c.target_id.in_(ids), deliveries.c.state.in_(("pending", "retrying")))
    waiting = select(deliveries.c.target_id, func.min(deliveries.c.created_at)).where(*mine)
    by_state = select(deliveries.c.target_id, deliveries.c.state, func.count()).where(deliveries.c.target_id.in_(ids))
    rows = await _rows(conn, select(sources.c.id, sources.c.next_seq - 1))
    newest = {row[0]: row[1] for row in rows}
    return {
        "targets": {(row["id"], _condition(row)): 1.0 for row in living},
        "deliveries": _samples(await _rows(conn, by_state.group_by(deliveries.c.target_id, deliveries.c.state))),
        "backlog": {(row["id"],): float(newest[row["source_id"]] - row["position"]) for row in living},
        "oldest": _samples(await _rows(conn, waiting.group_by(deliveries.c.target_id))),
        "delivered": {(row["id"],): row["last_delivered_at"].timestamp() for row in living if row["last_delivered_at"]},
    }


def _condition(row: Any) -> str:
    return condition(row["enabled"], row["state"], row["open_approval"])


async def _objects(conn: AsyncConnection, ids: list[str]) -> Samples:
    found: Samples = {}
    for model, name in ((UserRow, "user"), (DepartmentRow, "department")):
        table = table_of(model)
        seen = case((table.c.unmanaged_since.is_(None), "active"), else_="unmanaged")
        state = case((table.c.active, seen), else_="inactive").label("state")
        for source_id, value, count in await _rows(conn, _count(table, ids, state)):
            found[source_id, name, value] = float(count)
    return found


def _count(table: Any, ids: list[str], *labels: Any) -> Any:
    columns = (table.c.source_id, *labels)
    return select(*columns, func.count()).where(table.c.source_id.in_(ids)).group_by(*columns)


def _last_success(ids: list[str]) -> Any:
    good = (runs.c.source_id.in_(ids), runs.c.kind == "full", runs.c.state == "succeeded", runs.c.dry_run.is_(False))
    return select(runs.c.source_id, func.max(runs.c.finished_at)).where(*good).group_by(runs.c.source_id)


async def _rows(conn: AsyncConnection, query: Any) -> list[Any]:
    return list((await conn.execute(query)).all())


def _samples(rows: Iterable[Any]) -> Samples:
    return {tuple(row[:-1]): row[-1].timestamp() if hasattr(row[-1], "timestamp") else float(row[-1]) for row in rows}
