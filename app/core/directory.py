"""The values of a directory: departments, users, memberships, and what was observed of them.

`None` in a field means "this credential may not read it, or the answer did not say": the stored value stays.
An empty value ("" or an empty tuple) means "read and empty": it clears.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

Json = Any

WITHHELD: Final = ("mobile", "email", "biz_mail", "gender", "avatar", "address")
"""Fields that WeCom withholds from apps made after 2022-06-20 (page 90196): absent, "" or "0" for everybody."""

LEFT: Final = 5
DISABLED: Final = 2


def key_of(userid: str) -> str:
    """The form in which userids are compared: WeCom treats them without regard to case (page 90196)."""
    return userid.lower()


@dataclass(frozen=True, slots=True)
class Department:
    """`parent_id` is the parent's WeCom id if the parent is visible, else None (a top node)."""

    department_id: int
    name: str | None = None
    name_en: str | None = None
    parent_id: int | None = None
    order: int | None = None
    leaders: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, order=True)
class Membership:
    """One department of a user; a larger `order` (0 to 2**32-1) stands earlier."""

    department_id: int
    order: int = 0
    is_leader: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A person as read. `status`: 1 active, 2 disabled, 4 not activated, 5 left (page 90196).

    `extattrs` are items {"type": 0, "name", "text": {"value"}} or {"type": 1, "name", "web": {"url", "title"}}.
    `memberships` hold only departments that the reading credential may see, sorted by department id.
    """

    userid: str
    name: str | None = None
    alias: str | None = None
    position: str | None = None
    status: int | None = None
    mobile: str | None = None
    email: str | None = None
    biz_mail: str | None = None
    telephone: str | None = None
    gender: str | None = None
    avatar: str | None = None
    address: str | None = None
    direct_leaders: tuple[str, ...] | None = None
    main_department_id: int | None = None
    extattrs: tuple[Mapping[str, Json], ...] | None = None
    memberships: tuple[Membership, ...] | None = None

    @property
    def key(self) -> str:
        return key_of(self.userid)

    @property
    def left(self) -> bool:
        return self.status == LEFT


DEPARTMENT_FIELDS: Final = tuple(f.name for f in fields(Department) if f.name != "department_id")
USER_FIELDS: Final = tuple(f.name for f in fields(User) if f.name not in ("userid", "memberships"))
ORDINARY_FIELDS: Final = tuple(name for name in USER_FIELDS if name not in WITHHELD)


@dataclass(frozen=True, slots=True)
class StoredDepartment:
    """A department as our directory holds it; `id` is ours, `observed` the number of the read it comes from."""

    id: str
    value: Department
    active: bool
    observed: int
    unmanaged_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user as our directory holds it, memberships included."""

    id: str
    value: User
    active: bool
    observed: int
    unmanaged_since: datetime | None = None


class Absence(StrEnum):
    """Why an object of ours is not in what was read."""

    GONE = "gone"  # proven: it no longer exists
    UNSEEN = "unseen"  # not proven: it may only be out of sight


Kind = Literal["department", "user", "membership"]
Action = Literal["create", "update", "deactivate", "reactivate", "remove", "rename", "unmanage"]
GuardKind = Literal["deactivate", "department", "membership", "blank"]


@dataclass(frozen=True, slots=True)
class Change:
    """One object's step from `existing` to `desired`.

    `before` and `after` hold the fields that differ (all of them for a create). `guarded` names the limit that may
    withhold this change. `object_id` is ours (None until a created object has one); of a membership, the user's.
    """

    kind: Kind
    action: Action
    key: str
    before: Mapping[str, Json]
    after: Mapping[str, Json]
    observed: int
    object_id: str | None = None
    previous_key: str | None = None
    guarded: GuardKind | None = None
    reason: str | None = None


def object_of(change: Change) -> tuple[str, str]:
    """("department" | "user", compared key) of the object a change belongs to: a membership belongs to its user."""
    key = change.key.rpartition(":")[0] if change.kind == "membership" else change.key
    return ("department", key) if change.kind == "department" else ("user", key_of(key))
