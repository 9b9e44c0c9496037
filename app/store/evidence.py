"""What waiting events tell a full sync, and which of them it has answered."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import Text, and_, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import key_of
from app.store.bulk import table_of
from app.store.inbox import AT_ONCE, due, mark_applied, reopened
from app.store.tables import (
    DepartmentRow,
    InboxRow,
    PlannedChangeRow,
    RunRow,
    StagedDepartmentRow,
    StagedUserRow,
    UserRow,
)

inbox = table_of(InboxRow)
staged_users = table_of(StagedUserRow)
staged_departments = table_of(StagedDepartmentRow)
users = table_of(UserRow)
departments = table_of(DepartmentRow)
planned = table_of(PlannedChangeRow)
runs = table_of(RunRow)

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


async def reopen_overtaken(conn: AsyncConnection, source_id: str, run_id: str) -> int:
    """Open again the events that came after the read from which this run made their object; returns how many.

    They asked for the object while we did not hold it, and found nothing that was worth keeping.
    """
    since = select(runs.c.sweep_from).where(runs.c.id == run_id).scalar_subquery()
    settled = (inbox.c.source_id == source_id, inbox.c.state.in_(("applied", "ignored")), inbox.c.arrived > since)
    rows = (await conn.execute(select(inbox.c.id, inbox.c.kind, inbox.c.key, inbox.c.arrived).where(*settled))).all()
    made = await _made_by(conn, run_id, {key_of(row.key) for row in rows})
    late = [row.id for row in rows if made.get((row.kind, key_of(row.key)), row.arrived) < row.arrived]
    for start in range(0, len(late), AT_ONCE):
        await conn.execute(update(inbox).where(inbox.c.id.in_(late[start : start + AT_ONCE])).values(reopened()))
    return len(late)


async def _made_by(conn: AsyncConnection, run_id: str, keys: Collection[str]) -> dict[tuple[str, str], int]:
    """(kind, key) of the objects with these keys that a run created, and the number of the read they come from."""
    wanted, made = sorted(keys), dict[tuple[str, str], int]()
    for start in range(0, len(wanted), AT_ONCE):
        where = (planned.c.run_id == run_id, planned.c.state == "applied", planned.c.action == "create")
        query = select(planned.c.kind, planned.c.key, planned.c.observed).where(
            *where, func.lower(planned.c.key).in_(wanted[start : start + AT_ONCE])
        )
        made |= {(row.kind, key_of(row.key)): row.observed for row in await conn.execute(query)}
    return made


async def _read_since(conn: AsyncConnection, source_id: str, run_id: str) -> set[str]:
    pending = (inbox.c.source_id == source_id, inbox.c.state == "pending", inbox.c.new_key.is_(None))
    person = and_(staged_users.c.run_id == run_id, staged_users.c.user_key == func.lower(inbox.c.key))
    listed = select(staged_departments.c.department_id).where(staged_departments.c.run_id == run_id)
    places = set((await conn.execute(listed)).scalars())
    query = select(inbox.c.id, inbox.c.expects, staged_users.c.data).join_from(inbox, staged_users, person)
    rows = await conn.execute(query.where(*pending, inbox.c.kind == "user", staged_users.c.observed > inbox.c.arrived))
    found = {id_ for id_, expects, data in rows if _shows_user(expects, data, places)}
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


def _shows_user(expects: dict[str, object], data: dict[str, object], places: set[int]) -> bool:
    if expects.get("absent"):
        return False
    wanted = expects.get("departments")
    seats = data.get("memberships")
    if not isinstance(wanted, list) or not isinstance(seats, list):
        return True
    shown = {seat[0] for seat in seats}
    return shown <= set(wanted) and places & set(wanted) <= shown


def _shows_department(expects: dict[str, object], data: dict[str, object]) -> bool:
    if expects.get("absent"):
        return False
    return expects.get("parent_id") is None or data.get("parent_id") in (None, expects.get("parent_id"))
