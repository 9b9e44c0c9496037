"""The plan of a run: every change, written down before the first one is made."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Text, case, cast, distinct, func, or_, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Change, GuardKind, object_of
from app.core.guard import COUNTED, Loss, Trip, destroyed
from app.store.bulk import insert, table_of
from app.store.directory import departments, existing_counts, users, valued
from app.store.tables import PlannedChangeRow

planned = table_of(PlannedChangeRow)

DEPARTMENTS, PEOPLE, LEAVERS, REMOVALS = range(4)
"""The order of applying: departments parents first, people, people who are gone, departments children first."""

OUTCOMES = (
    "created",
    "updated",
    "deactivated",
    "reactivated",
    "removed",
    "unchanged",
    "failed",
    "withheld",
    "unmanaged",
)
_OUTCOME = {
    "create": "created",
    "update": "updated",
    "rename": "updated",
    "deactivate": "deactivated",
    "reactivate": "reactivated",
    "remove": "removed",
}


async def add(conn: AsyncConnection, run_id: str, changes: Iterable[Change], rank: int, state: str = "planned") -> None:
    """Append changes to a plan, to be applied in the order of `rank`, then as added."""
    rows = [
        {
            "run_id": run_id,
            "kind": change.kind,
            "action": change.action,
            "key": change.key,
            "object_id": change.object_id,
            "previous_key": change.previous_key,
            "before": dict(change.before),
            "after": dict(change.after),
            "observed": change.observed,
            "guarded": change.guarded,
            "state": state,
            "reason": change.reason,
            "rank": rank,
        }
        for change in changes
    ]
    await insert(conn, PlannedChangeRow, rows)


async def discard(conn: AsyncConnection, run_id: str) -> None:
    """Forget what of a plan was not carried out, before planning anew."""
    open_ = planned.c.state.in_(("planned", "withheld", "failed"))
    await conn.execute(sql_delete(planned).where(planned.c.run_id == run_id, open_))


async def fail(conn: AsyncConnection, run_id: str, kind: str, key: str, reason: str) -> None:
    """Note an object that could not be understood or changed."""
    row = {"run_id": run_id, "kind": kind, "action": "update", "key": key, "before": {}, "after": {}}
    await insert(
        conn, PlannedChangeRow, [row | {"observed": 0, "state": "failed", "reason": reason, "rank": PEOPLE} | _unset()]
    )


async def batch(conn: AsyncConnection, run_id: str, limit: int, *, one: bool = False) -> list[tuple[int, Change]]:
    """The next planned changes in the order of applying; never half of one person's, with `one` just one object's."""
    query = select(planned).where(planned.c.run_id == run_id, planned.c.state == "planned")
    rows = (await conn.execute(query.order_by(planned.c.rank, planned.c.id).limit(limit))).mappings().all()
    found = [(row["id"], _change(row)) for row in rows]
    if not found:
        return []
    first, last = object_of(found[0][1]), object_of(found[-1][1])
    if len(found) == limit and first == last:
        return await batch(conn, run_id, limit * 2, one=one)
    if one:
        return [item for item in found if object_of(item[1]) == first]
    return found if len(found) < limit else [item for item in found if object_of(item[1]) != last]


async def drop(conn: AsyncConnection, ids: Collection[int]) -> None:
    """Take changes out of a plan: a newer read has overtaken them."""
    await conn.execute(sql_delete(planned).where(planned.c.id.in_(ids)))


async def set_state(conn: AsyncConnection, ids: Collection[int], state: str, reason: str | None = None) -> None:
    """Mark planned changes; a reason given replaces theirs."""
    values: dict[str, Any] = {"state": state} | ({"reason": reason} if reason else {})
    await conn.execute(update(planned).where(planned.c.id.in_(ids)).values(**values))


async def losses(
    conn: AsyncConnection, run_id: str, source_id: str, recent: dict[str, int] | None = None
) -> list[Loss]:
    """What a plan destroys, by guard kind and, for values, by field; `recent` is what the sliding window holds."""
    recent = recent or {}
    existing = await existing_counts(conn, source_id)
    found: list[Loss] = []
    kinds: tuple[GuardKind, ...] = ("deactivate", "department", "membership")
    for kind in kinds:
        where = (planned.c.run_id == run_id, planned.c.guarded == kind, planned.c.action == COUNTED[kind])
        query = select(func.count()).select_from(planned).where(*where, planned.c.state == "planned")
        lost = await conn.scalar(query) or 0
        found.append(Loss(kind, lost, existing[kind], recent=recent.get(kind, 0)))
    for name, lost in (await _blanked(conn, run_id)).items():
        had = await valued(conn, source_id, name)
        found.append(Loss("blank", lost, had, name, recent.get(f"blank:{name}", 0)))
    return found


async def withhold(conn: AsyncConnection, run_id: str, trips: Iterable[Trip]) -> int:
    """Withhold the destructive part that tripped the guard, whole per person; returns the number of changes."""
    kinds = {trip.loss.kind for trip in trips}
    where = (planned.c.run_id == run_id, planned.c.state == "planned", planned.c.guarded.in_(kinds))
    result = await conn.execute(update(planned).where(*where).values(state="withheld"))
    return result.rowcount


async def marks(conn: AsyncConnection, run_id: str, states: Collection[str]) -> set[tuple[str, str, str]]:
    """What a plan's changes in these states destroy."""
    where = (planned.c.run_id == run_id, planned.c.guarded.is_not(None), planned.c.state.in_(states))
    rows = (await conn.execute(select(planned).where(*where))).mappings()
    return {mark for row in rows for mark in destroyed(_change(row))}


async def withheld_objects(conn: AsyncConnection, run_id: str) -> list[tuple[str, str]]:
    """(kind, key) of everything that a run withholds."""
    query = select(planned.c.kind, planned.c.key).where(planned.c.run_id == run_id, planned.c.state == "withheld")
    return [(row[0], row[1]) for row in await conn.execute(query)]


async def withheld_people(conn: AsyncConnection, run_id: str, keys: Collection[str]) -> set[str]:
    """Which of these people (lower case) have a withheld change in a run."""
    where = (planned.c.run_id == run_id, planned.c.state == "withheld", planned.c.kind != "department")
    rows = await conn.execute(select(planned.c.kind, planned.c.key).where(*where))
    found = {(key.rpartition(":")[0] if kind == "membership" else key).lower() for kind, key in rows}
    return found & set(keys)


async def counts(
    conn: AsyncConnection, run_id: str, seen: dict[str, int], unmanaged: dict[str, int]
) -> dict[str, dict[str, int]]:
    """A run's result per kind of object: objects, not changes. `seen` are the objects read, `unmanaged` those that are
    out of sight now, to which comes what a dry run would add or take."""
    totals = {kind: dict.fromkeys(OUTCOMES, 0) for kind in ("departments", "users", "memberships")}
    outcome = case((planned.c.state.in_(("withheld", "failed")), planned.c.state), else_=planned.c.action)
    query = select(planned.c.kind, outcome, func.count(distinct(func.lower(planned.c.key))))
    for kind, name, count in await conn.execute(
        query.where(planned.c.run_id == run_id).group_by(planned.c.kind, outcome)
    ):
        if name != "unmanage":
            totals[f"{kind}s"][_OUTCOME.get(name, name)] += count
    for kind in ("departments", "users"):
        read = (planned.c.kind == kind[:-1], planned.c.rank.in_((DEPARTMENTS, PEOPLE)))
        touched = select(func.count(distinct(func.lower(planned.c.key)))).where(
            planned.c.run_id == run_id, *read, planned.c.state != "failed", planned.c.action != "unmanage"
        )
        totals[kind]["unchanged"] = max(0, seen.get(kind, 0) - (await conn.scalar(touched) or 0))
        totals[kind]["unmanaged"] = unmanaged.get(kind, 0) + await _unmanaged_by(conn, run_id, kind[:-1])
    return totals


async def any_in(conn: AsyncConnection, run_id: str, state: str, *, kind: str | None = None) -> bool:
    """Whether a plan has a change (of one kind of object) in this state."""
    query = select(planned.c.id).where(planned.c.run_id == run_id, planned.c.state == state).limit(1)
    if kind:
        query = query.where(planned.c.kind == kind)
    return (await conn.execute(query)).first() is not None


async def total(conn: AsyncConnection, run_id: str, *states: str) -> int:
    """How many changes of a plan are in these states."""
    where = (planned.c.run_id == run_id, or_(*(planned.c.state == state for state in states)))
    return await conn.scalar(select(func.count()).select_from(planned).where(*where)) or 0


async def _unmanaged_by(conn: AsyncConnection, run_id: str, kind: str) -> int:
    """By how much what is still only planned would change the number of objects out of sight."""
    table = users if kind == "user" else departments
    where = (planned.c.run_id == run_id, planned.c.kind == kind, planned.c.state == "planned")
    lost = select(func.count()).select_from(planned).where(*where, planned.c.action == "unmanage")
    seen = cast(planned.c.after, Text).contains('"unmanaged_since"') & (planned.c.action != "unmanage")
    joined = planned.join(table, table.c.id == planned.c.object_id)
    found = (
        select(func.count(distinct(table.c.id)))
        .select_from(joined)
        .where(
            *where,
            table.c.active,
            table.c.unmanaged_since.is_not(None),
            seen | planned.c.action.in_(("deactivate", "remove")),
        )
    )
    return (await conn.scalar(lost) or 0) - (await conn.scalar(found) or 0)


async def _blanked(conn: AsyncConnection, run_id: str) -> dict[str, int]:
    where = (planned.c.run_id == run_id, planned.c.guarded == "blank", planned.c.state == "planned")
    found: dict[str, int] = {}
    for after in (await conn.execute(select(planned.c.after).where(*where))).scalars():
        for name in after:
            found[name] = found.get(name, 0) + 1
    return found


def _change(row: Any) -> Change:
    return Change(
        row["kind"],
        row["action"],
        row["key"],
        row["before"],
        row["after"],
        row["observed"],
        row["object_id"],
        row["previous_key"],
        row["guarded"],
        row["reason"],
    )


def _unset() -> dict[str, None]:
    return {"object_id": None, "previous_key": None, "guarded": None}
