"""The inbox: what becomes of events and their duplicates."""

from datetime import timedelta

import pytest
from sqlalchemy import RowMapping, select

from app.errors import Refused
from app.store.db import Database, now
from app.store.inbox import (
    PendingEvent,
    due,
    mark_applied,
    mark_failed,
    mark_ignored,
    pending_count,
    postpone,
    replay,
    sources_due,
    table,
)
from app.store.inbox_writer import StoredEvent, store
from app.store.sources import Source, Sources
from tests.store.conftest import MakeEvent

ERROR = {"code": "wecom.unavailable", "message": "WeCom does not answer", "hint": ""}


async def put(
    database: Database, source: Source, make_event: MakeEvent, *digests: str, **values: object
) -> list[StoredEvent]:
    async with database.write() as conn:
        events = [(source.id, make_event(digest, **values)) for digest in digests]
        return await conn.run_sync(store, events, await database.observe_in(conn))


async def waiting(database: Database, source: Source) -> list[PendingEvent]:
    async with database.read() as conn:
        return await due(conn, source.id, now())


async def row(database: Database, event_id: str) -> RowMapping:
    async with database.read() as conn:
        return (await conn.execute(select(table).where(table.c.id == event_id))).mappings().one()


async def applied(database: Database, events: list[PendingEvent]) -> int:
    async with database.write() as conn:
        return await mark_applied(conn, events, at=now(), run_id="run_1")


async def test_an_event_waits_as_it_was_received(database: Database, source: Source, make_event: MakeEvent) -> None:
    expects = {"departments": [1, 2**40]}
    [stored] = await put(database, source, make_event, "d1", key="LiSi", new_key="Li.Si", expects=expects)
    assert stored.new
    assert not stored.reopened
    [event] = await waiting(database, source)
    assert (event.id, event.source_id, event.key, event.new_key) == (stored.id, source.id, "LiSi", "Li.Si")
    assert (event.kind, event.change_type, event.created) == ("user", "update_user", 1_700_000_000)
    assert event.expects == expects
    assert event.attempts == 0
    assert (await row(database, stored.id))["payload"] == "<xml>d1</xml>"


async def test_events_wait_in_the_order_of_arrival(database: Database, source: Source, make_event: MakeEvent) -> None:
    for digest in ("b", "a", "c"):
        await put(database, source, make_event, digest, key=digest)
    assert [event.key for event in await waiting(database, source)] == ["b", "a", "c"]


async def test_the_same_event_twice_in_one_batch_is_one_row(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    stored = await put(database, source, make_event, "d1", "d2", "d1", "d1")
    assert [one.new for one in stored] == [True, True, False, False]
    assert stored[0].id == stored[2].id == stored[3].id
    assert (await row(database, stored[0].id))["duplicates"] == 2
    again = await put(database, source, make_event, "d1", "d1")
    assert [one.new for one in again] == [False, False]
    assert (await row(database, stored[0].id))["duplicates"] == 4


async def test_the_same_xml_from_two_sources_is_two_events(
    database: Database, source: Source, sources: Sources, make_event: MakeEvent
) -> None:
    async with database.write() as conn:
        other = await sources.create(conn, name="Other", kind="wecom", config=source.config, secrets={})
        events = [(source.id, make_event("d1")), (other.id, make_event("d1"))]
        stored = await conn.run_sync(store, events, await database.observe_in(conn))
    assert [one.new for one in stored] == [True, True]
    assert stored[0].id != stored[1].id


async def test_a_duplicate_of_a_waiting_event_keeps_it_waiting(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    await put(database, source, make_event, "d1")
    seen = await waiting(database, source)
    [again] = await put(database, source, make_event, "d1")
    assert not again.new
    assert not again.reopened
    # The drain read the object before the duplicate came: its mark must not settle the duplicate.
    assert await applied(database, seen) == 0
    [later] = await waiting(database, source)
    assert later.arrived > seen[0].arrived
    assert await applied(database, [later]) == 1
    assert await waiting(database, source) == []


async def test_a_duplicate_that_arrives_after_the_read_reopens_an_applied_event(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    [stored] = await put(database, source, make_event, "d1")
    await applied(database, await waiting(database, source))
    settled = await row(database, stored.id)
    assert (settled["state"], settled["run_id"]) == ("applied", "run_1")
    [again] = await put(database, source, make_event, "d1")
    assert again == StoredEvent(stored.id, new=False, reopened=True)
    [event] = await waiting(database, source)
    assert event.arrived > settled["arrived"]
    reopened = await row(database, stored.id)
    assert (reopened["run_id"], reopened["applied_at"], reopened["duplicates"]) == (None, None, 1)


@pytest.mark.parametrize("ending", ["ignored", "failed"])
async def test_a_duplicate_reopens_however_the_event_ended(
    database: Database, source: Source, make_event: MakeEvent, ending: str
) -> None:
    await put(database, source, make_event, "d1")
    events = await waiting(database, source)
    async with database.write() as conn:
        if ending == "ignored":
            assert await mark_ignored(conn, events, "out of range", at=now()) == 1
        else:
            assert await mark_failed(conn, events, ERROR, at=now()) == 1
    assert (await row(database, events[0].id))["state"] == ending
    [again] = await put(database, source, make_event, "d1")
    assert again.reopened
    [event] = await waiting(database, source)
    assert event.attempts == 0
    after = await row(database, event.id)
    assert (after["reason"], after["error"]) == (None, None)


async def test_an_event_that_asks_for_nothing_is_kept_and_ignored(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    [stored] = await put(database, source, make_event, "d1", kind="none", key="", change_type="view")
    [again] = await put(database, source, make_event, "d1", kind="none", key="", change_type="view")
    kept = await row(database, stored.id)
    assert (kept["state"], kept["duplicates"]) == ("ignored", 1)
    assert kept["reason"]
    assert not again.reopened
    async with database.write() as conn:
        await replay(conn, stored.id)
    assert await waiting(database, source) == []


async def test_a_postponed_event_is_due_when_its_time_has_come(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    await put(database, source, make_event, "d1", "d2", "d3")
    one, two, three = await waiting(database, source)
    at = now()
    async with database.write() as conn:
        assert await postpone(conn, {one: at + timedelta(seconds=5), two: at + timedelta(seconds=30)}) == 2
        assert await postpone(conn, {three: at + timedelta(seconds=5)}, attempt=False) == 1
    async with database.read() as conn:
        assert await due(conn, source.id, at) == []
        assert await sources_due(conn, at) == []
        soon = await due(conn, source.id, at + timedelta(seconds=6))
        assert {(event.id, event.attempts) for event in soon} == {(one.id, 1), (three.id, 0)}
        assert await sources_due(conn, at + timedelta(seconds=6)) == [source.id]
        assert await pending_count(conn, source.id) == 3


async def test_only_enabled_sources_are_due(
    database: Database, source: Source, sources: Sources, make_event: MakeEvent
) -> None:
    await put(database, source, make_event, "d1")
    for change, expected in [({"enabled": False}, []), ({"enabled": True}, [source.id])]:
        async with database.write() as conn:
            await sources.patch(conn, source.id, change)
            assert await sources_due(conn, now()) == expected
    async with database.write() as conn:
        await sources.delete(conn, source.id)
        assert await sources_due(conn, now()) == []


async def test_a_failed_event_can_be_replayed(database: Database, source: Source, make_event: MakeEvent) -> None:
    await put(database, source, make_event, "d1")
    events = await waiting(database, source)
    async with database.write() as conn:
        await postpone(conn, dict.fromkeys(events, now()))
        await mark_failed(conn, events, ERROR, at=now())
    failed = await row(database, events[0].id)
    assert (failed["state"], failed["error"], failed["attempts"]) == ("failed", ERROR, 1)
    async with database.write() as conn:
        await replay(conn, events[0].id)
    [event] = await waiting(database, source)
    assert (event.attempts, event.arrived) == (0, events[0].arrived)
    with pytest.raises(Refused, match=r"event\.not_found"):
        async with database.write() as conn:
            await replay(conn, "evt_none")


async def test_thousands_are_marked_at_once(database: Database, source: Source, make_event: MakeEvent) -> None:
    await put(database, source, make_event, *(f"d{number}" for number in range(4500)))
    events = await waiting(database, source)
    assert len(events) == 4500
    await put(database, source, make_event, "d7")
    assert await applied(database, events) == 4499
    assert await applied(database, []) == 0
