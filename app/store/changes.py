"""The change feed: per source gap-free, in commit order, append-only."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Change, object_of
from app.store.bulk import insert, table_of
from app.store.leases import take_seqs
from app.store.tables import ChangeRow, SourceRow

changes = table_of(ChangeRow)
sources = table_of(SourceRow)


@dataclass(frozen=True, slots=True)
class Origin:
    """What caused a batch of changes: a run, or events by the key of the object they named.

    `approved` changes were allowed by a person and do not count against the sliding window.
    """

    run_id: str | None = None
    events: Mapping[str, str] = field(default_factory=dict)
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of the change feed."""

    source_id: str
    seq: int
    kind: str
    action: str
    object_id: str
    key: str
    previous_key: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    run_id: str | None
    event_id: str | None
    reason: str | None
    at: datetime


async def lock(conn: AsyncConnection, source_id: str) -> None:
    """Lock a source's feed until the transaction ends: the second statement of every applying transaction."""
    await conn.execute(select(sources.c.id).where(sources.c.id == source_id).with_for_update(key_share=True))


async def record(
    conn: AsyncConnection, source_id: str, numbered: Sequence[tuple[Change, str]], *, at: datetime, origin: Origin
) -> int:
    """Append changes with the next numbers of the source; the caller holds the lock on its row."""
    if not numbered:
        return 0
    first = await take_seqs(conn, source_id, len(numbered))
    rows = [
        {
            "source_id": source_id,
            "seq": first + offset,
            "kind": change.kind,
            "action": change.action,
            "object_id": object_id,
            "key": change.key,
            "previous_key": change.previous_key,
            "before": dict(change.before),
            "after": dict(change.after),
            "run_id": origin.run_id,
            "event_id": origin.events.get(":".join(object_of(change))),
            "guarded": None if origin.approved else change.guarded,
            "reason": change.reason,
            "observed": change.observed,
            "at": at,
        }
        for offset, (change, object_id) in enumerate(numbered)
    ]
    await insert(conn, ChangeRow, rows)
    return len(rows)


async def born(conn: AsyncConnection, object_ids: Collection[str]) -> dict[str, int]:
    """The number of the read by which each person got his present userid."""
    arrivals = (changes.c.kind == "user", changes.c.action.in_(("create", "rename")))
    query = select(changes.c.object_id, func.max(changes.c.observed)).where(
        changes.c.object_id.in_(object_ids), *arrivals
    )
    return {row[0]: row[1] for row in await conn.execute(query.group_by(changes.c.object_id))}


async def recent_losses(conn: AsyncConnection, source_id: str, since: datetime) -> dict[str, int]:
    """Destructive changes made since a time without a person's approval, by guard kind; `blank:<field>` per field."""
    where = (changes.c.source_id == source_id, changes.c.guarded.is_not(None), changes.c.at >= since)
    query = select(changes.c.guarded, changes.c.action, cast(changes.c.after, Text), func.count()).where(*where)
    query = query.group_by(changes.c.guarded, changes.c.action, cast(changes.c.after, Text))
    losses: dict[str, int] = {}
    counted = {("deactivate", "deactivate"), ("department", "remove"), ("membership", "remove")}
    for guarded, action, after, count in await conn.execute(query):
        names = [f"blank:{name}" for name in json.loads(after)] if guarded == "blank" else [guarded]
        for name in names if guarded == "blank" or (guarded, action) in counted else []:
            losses[name] = losses.get(name, 0) + count
    return losses
