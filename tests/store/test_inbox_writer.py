"""Group commit: few commits for many callbacks, each answered only when it is durable."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from app.errors import TryLater
from app.store.db import Database
from app.store.inbox import sources as source_table
from app.store.inbox import table
from app.store.inbox_writer import InboxWriter, StoredEvent
from app.store.keys import Sealer
from app.store.sources import Source, Sources, lock
from tests.conftest import OpenDatabase
from tests.store.conftest import CONFIG, MakeEvent, counted_commits


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[InboxWriter]:
    opened = InboxWriter(database)
    yield opened
    await opened.close()


async def stored_digests(database: Database) -> dict[str, int]:
    async with database.read() as conn:
        return {row.digest: row.duplicates for row in await conn.execute(select(table.c.digest, table.c.duplicates))}


async def test_a_hundred_at_once_share_few_commits(
    database: Database, writer: InboxWriter, source: Source, make_event: MakeEvent
) -> None:
    with counted_commits() as commits:
        stored = await asyncio.gather(*(writer.put(source.id, make_event(f"d{n}")) for n in range(100)))
    assert len(commits) <= 5
    assert all(one.new for one in stored)
    assert len({one.id for one in stored}) == 100
    assert await stored_digests(database) == {f"d{n}": 0 for n in range(100)}


async def test_what_was_answered_is_there_for_another_connection(
    database: Database, database_url: str, source: Source, make_event: MakeEvent, open_database: OpenDatabase
) -> None:
    writer = InboxWriter(database)
    await writer.put(source.id, make_event("d1"))
    other = await open_database(database_url)
    assert await stored_digests(other) == {"d1": 0}
    await writer.close()


async def test_duplicates_among_them_are_folded(
    database: Database, writer: InboxWriter, source: Source, make_event: MakeEvent
) -> None:
    stored = await asyncio.gather(*(writer.put(source.id, make_event(f"d{n % 10}")) for n in range(60)))
    assert sum(one.new for one in stored) == 10
    assert len({one.id for one in stored}) == 10
    assert await stored_digests(database) == {f"d{n}": 5 for n in range(10)}


async def test_two_writers_share_a_database(database: Database, source: Source, make_event: MakeEvent) -> None:
    writers = [InboxWriter(database), InboxWriter(database)]
    puts = [writer.put(source.id, make_event(f"d{n}")) for n in range(50) for writer in writers]
    stored = await asyncio.gather(*puts)
    for writer in writers:
        await writer.close()
    assert sum(one.new for one in stored) == 50
    assert await stored_digests(database) == {f"d{n}": 1 for n in range(50)}


async def test_one_bad_row_fails_alone(
    database: Database, writer: InboxWriter, source: Source, make_event: MakeEvent
) -> None:
    events = [make_event(f"d{n}") for n in range(20)]
    events[3] = make_event("d3", created=2**70)
    events[9] = make_event("d9", key="\ud800")
    stored = await asyncio.gather(*(writer.put(source.id, event) for event in events), return_exceptions=True)
    failed = [n for n, one in enumerate(stored) if isinstance(one, TryLater)]
    assert failed == [3, 9]
    assert [n for n, one in enumerate(stored) if isinstance(one, StoredEvent)] == [
        n for n in range(20) if n not in (3, 9)
    ]
    assert set(await stored_digests(database)) == {f"d{n}" for n in range(20) if n not in (3, 9)}


async def test_an_unknown_source_fails_alone(
    database: Database, writer: InboxWriter, source: Source, make_event: MakeEvent
) -> None:
    good, bad = await asyncio.gather(
        writer.put(source.id, make_event("d1")), writer.put("src_purged", make_event("d2")), return_exceptions=True
    )
    assert isinstance(good, StoredEvent)
    assert isinstance(bad, TryLater)
    assert set(await stored_digests(database)) == {"d1"}


async def test_a_database_that_is_away_fails_all_and_the_writer_recovers(
    database: Database, source: Source, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = InboxWriter(database)

    async def away(work: object) -> None:
        raise TryLater("database.unavailable", "away")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write_at_once", away)
        puts = (writer.put(source.id, make_event(f"d{n}")) for n in range(10))
        results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [TryLater] * 10
    assert (await writer.put(source.id, make_event("d1"))).new
    await writer.close()


async def test_when_the_writer_dies_nobody_waits_for_it(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    writer = InboxWriter(database)
    async with database.write() as conn:
        await conn.execute(select(source_table))
        puts = [asyncio.create_task(writer.put(source.id, make_event(f"d{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        [running] = [task for task in asyncio.all_tasks() if task.get_name() == "inbox writer"]
        running.cancel()
        results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [TryLater] * 10
    assert (await writer.put(source.id, make_event("after"))).new
    await writer.close()


async def test_closing_stores_what_waits_and_refuses_what_comes(
    database: Database, source: Source, make_event: MakeEvent
) -> None:
    writer = InboxWriter(database)
    puts = [asyncio.create_task(writer.put(source.id, make_event(f"d{n}"))) for n in range(700)]
    await asyncio.sleep(0)
    await writer.close()
    assert all(one.new for one in await asyncio.gather(*puts))
    with pytest.raises(TryLater):
        await writer.put(source.id, make_event("late"))
    assert len(await stored_digests(database)) == 700


async def test_a_caller_that_went_away_harms_nobody(
    database: Database, writer: InboxWriter, source: Source, make_event: MakeEvent
) -> None:
    puts = [asyncio.create_task(writer.put(source.id, make_event(f"d{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    puts[4].cancel()
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(result, StoredEvent) for result in results) == 9


async def test_the_source_remembers_its_last_event_once_a_second(
    database: Database, writer: InboxWriter, source: Source, make_event: MakeEvent
) -> None:
    noted = set()
    for n in range(5):
        await writer.put(source.id, make_event(f"d{n}"))
        async with database.read() as conn:
            noted.add(await conn.scalar(select(source_table.c.last_event_at)))
    assert len(noted) == 1
    assert None not in noted


@pytest.mark.postgres
async def test_a_locked_source_row_does_not_hold_callbacks_up(
    postgresql_url: str, sealer: Sealer, make_event: MakeEvent, open_database: OpenDatabase
) -> None:
    database = await open_database(postgresql_url)
    async with database.write() as conn:
        source = await Sources(sealer).create(conn, name="a", kind="wecom", config=CONFIG, secrets={})
    writer = InboxWriter(database)
    async with database.write() as conn:
        await lock(conn, source.id)
        assert (await asyncio.wait_for(writer.put(source.id, make_event("d1")), 3)).new
    async with database.read() as conn:
        assert await conn.scalar(select(func.count()).select_from(table)) == 1
    await writer.close()
