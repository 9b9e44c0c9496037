"""The inbox: authentic callbacks as the drain works them off, and how each of them ended.

`arrived` is an observation number: a read with a larger one was sent after the event came. A duplicate gives its row a
new one, so whoever marks rows touches only those that still are what he saw.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Refused
from app.store.bulk import table_of
from app.store.tables import InboxRow, SourceRow

AT_ONCE: Final = 2_000
"""Rows per marking statement; below both databases' limits of parameters."""

table = table_of(InboxRow)
sources = table_of(SourceRow)


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that waits to be worked off; `attempts` counts the reads that did not yet show what it announced."""

    id: str
    source_id: str
    arrived: int
    received_at: datetime
    change_type: str
    kind: str
    key: str
    new_key: str | None
    created: int
    expects: Mapping[str, Any]
    attempts: int

    def __hash__(self) -> int:
        return hash((self.id, self.arrived))


COLUMNS: Final = [table.c[name] for name in PendingEvent.__dataclass_fields__]


async def due(conn: AsyncConnection, source_id: str, now: datetime) -> list[PendingEvent]:
    """Everything of a source that waits and is due, in the order of arrival."""
    query = select(*COLUMNS).where(table.c.source_id == source_id, *_due(now)).order_by(table.c.arrived, table.c.id)
    return [PendingEvent(*row) for row in await conn.execute(query)]


async def sources_due(conn: AsyncConnection, now: datetime) -> list[str]:
    """The enabled sources that have due events."""
    waiting = exists().where(table.c.source_id == sources.c.id, *_due(now))
    query = select(sources.c.id).where(sources.c.enabled, sources.c.deleted_at.is_(None), waiting)
    return list((await conn.scalars(query.order_by(sources.c.id))).all())


async def pending_count(conn: AsyncConnection, source_id: str) -> int:
    """How many events of a source wait, due or not."""
    where = (table.c.source_id == source_id, table.c.state == "pending")
    return int((await conn.execute(select(func.count()).where(*where))).scalar_one())


async def mark_applied(
    conn: AsyncConnection,
    events: Collection[PendingEvent],
    *,
    at: datetime,
    run_id: str | None = None,
    reason: str | None = None,
) -> int:
    """What these events announced was read and is in the directory; the number of rows marked."""
    return await _mark(conn, events, state="applied", applied_at=at, run_id=run_id, reason=reason, error=None)


async def mark_ignored(conn: AsyncConnection, events: Collection[PendingEvent], reason: str, *, at: datetime) -> int:
    """These events do not concern us; `reason` says why."""
    return await _mark(conn, events, state="ignored", applied_at=at, reason=reason, error=None)


async def mark_failed(
    conn: AsyncConnection, events: Collection[PendingEvent], error: Mapping[str, Any], *, at: datetime
) -> int:
    """Given up; `error` is a ServiceError's record. They can be replayed."""
    return await _mark(conn, events, state="failed", applied_at=at, error=dict(error))


async def postpone(conn: AsyncConnection, attempts: Mapping[PendingEvent, datetime], *, attempt: bool = True) -> int:
    """Look at these events again at their times; `attempt` False when it was not the event's fault."""
    by_time: dict[datetime, list[PendingEvent]] = {}
    for event, at in attempts.items():
        by_time.setdefault(at, []).append(event)
    step = 1 if attempt else 0
    return sum(
        [
            await _mark(conn, events, next_attempt_at=at, attempts=table.c.attempts + step)
            for at, events in by_time.items()
        ]
    )


async def replay(conn: AsyncConnection, event_id: str) -> None:
    """Let an event be worked off again; one that asks for nothing stays ignored. Raises Refused (event.not_found)."""
    if await conn.scalar(select(table.c.id).where(table.c.id == event_id)) is None:
        raise Refused("event.not_found", "there is no such event", status=404, params={"id": event_id})
    await conn.execute(update(table).where(table.c.id == event_id, table.c.kind != "none").values(reopened()))


def reopened() -> dict[str, Any]:
    """The values of a row that waits as if it had just come."""
    return {
        "state": "pending",
        "attempts": 0,
        "next_attempt_at": None,
        "reason": None,
        "error": None,
        "run_id": None,
        "applied_at": None,
    }


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    waited = or_(table.c.next_attempt_at.is_(None), table.c.next_attempt_at <= now)
    return table.c.state == "pending", waited


async def _mark(conn: AsyncConnection, events: Collection[PendingEvent], **values: Any) -> int:
    marked = 0
    for chunk in _chunks(list(events)):
        ids = await _unchanged(conn, chunk)
        await conn.execute(update(table).where(table.c.id.in_(ids)).values(values))
        marked += len(ids)
    return marked


async def _unchanged(conn: AsyncConnection, events: Sequence[PendingEvent]) -> list[str]:
    """Those of the events that still wait and of which no duplicate came; locked until the transaction ends."""
    seen = {event.id: event.arrived for event in events}
    query = select(table.c.id, table.c.arrived).where(table.c.id.in_(seen), table.c.state == "pending")
    rows = await conn.execute(query.order_by(table.c.id).with_for_update())
    return [row.id for row in rows if row.arrived == seen[row.id]]


def _chunks(events: Sequence[PendingEvent]) -> Iterator[Sequence[PendingEvent]]:
    for start in range(0, len(events), AT_ONCE):
        yield events[start : start + AT_ONCE]
