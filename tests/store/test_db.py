"""Transactions, observation numbers, and what the database's failures mean."""

import asyncio
import os
import secrets
import stat
import traceback
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.errors import TryLater, WorkerTaken
from app.store import db as db_module
from app.store.bulk import table_of
from app.store.db import Database, driver_url, hold_worker_lock, now
from app.store.tables import CounterRow, WorkerRow
from tests.conftest import OpenDatabase

workers = table_of(WorkerRow)


async def beat(database: Database, name: str) -> None:
    async with database.write() as conn:
        await conn.execute(insert(workers).values(id=name, beat_at=now()))


async def names(database: Database) -> list[str]:
    async with database.read() as conn:
        return list((await conn.scalars(select(workers.c.id).order_by(workers.c.id))).all())


async def test_a_write_is_committed_at_its_end_and_times_stay_in_utc(database: Database) -> None:
    moment = now()
    async with database.write() as conn:
        await conn.execute(insert(workers).values(id="a", beat_at=moment))
    async with database.read() as conn:
        assert (await conn.execute(select(workers))).one() == ("a", moment)


async def test_an_exception_rolls_back(database: Database) -> None:
    with pytest.raises(KeyError):
        async with database.write() as conn:
            await conn.execute(insert(workers).values(id="a", beat_at=now()))
            raise KeyError
    assert await names(database) == []


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as conn:
            await conn.execute(insert(workers).values(id="a", beat_at=now()))
    assert await names(database) == []


async def test_a_read_sees_one_snapshot(database: Database) -> None:
    async with database.read() as conn:
        assert (await conn.execute(select(workers))).all() == []
        await beat(database, "a")
        assert (await conn.execute(select(workers))).all() == []
    assert await names(database) == ["a"]


async def test_a_cancelled_write_leaves_nothing_and_blocks_nobody(database: Database) -> None:
    inside = asyncio.Event()

    async def stopped() -> None:
        async with database.write() as conn:
            await conn.execute(insert(workers).values(id="a", beat_at=now()))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stopped())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await beat(database, "b")
    assert await names(database) == ["b"]


async def test_cancelled_in_the_middle_of_statements_the_writer_stays_usable(database: Database) -> None:
    async def busy(number: int) -> None:
        async with database.write() as conn:
            for step in range(20):
                await conn.execute(insert(workers).values(id=f"{number}-{step}", beat_at=now()))
            raise KeyError

    for number in range(10):
        task = asyncio.create_task(busy(number))
        for _ in range(number * 3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, KeyError)):
            await task
    await beat(database, "after")
    assert await names(database) == ["after"]


async def test_writers_take_turns_in_the_order_in_which_they_came(sqlite_url: str, open_database: OpenDatabase) -> None:
    database = await open_database(sqlite_url)
    order: list[int] = []

    async def write(number: int) -> None:
        async with database.write() as conn:
            await conn.execute(select(workers))
            order.append(number)

    await asyncio.gather(*(write(number) for number in range(20)))
    assert order == list(range(20))


async def test_a_write_inside_a_write_is_a_mistake_that_is_told(sqlite_url: str, open_database: OpenDatabase) -> None:
    database = await open_database(sqlite_url)
    with pytest.raises(RuntimeError, match="already inside"):
        async with database.write(), database.write():
            pass
    await beat(database, "a")
    assert await names(database) == ["a"]


async def test_a_refused_value_is_not_called_a_passing_fault(database: Database) -> None:
    await beat(database, "a")
    with pytest.raises(IntegrityError):
        await beat(database, "a")


async def test_a_refused_value_is_not_in_the_error(database: Database) -> None:
    person = secrets.token_hex(8)
    await beat(database, person)
    with pytest.raises(IntegrityError) as caught:
        await beat(database, person)
    assert person not in "".join(traceback.format_exception(caught.value))


async def test_a_statement_that_is_wrong_is_not_called_a_passing_fault(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as conn:
            await conn.execute(text("SELECT * FROM nowhere"))


async def test_a_locked_file_is_a_passing_fault(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, open_database: OpenDatabase
) -> None:
    monkeypatch.setattr(db_module, "BUSY_SECONDS", 0.05)
    one, other = await open_database(sqlite_url), await open_database(sqlite_url)
    with pytest.raises(TryLater, match=r"database\.unavailable"):
        async with one.write(), other.write():
            pass
    await beat(other, "a")
    assert await names(one) == ["a"]


async def test_sqlite_runs_with_the_settings_that_durability_needs(
    sqlite_url: str, open_database: OpenDatabase
) -> None:
    database = await open_database(sqlite_url)
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000, "mmap_size": 0}
    for transaction, query_only in ((database.read, 1), (database.write, 0)):
        async with transaction() as conn:
            found = {name: await conn.scalar(text(f"PRAGMA {name}")) for name in [*expected, "query_only"]}
        assert found == expected | {"query_only": query_only}


async def test_a_new_sqlite_file_is_private(tmp_path: Path, open_database: OpenDatabase) -> None:
    path = tmp_path / "new.db"
    database = await open_database(f"sqlite:///{path}")
    async with database.write() as conn:
        await conn.execute(text("CREATE TABLE t (a)"))
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}


@pytest.mark.postgres
async def test_a_postgresql_session_cannot_block_others_for_long(
    postgresql_url: str, open_database: OpenDatabase
) -> None:
    database = await open_database(postgresql_url)
    async with database.write() as conn:
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "timezone", "application_name")
        assert [await conn.scalar(text(f"SHOW {name}")) for name in names] == ["10s", "5s", "UTC", "wecom-sync"]


@pytest.mark.postgres
async def test_a_lost_connection_is_a_passing_fault_and_the_next_one_works(
    postgresql_url: str, open_database: OpenDatabase
) -> None:
    database = await open_database(postgresql_url)
    async with database.read() as conn:
        pid = await conn.scalar(text("SELECT pg_backend_pid()"))
    with pytest.raises(TryLater):
        async with database.write() as conn:
            pid = await conn.scalar(text("SELECT pg_backend_pid()"))
            with psycopg.connect(postgresql_url, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            await conn.execute(select(workers))
    await beat(database, "a")
    assert await names(database) == ["a"]


@pytest.mark.postgres
async def test_a_lock_that_is_not_given_is_a_passing_fault(postgresql_url: str, open_database: OpenDatabase) -> None:
    database = await open_database(postgresql_url)
    await beat(database, "a")
    lock = select(workers).with_for_update()
    with pytest.raises(TryLater):
        async with database.write() as holder:
            await holder.execute(lock)
            async with database.write() as conn:
                await conn.execute(text("SET LOCAL lock_timeout = '20ms'"))
                await conn.execute(lock)


@pytest.mark.postgres
async def test_a_server_that_is_away_is_a_passing_fault(postgresql_url: str, open_database: OpenDatabase) -> None:
    nobody = make_url(postgresql_url).set(port=1, host="127.0.0.1").render_as_string(hide_password=False)
    with pytest.raises(TryLater, match=r"database\.unavailable") as caught:
        await open_database(nobody)
    assert "postgres" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgres://u:p@h/n", "postgresql+psycopg://u:p@h/n"),
        ("postgresql://u:p@h/n", "postgresql+psycopg://u:p@h/n"),
        ("sqlite:////var/lib/x.db", "sqlite+aiosqlite:////var/lib/x.db"),
    ],
)
def test_addresses_name_our_drivers(given: str, driver: str) -> None:
    assert driver_url(given).render_as_string(hide_password=False) == driver


async def test_observation_numbers_grow_however_many_ask_at_once(database: Database) -> None:
    taken: list[int] = []

    async def take() -> None:
        for _ in range(300):
            before = max(taken, default=0)
            number = await database.observe()
            assert number > before
            taken.append(number)

    await asyncio.gather(*(take() for _ in range(8)))
    assert len(set(taken)) == 2400


async def test_observation_numbers_grow_over_a_restart(database_url: str, open_database: OpenDatabase) -> None:
    last = 0
    for _ in range(3):
        database = await open_database(database_url)
        for _ in range(5):
            number = await database.observe()
            assert number > last
            last = number
        async with database.write() as conn:
            number = await database.observe_in(conn)
        assert number > last
        last = number
        await database.close()


async def test_a_number_is_durably_passed_before_it_is_handed_out(sqlite_url: str, open_database: OpenDatabase) -> None:
    one, other = await open_database(sqlite_url), await open_database(sqlite_url)
    for _ in range(1500):
        number = await one.observe()
    async with other.read() as conn:
        kept = await conn.scalar(select(table_of(CounterRow).c.value))
    assert number <= kept


async def test_numbers_within_and_outside_of_transactions_are_one_sequence(database: Database) -> None:
    numbers: list[int] = []
    for _ in range(3):
        async with database.write() as conn:
            numbers += [await database.observe_in(conn), await database.observe_in(conn)]
    for _ in range(1005):
        numbers.append(await database.observe())
        if numbers[-1] % 500 == 0:
            async with database.write() as conn:
                numbers.append(await database.observe_in(conn))
    assert numbers[0] > 0
    assert numbers == sorted(set(numbers))


async def test_a_number_of_a_transaction_that_is_rolled_back_is_never_left_in_the_way(database: Database) -> None:
    with pytest.raises(KeyError):
        async with database.write() as conn:
            await database.observe_in(conn)
            raise KeyError
    numbers = [await database.observe() for _ in range(3)]
    async with database.write() as conn:
        numbers += [await database.observe_in(conn), await database.observe_in(conn)]
    assert numbers == sorted(set(numbers))


def test_one_process_works_on_a_sqlite_database(tmp_path: Path) -> None:
    with hold_worker_lock(tmp_path), pytest.raises(WorkerTaken), hold_worker_lock(tmp_path):
        pass
    with hold_worker_lock(tmp_path):
        assert stat.S_IMODE(os.stat(tmp_path / "worker.lock").st_mode) == 0o600
