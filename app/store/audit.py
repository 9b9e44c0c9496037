"""Who did or looked at what."""

from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import table_of
from app.store.db import new_id, now
from app.store.tables import AuditRow


async def record(conn: AsyncConnection, actor: str, action: str, object_id: str | None = None, **details: Any) -> None:
    """`actor` names a token or "admin", `action` a verb of a noun ("event.read_xml"); no secrets in `details`."""
    row = {"id": new_id("aud"), "at": now(), "actor": actor, "action": action, "object_id": object_id}
    await conn.execute(insert(table_of(AuditRow)).values(**row, details=details))
