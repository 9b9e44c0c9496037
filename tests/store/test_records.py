"""Small tables: answers kept for Idempotency-Keys, beats of workers, the audit."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.errors import Refused, TryLater
from app.store import audit, idempotency, workers
from app.store.bulk import table_of
from app.store.db import Database, now
from app.store.tables import AuditRow
from tests.conftest import OpenDatabase


async def remembered(database: Database, body: bytes, run_id: str, key: str = "k", source_id: str = "src_1") -> str:
    async with database.write() as conn:
        return await idempotency.remember(conn, source_id, key, body, run_id, now())


async def test_a_repeated_request_finds_its_run(database: Database) -> None:
    async with database.read() as conn:
        assert await idempotency.recall(conn, "src_1", "k", b"{}", now()) is None
    assert await remembered(database, b"{}", "run_1") == "run_1"
    assert await remembered(database, b"{}", "run_2") == "run_1"
    async with database.read() as conn:
        assert await idempotency.recall(conn, "src_1", "k", b"{}", now()) == "run_1"


async def test_a_key_belongs_to_one_source_and_one_body(database: Database) -> None:
    assert await remembered(database, b"{}", "run_1") == "run_1"
    assert await remembered(database, b"{}", "run_2", source_id="src_2") == "run_2"
    assert await remembered(database, b"{}", "run_3", key="other") == "run_3"
    with pytest.raises(Refused, match=r"idempotency\.key_reused") as caught:
        await remembered(database, b'{"dry_run": true}', "run_4")
    assert caught.value.status == 422


async def test_of_two_equal_requests_at_once_one_is_first(database: Database) -> None:
    winners = await asyncio.gather(*(remembered(database, b"{}", f"run_{n}") for n in range(8)))
    assert len(set(winners)) == 1


async def test_a_key_is_forgotten_after_a_day(database: Database) -> None:
    await remembered(database, b"{}", "run_1")
    async with database.write() as conn:
        late = now() + timedelta(hours=24, seconds=1)
        assert await idempotency.recall(conn, "src_1", "k", b"{}", late - timedelta(seconds=10)) == "run_1"
        assert await idempotency.recall(conn, "src_1", "k", b"other", late) is None
        assert await idempotency.remember(conn, "src_1", "k", b"other", "run_2", late) == "run_2"


async def test_a_request_that_failed_is_not_remembered(database: Database) -> None:
    with pytest.raises(KeyError):
        async with database.write() as conn:
            await idempotency.remember(conn, "src_1", "k", b"{}", "run_1", now())
            raise KeyError
    assert await remembered(database, b"{}", "run_2") == "run_2"


async def test_the_last_beat_is_known(database: Database) -> None:
    at = now()
    async with database.write() as conn:
        assert await workers.last_beat(conn) is None
        await workers.beat(conn, "a", at - timedelta(seconds=60))
        await workers.beat(conn, "b", at - timedelta(seconds=5))
        await workers.beat(conn, "a", at - timedelta(seconds=1))
        assert await workers.last_beat(conn) == at - timedelta(seconds=1)
        assert await workers.living(conn, at - timedelta(seconds=3)) == ["a"]
        assert await workers.living(conn, at - timedelta(seconds=30)) == ["a", "b"]
        await workers.leave(conn, "a")
        assert await workers.last_beat(conn) == at - timedelta(seconds=5)


@pytest.mark.postgres
async def test_a_session_that_hangs_in_a_transaction_is_ended(postgresql_url: str, open_database: OpenDatabase) -> None:
    database = await open_database(postgresql_url)
    with pytest.raises(TryLater):
        async with database.write() as hanging:
            await workers.beat(hanging, "stopped", now())
            async with database.write() as conn:
                assert await workers.end_hanging(conn, 60) == 0
                assert await workers.end_hanging(conn, 0) == 1
            await workers.beat(hanging, "stopped", now())
    async with database.read() as conn:
        assert await workers.last_beat(conn) is None


async def test_the_audit_says_who_did_what(database: Database) -> None:
    async with database.write() as conn:
        await audit.record(conn, "admin", "event.read_xml", "evt_1", reason="support")
        await audit.record(conn, "admin", "source.purge")
        rows = (await conn.execute(select(table_of(AuditRow)).order_by(AuditRow.id))).mappings().all()
    assert [(row["actor"], row["action"], row["object_id"], row["details"]) for row in rows] == [
        ("admin", "event.read_xml", "evt_1", {"reason": "support"}),
        ("admin", "source.purge", None, {}),
    ]
