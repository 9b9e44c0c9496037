"""Figures read from the tables, for monitoring."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import table_of
from app.store.tables import DepartmentRow, InboxRow, RunRow, SourceRow, UserRow
from app.store.workers import last_beat

sources = table_of(SourceRow)
runs = table_of(RunRow)
inbox = table_of(InboxRow)

Samples = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers by their labels; times are seconds since 1970. Sources that were deleted are left out."""

    runs: Samples
    running: Samples
    succeeded: Samples
    approvals: Samples
    objects: Samples
    changes: Samples
    events: Samples
    last_events: Samples
    beats: Samples


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
    )


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
