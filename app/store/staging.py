"""What a run has read and not yet compared, page by page; and the comparison with the directory, made in SQL."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import WITHHELD, Department, Membership, User, key_of
from app.core.fingerprint import department_hash, user_hash, withheld_hashes
from app.store.bulk import delete, table_of, upsert
from app.store.directory import places_of
from app.store.tables import (
    DepartmentRow,
    StagedDepartmentRow,
    StagedIdRow,
    StagedPageRow,
    StagedUserRow,
    UserRow,
)

pages = table_of(StagedPageRow)
staged_departments = table_of(StagedDepartmentRow)
staged_users = table_of(StagedUserRow)
staged_ids = table_of(StagedIdRow)
_FIELDS = [field.name for field in fields(User)]
departments = table_of(DepartmentRow)
users = table_of(UserRow)


Page = tuple[str, int, dict[str, Any] | None]


async def stage_pages(conn: AsyncConnection, run_id: str, read: Iterable[Page]) -> None:
    """Remember pages that were read: their key, observation number, and a note of what they said besides users."""
    rows = [{"run_id": run_id, "key": key, "observed": observed, "note": note} for key, observed, note in read]
    await upsert(conn, StagedPageRow, rows)


async def stage_users(conn: AsyncConnection, run_id: str, read: Iterable[tuple[User, int]]) -> None:
    """Stage users with the numbers of their reads; of several reads of one person the newest counts."""
    rows: dict[str, dict[str, Any]] = {}
    for user, observed in read:
        if user.key not in rows or rows[user.key]["observed"] < observed:
            rows[user.key] = {
                "run_id": run_id,
                "user_key": user.key,
                "observed": observed,
                "hash": user_hash(user),
                **withheld_hashes(user),
                "data": data_of(user),
            }
    await upsert(conn, StagedUserRow, list(rows.values()), only_newer=True)


async def stage_departments(conn: AsyncConnection, run_id: str, read: Iterable[Department], observed: int) -> None:
    """Replace the staged departments by a complete list."""
    await conn.execute(sql_delete(staged_departments).where(staged_departments.c.run_id == run_id))
    rows = [
        {
            "run_id": run_id,
            "department_id": department.department_id,
            "observed": observed,
            "hash": department_hash(department),
            "data": asdict(department),
        }
        for department in read
    ]
    await upsert(conn, StagedDepartmentRow, rows)


async def stage_ids(conn: AsyncConnection, run_id: str, pass_: int, userids: Iterable[str]) -> None:
    """Add the people whom one page of user/list_id holds to a pass."""
    rows = [{"run_id": run_id, "pass_": pass_, "user_key": key} for key in {key_of(userid) for userid in userids}]
    await upsert(conn, StagedIdRow, rows)


async def clear_ids(conn: AsyncConnection, run_id: str, pass_: int) -> None:
    """Forget a pass that broke off."""
    await conn.execute(sql_delete(staged_ids).where(staged_ids.c.run_id == run_id, staged_ids.c.pass_ == pass_))


async def listed_ids(conn: AsyncConnection, run_id: str, pass_: int, keys: Collection[str]) -> set[str]:
    """Which of these people a pass holds."""
    query = select(staged_ids.c.user_key).where(
        staged_ids.c.run_id == run_id, staged_ids.c.pass_ == pass_, staged_ids.c.user_key.in_(keys)
    )
    return set((await conn.execute(query)).scalars())


async def done_pages(conn: AsyncConnection, run_id: str) -> dict[str, dict[str, Any] | None]:
    """The pages that a run has read, with their notes."""
    query = select(pages.c.key, pages.c.note).where(pages.c.run_id == run_id)
    return {row[0]: row[1] for row in await conn.execute(query)}


async def unstaged(conn: AsyncConnection, run_id: str, keys: Collection[str]) -> set[str]:
    """Which of these people a run has not read."""
    query = select(staged_users.c.user_key).where(staged_users.c.run_id == run_id, staged_users.c.user_key.in_(keys))
    return set(keys) - set((await conn.execute(query)).scalars())


async def clear(conn: AsyncConnection, run_id: str, limit: int = 2000) -> bool:
    """Delete a part of what a run staged; True while something is left."""
    for model, table in _STAGED:
        keys = list(table.primary_key)
        rows = (await conn.execute(select(*keys).where(table.c.run_id == run_id).limit(limit))).mappings().all()
        if rows:
            await delete(conn, model, [dict(row) for row in rows])
            return True
    return False


async def readable(conn: AsyncConnection, run_id: str) -> list[str]:
    """The withheld fields that a complete sweep saw with a value for anybody."""
    found = []
    for name in WITHHELD:
        column = staged_users.c[f"hash_{name}"]
        query = select(exists().where(staged_users.c.run_id == run_id, column.is_not(None), column != ""))
        if await conn.scalar(query):
            found.append(name)
    return found


async def staged_counts(conn: AsyncConnection, run_id: str) -> dict[str, int]:
    """How many users and departments were staged."""
    counts = {}
    for name, table in (("users", staged_users), ("departments", staged_departments)):
        query = select(func.count()).select_from(table).where(table.c.run_id == run_id)
        counts[name] = await conn.scalar(query) or 0
    return counts


async def differing_departments(conn: AsyncConnection, run_id: str, source_id: str) -> list[tuple[Department, int]]:
    """Staged departments that are new to us or whose hash differs, with their observation number."""
    held = and_(departments.c.source_id == source_id, departments.c.department_id == staged_departments.c.department_id)
    query = (
        select(staged_departments.c.data, staged_departments.c.observed)
        .select_from(staged_departments.outerjoin(departments, held))
        .where(
            staged_departments.c.run_id == run_id,
            or_(departments.c.id.is_(None), departments.c.hash.is_distinct_from(staged_departments.c.hash)),
        )
    )
    return [(_department(row[0]), row[1]) for row in await conn.execute(query)]


async def missing_departments(conn: AsyncConnection, run_id: str, source_id: str) -> list[int]:
    """Active departments of ours that a run did not see."""
    seen = exists().where(
        staged_departments.c.run_id == run_id, staged_departments.c.department_id == departments.c.department_id
    )
    query = select(departments.c.department_id).where(departments.c.source_id == source_id, departments.c.active, ~seen)
    return list((await conn.execute(query)).scalars())


async def differing_users(
    conn: AsyncConnection, run_id: str, source_id: str, *, read: Collection[str], after: str, limit: int
) -> list[tuple[str, int, User]]:
    """(key, observed, user) of staged people who are new or differ from what we hold, in key order after `after`.

    `read` names the withheld fields that count as readable: the others do not make a difference.
    """
    held = and_(
        users.c.source_id == source_id, users.c.user_key == staged_users.c.user_key, users.c.superseded_at.is_(None)
    )
    withheld = [
        and_(staged_users.c[f"hash_{name}"].is_not(None), _differs(f"hash_{name}")) for name in WITHHELD if name in read
    ]
    query = (
        select(staged_users.c.user_key, staged_users.c.observed, staged_users.c.data)
        .select_from(staged_users.outerjoin(users, held))
        .where(
            staged_users.c.run_id == run_id,
            staged_users.c.user_key > after,
            or_(users.c.id.is_(None), _differs("hash"), *withheld),
        )
        .order_by(staged_users.c.user_key)
        .limit(limit)
    )
    return [(row[0], row[1], user_of(row[2])) for row in await conn.execute(query)]


async def missing_users(
    conn: AsyncConnection, run_id: str, source_id: str, *, before: int, after: str, limit: int
) -> list[str]:
    """Userids (lower case) of active people of ours whom a run that began at `before` did not see, in order."""
    seen = exists().where(staged_users.c.run_id == run_id, staged_users.c.user_key == users.c.user_key)
    query = (
        select(users.c.user_key)
        .where(
            users.c.source_id == source_id,
            users.c.superseded_at.is_(None),
            users.c.active,
            users.c.observed <= before,
            users.c.user_key > after,
            ~seen,
        )
        .order_by(users.c.user_key)
        .limit(limit)
    )
    return list((await conn.execute(query)).scalars())


async def staged(conn: AsyncConnection, run_id: str, keys: Collection[str]) -> dict[str, tuple[int, User]]:
    """(observed, user) of these people as a run staged them."""
    query = select(staged_users.c.user_key, staged_users.c.observed, staged_users.c.data).where(
        staged_users.c.run_id == run_id, staged_users.c.user_key.in_(keys)
    )
    return {row[0]: (row[1], user_of(row[2])) for row in await conn.execute(query)}


async def staged_places(conn: AsyncConnection, run_id: str) -> dict[int, tuple[int, Department]]:
    """(observed, department) of every department that a run staged."""
    query = select(staged_departments.c.observed, staged_departments.c.data).where(
        staged_departments.c.run_id == run_id
    )
    return {row[1]["department_id"]: (row[0], _department(row[1])) for row in await conn.execute(query)}


async def user_marks(
    conn: AsyncConnection, run_id: str, keys: Collection[str], read: Collection[str]
) -> dict[str, tuple[int, dict[str, str], frozenset[int] | None]]:
    """(observed, hashes, departments) of staged people; of the withheld fields only those in `read`."""
    rows = await conn.execute(
        select(staged_users).where(staged_users.c.run_id == run_id, staged_users.c.user_key.in_(keys))
    )
    names = ["hash", *(f"hash_{name}" for name in WITHHELD if name in read)]
    return {
        row["user_key"]: (
            row["observed"],
            {name: row[name] for name in names if row[name] is not None},
            places_of(user_of(row["data"])),
        )
        for row in rows.mappings()
    }


async def department_marks(
    conn: AsyncConnection, run_id: str, numbers: Collection[int]
) -> dict[int, tuple[int, dict[str, str]]]:
    """(observed, hashes) of staged departments."""
    table = staged_departments.c
    query = select(table.department_id, table.observed, table.hash)
    rows = await conn.execute(query.where(table.run_id == run_id, table.department_id.in_(numbers)))
    return {row[0]: (row[1], {"hash": row[2]}) for row in rows}


async def unreachable_ids(conn: AsyncConnection, run_id: str) -> int:
    """How many people the first pass of user/list_id held whom the run could not read."""
    seen = exists().where(staged_users.c.run_id == run_id, staged_users.c.user_key == staged_ids.c.user_key)
    where = (staged_ids.c.run_id == run_id, staged_ids.c.pass_ == 1, ~seen)
    return await conn.scalar(select(func.count()).select_from(staged_ids).where(*where)) or 0


def data_of(user: User) -> dict[str, Any]:
    """A user as JSON values; `user_of` is its inverse."""
    data = {name: getattr(user, name) for name in _FIELDS}
    if user.memberships is not None:
        data["memberships"] = [[seat.department_id, seat.order, seat.is_leader] for seat in user.memberships]
    return data


def user_of(data: dict[str, Any]) -> User:
    """A user from his JSON form."""
    lists = {name: tuple(data[name]) for name in ("direct_leaders", "extattrs") if data.get(name) is not None}
    seats = data.get("memberships")
    held = None if seats is None else tuple(Membership(*seat) for seat in seats)
    return User(**{**data, **lists, "memberships": held})


def _department(data: dict[str, Any]) -> Department:
    leaders = data.get("leaders")
    return Department(**{**data, "leaders": None if leaders is None else tuple(leaders)})


def _differs(name: str) -> Any:
    return users.c[name].is_distinct_from(staged_users.c[name])


_STAGED = (
    (StagedUserRow, staged_users),
    (StagedIdRow, staged_ids),
    (StagedDepartmentRow, staged_departments),
    (StagedPageRow, pages),
)
