"""What waits, or waited, to be told to a target: one row per object, which later changes of the object join."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, String, case, cast, delete, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.outgoing import Link
from app.errors import Refused
from app.store.bulk import table_of, upsert
from app.store.changes import Applied
from app.store.db import new_id, now
from app.store.tables import (
    DeliveryRow,
    DepartmentRow,
    LinkRow,
    MembershipRow,
    PlannedChangeRow,
    RunRow,
    SourceRow,
    TargetRow,
    UserRow,
)
from app.store.targets import Target

USER, USER_GONE, DEPARTMENT_GONE, NEWS = 1000, 2000, 3000, 5000
"""Ranks: departments by their depth, users, users gone, departments gone by 999 minus their depth, news."""
STEP: Final = 1000
ATTEMPTS_KEPT: Final = 10
OPEN: Final = ("pending", "retrying", "dead")
SEATS: Final = "memberships"
"""The name in `previous` of what was known of a user's departments; null of one that he was not in."""

table = table_of(DeliveryRow)
link_table = table_of(LinkRow)
sources = table_of(SourceRow)
target_table = table_of(TargetRow)
departments = table_of(DepartmentRow)
users = table_of(UserRow)
memberships = table_of(MembershipRow)
planned = table_of(PlannedChangeRow)
runs = table_of(RunRow)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery; the fields are those of DeliveryRow."""

    id: str
    target_id: str
    kind: str
    object_id: str
    key: str
    rank: int
    first_seq: int
    seq: int
    actions: Sequence[str]
    previous: Mapping[str, Any]
    run_id: str | None
    held: bool
    approved: bool
    state: str
    failures: int
    attempts: Sequence[Mapping[str, Any]]
    next_attempt_at: datetime | None
    created_at: datetime
    changed_at: datetime
    finished_at: datetime | None


@dataclass(slots=True)
class Waiting:
    """What is about to be put in line about one object; `seq` 0 when no change of the feed is behind it."""

    kind: str
    object_id: str
    key: str
    rank: int
    at: datetime
    first_seq: int = 0
    seq: int = 0
    actions: list[str] = field(default_factory=list)
    previous: dict[str, Any] = field(default_factory=dict)
    run_id: str | None = None


def gathered(rows: Iterable[Applied]) -> list[Waiting]:
    """Rows of the feed by object, in the order of their first change; a membership belongs to its user.

    The first `before` of a field is the value that the target knows.
    """
    found: dict[str, Waiting] = {}
    for row in rows:
        kind = "department" if row.kind == "department" else "user"
        key = row.key.rpartition(":")[0] if row.kind == "membership" else row.key
        one = found.setdefault(row.object_id, Waiting(kind, row.object_id, key, USER, row.at, row.seq))
        one.seq, one.at, one.key = row.seq, row.at, key
        action = "update" if row.kind == "membership" else row.action
        one.actions += [] if one.actions[-1:] == [action] else [action]
        own = {SEATS: {row.key.rpartition(":")[2]: row.before or None}} if row.kind == "membership" else row.before
        one.previous = _first_known(one.previous, own)
    return list(found.values())


def _first_known(first: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """The values before the first of two sets of changes; `memberships` are told apart by department."""
    seats = {**later.get(SEATS, {}), **first.get(SEATS, {})}
    return {**later, **first} | ({SEATS: seats} if seats else {})


async def enqueue(conn: AsyncConnection, target_id: str, waiting: Sequence[Waiting]) -> None:
    """Put objects in line; what waits of an object already is joined, one that was given up is tried again."""
    query = select(table).where(table.c.target_id == target_id, table.c.state.in_(OPEN))
    ids = [one.object_id for one in waiting]
    found = (await conn.execute(query.where(table.c.object_id.in_(ids)))).mappings()
    held = {row["object_id"]: row for row in found}
    rows = [_joined(held[one.object_id], one) if one.object_id in held else _new(target_id, one) for one in waiting]
    if rows:
        await upsert(conn, DeliveryRow, rows)


def _new(target_id: str, one: Waiting) -> dict[str, Any]:
    return DeliveryRow(
        id=new_id("dlv"),
        target_id=target_id,
        kind=one.kind,
        object_id=one.object_id,
        key=one.key,
        rank=one.rank,
        first_seq=one.first_seq,
        seq=one.seq,
        actions=one.actions,
        previous=one.previous,
        run_id=one.run_id,
        created_at=now(),
        changed_at=one.at,
    ).model_dump()


def _joined(row: RowMapping, one: Waiting) -> dict[str, Any]:
    """A removal that is held back stays so, and with the run that lists it, until the object is there again."""
    held = row["held"] and one.rank >= USER_GONE
    first = min(seq for seq in (row["first_seq"], one.first_seq) if seq) if row["first_seq"] or one.first_seq else 0
    again = {"state": "pending", "failures": 0, "next_attempt_at": None} if row["state"] == "dead" else {}
    joined = {
        "key": one.key,
        "rank": one.rank,
        "first_seq": first,
        "seq": max(row["seq"], one.seq),
        "actions": [*row["actions"], *one.actions],
        "previous": _first_known(row["previous"], one.previous),
        "run_id": row["run_id"] if held else one.run_id or row["run_id"],
        "held": held,
        "approved": row["approved"] and one.rank >= USER_GONE,
        "changed_at": one.at,
    }
    return {**row, **joined, **again}


async def next_batch(conn: AsyncConnection, target_id: str, most: int, at: datetime) -> list[Delivery]:
    """The deliveries to be sent together: of one kind, removals apart, in their order; empty when nothing is due."""
    query = select(table).where(table.c.target_id == target_id, *_due(at)).order_by(table.c.rank, table.c.id)
    found = [_delivery(row) for row in (await conn.execute(query.limit(most))).mappings()]
    return [one for one in found if one.rank // STEP == found[0].rank // STEP]


async def finish(conn: AsyncConnection, ids: Collection[str], attempt: Mapping[str, Any] | None = None) -> None:
    """These are delivered, or need not be; `attempt` is what is told of it."""
    rows = (await conn.execute(select(table).where(table.c.id.in_(ids)))).mappings().all()
    done = {"state": "delivered", "finished_at": now(), "next_attempt_at": None, "previous": {}}
    noted = [{**row, **done, "attempts": _noted(row, attempt)} for row in rows]
    if noted:
        await upsert(conn, DeliveryRow, noted)


async def postpone(
    conn: AsyncConnection, times: Mapping[str, datetime | None], attempts: Mapping[str, Mapping[str, Any]], **own: Any
) -> None:
    """Note an attempt on each of these deliveries; due again at its time, None where the target's own pause counts."""
    rows = (await conn.execute(select(table).where(table.c.id.in_(list(times))))).mappings().all()
    later = [
        {**row, **own, "next_attempt_at": times[row["id"]], "attempts": _noted(row, attempts[row["id"]])}
        for row in rows
    ]
    if later:
        await upsert(conn, DeliveryRow, later)


async def fail(conn: AsyncConnection, id: str, attempt: Mapping[str, Any], again_at: datetime | None) -> None:
    """One object was not taken: tried again at a time, or dead."""
    row = (await conn.execute(select(table).where(table.c.id == id))).mappings().one()
    values = {
        "state": "retrying" if again_at else "dead",
        "failures": row["failures"] + 1,
        "next_attempt_at": again_at,
        "attempts": _noted(row, attempt),
    }
    await conn.execute(update(table).where(table.c.id == id).values(values))


async def get(conn: AsyncConnection, id: str) -> Delivery:
    """One delivery; Refused 404 `delivery.not_found`."""
    row = (await conn.execute(select(table).where(table.c.id == id))).mappings().first()
    if row is None:
        raise Refused("delivery.not_found", "There is no such delivery.", status=404)
    return _delivery(row)


async def list_deliveries(
    conn: AsyncConnection, target_id: str, *, state: str | None = None, after: str | None = None, limit: int
) -> list[tuple[str, Delivery]]:
    """Deliveries of a target, newest first, one more than the limit where there are more."""
    query = select(table).where(table.c.target_id == target_id)
    query = query if state is None else query.where(table.c.state == state)
    query = query if after is None else query.where(table.c.id < after)
    rows = (await conn.execute(query.order_by(table.c.id.desc()).limit(limit + 1))).mappings()
    return [(row["id"], _delivery(row)) for row in rows]


async def retry(conn: AsyncConnection, id: str) -> Delivery:
    """Send a delivery that was given up, or waits for its next try, now. Refused 409 `delivery.not_waiting`."""
    one = await get(conn, id)
    if one.state not in ("dead", "retrying"):
        raise Refused("delivery.not_waiting", "The delivery does not wait for another try.")
    values = {"state": "pending", "failures": 0, "next_attempt_at": None}
    await conn.execute(update(table).where(table.c.id == id).values(values))
    return await get(conn, id)


async def tell(conn: AsyncConnection, source_id: str, kind: str, id: str) -> None:
    """Put news of a run or of another target in line for the targets that want to know."""
    wanting = (target_table.c.source_id == source_id, target_table.c.wants_news, target_table.c.deleted_at.is_(None))
    for target_id in (await conn.scalars(select(target_table.c.id).where(*wanting))).all():
        if target_id != id:
            await enqueue(conn, target_id, [Waiting(kind, id, id, NEWS, now())])


async def backlog(conn: AsyncConnection, target: Target) -> int:
    """Changes not yet looked at and objects that wait."""
    newest = await conn.scalar(select(sources.c.next_seq).where(sources.c.id == target.source_id)) or 1
    where = (table.c.target_id == target.id, table.c.state.in_(("pending", "retrying")))
    return newest - 1 - target.taken + (await conn.scalar(select(func.count()).select_from(table).where(*where)) or 0)


async def position(conn: AsyncConnection, target_id: str, taken: int) -> int:
    """The number up to which everything is delivered, dead or superseded."""
    where = (table.c.target_id == target_id, table.c.state.in_(("pending", "retrying")), table.c.first_seq > 0)
    first = await conn.scalar(select(func.min(table.c.first_seq)).where(*where))
    return taken if first is None else first - 1


async def open_of_run(conn: AsyncConnection, run_id: str, *states: str) -> int:
    """How many deliveries of a resync are in these states."""
    where = (table.c.run_id == run_id, table.c.state.in_(states))
    return await conn.scalar(select(func.count()).select_from(table).where(*where)) or 0


async def drop_of_run(conn: AsyncConnection, run_id: str) -> None:
    """A resync was cancelled: what it put in line, and no change of the feed has joined, is not sent."""
    alone = (table.c.run_id == run_id, table.c.state.in_(OPEN), table.c.seq == 0)
    await conn.execute(delete(table).where(*alone))


async def settle_plan(conn: AsyncConnection, run_id: str) -> None:
    """What was given up or is held back is marked in the plan of the run, the rest of it was carried out."""
    dead = select(table.c.object_id).where(table.c.run_id == run_id, table.c.state == "dead")
    target_id = select(runs.c.target_id).where(runs.c.id == run_id).scalar_subquery()
    held = select(table.c.object_id).where(table.c.target_id == target_id, table.c.held)
    mine = update(planned).where(planned.c.run_id == run_id, planned.c.state.in_(("planned", "withheld")))
    await conn.execute(mine.where(planned.c.object_id.in_(dead)).values(state="failed"))
    await conn.execute(mine.where(planned.c.object_id.not_in(held)).values(state="applied"))
    await conn.execute(mine.values(state="withheld"))


async def removals(conn: AsyncConnection, target_id: str) -> list[Delivery]:
    """The removals in line that no one has approved or held yet."""
    gone = (table.c.rank >= USER_GONE, table.c.rank < NEWS, table.c.state.in_(("pending", "retrying")))
    query = select(table).where(table.c.target_id == target_id, *gone, table.c.held.is_(False), ~table.c.approved)
    return [_delivery(row) for row in (await conn.execute(query.order_by(table.c.id))).mappings()]


async def hold(conn: AsyncConnection, ids: Collection[str], run_id: str) -> None:
    """Keep these back until a person has approved the run that lists them."""
    await conn.execute(update(table).where(table.c.id.in_(ids)).values(held=True, run_id=run_id))


async def held_by(conn: AsyncConnection, run_id: str) -> int:
    """How many removals wait for the approval of this run."""
    where = (table.c.run_id == run_id, table.c.held)
    return await conn.scalar(select(func.count()).select_from(table).where(*where)) or 0


async def release(conn: AsyncConnection, run_id: str) -> None:
    """What a run held back may be sent."""
    await conn.execute(update(table).where(table.c.run_id == run_id, table.c.held).values(held=False, approved=True))


async def drop_held(conn: AsyncConnection, run_id: str) -> None:
    """What a run held back is not sent; the next resync finds it again."""
    await conn.execute(delete(table).where(table.c.run_id == run_id, table.c.held))


async def purge(conn: AsyncConnection, *, before: datetime, limit: int = 1000) -> bool:
    """Delete some of what was delivered before a time; True while there may be more."""
    old = select(table.c.id).where(table.c.state == "delivered", table.c.finished_at < before).limit(limit)
    return (await conn.execute(delete(table).where(table.c.id.in_(old)))).rowcount == limit


async def links_of(conn: AsyncConnection, target_id: str, ids: Collection[str]) -> dict[str, Link]:
    """What a target acknowledged of these objects."""
    query = select(link_table).where(link_table.c.target_id == target_id, link_table.c.object_id.in_(ids))
    rows = (await conn.execute(query)).mappings()
    return {row["object_id"]: Link(row["remote_id"], row["digest"], row["present"]) for row in rows}


async def dependents(conn: AsyncConnection, target: Target, department_id: int) -> list[Waiting]:
    """The linked children and members of a department (by WeCom's id)."""
    children = select(departments.c.id, literal("department"), cast(departments.c.department_id, String)).where(
        departments.c.source_id == target.source_id, departments.c.parent_id == department_id, departments.c.active
    )
    join = users.join(memberships, memberships.c.user_id == users.c.id)
    members = (
        select(users.c.id, literal("user"), users.c.userid)
        .select_from(join)
        .where(memberships.c.source_id == target.source_id, memberships.c.department_id == department_id)
        .where(users.c.active)
    )
    found = [*(await conn.execute(children)), *(await conn.execute(members))]
    links = await links_of(conn, target.id, [row[0] for row in found])
    return [Waiting(row[1], row[0], row[2], USER, now()) for row in found if row[0] in links]


async def forget_digests(conn: AsyncConnection, target_id: str, ids: Collection[str]) -> None:
    """What these were told last is not to be relied on: they are told again."""
    await conn.execute(
        update(link_table).where(link_table.c.target_id == target_id, link_table.c.object_id.in_(ids)).values(digest="")
    )


async def linked(conn: AsyncConnection, target_id: str, *, after: str, limit: int) -> list[tuple[str, str, str]]:
    """(object id, kind, key) of what a target has of us, a page at a time."""
    columns = (link_table.c.object_id, link_table.c.kind, link_table.c.key)
    query = select(*columns).where(link_table.c.target_id == target_id, link_table.c.object_id > after)
    query = query.where(link_table.c.present).order_by(link_table.c.object_id).limit(limit)
    return [(row[0], row[1], row[2]) for row in await conn.execute(query)]


async def acknowledged(conn: AsyncConnection, target_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write links: object_id, kind, key, remote_id, digest, present, removed_at of each."""
    at = now()
    if rows:
        await upsert(conn, LinkRow, [{"target_id": target_id, "at": at, **row} for row in rows])


async def present_counts(conn: AsyncConnection, target_id: str, since: datetime) -> dict[str, tuple[int, int]]:
    """By kind: how many objects a target has of us, and how many were removed from it since a time."""
    recent = func.sum(case((link_table.c.removed_at >= since, 1), else_=literal(0)))
    there = func.sum(case((link_table.c.present, 1), else_=literal(0)))
    query = select(link_table.c.kind, there, recent).where(link_table.c.target_id == target_id)
    return {row[0]: (int(row[1]), int(row[2])) for row in await conn.execute(query.group_by(link_table.c.kind))}


def _due(at: datetime) -> tuple[ColumnElement[bool], ...]:
    rested = or_(table.c.next_attempt_at.is_(None), table.c.next_attempt_at <= at)
    return table.c.state.in_(("pending", "retrying")), table.c.held.is_(False), rested


def _noted(row: RowMapping, attempt: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [*row["attempts"], *([attempt] if attempt else [])][-ATTEMPTS_KEPT:]


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(**{name: row[name] for name in Delivery.__slots__})
