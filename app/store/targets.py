"""The configured targets: their configuration, sealed secrets, and how far each has come in the feed of its source."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Refused
from app.store.bulk import table_of
from app.store.db import new_id, now
from app.store.keys import Sealer
from app.store.tables import DeliveryRow, LinkRow, RunRow, SourceRow, TargetRow

CONFIGURATION: Final = frozenset({"name", "enabled", "config", "secrets", "guard", "channel"})

table = table_of(TargetRow)
deliveries = table_of(DeliveryRow)
links = table_of(LinkRow)
sources = table_of(SourceRow)
runs = table_of(RunRow)


@dataclass(frozen=True, slots=True)
class Target:
    """A configured target without its secrets; `secrets_set` names those it has. The other fields are TargetRow's."""

    id: str
    source_id: str
    name: str
    kind: str
    enabled: bool
    config: Mapping[str, Any]
    secrets_set: frozenset[str]
    guard: Mapping[str, Any]
    version: int
    channel: str
    wants_news: bool
    state: str
    taken: int
    position: int
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    sending_since: datetime | None
    open_approval: str | None
    last_error: Mapping[str, Any] | None
    last_delivered_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def condition(self) -> str:
        """The state as it is shown: ok, retrying, suspended, paused or awaiting_approval."""
        return condition(self.enabled, self.state, self.open_approval)


def condition(enabled: bool, state: str, open_approval: str | None) -> str:
    """A target's state as it is shown."""
    if not enabled:
        return "paused"
    return "awaiting_approval" if state == "ok" and open_approval else state


class Targets:
    """The targets of one database."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def create(
        self,
        conn: AsyncConnection,
        *,
        id: str,
        source_id: str,
        name: str,
        kind: str,
        config: Mapping[str, Any],
        secrets: Mapping[str, Any],
        channel: str,
        wants_news: bool,
        enabled: bool = True,
        guard: Mapping[str, Any] | None = None,
    ) -> Target:
        """A new target that follows the feed from now on. Raises Refused (404 source.not_found)."""
        query = select(sources.c.next_seq).where(sources.c.id == source_id, sources.c.deleted_at.is_(None))
        next_seq = await conn.scalar(query)
        if next_seq is None:
            raise Refused("source.not_found", "there is no such source", status=404, params={"id": source_id})
        at = now()
        row = TargetRow(
            id=id,
            source_id=source_id,
            name=name,
            kind=kind,
            enabled=enabled,
            config=dict(config),
            secrets=self._sealer.seal_json(_set(secrets)),
            guard=dict(guard or {}),
            channel=channel,
            wants_news=wants_news,
            taken=next_seq - 1,
            position=next_seq - 1,
            created_at=at,
            updated_at=at,
        )
        await conn.execute(insert(table).values(row.model_dump()))
        return await self.get(conn, id)

    async def get(self, conn: AsyncConnection, id: str) -> Target:
        """Raises Refused (404 target.not_found)."""
        return self._value(await _row(conn, id))

    async def list(
        self, conn: AsyncConnection, *, source_id: str | None = None, after: str | None = None, limit: int = 1000
    ) -> "list[Target]":
        """Targets in the order of creation."""
        query = select(table).where(table.c.deleted_at.is_(None)).order_by(table.c.id).limit(limit)
        query = query if source_id is None else query.where(table.c.source_id == source_id)
        query = query if after is None else query.where(table.c.id > after)
        return [self._value(row) for row in (await conn.execute(query)).mappings()]

    async def revealed(self, conn: AsyncConnection, id: str) -> dict[str, Any]:
        """The whole configuration, secrets in clear, as its kind reads it; never for an answer."""
        row = await _row(conn, id)
        return {**row["config"], **self._sealer.open_json(row["secrets"])}

    async def patch(
        self, conn: AsyncConnection, id: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> Target:
        """Change the configuration: `config` as a whole, of `secrets` those named (None removes). It is tried at once.

        Raises Refused: 404 target.not_found, 412 target.version_mismatch.
        """
        row = await _row(conn, id, lock=True)
        if version is not None and version != row["version"]:
            raise Refused("target.version_mismatch", "the target was changed in the meantime", status=412)
        values = dict(changes)
        if unknown := values.keys() - CONFIGURATION:
            raise ValueError(f"not part of a target's configuration: {sorted(unknown)}")
        if "secrets" in values:
            values["secrets"] = self._sealer.seal_json(
                _set({**self._sealer.open_json(row["secrets"]), **values["secrets"]})
            )
        values |= {"version": row["version"] + 1, "updated_at": now()} | FRESH
        await conn.execute(update(table).where(table.c.id == id).values(values))
        return await self.get(conn, id)

    async def delete(self, conn: AsyncConnection, id: str) -> None:
        """Stop a target for good and forget its secrets, what waited and what it acknowledged; the other system keeps
        what it has. Raises Refused (404 target.not_found)."""
        await _row(conn, id, lock=True)
        at = now()
        active = (runs.c.target_id == id, runs.c.state.in_(("queued", "running", "awaiting_approval")))
        await conn.execute(update(runs).where(*active).values(state="cancelled", finished_at=at))
        await conn.execute(delete(deliveries).where(deliveries.c.target_id == id))
        await conn.execute(delete(links).where(links.c.target_id == id))
        gone = {"deleted_at": at, "enabled": False, "secrets": self._sealer.seal_json({}), "open_approval": None}
        await conn.execute(update(table).where(table.c.id == id).values(gone))

    async def reseal_all(self, conn: AsyncConnection) -> int:
        """Seal every target's secrets with the first key; the number of targets."""
        rows = (await conn.execute(select(table.c.id, table.c.secrets))).all()
        for row in rows:
            await conn.execute(
                update(table).where(table.c.id == row.id).values(secrets=self._sealer.reseal(row.secrets))
            )
        return len(rows)

    def _value(self, row: RowMapping) -> Target:
        names = frozenset(self._sealer.open_json(row["secrets"]))
        given = {field.name: row[field.name] for field in fields(Target) if field.name in row}
        return Target(**given | {"secrets_set": names})


FRESH: Final = {"state": "ok", "failures": 0, "failing_since": None, "next_attempt_at": None}
"""What a success, or a corrected configuration, makes of a target's state."""


async def record(conn: AsyncConnection, id: str, **columns: Any) -> None:
    """Keep how a target is doing; its version stays."""
    await conn.execute(update(table).where(table.c.id == id).values(columns))


async def taken(conn: AsyncConnection, id: str) -> int:
    """The number up to which changes were put in line."""
    return int((await conn.execute(select(table.c.taken).where(table.c.id == id))).scalar_one())


async def newest(conn: AsyncConnection, source_id: str) -> int:
    """The number of the newest change of a source."""
    return int((await conn.execute(select(sources.c.next_seq).where(sources.c.id == source_id))).scalar_one()) - 1


async def of_source(conn: AsyncConnection, source_id: str) -> list[str]:
    """The ids of the enabled targets of a source."""
    query = select(table.c.id).where(table.c.source_id == source_id, table.c.enabled, table.c.deleted_at.is_(None))
    return list((await conn.scalars(query)).all())


async def due(conn: AsyncConnection, at: datetime) -> list[str]:
    """Targets that have something to do: changes not yet taken, deliveries that are due, a resync."""
    fresh = exists().where(sources.c.id == table.c.source_id, sources.c.next_seq - 1 > table.c.taken)
    waiting = exists().where(
        deliveries.c.target_id == table.c.id,
        deliveries.c.state.in_(("pending", "retrying")),
        deliveries.c.held.is_(False),
        or_(deliveries.c.next_attempt_at.is_(None), deliveries.c.next_attempt_at <= at),
    )
    resync = exists().where(runs.c.target_id == table.c.id, runs.c.state.in_(("queued", "running")))
    rested = or_(table.c.next_attempt_at.is_(None), table.c.next_attempt_at <= at)
    able = (table.c.enabled, table.c.state != "suspended", rested, fresh | waiting)
    living = exists().where(sources.c.id == table.c.source_id, sources.c.deleted_at.is_(None))
    query = select(table.c.id).where(table.c.deleted_at.is_(None), living)
    both = [*await conn.scalars(query.where(*able)), *await conn.scalars(query.where(resync, rested))]
    return sorted(set(both))


async def sending(conn: AsyncConnection, channel: str) -> datetime | None:
    """When a write on this channel began whose end nobody saw."""
    query = select(table.c.sending_since).where(table.c.channel == channel, table.c.sending_since.is_not(None))
    found: datetime | None = await conn.scalar(query.order_by(table.c.sending_since.desc()).limit(1))
    return found


async def settled(conn: AsyncConnection, channel: str) -> None:
    """No write on this channel is under way any more."""
    await conn.execute(update(table).where(table.c.channel == channel).values(sending_since=None))


def fresh_id() -> str:
    """The id of a target that is about to be made; its kind may need it before."""
    return new_id("tgt")


async def _row(conn: AsyncConnection, id: str, *, lock: bool = False) -> RowMapping:
    query = select(table).where(table.c.id == id, table.c.deleted_at.is_(None))
    row = (await conn.execute(query.with_for_update(key_share=True) if lock else query)).mappings().first()
    if row is None:
        raise Refused("target.not_found", "there is no such target", status=404, params={"id": id})
    return row


def _set(secrets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in secrets.items() if value is not None}
