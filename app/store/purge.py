"""Erasing what was held of a source: its directory, history, events, plans and runs, a little at a time."""

from sqlalchemy import Table, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import delete, table_of
from app.store.staging import clear
from app.store.tables import (
    ChangeRow,
    DeliveryRow,
    DepartmentRow,
    InboxRow,
    LinkRow,
    MembershipRow,
    PlannedChangeRow,
    RunRow,
    TargetRow,
    UserRow,
)

AT_ONCE = 1000

planned = table_of(PlannedChangeRow)
runs = table_of(RunRow)
targets, deliveries, links = table_of(TargetRow), table_of(DeliveryRow), table_of(LinkRow)


async def erase_some(conn: AsyncConnection, source_id: str, keep_run: str) -> bool:
    """Erase one portion of what a source left behind, but for the run that does it; True while something is left."""
    others = select(runs.c.id).where(runs.c.source_id == source_id)
    for run_id in (await conn.execute(others)).scalars():
        if await clear(conn, run_id):
            return True
    which = select(planned.c.id).where(planned.c.run_id.in_(others)).limit(AT_ONCE)
    if (await conn.execute(sql_delete(planned).where(planned.c.id.in_(which)))).rowcount:
        return True
    await _forget_targets(conn, source_id)
    for model in (InboxRow, ChangeRow, MembershipRow, UserRow, DepartmentRow):
        if await _erase(conn, model, table_of(model), source_id):
            return True
    await conn.execute(sql_delete(runs).where(runs.c.source_id == source_id, runs.c.id != keep_run))
    return False


async def _forget_targets(conn: AsyncConnection, source_id: str) -> None:
    """What targets hold of its people's data here; what they have over there stays."""
    mine = select(targets.c.id).where(targets.c.source_id == source_id)
    for table in (deliveries, links):
        await conn.execute(sql_delete(table).where(table.c.target_id.in_(mine)))


async def _erase(conn: AsyncConnection, model: type, table: Table, source_id: str) -> bool:
    keys = list(table.primary_key)
    rows = (await conn.execute(select(*keys).where(table.c.source_id == source_id).limit(AT_ONCE))).mappings().all()
    await delete(conn, model, [dict(row) for row in rows])
    return bool(rows)
