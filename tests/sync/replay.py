"""The directory as the change feed alone tells it: every change must follow from those before it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.core.directory import DEPARTMENT_FIELDS, USER_FIELDS
from tests.sync.harness import Held, departments, memberships, users

Fields = dict[str, Any]


@dataclass
class Replayed:
    """Users and departments by our id, memberships by (our id of the user, WeCom's id of the department)."""

    users: dict[str, Fields] = field(default_factory=dict)
    departments: dict[str, Fields] = field(default_factory=dict)
    seats: dict[tuple[str, int], Fields] = field(default_factory=dict)


def replay(feed: Iterable[Fields]) -> Replayed:
    """What the rows of one source's feed, taken in order, amount to.

    Fails where the numbers have a gap, where a change begins with something else than the one before it left, and where
    a change changes nothing (it would have been made twice).
    """
    made = Replayed()
    for position, row in enumerate(feed, start=1):
        assert row["seq"] == position, f"the feed has a gap before {row['seq']}"
        if row["kind"] == "membership":
            _seat(made, row)
        else:
            _object(made.users if row["kind"] == "user" else made.departments, row)
    return made


def _object(objects: dict[str, Fields], row: Fields) -> None:
    id_, after = row["object_id"], dict(row["after"])
    if row["action"] == "create":
        assert id_ not in objects, f"made twice: {row}"
        name = "userid" if row["kind"] == "user" else "department_id"
        objects[id_] = after | {name: row["key"] if row["kind"] == "user" else int(row["key"]), "unmanaged_since": None}
        return
    held = objects[id_]
    known = {name: held[name] for name in row["before"]}
    assert known == row["before"], f"it was {known} when {row} was made"
    assert after != row["before"], f"changes nothing: {row}"
    held |= after


def _seat(made: Replayed, row: Fields) -> None:
    key = (row["object_id"], int(row["key"].rpartition(":")[2]))
    assert made.seats.get(key, {}) == row["before"], f"it was {made.seats.get(key)} when {row} was made"
    assert row["before"] != row["after"], f"changes nothing: {row}"
    if row["action"] == "remove":
        del made.seats[key]
    else:
        made.seats[key] = row["after"]


async def check_feed(desk: Held) -> None:
    """The feed has no gap, repeats nothing, and amounts to the directory as its tables hold it."""
    told = replay(await desk.feed())
    for table, objects, fields in (
        (users, told.users, (*USER_FIELDS, "userid", "active")),
        (departments, told.departments, (*DEPARTMENT_FIELDS, "department_id", "active")),
    ):
        held = {row["id"]: row for row in await desk.rows(table)}
        assert {id_: {name: row[name] for name in fields} for id_, row in held.items()} == {
            id_: {name: row[name] for name in fields} for id_, row in objects.items()
        }
        away = {id_ for id_, row in held.items() if row["unmanaged_since"]}
        assert away == {id_ for id_, row in objects.items() if row["unmanaged_since"]}
    held_seats = {(row["user_id"], row["department_id"]): row for row in await desk.rows(memberships)}
    told_seats = {key: (seat["order"], seat["is_leader"]) for key, seat in told.seats.items()}
    assert {key: (row["order"], row["is_leader"]) for key, row in held_seats.items()} == told_seats
