"""What waiting events tell a full sync, and which of them it has answered."""

from datetime import UTC, datetime

from sqlalchemy import Text, and_, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import key_of
from app.store.bulk import table_of
from app.store.inbox import due, mark_applied
from app.store.tables import DepartmentRow, InboxRow, StagedDepartmentRow, StagedUserRow, UserRow

inbox = table_of(InboxRow)
staged_users = table_of(StagedUserRow)
staged_departments = table_of(StagedDepartmentRow)
users = table_of(UserRow)
departments = table_of(DepartmentRow)

FAR = datetime(9000, 1, 1, tzinfo=UTC)


async def pending_renames(conn: AsyncConnection, source_id: str) -> dict[str, tuple[str, int]]:
    """Renames that waiting events announce: new key → (old key, number of the event)."""
    where = (inbox.c.source_id == source_id, inbox.c.state == "pending", inbox.c.new_key.is_not(None))
    rows = await conn.execute(select(inbox.c.new_key, inbox.c.key, inbox.c.arrived).where(*where))
    return {key_of(row[0]): (key_of(row[1]), row[2]) for row in rows}


async def settle(conn: AsyncConnection, source_id: str, run_id: str, *, at: datetime) -> int:
    """Mark as applied the events whose object this complete sweep read after they came, or proved gone since.

    An event whose announcement the read does not show yet stays: WeCom may answer late.
    """
    answered = await _read_since(conn, source_id, run_id) | await _gone_since(conn, source_id)
    events = [event for event in await due(conn, source_id, FAR) if event.id in answered]
    return await mark_applied(conn, events, at=at, run_id=run_id) if events else 0


async def _read_since(conn: AsyncConnection, source_id: str, run_id: str) -> set[str]:
    pending = (inbox.c.source_id == source_id, inbox.c.state == "pending", inbox.c.new_key.is_(None))
    person = and_(staged_users.c.run_id == run_id, staged_users.c.user_key == func.lower(inbox.c.key))
    query = select(inbox.c.id, inbox.c.expects, staged_users.c.data).join_from(inbox, staged_users, person)
    rows = await conn.execute(query.where(*pending, inbox.c.kind == "user", staged_users.c.observed > inbox.c.arrived))
    found = {id_ for id_, expects, data in rows if _shows_user(expects, data)}
    number = cast(staged_departments.c.department_id, Text)
    place = and_(staged_departments.c.run_id == run_id, number == inbox.c.key)
    query = select(inbox.c.id, inbox.c.expects, staged_departments.c.data).join_from(inbox, staged_departments, place)
    rows = await conn.execute(
        query.where(*pending, inbox.c.kind == "department", staged_departments.c.observed > inbox.c.arrived)
    )
    return found | {id_ for id_, expects, data in rows if _shows_department(expects, data)}


async def _gone_since(conn: AsyncConnection, source_id: str) -> set[str]:
    pending = (inbox.c.source_id == source_id, inbox.c.state == "pending", inbox.c.new_key.is_(None))
    person = and_(users.c.source_id == source_id, users.c.user_key == func.lower(inbox.c.key))
    query = select(inbox.c.id, inbox.c.expects).join_from(inbox, users, person)
    rows = await conn.execute(
        query.where(*pending, inbox.c.kind == "user", ~users.c.active, users.c.observed > inbox.c.arrived)
    )
    return {id_ for id_, expects in rows if expects.get("absent")}


def _shows_user(expects: dict[str, object], data: dict[str, object]) -> bool:
    if expects.get("absent"):
        return False
    wanted = expects.get("departments")
    seats = data.get("memberships")
    if not isinstance(wanted, list) or not isinstance(seats, list):
        return True
    return {seat[0] for seat in seats} <= set(wanted)


def _shows_department(expects: dict[str, object], data: dict[str, object]) -> bool:
    if expects.get("absent"):
        return False
    return expects.get("parent_id") is None or data.get("parent_id") in (None, expects.get("parent_id"))
