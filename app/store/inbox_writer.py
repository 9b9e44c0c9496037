"""Group commit: callbacks that arrive together are stored in one transaction, each answered when it is durable."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.dml import ReturningInsert

from app.core.event import Event
from app.errors import TryLater
from app.store.bulk import Row, bound
from app.store.db import Database, new_id, now
from app.store.inbox import reopened, sources, table

BATCH: Final = 500
GATHER_SECONDS: Final = 0.002
"""Under load a transaction waits so long for company: its fixed cost is that of a dozen events."""
WAITING: Final = 20_000
"""Callbacks that may wait; further ones are refused, and WeCom sends them again."""
LAST_EVENT_SECONDS: Final = 1.0

# What a database driver raises for a value it does not take; SQLite's speaks Python's own exceptions.
REFUSED_VALUE: Final = (SQLAlchemyError, OverflowError, ValueError, TypeError)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """`new` is False for a duplicate; `reopened` says that an event already settled waits again because of it."""

    id: str
    new: bool
    reopened: bool


@dataclass(eq=False, slots=True)
class _Waiting:
    source_id: str
    event: Event
    stored: "asyncio.Future[StoredEvent]"


class InboxWriter:
    """The one writer of a process. `put` returns when the event is durably stored, and raises TryLater otherwise."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._batch: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._noted: dict[str, float] = {}

    async def put(self, source_id: str, event: Event) -> StoredEvent:
        """Store one callback, or count it as a duplicate of the same decrypted XML."""
        if self._closed or self._queue.qsize() >= WAITING:
            raise _not_stored("the inbox takes no events at the moment")
        waiting = _Waiting(source_id, event, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="inbox writer")
            self._task.add_done_callback(self._ended)
        return await waiting.stored

    async def close(self) -> None:
        """Store what waits, then take nothing more."""
        self._closed = True
        self._queue.put_nowait(None)
        if self._task is not None:
            await asyncio.wait([self._task])
        self._fail_all(_not_stored("the inbox is closed"))

    async def _write_all(self) -> None:
        while (first := await self._queue.get()) is not None:
            if len(self._batch) > 1:
                await asyncio.sleep(GATHER_SECONDS)
            self._batch = [first]
            last = False
            while len(self._batch) < BATCH and not self._queue.empty() and not last:
                following = self._queue.get_nowait()
                last = following is None
                self._batch += [following] if following else []
            await self._store_batch(self._batch)
            if last:
                return

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """However the writer ended, nobody waits for it in vain; the next `put` starts another."""
        error = _not_stored("the inbox writer stopped")
        if not task.cancelled():
            error.__cause__ = task.exception()
        self._fail_all(error)

    def _fail_all(self, error: TryLater) -> None:
        waiting = self._batch
        self._batch = []
        while not self._queue.empty():
            waiting += [item] if (item := self._queue.get_nowait()) else []
        for each in waiting:
            _fail(each, error)

    async def _store_batch(self, batch: list[_Waiting]) -> None:
        try:
            stored: Sequence[StoredEvent | TryLater]
            try:
                stored = await self._stored(batch)
            except REFUSED_VALUE:
                stored = await self._stored_one_by_one(batch)
        except TryLater as error:
            for waiting in batch:
                _fail(waiting, error)
            return
        for waiting, result in zip(batch, stored, strict=True):
            if isinstance(result, TryLater):
                _fail(waiting, result)
            elif not waiting.stored.done():
                waiting.stored.set_result(result)

    async def _stored(self, batch: Sequence[_Waiting]) -> list[StoredEvent]:
        def work(conn: Connection) -> tuple[list[StoredEvent], dict[str, float]]:
            arrived = self._db.number_in(conn)
            results = store(conn, [(each.source_id, each.event) for each in batch], arrived)
            return results, self._note_sources(conn, batch)

        results, noted = await self._db.write_at_once(work)
        self._noted |= noted
        return results

    async def _stored_one_by_one(self, batch: Sequence[_Waiting]) -> "list[StoredEvent | TryLater]":
        """One bad row fails alone: each has its savepoint, all share the commit."""
        return await self._db.write_at_once(lambda conn: self._each_alone(conn, batch))

    def _each_alone(self, conn: Connection, batch: Sequence[_Waiting]) -> "list[StoredEvent | TryLater]":
        results: list[StoredEvent | TryLater] = []
        arrived = self._db.number_in(conn)
        for each in batch:
            try:
                with conn.begin_nested():
                    results += store(conn, [(each.source_id, each.event)], arrived)
            except REFUSED_VALUE as error:
                if isinstance(error, SQLAlchemyError) and conn.invalidated:
                    raise
                refused = _not_stored("the database refuses this event")
                refused.__cause__ = error
                results.append(refused)
        return results

    def _note_sources(self, conn: Connection, batch: Sequence[_Waiting]) -> dict[str, float]:
        """Keep the time of a source's last event, once a second; a source row that is locked is left for later."""
        moment = time.monotonic()
        stale = {
            each.source_id for each in batch if moment - self._noted.get(each.source_id, -60.0) > LAST_EVENT_SECONDS
        }
        if not stale:
            return {}
        free = select(sources.c.id).where(sources.c.id.in_(stale)).with_for_update(key_share=True, skip_locked=True)
        noted = conn.scalars(
            update(sources).where(sources.c.id.in_(free)).values(last_event_at=now()).returning(sources.c.id)
        )
        return dict.fromkeys(noted.all(), moment)


def store(conn: Connection, events: Sequence[tuple[str, Event]], arrived: int) -> list[StoredEvent]:
    """Insert (source id, event) pairs, folding duplicates among them and with what is stored; one result per pair."""
    rows = _folded(events, arrived)
    kept = {(row.source_id, row.digest): row for row in _inserted(conn, list(rows.values()))}
    settled = {row.id for row in kept.values() if row.state != "pending" and row.kind != "none"}
    if settled:
        conn.execute(update(table).where(table.c.id.in_(settled)).values(reopened()))
    results = []
    for source_id, event in events:
        row = kept[source_id, event.digest]
        # The first of several equal ones is the new one.
        proposed = rows.pop((source_id, event.digest), None)
        results.append(StoredEvent(row.id, proposed is not None and proposed["id"] == row.id, row.id in settled))
    return results


def _inserted(conn: Connection, rows: Sequence[Row]) -> CursorResult[Any]:
    if conn.dialect.name == "postgresql":
        return conn.execute(_statement(), rows)
    # Many rows in one prepared statement: SQLAlchemy's own way of returning rows costs more than SQLite's work.
    names = list(rows[0])
    values = tuple(chain.from_iterable(bound(table, names, rows)))
    return conn.exec_driver_sql(_sqlite_text(tuple(names), len(rows)), values)


@cache
def _sqlite_text(names: tuple[str, ...], rows: int) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join([f"({', '.join('?' * len(names))})"] * rows)
    return (
        f"INSERT INTO inbox ({columns}) VALUES {marks} ON CONFLICT (source_id, digest) DO UPDATE SET "  # noqa: S608
        "duplicates = inbox.duplicates + excluded.duplicates + 1, arrived = excluded.arrived "
        "RETURNING source_id, digest, id, state, kind"
    )


@cache
def _statement() -> ReturningInsert[Any]:
    """Built once: putting it together costs more than running it."""
    insert = postgresql.insert(table)
    again = table.c.duplicates + insert.excluded.duplicates + 1
    return insert.on_conflict_do_update(
        index_elements=["source_id", "digest"],
        set_={"duplicates": again, "arrived": insert.excluded.arrived},
    ).returning(table.c.source_id, table.c.digest, table.c.id, table.c.state, table.c.kind)


def _folded(events: Sequence[tuple[str, Event]], arrived: int) -> dict[tuple[str, str], dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    at = now()
    for source_id, event in events:
        if row := rows.get((source_id, event.digest)):
            row["duplicates"] += 1
        else:
            nothing = event.kind == "none"
            rows[source_id, event.digest] = {
                "id": new_id("evt"),
                "source_id": source_id,
                "digest": event.digest,
                "received_at": at,
                "arrived": arrived,
                "change_type": event.change_type,
                "kind": event.kind,
                "key": event.key,
                "new_key": event.new_key,
                "created": event.created,
                "expects": dict(event.expects),
                "state": "ignored" if nothing else "pending",
                "reason": NOTHING_TO_DO if nothing else None,
                "attempts": 0,
                "duplicates": 0,
                "payload": event.payload,
            }
    return rows


NOTHING_TO_DO: Final = "this event changes nothing in the directory"


def _fail(waiting: _Waiting, error: TryLater) -> None:
    if not waiting.stored.done():
        waiting.stored.set_exception(error)


def _not_stored(message: str) -> TryLater:
    return TryLater("database.unavailable", message)
