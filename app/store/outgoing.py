"""Objects of the directory as targets are told of them: the shape of the REST API, with what a tree needs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import table_of
from app.store.pages import Person, Place, persons_by_id, places_by_id
from app.store.tables import DepartmentRow, LinkRow, RunRow, TargetRow, UserRow

departments = table_of(DepartmentRow)
runs = table_of(RunRow)
users = table_of(UserRow)
links = table_of(LinkRow)
targets = table_of(TargetRow)

Value = dict[str, Any]


class Tree:
    """The active departments of one source: our id, parent and depth of each by WeCom's id."""

    def __init__(self, rows: Sequence[tuple[str, int, int | None]]) -> None:
        self._ids = {number: id_ for id_, number, _ in rows}
        self._parents = {number: parent for _, number, parent in rows}

    @classmethod
    async def read(cls, conn: AsyncConnection, source_id: str) -> "Tree":
        columns = (departments.c.id, departments.c.department_id, departments.c.parent_id)
        query = select(*columns).where(departments.c.source_id == source_id, departments.c.active)
        return cls([(row[0], row[1], row[2]) for row in await conn.execute(query)])

    def id_of(self, number: int | None) -> str | None:
        return None if number is None else self._ids.get(number)

    def depth(self, number: int) -> int:
        """0 for a top node; a cycle, which a directory holds for a moment only, ends the count."""
        seen: set[int] = set()
        parent = self._parents.get(number)
        while parent in self._ids and parent not in seen:
            seen.add(parent)
            parent = self._parents.get(parent)
        return len(seen)


async def ids_after(
    conn: AsyncConnection, source_id: str, target_id: str, kind: str, after: str, limit: int
) -> list[str]:
    """The next ids, in their order, of what a target should have, or has, of one kind of object."""
    table = users if kind == "user" else departments
    ours = select(table.c.id).where(table.c.source_id == source_id, table.c.active, table.c.id > after)
    theirs = select(links.c.object_id).where(
        links.c.target_id == target_id, links.c.kind == kind, links.c.present, links.c.object_id > after
    )
    found = {*(await conn.scalars(ours.order_by(table.c.id).limit(limit)))}
    found |= {*(await conn.scalars(theirs.order_by(links.c.object_id).limit(limit)))}
    return sorted(found)[:limit]


async def values(conn: AsyncConnection, tree: Tree, kind: str, ids: Collection[str]) -> dict[str, Value]:
    """The present values of these objects by our id; an erased one is not among them."""
    if kind == "user":
        return {person.id: user_value(person, tree) for person in await persons_by_id(conn, ids)}
    if kind == "department":
        return {place.id: department_value(place, tree) for place in await places_by_id(conn, ids)}
    return await (_runs(conn, ids) if kind == "run" else _targets(conn, ids))


def user_value(person: Person, tree: Tree) -> Value:
    """A user as `GET /users/{id}` answers him, with our department id in each seat."""
    main = person.fields["main_department_id"]
    seats = [
        {
            "id": tree.id_of(seat.department_id),
            "department_id": seat.department_id,
            "order": seat.order,
            "is_leader": seat.is_leader,
            "is_main": seat.department_id == main,
        }
        for seat in person.memberships
    ]
    return _plain(person) | {"departments": seats, "unreadable": list(person.unreadable)}


def department_value(place: Place, tree: Tree) -> Value:
    """A department as `GET /departments/{id}` answers it, with the id of its parent and its depth."""
    parent = tree.id_of(place.fields["parent_id"])
    depth = tree.depth(place.department_id)
    return _plain(place) | {"unreadable": list(place.unreadable), "parent": parent, "depth": depth}


def _plain(stored: Person | Place) -> Value:
    own = {name: getattr(stored, name) for name in stored.__slots__ if name not in ("fields", "memberships")}
    return {name: _json(value) for name, value in {**own, **stored.fields}.items()}


def _json(value: object) -> object:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


async def _runs(conn: AsyncConnection, ids: Collection[str]) -> dict[str, Value]:
    names = ("id", "source_id", "target_id", "kind", "trigger", "state", "dry_run", "counts", "digest", "retry_of")
    return await _news(conn, runs, (*names, "error", "created_at", "started_at", "finished_at"), ids)


async def _targets(conn: AsyncConnection, ids: Collection[str]) -> dict[str, Value]:
    names = ("id", "source_id", "name", "kind", "state", "last_error", "failing_since", "last_delivered_at")
    return await _news(conn, targets, names, ids)


async def _news(conn: AsyncConnection, table: Table, names: Sequence[str], ids: Collection[str]) -> dict[str, Value]:
    query = select(*(table.c[name] for name in names)).where(table.c.id.in_(ids))
    rows: Sequence[Mapping[Any, Any]] = (await conn.execute(query)).mappings().all()
    return {row["id"]: {name: _told(name, row[name]) for name in names} for row in rows}


def _told(name: str, value: Any) -> object:
    """A stored error without what only fills its texts."""
    if name in ("error", "last_error") and value:
        return {part: value.get(part) for part in ("code", "message", "hint", "upstream")}
    return _json(value)
