"""The writer of a NocoBase target: one push at a time, and what became of each record."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from app.core.outgoing import Outcome, Outgoing, Pairing
from app.errors import AskAdmin, TryLater
from app.targets.nocobase.client import TooLarge, WholeBatch, call, connect, push
from app.targets.nocobase.config import NocoBaseConfig
from app.targets.nocobase.records import Record, record_of, removal_record
from app.targets.nocobase.texts import TEXTS, error

LARGEST_BATCH: Final = 100
SMALLEST_BATCH: Final = 10
LONG_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 10.0
POLL_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 600.0
BLIND_SECONDS: Final = 120.0
"""How long a push may go on when nobody may look."""
ALREADY_GONE: Final = ('invalid "undefined" value', "value too long for type")

CONFLICT: Final = Outcome("dead", "nocobase.pairing_conflict", TEXTS["nocobase.pairing_conflict"]["en"].title)

Sleep = Callable[[float], Awaitable[None]]


class NocoBaseWriter:
    """A `Writer`. `batch` follows the time that NocoBase takes."""

    def __init__(
        self,
        config: NocoBaseConfig,
        corp_id: str,
        client: httpx.AsyncClient | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.batch = LARGEST_BATCH
        self._config = config
        self._source = config.source_name or f"wecom-{corp_id}"
        self._client = client or connect(config)
        self._sleep = sleep
        self._clock = clock

    def record(self, item: Outgoing) -> Mapping[str, object] | None:
        return record_of(item, self._config)

    async def write(self, items: Sequence[Outgoing]) -> list[Outcome]:
        kind = items[0].kind
        fresh = [item for item in items if item.link is None and item.value.get("active")] if kind == "user" else []
        pairings = await self.pair(fresh) if fresh else {}
        outcomes = {id_: CONFLICT for id_, pairing in pairings.items() if pairing.state == "conflict"}
        pushed = {item.object_id: self._record(item) for item in items if item.object_id not in outcomes}
        for records, match_key in self._groups(items, pushed):
            outcomes |= await self._pushed(kind, records, match_key)
        return [_with_account(outcomes[item.object_id], pairings.get(item.object_id)) for item in items]

    def _record(self, item: Outgoing) -> Record:
        record = record_of(item, self._config)
        return removal_record(item) if record is None else record

    def _groups(self, items: Sequence[Outgoing], pushed: Mapping[str, Record]) -> list[tuple[list[Record], str | None]]:
        """Who lacks the field to match by goes without it: a null there would match anybody who lacks it, too."""
        key = self._config.match_key
        if items[0].kind == "user" and any("isDeleted" in record for record in pushed.values()):
            key = "username"  # with no user name in the record: a repeated delete then fails instead of creating
            return [(list(pushed.values()), key)]
        if items[0].kind == "department" or key is None:
            return [(list(pushed.values()), None)] if pushed else []
        with_key = [record for record in pushed.values() if record.get(key)]
        without = [record for record in pushed.values() if not record.get(key)]
        return [(records, own) for records, own in ((with_key, key), (without, None)) if records]

    async def _pushed(self, kind: str, records: list[Record], match_key: str | None) -> dict[str, Outcome]:
        began = self._clock()
        try:
            failed = await push(self._client, self._source, kind, records, match_key)
        except httpx.ReadTimeout:
            self.batch = max(SMALLEST_BATCH, self.batch // 2)
            await self.settle(datetime.now(UTC))  # NocoBase goes on with it; nothing may be sent beside it
            raise error(TryLater, "nocobase.timeout") from None
        except (WholeBatch, TooLarge):
            return await self._split(kind, records, match_key)
        self._adapt(len(records), self._clock() - began)
        return {record["uid"]: _outcome(failed.get(record["uid"]), record) for record in records}

    async def _split(self, kind: str, records: list[Record], match_key: str | None) -> dict[str, Outcome]:
        """One record spoils its whole push: halves tell which."""
        if len(records) == 1:
            return {records[0]["uid"]: _refused("nocobase.refused", status=500)}
        middle = len(records) // 2
        first = await self._pushed(kind, records[:middle], match_key)
        return first | await self._pushed(kind, records[middle:], match_key)

    def _adapt(self, count: int, seconds: float) -> None:
        if seconds > LONG_SECONDS:
            self.batch = max(SMALLEST_BATCH, self.batch // 2)
        elif seconds < LONG_SECONDS / 2 and count >= self.batch:
            self.batch = min(LARGEST_BATCH, self.batch * 2)

    async def settle(self, since: datetime) -> None:
        """Until users and departments have not changed for a while; where the key may not look, a fixed time."""
        began, quiet_from, seen = self._clock(), self._clock(), None
        while self._clock() - began < LONGEST_SECONDS:
            try:
                now = [await self._newest("users"), await self._newest("departments")]
            except AskAdmin:
                await self._sleep(max(0.0, BLIND_SECONDS - (datetime.now(UTC) - since).total_seconds()))
                return
            if now != seen:
                seen, quiet_from = now, self._clock()
            elif self._clock() - quiet_from >= QUIET_SECONDS:
                return
            await self._sleep(POLL_SECONDS)

    async def _newest(self, collection: str) -> Any:
        query = {"pageSize": "1", "sort": "-updatedAt", "fields": "id,updatedAt"}
        try:
            body = await call(self._client, "GET", f"/{collection}:list", params=query)
        except (httpx.ReadTimeout, WholeBatch, TooLarge):
            raise error(TryLater, "nocobase.unavailable") from None
        return [body.get("meta", {}).get("count"), [row.get("updatedAt") for row in body.get("data", [])]]

    async def pair(self, items: Sequence[Outgoing]) -> dict[str, Pairing]:
        key = self._config.match_key
        if key is None:
            return {}
        wanted: dict[str, list[str]] = {}
        for item in items:
            record = record_of(item, self._config)
            if record and record.get(key):
                wanted.setdefault(str(record[key]), []).append(item.object_id)
        found: dict[str, list[Mapping[str, Any]]] = {}
        for chunk in _chunks(list(wanted), 50):
            for row in await self._accounts(key, chunk):
                found.setdefault(str(row[key]), []).append(row)
        return {id_: _pairing(ids, found.get(value, []), key) for value, ids in wanted.items() for id_ in ids}

    async def _accounts(self, key: str, chunk: Sequence[str]) -> list[Mapping[str, Any]]:
        query = {
            "pageSize": str(len(chunk) * 2),
            "filter": json.dumps({key: {"$in": list(chunk)}}),
            "fields": "id,username,email,phone",
            "appends": "roles",
        }
        try:
            body = await call(self._client, "GET", "/users:list", params=query)
        except (httpx.ReadTimeout, WholeBatch, TooLarge):
            raise error(TryLater, "nocobase.unavailable") from None
        return [row for row in body.get("data", []) if isinstance(row, dict)]

    async def aclose(self) -> None:
        await self._client.aclose()


def _with_account(outcome: Outcome, pairing: Pairing | None) -> Outcome:
    """The id of the account that was taken over; one that we made is known by our id alone."""
    taken_over = outcome.state == "delivered" and pairing is not None and pairing.state == "matched"
    return replace(outcome, remote_id=pairing.remote_id) if pairing and taken_over else outcome


def _pairing(ids: Sequence[str], rows: Sequence[Mapping[str, Any]], key: str) -> Pairing:
    if len(ids) > 1:
        return Pairing("conflict", None, f"several people have the same {key}")
    if not rows:
        return Pairing("create")
    if len(rows) > 1:
        return Pairing("conflict", None, f"several accounts have this {key}")
    if any(role.get("name") in ("root", "admin") for role in rows[0].get("roles") or []):
        return Pairing("conflict", str(rows[0]["id"]), f"account {rows[0]['id']} is an administrator's")
    return Pairing("matched", str(rows[0]["id"]), f"account {rows[0]['id']} has the same {key}")


def _outcome(message: str | None, record: Record) -> Outcome:
    if message is None or (record.get("isDeleted") and any(words in message for words in ALREADY_GONE)):
        return Outcome("delivered", status=200)
    return _refused("nocobase.unique_conflict" if message == "Validation error" else "nocobase.refused", status=200)


def _refused(code: str, status: int) -> Outcome:
    return Outcome("retrying", code, TEXTS[code]["en"].title, status)


def _chunks(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
