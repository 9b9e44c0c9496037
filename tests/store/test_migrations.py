"""The migrations lead to exactly the tables that the code knows, on both databases."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url, text
from sqlmodel import SQLModel

from app.store.migrations import migrate, run_on, schema_state
from tests.conftest import OpenDatabase


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, SQLModel.metadata))


async def test_the_migrated_schema_is_that_of_the_tables(database_url: str) -> None:
    assert await run_on(database_url, differences) == []


async def test_a_difference_would_be_seen(database_url: str) -> None:
    def add_column(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE worker ADD COLUMN stray INTEGER"))
        connection.execute(text("DROP INDEX run_state"))

    await run_on(database_url, add_column)
    found = {change[0] for change in await run_on(database_url, differences)}
    assert found == {"remove_column", "add_index"}


async def test_a_schema_is_current_behind_or_newer(database_url: str, open_database: OpenDatabase) -> None:
    database = await open_database(database_url)
    for revision, state in [(None, "current"), ("0000", "newer"), ("", "behind")]:
        async with database.write() as conn:
            if revision:
                await conn.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
            elif revision == "":
                await conn.execute(text("DELETE FROM alembic_version"))
            assert await schema_state(conn) == state


async def test_a_newer_schema_is_left_as_it_is(database_url: str, open_database: OpenDatabase) -> None:
    database = await open_database(database_url)
    async with database.write() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await migrate(database_url)
    async with database.read() as conn:
        assert await conn.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


async def test_processes_that_start_together_migrate_once(tmp_path: Path, open_database: OpenDatabase) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    await asyncio.gather(*(migrate(url) for _ in range(8)))
    await _is_current(url, open_database)


@pytest.mark.postgres
async def test_processes_that_start_together_migrate_once_on_postgresql(
    postgresql_url: str, open_database: OpenDatabase
) -> None:
    name = f"{make_url(postgresql_url).database}_fresh"
    url = make_url(postgresql_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            await asyncio.gather(*(migrate(url) for _ in range(8)))
            await _is_current(url, open_database)
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def _is_current(url: str, open_database: OpenDatabase) -> None:
    database = await open_database(url)
    async with database.read() as conn:
        assert await schema_state(conn) == "current"
