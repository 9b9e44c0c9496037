"""Deciding: from what we hold (`existing`) and what was read (`desired`) to the changes between them.

Nothing here waits, reads a clock or knows a database; the same functions serve the full sync, the events and a scope.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.core.directory import (
    DEPARTMENT_FIELDS,
    USER_FIELDS,
    WITHHELD,
    Change,
    Department,
    GuardKind,
    Membership,
    StoredDepartment,
    StoredUser,
    User,
)

IDENTIFIERS = ("mobile", "email", "biz_mail", "telephone", "alias")
"""What tells two people of one userid apart, besides the name."""


def blank(field: str, value: Any) -> bool:
    """Whether a value says "empty": WeCom writes an undefined gender as "0"."""
    return value in ("", (), []) or (field == "gender" and value == "0")


def plan_department(existing: StoredDepartment | None, desired: Department, observed: int) -> list[Change]:
    """What a read of one department changes; nothing if the read is older than what we hold."""
    key = str(desired.department_id)
    if existing is None:
        after = {name: _plain(getattr(desired, name)) for name in DEPARTMENT_FIELDS} | {"active": True}
        return [Change("department", "create", key, {}, after, observed)]
    if observed <= existing.observed:
        return []
    before, after = _diff(existing.value, desired, DEPARTMENT_FIELDS)
    if existing.value.parent_id != desired.parent_id:  # None is a value here: a top node
        before["parent_id"], after["parent_id"] = existing.value.parent_id, desired.parent_id
    if existing.unmanaged_since:
        before["unmanaged_since"], after["unmanaged_since"] = existing.unmanaged_since.isoformat(), None
    if not existing.active:
        before, after = before | {"active": False}, after | {"active": True}
        return [Change("department", "reactivate", key, before, after, observed, existing.id)]
    return [Change("department", "update", key, before, after, observed, existing.id)] if after else []


def plan_gone_department(existing: StoredDepartment, observed: int) -> list[Change]:
    """The removal of a department that is proven gone since the read numbered `observed`."""
    if not existing.active or existing.observed > observed:
        return []
    key, before, after = str(existing.value.department_id), {"active": True}, {"active": False}
    return [Change("department", "remove", key, before, after, observed, existing.id, guarded="department")]


def plan_unseen_department(existing: StoredDepartment, observed: int, since: datetime) -> list[Change]:
    """A department that is out of sight: kept, and said to be unmanaged."""
    if not existing.active or existing.unmanaged_since or existing.observed > observed:
        return []
    before, after = {"unmanaged_since": None}, {"unmanaged_since": since.isoformat()}
    return [Change("department", "unmanage", str(existing.value.department_id), before, after, observed, existing.id)]


def plan_user(
    existing: StoredUser | None,
    desired: User,
    observed: int,
    *,
    readable: Container[str],
    in_range: Container[int],
) -> list[Change]:
    """What a read of one person changes.

    `readable` names the withheld fields that count as readable; `in_range` holds the departments whose absence from
    the record ends a membership (visible now, or proven gone): all others are frozen.
    """
    seen = hide(desired, readable)
    if existing is None:
        return _new_user(seen, observed)
    if observed <= existing.observed:
        return []
    if _followed(existing, seen, readable):
        followed = [*_end_memberships(existing, observed, None), *_new_user(seen, observed)]
        return [replace(change, reason="userid_reused") for change in followed]
    return _known_user(existing, seen, observed, in_range)


def hide(user: User, readable: Container[str]) -> User:
    """The same user without the withheld fields that do not count as readable."""
    return replace(user, **dict.fromkeys((name for name in WITHHELD if name not in readable), None))  # type: ignore[arg-type]


def plan_gone_user(existing: StoredUser, observed: int) -> list[Change]:
    """The deactivation of a person who is proven gone since the read numbered `observed`; his memberships end."""
    if not existing.active or existing.observed > observed:
        return []
    change = Change(
        "user",
        "deactivate",
        existing.value.userid,
        {"active": True},
        {"active": False},
        observed,
        existing.id,
        guarded="deactivate",
        reason="gone",
    )
    return [*_end_memberships(existing, observed, "deactivate"), change]


def plan_unseen_user(existing: StoredUser, observed: int, since: datetime) -> list[Change]:
    """A person who is out of sight without proof of having left: kept active, and said to be unmanaged."""
    if not existing.active or existing.unmanaged_since or existing.observed > observed:
        return []
    before, after = {"unmanaged_since": None}, {"unmanaged_since": since.isoformat()}
    return [Change("user", "unmanage", existing.value.userid, before, after, observed, existing.id)]


def plan_rename(
    old: StoredUser,
    new: StoredUser | None,
    desired: User,
    observed: int,
    *,
    readable: Container[str],
    in_range: Container[int],
) -> list[Change]:
    """A person whose userid changed: our id stays; a row that a sweep made of the new userid meanwhile is retired.

    If somebody else had taken the old userid of one who left, and was renamed, this is a read of that other person.
    """
    if observed <= old.observed or (new is not None and observed <= new.observed):
        return []
    seen = hide(desired, readable)
    if _followed(old, seen, readable):
        return plan_user(new, desired, observed, readable=readable, in_range=in_range)
    changes = _retire(new, old.id, observed) if new else []
    changes.append(
        Change(
            "user",
            "rename",
            desired.userid,
            {"userid": old.value.userid},
            {"userid": desired.userid},
            observed,
            old.id,
            previous_key=old.value.userid,
        )
    )
    renamed = replace(old, value=replace(old.value, userid=desired.userid))
    return changes + _known_user(renamed, seen, observed, in_range)


def somebody_else(held: User, seen: User, readable: Container[str]) -> bool:
    """Whether a userid came back as another person: name and every other readable identifier differ."""
    if not held.name or not seen.name or held.name == seen.name:
        return False
    pairs = [(getattr(held, f), getattr(seen, f)) for f in IDENTIFIERS if f not in WITHHELD or f in readable]
    return all(a != b for a, b in pairs if a or b)


def cut_cycles(parents: Mapping[int, tuple[int | None, int]]) -> set[int]:
    """Departments whose edge to the parent must be cut so that the tree has no cycle: of each cycle the oldest edge.

    `parents` maps a department to (parent, observation number of that edge).
    """
    cut: set[int] = set()
    done: set[int] = set()
    for start in parents:
        path: dict[int, None] = {}  # in walking order, and quick to ask: a company may be 30,000 levels deep
        node: int | None = start
        while node is not None and node in parents and node not in done and node not in path:
            path[node] = None
            node = parents[node][0]
        if node in path:
            members = list(path)
            cycle = members[members.index(node) :]
            cut.add(min(cycle, key=lambda member: (parents[member][1], member)))
        done.update(path)
    return cut


def parents_first(departments: Iterable[Department]) -> list[Department]:
    """The same departments, parents before children; a department in a cycle comes as if it were a top node."""
    by_id = {department.department_id: department for department in departments}
    placed: dict[int, Department] = {}
    for department in by_id.values():
        chain: dict[int, Department] = {}
        node: Department | None = department
        while node is not None and node.department_id not in placed and node.department_id not in chain:
            chain[node.department_id] = node
            node = by_id.get(node.parent_id) if node.parent_id is not None else None
        placed.update(reversed(chain.items()))
    return list(placed.values())


def _followed(existing: StoredUser, seen: User, readable: Container[str]) -> bool:
    """Whether the userid of one who left came back with somebody else."""
    return not existing.active and not seen.left and somebody_else(existing.value, seen, readable)


def _known_user(existing: StoredUser, seen: User, observed: int, in_range: Container[int]) -> list[Change]:
    sets = _membership_changes(existing, seen, observed, in_range)
    return [*_field_changes(existing, seen, observed, "membership" if _shrinks(sets) else None), *sets]


def _new_user(seen: User, observed: int) -> list[Change]:
    after = {name: _plain(getattr(seen, name)) for name in USER_FIELDS} | {"active": not seen.left}
    memberships = seen.memberships or ()
    return [
        Change("user", "create", seen.userid, {}, after, observed),
        *(_membership("create", seen.userid, None, item, observed) for item in memberships),
    ]


def _field_changes(existing: StoredUser, seen: User, observed: int, main_guard: GuardKind | None) -> list[Change]:
    before, after = _diff(existing.value, seen, USER_FIELDS)
    if existing.unmanaged_since:
        before["unmanaged_since"], after["unmanaged_since"] = existing.unmanaged_since.isoformat(), None
    if seen.userid != existing.value.userid:
        before["userid"], after["userid"] = existing.value.userid, seen.userid
    changes: list[Change] = []

    def split(names: Iterable[str], action: str, guarded: GuardKind | None, **extra: tuple[Any, Any]) -> None:
        old = {name: before.pop(name) for name in names} | {name: pair[0] for name, pair in extra.items()}
        new = {name: after.pop(name) for name in names} | {name: pair[1] for name, pair in extra.items()}
        if new:
            changes.append(
                Change("user", action, seen.userid, old, new, observed, existing.id, guarded=guarded)  # type: ignore[arg-type]
            )

    if existing.active and seen.left:
        split([n for n in after if n == "status"], "deactivate", "deactivate", active=(True, False))
    split([n for n in after if blank(n, after[n]) and not _empty(n, before[n])], "update", "blank")
    if main_guard:
        split([n for n in after if n == "main_department_id"], "update", main_guard)
    silent = seen.status is None and existing.value.left  # ids only: nothing says that he came back
    if not existing.active and not seen.left and not silent:
        split(list(after), "reactivate", None, active=(False, True))
    split(list(after), "update", None)
    return changes


def _membership_changes(existing: StoredUser, seen: User, observed: int, in_range: Container[int]) -> list[Change]:
    if seen.memberships is None:
        return []
    held = {item.department_id: item for item in existing.value.memberships or ()}
    read = {item.department_id: item for item in seen.memberships}
    ended = [item for number, item in held.items() if number not in read and number in in_range]
    added = [item for number, item in read.items() if number not in held]
    altered = [item for number, item in read.items() if number in held and item != held[number]]
    guarded: GuardKind | None = "membership" if ended else None
    changes = [
        *(_membership("create", seen.userid, None, item, observed) for item in added),
        *(_membership("update", seen.userid, held[item.department_id], item, observed) for item in altered),
        *(_membership("remove", seen.userid, item, None, observed) for item in ended),
    ]
    return [replace(change, object_id=existing.id, guarded=guarded) for change in changes]


def _shrinks(changes: Iterable[Change]) -> bool:
    return any(change.action == "remove" for change in changes)


def _membership(action: Any, userid: str, before: Membership | None, after: Membership | None, observed: int) -> Change:
    department_id = (after or before or Membership(0)).department_id
    old, new = (
        {"department_id": item.department_id, "order": item.order, "is_leader": item.is_leader} if item else {}
        for item in (before, after)
    )
    return Change("membership", action, f"{userid}:{department_id}", old, new, observed)


def _end_memberships(existing: StoredUser, observed: int, guarded: GuardKind | None) -> list[Change]:
    return [
        replace(
            _membership("remove", existing.value.userid, item, None, observed), object_id=existing.id, guarded=guarded
        )
        for item in existing.value.memberships or ()
    ]


def _retire(new: StoredUser, into: str, observed: int) -> list[Change]:
    before, after = {"active": new.active}, {"active": False, "merged_into": into}
    key = new.value.userid
    return [
        *_end_memberships(new, observed, None),
        Change("user", "deactivate", key, before, after, observed, new.id, reason="renamed"),
    ]


def _diff(held: Any, seen: Any, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that were read and differ; None in `seen` says nothing."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name in names:
        old, new = getattr(held, name), getattr(seen, name)
        if new is not None and _plain(new) != _plain(old):
            before[name], after[name] = _plain(old), _plain(new)
    return before, after


def _empty(field: str, value: Any) -> bool:
    return value is None or blank(field, value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
