"""Bringing a database to this program's schema, and saying whether it is there."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel.sql.sqltypes import AutoString

from app.store import tables
from app.store.db import driver_url, postgres_engine, sqlite_engine, unavailable_as_try_later

INSTALLED: Final = Path(__file__).parent.parent / "_alembic"
REPOSITORY: Final = Path(__file__).parent.parent.parent / "alembic"
LOCK: Final = 0x5EC0_5C3A
SESSION: Final = "-c lock_timeout=60s -c timezone=UTC"
# A later migration may rebuild tables; SQLite then wants foreign keys unenforced, and they are off unless asked for.
PRAGMAS: Final = ("journal_mode = WAL", "synchronous = FULL")

T = TypeVar("T")


async def migrate(url: str) -> None:
    """Upgrade the database to the newest schema; processes that start together wait for one another.

    Raises TryLater when the database cannot be reached. A newer schema than ours is left as it is.
    """

    def upgrade(connection: Connection) -> None:
        if _state(_revision(connection)) != "behind":
            return
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    with unavailable_as_try_later():
        await run_on(url, upgrade)


async def schema_state(conn: AsyncConnection) -> Literal["current", "behind", "newer"]:
    """How the database's schema stands to this program's."""
    return _state(await conn.run_sync(_revision))


async def run_on(url: str, work: Callable[[Connection], T]) -> T:
    """Do `work` in one transaction that holds the migration lock; both databases roll DDL back."""
    target = driver_url(url)
    if target.get_backend_name() == "sqlite":
        async with _file_lock(Path(f"{target.database}.lock")):
            return await _in_transaction(sqlite_engine(target, "BEGIN IMMEDIATE", 1, PRAGMAS), work)

    def alone(connection: Connection) -> T:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        return work(connection)

    return await _in_transaction(postgres_engine(target, SESSION), alone)


async def _in_transaction(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    try:
        async with engine.begin() as conn:
            return await conn.run_sync(work)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    """SQLite's own lock does not cover the change of a new file to WAL."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        while not _locked(descriptor):  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def configured(context: Any, connection: Connection) -> None:
    """Run the migrations (or the comparison that was asked for) of `context` on `connection`."""
    context.configure(
        connection=connection,
        target_metadata=tables.SourceRow.metadata,
        include_name=_ours,
        render_item=_rendered,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    """The tables and types of the job carrier in the same database are its own."""
    return not (kind == "table" and (name or "").startswith("procrastinate"))


def _rendered(kind: str, item: object, autogen: Any) -> str | Literal[False]:
    """How a new migration spells our column types (names of script.py.mako), free of the code of its day."""
    if kind == "type" and isinstance(item, tables.Utc):
        return "Time"
    if kind == "type" and isinstance(item, JSON):
        return "Json"
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    return False


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(INSTALLED if INSTALLED.is_dir() else REPOSITORY))
    return config


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest revision and all that we know."""
    scripts = ScriptDirectory.from_config(_config())
    return str(scripts.get_current_head()), frozenset(script.revision for script in scripts.walk_revisions())


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _state(revision: str | None) -> Literal["current", "behind", "newer"]:
    head, known = _revisions()
    if revision == head:
        return "current"
    return "behind" if revision is None or revision in known else "newer"
