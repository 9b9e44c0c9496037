"""The directory we hold: departments, users and memberships of each source, and the one way in which they change."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Text, and_, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import (
    DEPARTMENT_FIELDS,
    USER_FIELDS,
    Change,
    Department,
    Membership,
    StoredDepartment,
    StoredUser,
    User,
    key_of,
)
from app.store.bulk import delete, table_of, upsert
from app.store.changes import Origin, record
from app.store.db import new_id
from app.store.tables import DepartmentRow, MembershipRow, UserRow

departments = table_of(DepartmentRow)
users = table_of(UserRow)
memberships = table_of(MembershipRow)

_TUPLES = ("direct_leaders", "extattrs", "leaders")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a read leaves on an object whose changes were all applied: its number, its hashes, and of a user the
    departments it showed (None: it did not say)."""

    observed: int
    hashes: Mapping[str, str | None] = field(default_factory=dict)
    places: frozenset[int] | None = None


def places_of(user: User) -> frozenset[int] | None:
    """The departments that a record shows; None when it does not say."""
    return None if user.memberships is None else frozenset(seat.department_id for seat in user.memberships)


async def stored_departments(
    conn: AsyncConnection, source_id: str, ids: Collection[int]
) -> dict[int, StoredDepartment]:
    """The departments with these WeCom ids that we hold, removed ones included."""
    query = select(departments).where(departments.c.source_id == source_id, departments.c.department_id.in_(ids))
    rows = (await conn.execute(query)).mappings()
    return {row["department_id"]: _stored_department(row) for row in rows}


async def stored_users(conn: AsyncConnection, source_id: str, keys: Collection[str]) -> dict[str, StoredUser]:
    """The present holders of these userids (lower case), inactive ones included, with their memberships."""
    query = select(users).where(
        users.c.source_id == source_id, users.c.user_key.in_(keys), users.c.superseded_at.is_(None)
    )
    rows = (await conn.execute(query)).mappings().all()
    held = await _memberships_of(conn, [row["id"] for row in rows])
    return {row["user_key"]: _stored_user(row, held.get(row["id"], ())) for row in rows}


async def members_of(conn: AsyncConnection, source_id: str, department_id: int) -> list[str]:
    """The userids of the active direct members of a department."""
    join = users.join(memberships, memberships.c.user_id == users.c.id)
    query = (
        select(users.c.userid)
        .select_from(join)
        .where(
            memberships.c.source_id == source_id,
            memberships.c.department_id == department_id,
            users.c.active,
            users.c.superseded_at.is_(None),
        )
    )
    return list((await conn.execute(query)).scalars())


async def in_sight(conn: AsyncConnection, source_id: str, keys: Collection[str]) -> list[str]:
    """Which of these people (lower case) are not unmanaged."""
    query = select(users.c.user_key).where(
        users.c.source_id == source_id,
        users.c.user_key.in_(keys),
        users.c.superseded_at.is_(None),
        users.c.unmanaged_since.is_(None),
    )
    return list((await conn.execute(query)).scalars())


async def visible_departments(conn: AsyncConnection, source_id: str) -> set[int]:
    """The WeCom ids of the departments that the last reads could see."""
    query = select(departments.c.department_id).where(
        departments.c.source_id == source_id, departments.c.active, departments.c.unmanaged_since.is_(None)
    )
    return set((await conn.execute(query)).scalars())


async def departed(conn: AsyncConnection, source_id: str, people: Iterable[StoredUser]) -> set[int]:
    """The departments in which these people still have memberships and which are none of ours (any more)."""
    numbers = {seat.department_id for held in people for seat in held.value.memberships or ()}
    query = select(departments.c.department_id).where(
        departments.c.source_id == source_id, departments.c.active, departments.c.department_id.in_(numbers)
    )
    return numbers - set((await conn.execute(query)).scalars())


async def parents_of(conn: AsyncConnection, source_id: str) -> dict[int, tuple[int | None, int]]:
    """Each active department's (parent, observation number)."""
    query = select(departments.c.department_id, departments.c.parent_id, departments.c.observed).where(
        departments.c.source_id == source_id, departments.c.active
    )
    return {row[0]: (row[1], row[2]) for row in await conn.execute(query)}


async def has_people(conn: AsyncConnection, source_id: str) -> bool:
    """Whether this source's directory holds anybody."""
    return (await conn.execute(select(users.c.id).where(users.c.source_id == source_id).limit(1))).first() is not None


async def existing_counts(conn: AsyncConnection, source_id: str) -> dict[str, int]:
    """How many objects exist that a plan could destroy: `deactivate`, `department`, `membership`."""
    active = and_(users.c.source_id == source_id, users.c.active)
    people = await conn.scalar(select(func.count()).select_from(users).where(active))
    places = await conn.scalar(
        select(func.count()).select_from(departments).where(departments.c.source_id == source_id, departments.c.active)
    )
    seats = await conn.scalar(select(func.count()).select_from(memberships).where(memberships.c.source_id == source_id))
    return {"deactivate": people or 0, "department": places or 0, "membership": seats or 0}


async def valued(conn: AsyncConnection, source_id: str, name: str) -> int:
    """How many active people have a value in this field."""
    column = users.c[name]
    filled: ColumnElement[bool] = column.is_not(None)
    if name in _TUPLES:
        filled = and_(filled, cast(column, Text) != "[]")
    elif name not in ("status", "main_department_id"):
        filled = and_(filled, column != "", column != "0") if name == "gender" else and_(filled, column != "")
    query = select(func.count()).select_from(users).where(users.c.source_id == source_id, users.c.active, filled)
    return await conn.scalar(query) or 0


async def unmanaged_counts(conn: AsyncConnection, source_id: str) -> dict[str, int]:
    """How many active people and departments are out of sight."""
    counts = {}
    for name, table in (("users", users), ("departments", departments)):
        where = (table.c.source_id == source_id, table.c.active, table.c.unmanaged_since.is_not(None))
        counts[name] = await conn.scalar(select(func.count()).select_from(table).where(*where)) or 0
    return counts


async def write(
    conn: AsyncConnection,
    source_id: str,
    changes: Sequence[Change],
    *,
    at: datetime,
    origin: Origin,
    marks: Mapping[tuple[str, str], Mark],
) -> int:
    """Carry out changes and put them into the feed; returns how many feed rows were made.

    `marks` are by (kind, key); an object with a mark takes its observation number and hashes, changed or not, so that
    no older read wins later. The caller holds the fence and the lock on the source row.
    """
    draft = _Draft(source_id, at)
    await draft.load(conn, changes, marks)
    for change in changes:
        draft.apply(change)
    draft.stamp(marks)
    await draft.save(conn)
    return await record(conn, source_id, draft.numbered(changes), at=at, origin=origin)


class _Draft:
    """The rows that a batch of changes touches, altered in memory and saved with one statement per table."""

    def __init__(self, source_id: str, at: datetime) -> None:
        self.source_id, self.at = source_id, at
        self.users: dict[str, dict[str, Any]] = {}
        self.departments: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.department_ids: dict[str, str] = {}
        self.seats: dict[tuple[str, int], dict[str, Any] | None] = {}
        self.superseded: set[str] = set()
        self.places: dict[str, set[int]] = {}

    async def load(
        self, conn: AsyncConnection, changes: Iterable[Change], marks: Mapping[tuple[str, str], Mark]
    ) -> None:
        """Fetch the rows of every object that is changed or marked, and of whoever holds a userid that is created."""
        ids = {"user": set[str](), "department": set[str]()}
        for change in changes:
            if change.object_id:
                ids["department" if change.kind == "department" else "user"].add(change.object_id)
        keys = {key_of(c.key) for c in changes if c.kind == "user" and c.action in ("create", "rename")}
        await self._load_users(conn, ids["user"], keys | {key for kind, key in marks if kind == "user"})
        numbers = {int(key) for kind, key in marks if kind == "department"}
        which = departments.c.id.in_(ids["department"]) | departments.c.department_id.in_(numbers)
        query = select(departments).where(departments.c.source_id == self.source_id, which)
        for row in (await conn.execute(query)).mappings():
            self.departments[row["id"]] = dict(row)
            self.department_ids[str(row["department_id"])] = row["id"]

    async def _load_users(self, conn: AsyncConnection, ids: Collection[str], keys: Collection[str]) -> None:
        who = users.c.id.in_(ids) | (users.c.user_key.in_(keys) & users.c.superseded_at.is_(None))
        for row in (await conn.execute(select(users).where(users.c.source_id == self.source_id, who))).mappings():
            self.users[row["id"]] = dict(row)
            self.by_key[row["user_key"]] = row["id"]
        for id_, seats in (await _memberships_of(conn, list(self.users))).items():
            self.places[id_] = {seat.department_id for seat in seats}

    def apply(self, change: Change) -> None:
        """Alter the rows by one change."""
        if change.kind == "membership":
            self._seat(change)
        elif change.kind == "department":
            self._department(change)
        elif change.action == "create":
            self._supersede(self.by_key.get(key_of(change.key)))
            self._create_user(change)
        else:
            self._user(change)

    def _create_user(self, change: Change) -> None:
        values = {name: change.after.get(name) for name in USER_FIELDS}
        key, id_ = key_of(change.key), new_id("usr")
        base = dict.fromkeys(column.name for column in users.columns)
        times = {"created_at": self.at, "updated_at": self.at, "observed_at": self.at}
        self.users[id_] = base | values | times | {"id": id_, "source_id": self.source_id, "user_key": key}
        active = bool(change.after["active"])
        self.users[id_] |= {"userid": change.key, "active": active, "observed": change.observed}
        self.users[id_]["deactivated_at"] = None if active else self.at
        self.by_key[key] = id_

    def _user(self, change: Change) -> None:
        row = self.users[change.object_id or ""]
        merged = change.after.get("merged_into")
        row |= {name: change.after[name] for name in (*USER_FIELDS, "active", "userid") if name in change.after}
        row |= {"updated_at": self.at, "observed": max(row["observed"], change.observed), "observed_at": self.at}
        if "unmanaged_since" in change.after:
            row["unmanaged_since"] = _since(change)
        row["hash"] = None  # that of an older read; a mark brings the new one, without a mark the next sweep compares
        if change.action in ("deactivate", "reactivate"):
            row["deactivated_at"] = self.at if change.action == "deactivate" else None
        if change.action == "rename":
            self.by_key.pop(row["user_key"], None)
            row["user_key"] = key_of(change.key)
            self.by_key[row["user_key"]] = row["id"]
        if merged:
            self._supersede(row["id"])

    def _supersede(self, id_: str | None) -> None:
        if id_:
            self.users[id_]["superseded_at"] = self.at
            self.superseded.add(id_)

    def _department(self, change: Change) -> None:
        id_ = change.object_id or new_id("dep")
        if change.action == "create":
            base = dict.fromkeys(column.name for column in departments.columns)
            times = {"created_at": self.at, "updated_at": self.at, "observed_at": self.at}
            own = {"id": id_, "source_id": self.source_id, "department_id": int(change.key), "active": True}
            self.departments[id_] = base | times | own | {"observed": change.observed}
            self.department_ids[change.key] = id_
        row = self.departments[id_]
        row |= {name: change.after[name] for name in (*DEPARTMENT_FIELDS, "active") if name in change.after}
        row |= {"updated_at": self.at, "observed": max(row["observed"], change.observed), "observed_at": self.at}
        if "unmanaged_since" in change.after:
            row["unmanaged_since"] = _since(change)
        row["hash"] = None
        row["removed_at"] = self.at if change.action == "remove" else (None if row["active"] else row["removed_at"])

    def _seat(self, change: Change) -> None:
        userid, _, number = change.key.rpartition(":")
        user_id = change.object_id or self.by_key[key_of(userid)]
        self.users[user_id]["hash"] = None
        seat = {"user_id": user_id, "department_id": int(number), "source_id": self.source_id}
        own = {"order": change.after.get("order"), "is_leader": change.after.get("is_leader")}
        places = self.places.setdefault(user_id, set())
        if change.action == "remove":
            self.seats[user_id, int(number)] = None
            places.discard(int(number))
        else:
            self.seats[user_id, int(number)] = seat | own
            places.add(int(number))

    def stamp(self, marks: Mapping[tuple[str, str], Mark]) -> None:
        """Leave the reads' numbers and hashes on the objects whose changes were all applied.

        Who keeps memberships that the read could not see gets no hash: he is compared again when they come into sight.
        """
        for (kind, key), mark in marks.items():
            held = self.users.get(self.by_key.get(key, "")) if kind == "user" else None
            row = held or (self.departments.get(self.department_ids.get(key, "")) if kind == "department" else None)
            if row is not None:
                row |= {"observed": max(row["observed"], mark.observed), "observed_at": self.at, **mark.hashes}
            if held is not None and mark.places is not None and self.places.get(held["id"], set()) != mark.places:
                held["hash"] = None

    async def save(self, conn: AsyncConnection) -> None:
        """Write the rows; whoever gives up his userid first."""
        await upsert(conn, DepartmentRow, list(self.departments.values()))
        await upsert(conn, UserRow, [row for id_, row in self.users.items() if id_ in self.superseded])
        await upsert(conn, UserRow, [row for id_, row in self.users.items() if id_ not in self.superseded])
        kept = [seat for seat in self.seats.values() if seat is not None]
        await upsert(conn, MembershipRow, kept)
        ended = [{"user_id": key[0], "department_id": key[1]} for key, seat in self.seats.items() if seat is None]
        await delete(conn, MembershipRow, ended)

    def numbered(self, changes: Iterable[Change]) -> list[tuple[Change, str]]:
        """Each change with our id of its object (of a membership: of its user)."""
        return [(change, change.object_id or self._made(change)) for change in changes]

    def _made(self, change: Change) -> str:
        if change.kind == "department":
            return self.department_ids[change.key]
        return self.by_key[key_of(change.key.rpartition(":")[0] if change.kind == "membership" else change.key)]


async def _memberships_of(conn: AsyncConnection, user_ids: Collection[str]) -> dict[str, list[Membership]]:
    query = select(memberships).where(memberships.c.user_id.in_(user_ids)).order_by(memberships.c.department_id)
    held: dict[str, list[Membership]] = {}
    for row in (await conn.execute(query)).mappings() if user_ids else ():
        seat = Membership(row["department_id"], row["order"], row["is_leader"])
        held.setdefault(row["user_id"], []).append(seat)
    return held


def _since(change: Change) -> datetime | None:
    since = change.after["unmanaged_since"]
    return datetime.fromisoformat(since) if since else None


def _stored_department(row: RowMapping) -> StoredDepartment:
    values = {name: _tupled(name, row[name]) for name in DEPARTMENT_FIELDS}
    value = Department(department_id=row["department_id"], **values)
    return StoredDepartment(row["id"], value, row["active"], row["observed"], row["unmanaged_since"])


def _stored_user(row: RowMapping, seats: Iterable[Membership]) -> StoredUser:
    values = {name: _tupled(name, row[name]) for name in USER_FIELDS}
    value = User(userid=row["userid"], memberships=tuple(seats), **values)
    return StoredUser(row["id"], value, row["active"], row["observed"], row["unmanaged_since"])


def _tupled(name: str, value: Any) -> Any:
    return tuple(value) if name in _TUPLES and value is not None else value
