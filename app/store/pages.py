"""Lists of the API, page by page: each query starts after a sort key and fetches one row more than the page holds.

Ids and sequence numbers are time-ordered, so they are the sort keys; nothing is counted and nothing is skipped.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import DEPARTMENT_FIELDS, DISABLED, USER_FIELDS, WITHHELD, Membership, key_of
from app.errors import Refused
from app.store.bulk import table_of
from app.store.changes import Applied
from app.store.runs import ENDED, Run, run_of
from app.store.sources import Source, Sources
from app.store.tables import (
    ChangeRow,
    DepartmentRow,
    InboxRow,
    MembershipRow,
    PlannedChangeRow,
    RunRow,
    SourceRow,
    UserRow,
)

sources = table_of(SourceRow)
runs = table_of(RunRow)
planned = table_of(PlannedChangeRow)
users = table_of(UserRow)
departments = table_of(DepartmentRow)
memberships = table_of(MembershipRow)
changes = table_of(ChangeRow)
inbox = table_of(InboxRow)

SEARCHED: Final = ("userid", "name", "alias", "mobile", "email", "biz_mail")
DETAILS: Final = tuple(name for name in DEPARTMENT_FIELDS if name not in ("parent_id", "order"))

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Planned:
    """One change of a run's plan and what became of it."""

    kind: str
    action: str
    key: str
    object_id: str | None
    previous_key: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One event of the inbox; `payload` is its decrypted XML, None once it has been cleared away."""

    id: str
    source_id: str
    received_at: datetime
    change_type: str
    kind: str
    key: str
    new_key: str | None
    state: str
    reason: str | None
    attempts: int
    next_attempt_at: datetime | None
    error: Mapping[str, Any] | None
    run_id: str | None
    applied_at: datetime | None
    duplicates: int
    payload: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """A user with what is known of when and how well he was seen. `unreadable` names the fields that the source's
    credentials cannot read now; those hold the last value read."""

    id: str
    source_id: str
    userid: str
    fields: Mapping[str, Any]
    memberships: Sequence[Membership]
    active: bool
    suspended: bool
    unmanaged_since: datetime | None
    unreadable: tuple[str, ...]
    observed_at: datetime
    created_at: datetime
    updated_at: datetime
    deactivated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """A department; `member_count` are the active people who are directly in it."""

    id: str
    source_id: str
    department_id: int
    fields: Mapping[str, Any]
    active: bool
    member_count: int
    unmanaged_since: datetime | None
    unreadable: tuple[str, ...]
    observed_at: datetime
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users; None leaves a criterion out. `department_id` is WeCom's and belongs to `source_id`."""

    source_id: str | None = None
    userid: str | None = None
    q: str | None = None
    department_id: int | None = None
    status: int | None = None
    active: bool | None = None
    unmanaged: bool | None = None


@dataclass(frozen=True, slots=True)
class DepartmentFilter:
    """Which departments; None leaves a criterion out. `parent_id` is WeCom's and belongs to `source_id`."""

    source_id: str | None = None
    parent_id: int | None = None
    q: str | None = None
    active: bool | None = None


async def list_sources(
    conn: AsyncConnection, store: Sources, *, after: str | None, limit: int, deleted: bool = False
) -> list[tuple[str, Source]]:
    """Sources in the order of their making; deleted ones only when asked for."""
    query = select(sources) if deleted else select(sources).where(sources.c.deleted_at.is_(None))
    rows = await _forward(conn, query, sources.c.id, after, limit)
    return [(row["id"], store.value(row)) for row in rows]


async def last_runs(conn: AsyncConnection, source_ids: Collection[str]) -> dict[str, Run]:
    """The newest run of each of these sources that has one."""
    newest = select(func.max(runs.c.id)).where(runs.c.source_id.in_(source_ids)).group_by(runs.c.source_id)
    rows = (await conn.execute(select(runs).where(runs.c.id.in_(newest)))).mappings()
    return {row["source_id"]: run_of(row) for row in rows}


async def unfinished_runs(conn: AsyncConnection, source_id: str) -> list[str]:
    """The ids of the runs of a source that may still change something."""
    query = select(runs.c.id).where(runs.c.source_id == source_id, runs.c.state.not_in(ENDED))
    return list((await conn.execute(query.order_by(runs.c.id))).scalars())


async def list_runs(
    conn: AsyncConnection,
    *,
    source_id: str | None = None,
    state: str | None = None,
    trigger: str | None = None,
    after: str | None,
    limit: int,
) -> list[tuple[str, Run]]:
    """Runs, newest first."""
    query = _where(select(runs), (runs.c.source_id, source_id), (runs.c.state, state), (runs.c.trigger, trigger))
    return [(row["id"], run_of(row)) for row in await _backward(conn, query, runs.c.id, after, limit)]


async def list_planned(
    conn: AsyncConnection,
    run_id: str,
    *,
    kind: str | None = None,
    action: str | None = None,
    state: str | None = None,
    after: int | None,
    limit: int,
) -> list[tuple[int, Planned]]:
    """The plan of a run in the order in which it was made."""
    query = select(planned).where(planned.c.run_id == run_id)
    query = _where(query, (planned.c.kind, kind), (planned.c.action, action), (planned.c.state, state))
    rows = await _forward(conn, query, planned.c.id, after, limit)
    return [(row["id"], Planned(**{name: row[name] for name in Planned.__slots__})) for row in rows]


async def list_history(
    conn: AsyncConnection, object_id: str, *, after: int | None, limit: int
) -> list[tuple[int, Applied]]:
    """The changes of one object, newest first; a user's memberships are among his."""
    query = select(changes).where(changes.c.object_id == object_id)
    return [(row["seq"], _applied(row)) for row in await _backward(conn, query, changes.c.seq, after, limit)]


async def feed(conn: AsyncConnection, source_id: str, *, after: int, limit: int) -> list[Applied]:
    """Changes of a source with a larger seq than `after`, in commit order.

    Raises Refused 404 `source.not_found`, and 410 `changes.gone` when the next one has been purged.
    """
    next_seq = await conn.scalar(select(sources.c.next_seq).where(sources.c.id == source_id))
    if next_seq is None:
        raise Refused("source.not_found", "There is no such source.", status=404)
    query = select(changes).where(changes.c.source_id == source_id, changes.c.seq > after)
    rows = (await conn.execute(query.order_by(changes.c.seq).limit(limit))).mappings().all()
    first = rows[0]["seq"] if rows else next_seq
    if after + 1 < first:
        raise Refused("changes.gone", "The changes right after `after` have been purged.", status=410)
    return [_applied(row) for row in rows]


async def list_events(
    conn: AsyncConnection, *, source_id: str | None = None, state: str | None = None, after: str | None, limit: int
) -> list[tuple[str, Incoming]]:
    """Events of the inbox, newest first."""
    query = _where(select(inbox), (inbox.c.source_id, source_id), (inbox.c.state, state))
    return [(row["id"], _incoming(row)) for row in await _backward(conn, query, inbox.c.id, after, limit)]


async def get_event(conn: AsyncConnection, event_id: str) -> Incoming:
    """One event; Refused 404 `event.not_found`."""
    row = (await conn.execute(select(inbox).where(inbox.c.id == event_id))).mappings().first()
    if row is None:
        raise Refused("event.not_found", "There is no such event.", status=404)
    return _incoming(row)


async def list_users(
    conn: AsyncConnection, wanted: UserFilter, *, after: str | None, limit: int
) -> list[tuple[str, Person]]:
    """Users in the order in which they were first seen."""
    query = _where(
        _people(),
        (users.c.source_id, wanted.source_id),
        (users.c.status, wanted.status),
        (users.c.active, wanted.active),
    )
    if wanted.userid is not None:
        query = query.where(users.c.user_key == key_of(wanted.userid), users.c.superseded_at.is_(None))
    if wanted.q is not None:
        query = query.where(or_(*(users.c[name].icontains(wanted.q, autoescape=True) for name in SEARCHED)))
    if wanted.unmanaged is not None:
        query = query.where(users.c.unmanaged_since.is_not(None) == wanted.unmanaged)
    if wanted.department_id is not None:
        seated = select(memberships.c.user_id).where(
            memberships.c.source_id == wanted.source_id, memberships.c.department_id == wanted.department_id
        )
        query = query.where(users.c.id.in_(seated))
    rows = await _forward(conn, query, users.c.id, after, limit)
    return [(person.id, person) for person in await _persons(conn, rows)]


async def get_user(conn: AsyncConnection, user_id: str) -> Person:
    """One user by our id; Refused 404 `user.not_found`."""
    rows = (await conn.execute(_people().where(users.c.id == user_id))).mappings().all()
    if not rows:
        raise Refused("user.not_found", "There is no such user.", status=404)
    return (await _persons(conn, rows))[0]


async def list_departments(
    conn: AsyncConnection, wanted: DepartmentFilter, *, after: str | None, limit: int
) -> list[tuple[str, Place]]:
    """Departments in the order in which they were first seen."""
    query = _where(
        _places(),
        (departments.c.source_id, wanted.source_id),
        (departments.c.parent_id, wanted.parent_id),
        (departments.c.active, wanted.active),
    )
    if wanted.q is not None:
        names = (departments.c.name, departments.c.name_en)
        query = query.where(or_(*(name.icontains(wanted.q, autoescape=True) for name in names)))
    rows = await _forward(conn, query, departments.c.id, after, limit)
    return [(row["id"], _place(row)) for row in rows]


async def get_department(conn: AsyncConnection, id_: str) -> Place:
    """One department by our id; Refused 404 `department.not_found`."""
    row = (await conn.execute(_places().where(departments.c.id == id_))).mappings().first()
    if row is None:
        raise Refused("department.not_found", "There is no such department.", status=404)
    return _place(row)


async def persons_by_id(conn: AsyncConnection, ids: Collection[str]) -> list[Person]:
    """These users, whoever of them there is."""
    return await _persons(conn, (await conn.execute(_people().where(users.c.id.in_(ids)))).mappings().all())


async def places_by_id(conn: AsyncConnection, ids: Collection[str]) -> list[Place]:
    """These departments, whichever of them there are."""
    return [_place(row) for row in (await conn.execute(_places().where(departments.c.id.in_(ids)))).mappings()]


def _where(query: Select[Any], *criteria: tuple[ColumnElement[Any], object]) -> Select[Any]:
    return query.where(*(column == value for column, value in criteria if value is not None))


async def _forward(
    conn: AsyncConnection, query: Select[Any], key: ColumnElement[Any], after: object, limit: int
) -> Sequence[RowMapping]:
    query = query if after is None else query.where(key > after)
    rows: Sequence[RowMapping] = (await conn.execute(query.order_by(key).limit(limit + 1))).mappings().all()
    return rows


async def _backward(
    conn: AsyncConnection, query: Select[Any], key: ColumnElement[Any], before: object, limit: int
) -> Sequence[RowMapping]:
    query = query if before is None else query.where(key < before)
    rows: Sequence[RowMapping] = (await conn.execute(query.order_by(key.desc()).limit(limit + 1))).mappings().all()
    return rows


def _people() -> Select[Any]:
    return select(users, *_source_facts()).join(sources, sources.c.id == users.c.source_id)


def _places() -> Select[Any]:
    members = (
        select(func.count())
        .select_from(memberships.join(users, users.c.id == memberships.c.user_id))
        .where(
            memberships.c.source_id == departments.c.source_id,
            memberships.c.department_id == departments.c.department_id,
            users.c.active,
        )
        .scalar_subquery()
        .label("member_count")
    )
    return select(departments, members, *_source_facts()).join(sources, sources.c.id == departments.c.source_id)


def _source_facts() -> tuple[ColumnElement[Any], ...]:
    return sources.c.readable.label("source_readable"), sources.c.range.label("source_range"), sources.c.swept_at


async def _persons(conn: AsyncConnection, rows: Sequence[RowMapping]) -> list[Person]:
    seats = await _seats(conn, [row["id"] for row in rows])
    return [_person(row, seats.get(row["id"], [])) for row in rows]


async def _seats(conn: AsyncConnection, user_ids: Sequence[str]) -> dict[str, list[Membership]]:
    query = select(memberships).where(memberships.c.user_id.in_(user_ids)).order_by(memberships.c.department_id)
    held: dict[str, list[Membership]] = {}
    for row in (await conn.execute(query)).mappings():
        seat = Membership(row["department_id"], row["order"], row["is_leader"])
        held.setdefault(row["user_id"], []).append(seat)
    return held


def _person(row: RowMapping, seats: Sequence[Membership]) -> Person:
    unreadable = tuple(name for name in WITHHELD if name not in row["source_readable"])
    return Person(
        id=row["id"],
        source_id=row["source_id"],
        userid=row["userid"],
        fields={name: row[name] for name in USER_FIELDS},
        memberships=seats,
        active=row["active"],
        suspended=row["status"] == DISABLED,
        unmanaged_since=row["unmanaged_since"],
        unreadable=unreadable if _details(row) else USER_FIELDS,
        observed_at=_observed_at(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deactivated_at=row["deactivated_at"],
    )


def _place(row: RowMapping) -> Place:
    return Place(
        id=row["id"],
        source_id=row["source_id"],
        department_id=row["department_id"],
        fields={name: row[name] for name in DEPARTMENT_FIELDS},
        active=row["active"],
        member_count=row["member_count"],
        unmanaged_since=row["unmanaged_since"],
        unreadable=() if _details(row) else DETAILS,
        observed_at=_observed_at(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        removed_at=row["removed_at"],
    )


def _details(row: RowMapping) -> bool:
    """Whether the source's credentials can read more than ids; unknown counts as yes."""
    return bool((row["source_range"] or {}).get("details", True))


def _observed_at(row: RowMapping) -> datetime:
    """A complete sweep saw everything that is managed, and writes only what differs."""
    own: datetime = row["observed_at"]
    swept: datetime | None = row["swept_at"]
    seen_by_sweep = swept is not None and row["active"] and row["unmanaged_since"] is None
    return max(own, swept) if swept is not None and seen_by_sweep else own


def _applied(row: RowMapping) -> Applied:
    return Applied(**{name: row[name] for name in Applied.__slots__})


def _incoming(row: RowMapping) -> Incoming:
    return Incoming(**{name: row[name] for name in Incoming.__slots__})
