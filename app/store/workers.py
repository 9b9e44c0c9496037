"""The beats of the processes that work."""

from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import table_of
from app.store.db import insert_into
from app.store.tables import Utc, WorkerRow

table = table_of(WorkerRow)

HANGING: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'wecom-sync' AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
    " AND state_change < clock_timestamp() - make_interval(secs => :seconds)"
)


async def beat(conn: AsyncConnection, owner: str, at: datetime) -> None:
    """`owner` was alive at `at`."""
    statement = insert_into(conn, WorkerRow).values(id=owner, beat_at=at)
    await conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"beat_at": at}))


async def leave(conn: AsyncConnection, owner: str) -> None:
    """`owner` stops on purpose: nobody misses its beat."""
    await conn.execute(delete(table).where(table.c.id == owner))


async def end_hanging(conn: AsyncConnection, seconds: float) -> int:
    """End sessions of ours that have sat inside a transaction for so long, say of a stopped process (PostgreSQL).

    They would block everybody who needs the same row until the server's own limit; the number of sessions ended.
    """
    if conn.dialect.name != "postgresql":
        return 0
    return len((await conn.execute(HANGING, {"seconds": seconds})).all())


async def last_beat(conn: AsyncConnection) -> datetime | None:
    """The latest beat of any process."""
    latest: datetime | None = await conn.scalar(select(func.max(table.c.beat_at, type_=Utc)))
    return latest


async def living(conn: AsyncConnection, since: datetime) -> list[str]:
    """The processes that have beaten since then."""
    return list((await conn.scalars(select(table.c.id).where(table.c.beat_at >= since).order_by(table.c.id))).all())
