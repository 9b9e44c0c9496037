"""What a request with an Idempotency-Key was answered, for 24 hours."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Refused
from app.store.bulk import table_of
from app.store.db import insert_into
from app.store.tables import IdempotencyRow

KEPT: Final = timedelta(hours=24)

table = table_of(IdempotencyRow)


async def recall(conn: AsyncConnection, source_id: str, key: str, body: bytes, at: datetime) -> str | None:
    """The run that this request started before, if it did. Raises Refused when the key came with another body."""
    found = (
        await conn.execute(
            select(table.c.body, table.c.run_id).where(
                table.c.key == _stored(source_id, key), table.c.created_at > at - KEPT
            )
        )
    ).first()
    if found is None:
        return None
    if found.body != _digest(body):
        raise Refused("idempotency.key_reused", "this Idempotency-Key was used with another request body", status=422)
    return str(found.run_id)


async def remember(conn: AsyncConnection, source_id: str, key: str, body: bytes, run_id: str, at: datetime) -> str:
    """Keep `run_id` as the answer, unless a request at the same time was first: then its run. Raises as `recall`.

    Called before the run is inserted: of two equal requests one waits here until the other has committed.
    """
    await conn.execute(delete(table).where(table.c.created_at <= at - KEPT))
    row = {"key": _stored(source_id, key), "body": _digest(body), "run_id": run_id, "created_at": at}
    kept = await conn.execute(
        insert_into(conn, IdempotencyRow).values(row).on_conflict_do_nothing().returning(table.c.run_id)
    )
    if kept.first() is not None:
        return run_id
    return await recall(conn, source_id, key, body, at) or run_id


def _stored(source_id: str, key: str) -> str:
    return f"{source_id}:{hashlib.sha256(key.encode()).hexdigest()}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
