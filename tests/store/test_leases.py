"""Exclusion and fencing: whoever lost a lease writes nothing more."""

import asyncio

import pytest
from sqlalchemy import insert, select

from app.errors import Fenced, Refused
from app.store.bulk import table_of
from app.store.db import Database, now
from app.store.leases import Lease, claim, fence, free_own, release, renew, take_seqs
from app.store.sources import Source
from app.store.tables import SourceRow, WorkerRow
from tests.conftest import OpenDatabase

EXPIRED = -1.0
workers = table_of(WorkerRow)


async def claimed(database: Database, owner: str, ttl: float = 60.0) -> Lease | None:
    async with database.write() as conn:
        return await claim(conn, "src:events", owner, ttl)


async def written(database: Database) -> list[str]:
    async with database.read() as conn:
        return list((await conn.scalars(select(workers.c.id).order_by(workers.c.id))).all())


async def test_one_of_two_workers_gets_a_lease(database: Database) -> None:
    assert await claimed(database, "a") == Lease("src:events", 1, "a")
    assert await claimed(database, "b") is None
    assert await claimed(database, "a") is None


async def test_one_of_many_at_once_gets_a_lease(database: Database) -> None:
    leases = await asyncio.gather(*(claimed(database, f"w{number}") for number in range(10)))
    assert len([lease for lease in leases if lease]) == 1


async def test_leases_of_different_work_do_not_touch_each_other(database: Database) -> None:
    async with database.write() as conn:
        first = await claim(conn, "src:events", "a")
        second = await claim(conn, "src:sync", "b")
    assert first is not None
    assert second is not None


async def test_a_released_lease_is_free_and_its_next_token_is_larger(database: Database) -> None:
    lease = await claimed(database, "a")
    assert lease is not None
    async with database.write() as conn:
        await release(conn, lease)
    assert await claimed(database, "b") == Lease("src:events", 2, "b")


async def test_an_expired_lease_is_taken_over_and_the_zombie_is_fenced(database: Database) -> None:
    zombie = await claimed(database, "a", EXPIRED)
    assert zombie is not None
    successor = await claimed(database, "b")
    assert successor is not None
    with pytest.raises(Fenced):
        async with database.fenced(zombie) as conn:
            await conn.execute(insert(workers).values(id="zombie", beat_at=now()))
    async with database.fenced(successor) as conn:
        await conn.execute(insert(workers).values(id="successor", beat_at=now()))
    assert await written(database) == ["successor"]


async def test_a_zombie_neither_renews_nor_releases_what_is_anothers(database: Database) -> None:
    zombie = await claimed(database, "a", EXPIRED)
    assert zombie is not None
    successor = await claimed(database, "b")
    assert successor is not None
    async with database.write() as conn:
        await release(conn, zombie)
    with pytest.raises(Fenced):
        async with database.write() as conn:
            await renew(conn, zombie)
    async with database.write() as conn:
        await fence(conn, successor)


async def test_a_lease_that_expired_unnoticed_is_still_its_holders(database: Database) -> None:
    lease = await claimed(database, "a", EXPIRED)
    assert lease is not None
    async with database.fenced(lease) as conn:
        await conn.execute(insert(workers).values(id="a", beat_at=now()))
    assert await claimed(database, "b") is None


async def test_the_same_owner_is_fenced_from_what_it_held_before(database: Database) -> None:
    former = await claimed(database, "a", EXPIRED)
    assert former is not None
    again = await claimed(database, "a")
    assert again is not None
    with pytest.raises(Fenced):
        async with database.fenced(former):
            pass
    async with database.fenced(again):
        pass


async def test_a_restarted_process_frees_what_it_held_and_no_more(database: Database) -> None:
    former = await claimed(database, "a")
    async with database.write() as conn:
        others = await claim(conn, "src:sync", "b")
        await free_own(conn, "a")
    assert former is not None
    assert others is not None
    with pytest.raises(Fenced):
        async with database.fenced(former):
            pass
    async with database.fenced(others):
        pass
    assert await claimed(database, "c") == Lease("src:events", 2, "c")


@pytest.mark.postgres
async def test_a_claim_does_not_wait_for_a_transaction_under_the_lease(
    postgresql_url: str, open_database: OpenDatabase
) -> None:
    database = await open_database(postgresql_url)
    lease = await claimed(database, "a", EXPIRED)
    assert lease is not None
    async with database.fenced(lease, EXPIRED):
        assert await claimed(database, "b") is None
    assert await claimed(database, "b") is not None


async def test_feed_numbers_have_no_gap_however_transactions_end(database: Database, source: Source) -> None:
    taken: list[int] = []

    async def append(number: int) -> None:
        async with database.write() as conn:
            first = await take_seqs(conn, source.id, 3)
            await asyncio.sleep(0)
            if number % 3 == 0:
                raise KeyError
        taken.extend(range(first, first + 3))

    await asyncio.gather(*(append(number) for number in range(30)), return_exceptions=True)
    assert sorted(taken) == list(range(1, 61))
    async with database.read() as conn:
        assert await conn.scalar(select(table_of(SourceRow).c.next_seq)) == 61


async def test_feed_numbers_are_in_the_order_of_the_commits(database: Database, source: Source) -> None:
    committed: list[int] = []

    async def append() -> None:
        async with database.write() as conn:
            first = await take_seqs(conn, source.id, 1)
            committed.append(first)

    await asyncio.gather(*(append() for _ in range(20)))
    assert committed == list(range(1, 21))


async def test_a_source_that_does_not_exist_has_no_feed(database: Database) -> None:
    with pytest.raises(Refused, match=r"source\.not_found"):
        async with database.write() as conn:
            await take_seqs(conn, "src_none", 1)
