"""Users, departments and their changes as they are answered."""

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas.fields import JsonObject, Time
from app.api.schemas.runs import Action, ObjectKind
from app.core.directory import DEPARTMENT_FIELDS
from app.store.changes import Applied
from app.store.pages import Person, Place


class Seat(BaseModel):
    """A department that a user is in; a larger `order` stands earlier."""

    department_id: int
    order: int
    is_leader: bool
    is_main: bool


class UserOut(BaseModel):
    """A person. A field that was never read is null; one that is readable and empty is ""; one that is not readable any
    more keeps its last value and is named in `unreadable`."""

    id: str = Field(description="Ours; it survives a change of the userid.")
    source_id: str
    userid: str = Field(description="As WeCom spells it; look-ups ignore case.")
    name: str | None
    alias: str | None
    position: str | None
    status: Literal[1, 2, 4, 5] | None = Field(description="WeCom's: 1 active, 2 disabled, 4 not activated, 5 left.")
    active: bool = Field(description="False once the person has left.")
    suspended: bool = Field(description="Disabled in WeCom (status 2).")
    unmanaged_since: Time | None = Field(description="Out of the sight of the credentials since then.")
    mobile: str | None
    email: str | None
    biz_mail: str | None
    telephone: str | None
    gender: str | None
    avatar: str | None
    address: str | None
    direct_leaders: list[str] | None
    main_department_id: int | None
    departments: list[Seat]
    extattrs: list[JsonObject] | None
    unreadable: list[str]
    observed_at: Time
    created_at: Time
    updated_at: Time
    deactivated_at: Time | None


class DepartmentOut(BaseModel):
    id: str
    source_id: str
    department_id: int = Field(description="WeCom's.")
    name: str | None
    name_en: str | None
    parent_id: int | None = Field(description="WeCom's id of the parent if it is visible, else null.")
    order: int | None
    leaders: list[str] | None
    active: bool
    member_count: int = Field(description="Active people directly in it.")
    unmanaged_since: Time | None
    unreadable: list[str]
    observed_at: Time
    created_at: Time
    updated_at: Time
    removed_at: Time | None


class HistoryOut(BaseModel):
    """One change of one object and what caused it: a run, or an event."""

    seq: int = Field(description="The number in the feed of the source.")
    kind: ObjectKind
    action: Action
    key: str
    previous_key: str | None
    before: JsonObject
    after: JsonObject
    run_id: str | None
    event_id: str | None
    reason: str | None
    at: Time

    @classmethod
    def of(cls, change: Applied) -> "HistoryOut":
        return cls.model_validate(change, from_attributes=True)


class ChangeOut(HistoryOut):
    """One row of the feed."""

    source_id: str
    object_id: str

    @classmethod
    def of(cls, change: Applied) -> "ChangeOut":
        return cls.model_validate(change, from_attributes=True)


class Feed(BaseModel):
    """Changes in commit order. Ask again with `after` = `next_after`, at once or later."""

    items: list[ChangeOut]
    next_after: int


def user_out(person: Person) -> UserOut:
    given = {name: getattr(person, name) for name in Person.__slots__ if name in UserOut.model_fields}
    main = person.fields["main_department_id"]
    seats = [
        Seat(department_id=s.department_id, order=s.order, is_leader=s.is_leader, is_main=s.department_id == main)
        for s in person.memberships
    ]
    return UserOut.model_validate(
        {**person.fields, **given, "departments": seats, "unreadable": list(person.unreadable)}
    )


def department_out(place: Place) -> DepartmentOut:
    given = {name: getattr(place, name) for name in Place.__slots__ if name in DepartmentOut.model_fields}
    fields = {name: place.fields[name] for name in DEPARTMENT_FIELDS}
    return DepartmentOut.model_validate({**fields, **given, "unreadable": list(place.unreadable)})
