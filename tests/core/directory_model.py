"""A directory in memory, and changes carried out on it: what the properties hold plans against.

It is stricter than a database: it refuses a change whose `before` is not what it holds, that changes nothing, or whose
object is not there. Values go through JSON on their way, as they do between planning and applying.
"""

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from app.core.directory import (
    DEPARTMENT_FIELDS,
    USER_FIELDS,
    WITHHELD,
    Change,
    Department,
    Membership,
    StoredDepartment,
    StoredUser,
    User,
    key_of,
)
from app.core.plan import plan_user


class Everywhere:
    """A range that holds every department."""

    def __contains__(self, number):
        return True


EVERYWHERE = Everywhere()


@dataclass(frozen=True)
class Directory:
    """`users` are by our id; the `retired` ones no longer hold their userid: merged, or followed by somebody else."""

    departments: dict[int, StoredDepartment] = field(default_factory=dict)
    users: dict[str, StoredUser] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *items):
        people = {item.id: item for item in items if isinstance(item, StoredUser)}
        places = {item.value.department_id: item for item in items if isinstance(item, StoredDepartment)}
        return cls(places, people)

    def holder(self, userid: str) -> StoredUser | None:
        """Who has this userid now."""
        found = [u for id_, u in self.users.items() if u.value.key == key_of(userid) and id_ not in self.retired]
        assert len(found) <= 1
        return found[0] if found else None

    def put(self, stored: StoredUser) -> "Directory":
        return replace(self, users=self.users | {stored.id: stored})


def apply_changes(directory: Directory, changes: Iterable[Change]) -> Directory:
    """The directory after these changes, in their order."""
    steps = {"department": _department, "user": _user, "membership": _membership}
    for change in changes:
        plain = replace(change, before=_through_json(change.before), after=_through_json(change.after))
        directory = steps[change.kind](directory, plain)
    return directory


def read_user(
    directory: Directory,
    desired: User,
    observed: int,
    *,
    readable: Container[str] = WITHHELD,
    in_range: Container[int] = EVERYWHERE,
) -> tuple[Directory, list[Change]]:
    """What a sync does with one read: plan, apply, and leave the number of the read if nothing newer is known."""
    existing = directory.holder(desired.userid)
    changes = plan_user(existing, desired, observed, readable=readable, in_range=in_range)
    directory = apply_changes(directory, changes)
    held = directory.holder(desired.userid)
    return directory.put(replace(held, observed=max(held.observed, observed))), changes


def _through_json(value):
    return json.loads(json.dumps(value, ensure_ascii=False))


def _department(directory: Directory, change: Change) -> Directory:
    number = int(change.key)
    if change.action == "create":
        assert number not in directory.departments
        assert change.object_id is None
        assert change.before == {}
        value = Department(number, **_values(change.after, DEPARTMENT_FIELDS))
        made = StoredDepartment(f"dep_{number}", value, change.after["active"], change.observed)
        return replace(directory, departments=directory.departments | {number: made})
    held = directory.departments[number]
    assert change.object_id == held.id
    return replace(directory, departments=directory.departments | {number: _stepped(held, change, DEPARTMENT_FIELDS)})


def _user(directory: Directory, change: Change) -> Directory:
    if change.action == "create":
        return _new_user(directory, change)
    held = directory.users[change.object_id]
    assert held.id not in directory.retired
    merged_into = change.after.get("merged_into")
    if merged_into:
        assert directory.users[merged_into].id != held.id
        ended = replace(held, active=False, observed=max(held.observed, change.observed))
        return replace(directory.put(ended), retired=directory.retired | {held.id})
    if change.action == "rename":
        assert change.previous_key == held.value.userid
        assert directory.holder(change.key) in (None, held)
    else:
        assert key_of(change.key) == held.value.key
    return directory.put(_stepped(held, change, (*USER_FIELDS, "userid")))


def _new_user(directory: Directory, change: Change) -> Directory:
    before = directory.holder(change.key)
    assert before is None or not before.active
    assert change.object_id is None
    assert change.before == {}
    retired = directory.retired | ({before.id} if before else set())
    made_before = sum(1 for id_ in directory.users if id_.startswith(f"new {key_of(change.key)} "))
    value = User(change.key, memberships=(), **_values(change.after, USER_FIELDS))
    made = StoredUser(f"new {key_of(change.key)} {made_before}", value, change.after["active"], change.observed)
    return replace(directory.put(made), retired=retired)


def _membership(directory: Directory, change: Change) -> Directory:
    userid, _, number = change.key.rpartition(":")
    held = directory.users[change.object_id] if change.object_id else directory.holder(userid)
    assert key_of(userid) == held.value.key
    seats = {seat.department_id: seat for seat in held.value.memberships}
    old = seats.pop(int(number), None)
    assert change.before == (_facts(old) if old else {})
    assert (change.action == "create") == (old is None)
    assert (change.action == "remove") == (not change.after)
    assert change.before != change.after
    if change.after:
        assert change.after["department_id"] == int(number)
        seats[int(number)] = Membership(**change.after)
    value = replace(held.value, memberships=tuple(sorted(seats.values())))
    return directory.put(replace(held, value=value, observed=max(held.observed, change.observed)))


def _stepped(held, change: Change, names: Iterable[str]):
    known = _through_json(_facts(held.value)) | {
        "active": held.active,
        "unmanaged_since": held.unmanaged_since and held.unmanaged_since.isoformat(),
    }
    assert change.before.keys() == change.after.keys()
    assert change.before == {name: known[name] for name in change.before}
    assert all(change.before[name] != change.after[name] for name in change.after)
    since = change.after.get("unmanaged_since", known["unmanaged_since"])
    return replace(
        held,
        value=replace(held.value, **_values(change.after, names)),
        active=change.after.get("active", held.active),
        observed=max(held.observed, change.observed),
        unmanaged_since=since and datetime.fromisoformat(since),
    )


def _facts(value) -> dict:
    return {item.name: getattr(value, item.name) for item in fields(value) if item.name != "memberships"}


def _values(after: dict, names: Iterable[str]) -> dict:
    found = {name: after[name] for name in names if name in after}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
