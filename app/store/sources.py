"""The configured sources: their configuration, sealed secrets, and what was last seen of them."""

import secrets as random
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.ports import CallbackPair
from app.errors import Refused
from app.store.bulk import table_of
from app.store.callback_pairs import PREVIOUS, pairs_of, proven, rotated
from app.store.db import Database, new_id, now
from app.store.keys import Sealer
from app.store.tables import SourceRow, UserRow

CONFIGURATION: Final = frozenset({"name", "enabled", "config", "secrets", "schedule", "guard"})
OBSERVED: Final = frozenset(
    {"range", "readable", "swept", "swept_at", "next_run_at", "escalated_at", "open_approval"}
    | {"verified_at", "last_event_at"}
)
CACHED_SECONDS: Final = 2.0
TOUCHED_SECONDS: Final = 15.0
"""Longer than any transaction lives: so long after a change its source is read from the database each time."""

table = table_of(SourceRow)
users = table_of(UserRow)


@dataclass(frozen=True, slots=True)
class Source:
    """A configured source without its secrets; `secrets_set` names those it has. The other fields are SourceRow's."""

    id: str
    name: str
    kind: str
    enabled: bool
    config: Mapping[str, Any]
    secrets_set: frozenset[str]
    callback_key: str
    schedule: Mapping[str, Any] | None
    guard: Mapping[str, Any]
    version: int
    range: Mapping[str, Any] | None
    readable: tuple[str, ...]
    swept: int
    swept_at: datetime | None
    next_run_at: datetime | None
    escalated_at: datetime | None
    open_approval: str | None
    verified_at: datetime | None
    last_event_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @property
    def corp_id(self) -> str:
        return str(self.config["corp_id"])


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a callback is verified with. `awaited` is the index of a new pair that has not verified anything yet."""

    source_id: str
    kind: str
    enabled: bool
    config: Mapping[str, Any]
    pairs: tuple[CallbackPair, ...]
    awaited: int | None


class Sources:
    """The sources of one database; one object per process, because it remembers who is behind a callback key."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._receivers: dict[str, tuple[float, Receiver]] = {}
        self._touched: dict[str, float] = {}

    async def create(
        self,
        conn: AsyncConnection,
        *,
        name: str,
        kind: str,
        config: Mapping[str, Any],
        secrets: Mapping[str, Any],
        enabled: bool = True,
        schedule: Mapping[str, Any] | None = None,
        guard: Mapping[str, Any] | None = None,
        next_run_at: datetime | None = None,
    ) -> Source:
        """A new source; `config` holds no secrets, `secrets` those that are set by the name of their field."""
        at, id = now(), new_id("src")
        row = {
            "id": id,
            "name": name,
            "kind": kind,
            "enabled": enabled,
            "config": dict(config),
            "secrets": self._sealer.seal_json(_merged({}, secrets)),
            "callback_key": random.token_urlsafe(24),
            "schedule": schedule,
            "guard": dict(guard or {}),
            "next_run_at": next_run_at,
            "created_at": at,
            "updated_at": at,
        }
        await conn.execute(insert(table).values(row))
        return await self.get(conn, id)

    async def get(self, conn: AsyncConnection, id: str) -> Source:
        """Raises Refused (404 source.not_found). A deleted source is still there to be read."""
        return self.value(await _row(conn, id))

    async def list(self, conn: AsyncConnection, *, deleted: bool = False) -> "list[Source]":
        """Every source in the order of creation."""
        query = select(table).order_by(table.c.id)
        rows = await conn.execute(query if deleted else query.where(table.c.deleted_at.is_(None)))
        return [self.value(row) for row in rows.mappings()]

    def value(self, row: RowMapping) -> Source:
        """The source in a row that holds every column of SourceRow."""
        stored = self._sealer.open_json(row["secrets"])
        names = {name for name, secret in stored.items() if name != PREVIOUS and secret}
        given = {field.name: row[field.name] for field in fields(Source) if field.name in row}
        return Source(**given | {"secrets_set": frozenset(names), "readable": tuple(row["readable"])})

    async def secrets(self, conn: AsyncConnection, id: str) -> dict[str, Any]:
        """The secrets in clear, by field; for a reader or a check, never for an answer."""
        return _fields(self._sealer.open_json((await _row(conn, id))["secrets"]))

    async def revealed(self, conn: AsyncConnection, id: str) -> dict[str, Any]:
        """The whole configuration, secrets in clear, as its kind reads it; never for an answer."""
        row = await _row(conn, id)
        return {**row["config"], **_fields(self._sealer.open_json(row["secrets"]))}

    async def patch(
        self, conn: AsyncConnection, id: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> Source:
        """Change the configuration: `config` as a whole, of `secrets` those named (None removes), and `next_run_at`.

        Raises Refused: 404 source.not_found, 412 source.version_mismatch, 409 source.corp_id_fixed.
        """
        row = await _row(conn, id, alive=True, lock=True)
        if version is not None and version != row["version"]:
            raise Refused("source.version_mismatch", "the source was changed in the meantime", status=412)
        await _same_corp(conn, row, changes.get("config"))
        values = dict(changes)
        if unknown := values.keys() - CONFIGURATION - {"next_run_at"}:
            raise ValueError(f"not part of a source's configuration: {sorted(unknown)}")
        if "secrets" in values:
            values["secrets"] = self._sealer.seal_json(
                _merged(self._sealer.open_json(row["secrets"]), values["secrets"])
            )
        if values.keys() & CONFIGURATION:
            values |= {"version": row["version"] + 1, "updated_at": now()}
        return await self._changed(conn, row, values)

    async def delete(self, conn: AsyncConnection, id: str) -> Source:
        """Stop a source for good and forget its secrets; its directory stays. Raises Refused (404 source.not_found)."""
        row = await _row(conn, id, alive=True, lock=True)
        at = now()
        gone = {"deleted_at": at, "updated_at": at, "enabled": False, "next_run_at": None}
        gone["secrets"] = self._sealer.seal_json({})
        return await self._changed(conn, row, gone | {"version": row["version"] + 1})

    async def record(self, conn: AsyncConnection, id: str, **columns: Any) -> None:
        """Keep what was seen of a source (the names in OBSERVED); its version stays."""
        if unknown := columns.keys() - OBSERVED:
            raise ValueError(f"not an observation of a source: {sorted(unknown)}")
        await conn.execute(update(table).where(table.c.id == id).values(columns))

    async def reseal_all(self, conn: AsyncConnection) -> int:
        """Seal every source's secrets with the first key; the number of sources."""
        rows = (await conn.execute(select(table.c.id, table.c.secrets).with_for_update(key_share=True))).all()
        for row in rows:
            await conn.execute(
                update(table).where(table.c.id == row.id).values(secrets=self._sealer.reseal(row.secrets))
            )
        return len(rows)

    async def rotate_pair(
        self, conn: AsyncConnection, id: str, fresh: CallbackPair, overlap_seconds: float = 86_400
    ) -> Source:
        """Make `fresh` the source's callback pair; the one before works on until `overlap_seconds` (at least 0) after
        the new one verified its first request. Raises Refused (404 source.not_found)."""
        row = await _row(conn, id, alive=True, lock=True)
        stored = rotated(self._sealer.open_json(row["secrets"]), fresh, overlap_seconds, now())
        values = {"secrets": self._sealer.seal_json(stored), "version": row["version"] + 1, "updated_at": now()}
        return await self._changed(conn, row, values)

    async def pair_used(self, conn: AsyncConnection, id: str, pair: CallbackPair, *, verified: bool) -> None:
        """A request was authentic under `pair`; `verified` when it was WeCom's URL verification."""
        row = await _row(conn, id, lock=True)
        values: dict[str, Any] = {"verified_at": now()} if verified else {}
        stored = proven(self._sealer.open_json(row["secrets"]), pair, now())
        if stored is not None:
            values["secrets"] = self._sealer.seal_json(stored)
        if values:
            await self._changed(conn, row, values)

    async def by_callback_key(self, db: Database, key: str) -> Receiver | None:
        """Who is behind a callback URL; remembered for two seconds, but this process sees its own changes at once."""
        kept = self._receivers.get(key)
        if kept and kept[0] > time.monotonic():
            return kept[1]
        async with db.read() as conn:
            query = select(table).where(table.c.callback_key == key, table.c.deleted_at.is_(None))
            row = (await conn.execute(query)).mappings().first()
        if row is None:
            return None
        receiver = self._receiver(row)
        if self._touched.get(key, 0.0) < time.monotonic():
            self._receivers[key] = (time.monotonic() + CACHED_SECONDS, receiver)
        return receiver

    def _receiver(self, row: RowMapping) -> Receiver:
        pairs, awaited = pairs_of(self._sealer.open_json(row["secrets"]), row["config"]["corp_id"], now())
        return Receiver(row["id"], row["kind"], row["enabled"], row["config"], pairs, awaited)

    async def _changed(self, conn: AsyncConnection, row: RowMapping, values: Mapping[str, Any]) -> Source:
        self._receivers.pop(row["callback_key"], None)
        self._touched[row["callback_key"]] = time.monotonic() + TOUCHED_SECONDS
        if values:
            await conn.execute(update(table).where(table.c.id == row["id"]).values(values))
        return await self.get(conn, row["id"])


async def lock(conn: AsyncConnection, id: str) -> None:
    """Hold a source's row until the transaction ends, right after the fence: drains and a run take turns.

    Callbacks do not wait for it. Raises Refused (404 source.not_found).
    """
    await _row(conn, id, lock=True)


async def _row(conn: AsyncConnection, id: str, *, alive: bool = False, lock: bool = False) -> RowMapping:
    query = select(table).where(table.c.id == id)
    # NO KEY UPDATE: the inbox's foreign key must not wait for it.
    row = (await conn.execute(query.with_for_update(key_share=True) if lock else query)).mappings().first()
    if row is None or (alive and row["deleted_at"] is not None):
        raise Refused("source.not_found", "there is no such source", status=404, params={"id": id})
    return row


async def _same_corp(conn: AsyncConnection, row: RowMapping, config: Mapping[str, Any] | None) -> None:
    if config is None or config.get("corp_id") == row["config"].get("corp_id"):
        return
    if await conn.scalar(select(users.c.id).where(users.c.source_id == row["id"]).limit(1)):
        raise Refused("source.corp_id_fixed", "the company of a source cannot change once it has people", status=409)


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: secret for name, secret in {**stored, **given}.items() if secret is not None}


def _fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: secret for name, secret in stored.items() if name != PREVIOUS}
