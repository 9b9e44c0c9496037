"""What a WeCom company consists of, with the look-ups that the read endpoints need.

Values are immutable, so that a stale copy of the whole company costs only its dictionaries.
Field names and ranges follow WeCom's pages 90196 (member), 90208 (department) and 90213 (tag).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

ROOT = 1


class Membership(NamedTuple):
    """One user's place in one department: `order` in [0, 2**32), larger first."""

    department: int
    order: int = 0
    leader: bool = False


class User(NamedTuple):
    """A member. `status`: 1 active, 2 disabled, 4 not activated, 5 left; `gender`: "0", "1" male, "2" female."""

    userid: str
    name: str
    memberships: tuple[Membership, ...]
    main_department: int | None = None
    position: str = ""
    mobile: str = ""
    gender: str = "0"
    email: str = ""
    biz_mail: str = ""
    direct_leaders: tuple[str, ...] = ()
    avatar: str = ""
    telephone: str = ""
    alias: str = ""
    status: int = 1
    address: str = ""
    english_name: str = ""
    external_position: str = ""
    extattrs: tuple[dict[str, Any], ...] = ()

    @property
    def key(self) -> str:
        return self.userid.lower()

    @property
    def departments(self) -> tuple[int, ...]:
        return tuple(place.department for place in self.memberships)


class Department(NamedTuple):
    """A department; the root has id 1 and parent 0."""

    id: int
    name: str
    parent: int
    order: int = 0
    name_en: str = ""


class Tag(NamedTuple):
    """A tag; `users` holds lower-case userids."""

    id: int
    name: str
    users: frozenset[str] = frozenset()
    departments: frozenset[int] = frozenset()


class Op(NamedTuple):
    """One stored change; `value` None removes the object."""

    kind: str
    key: Any
    value: User | Department | Tag | None


class Records:
    """Users, departments and tags, indexed by department, parent and leader."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.departments: dict[int, Department] = {}
        self.tags: dict[int, Tag] = {}
        self.members: dict[int, dict[str, None]] = {}
        self.leaders: dict[int, dict[str, None]] = {}
        self.children: dict[int, dict[int, None]] = {}
        self.reports: dict[str, int] = {}
        self.shape = 0
        self.watchers: list[Callable[[Op], None]] = []

    def copy(self) -> Records:
        """A second set of records with the same content, watched by nobody."""
        twin = Records()
        twin.users, twin.departments, twin.tags = dict(self.users), dict(self.departments), dict(self.tags)
        twin.members = {id: dict(keys) for id, keys in self.members.items()}
        twin.leaders = {id: dict(keys) for id, keys in self.leaders.items()}
        twin.children = {id: dict(ids) for id, ids in self.children.items()}
        twin.reports = dict(self.reports)
        return twin

    def user(self, userid: str) -> User | None:
        return self.users.get(userid.lower())

    def people_of(self, department: int) -> Iterator[User]:
        """The direct members of a department."""
        return (self.users[key] for key in self.members.get(department, ()))

    def leaders_of(self, department: int) -> list[str]:
        return [self.users[key].userid for key in self.leaders.get(department, ())]

    def below(self, tops: Iterable[int]) -> list[int]:
        """The given departments and all their descendants, parents first, siblings by falling order.

        Unknown ids are left out.
        """
        found = dict.fromkeys(id for id in tops if id in self.departments)
        waiting = list(found)
        for id in waiting:
            fresh = [child for child in self.children.get(id, ()) if child not in found]
            fresh.sort(key=lambda child: -self.departments[child].order)
            found.update(dict.fromkeys(fresh))
            waiting.extend(fresh)
        return waiting

    def level(self, id: int) -> int:
        """How deep a department lies; the root is at 1."""
        parent = self.departments[id].parent
        return 1 + self.level(parent) if parent in self.departments else 1

    def apply(self, op: Op) -> None:
        """Store one change, keep every index right and tell the watchers."""
        if op.kind == "user":
            self._user(op.key, op.value if isinstance(op.value, User) else None)
        elif op.kind == "department":
            self._department(op.key, op.value if isinstance(op.value, Department) else None)
        elif isinstance(op.value, Tag):
            self.tags[op.key] = op.value
        else:
            self.tags.pop(op.key, None)
        if op.kind != "user":
            self.shape += 1
        for watcher in self.watchers:
            watcher(op)

    def _user(self, key: str, user: User | None) -> None:
        old = self.users.get(key)
        if user is None:
            self.users.pop(key, None)
        else:
            self.users[key] = user
        self._places(key, old.memberships if old else (), user.memberships if user else ())
        self._superiors(old.direct_leaders if old else (), user.direct_leaders if user else ())

    def _places(self, key: str, old: tuple[Membership, ...], new: tuple[Membership, ...]) -> None:
        if old == new:
            return
        kept = {place.department for place in new}
        for place in old:
            if place.department not in kept:
                self.members[place.department].pop(key, None)
            self.leaders.get(place.department, {}).pop(key, None)
        for place in new:
            self.members.setdefault(place.department, {})[key] = None
            if place.leader:
                self.leaders.setdefault(place.department, {})[key] = None

    def _superiors(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        if old == new:
            return
        for userid in old:
            self.reports[userid.lower()] -= 1
        for userid in new:
            self.reports[userid.lower()] = self.reports.get(userid.lower(), 0) + 1

    def _department(self, id: int, department: Department | None) -> None:
        old = self.departments.get(id)
        if old is not None:
            self.children[old.parent].pop(id, None)
        if department is None:
            self.departments.pop(id, None)
            return
        self.departments[id] = department
        self.children.setdefault(department.parent, {})[id] = None
