"""WeCom's JSON records (pages 90196, 90201, 90208 and 90227) read leniently into our values; pure.

A key that is absent or null means "not readable" (None); a present one is kept as it is, "" included. What cannot be
understood or stored is a `BadRecord` that names the field and never its content.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from app.core.directory import Department, Membership, User, key_of
from app.core.ports import BadRecord

LARGEST: Final = 2**63 - 1
LONGEST_TEXT: Final = 10_000
LONGEST_USERID: Final = 128
"""WeCom's own limit is 64 bytes (page 90196); twice that is still a name and not an accident."""

MOST_ITEMS: Final = 1_000

TEXTS: Final = (
    "name", "alias", "position", "mobile", "email", "biz_mail", "telephone", "gender", "avatar", "address",
)  # fmt: skip

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")

Raw = Mapping[str, Any]


class Unusable(ValueError):
    """One field of a record cannot be used; the text names the field, never its content."""


def whole_number(value: object) -> int | None:
    """A number from 0 to 2**63-1, given as an int or in ASCII digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST:
        return value
    return None


def is_userid(value: object) -> TypeGuard[str]:
    """True for what can be a userid: any printable text without space at its ends."""
    return (
        isinstance(value, str) and 0 < len(value) <= LONGEST_USERID and value.isprintable() and value == value.strip()
    )


def read_user(raw: object, unnamed: str) -> User | BadRecord:
    """A member record; `unnamed` stands for the userid in the report of a record that has none."""
    if not isinstance(raw, Mapping):
        return BadRecord("user", unnamed, "the record is not an object")
    userid = raw.get("userid")
    if not is_userid(userid):
        return BadRecord("user", unnamed, "userid: missing or not usable")
    try:
        return User(
            userid,
            status=_number(raw, "status"),
            direct_leaders=_userids(raw, "direct_leader"),
            main_department_id=_number(raw, "main_department") or None,
            extattrs=_extattrs(raw),
            memberships=_memberships(raw),
            **{name: _text(raw, name) for name in TEXTS},
        )
    except Unusable as unusable:
        return BadRecord("user", userid, str(unusable))


def read_users(raws: Iterable[object], page: str) -> tuple[tuple[User, ...], tuple[BadRecord, ...]]:
    """The usable and the bad records of one page; of a person who is in it twice, the later one."""
    users: dict[str, User] = {}
    bad: list[BadRecord] = []
    for position, raw in enumerate(raws):
        match read_user(raw, f"{page}#{position}"):
            case BadRecord() as record:
                bad.append(record)
            case user:
                users[user.key] = user
    return tuple(users.values()), tuple(bad)


@dataclass(frozen=True, slots=True)
class DepartmentRecord:
    """A department as WeCom gave it; `raw_parent_id` is 0 for the root and None where the record does not say."""

    department: Department
    raw_parent_id: int | None


def read_department(raw: object, unnamed: str) -> DepartmentRecord | BadRecord:
    """A department record of department/list, simplelist or get; its `parent_id` is WeCom's, None for the root."""
    if not isinstance(raw, Mapping):
        return BadRecord("department", unnamed, "the record is not an object")
    number = whole_number(raw.get("id"))
    if not number:
        return BadRecord("department", unnamed, "id: missing or not usable")
    try:
        parent = _number(raw, "parentid")
        value = Department(
            number,
            name=_text(raw, "name"),
            name_en=_text(raw, "name_en"),
            parent_id=parent or None,
            order=_number(raw, "order"),
            leaders=_userids(raw, "department_leader"),
        )
    except Unusable as unusable:
        return BadRecord("department", str(number), str(unusable))
    return DepartmentRecord(value, parent)


def read_forest(listed: Iterable[object]) -> tuple[tuple[Department, ...], tuple[BadRecord, ...], frozenset[int]]:
    """Departments, with parents only if in the same list (usable or not); the bad records; ids without a parent."""
    found: dict[int, DepartmentRecord] = {}
    bad: list[BadRecord] = []
    for position, raw in enumerate(listed):
        match read_department(raw, f"department#{position}"):
            case BadRecord() as record:
                bad.append(record)
            case record:
                found[record.department.department_id] = record
    visible = found.keys() | {int(record.key) for record in bad if record.key.isdecimal()}
    roots = frozenset(number for number, record in found.items() if record.raw_parent_id == 0)
    return tuple(_under(record.department, visible) for record in found.values()), tuple(bad), roots


def _under(department: Department, visible: Collection[int]) -> Department:
    return department if department.parent_id in visible else replace(department, parent_id=None)


def rows(name: str) -> Callable[[Raw], list[Any]]:
    """A reading of an answer that must hold this list; raises Unusable, because a missing list is not an empty one."""

    def read(raw: Raw) -> list[Any]:
        if not isinstance(raw.get(name), list):
            raise Unusable(f"{name}: missing or wrong type")
        return _list(raw, name)

    return read


def read_department_rows(raw: Raw) -> dict[int, Raw]:
    """The rows of department/simplelist by id (page 95350). Raises Unusable for a row without one: rows are proof."""
    listed = {
        whole_number(row.get("id")) if isinstance(row, Mapping) else None: row for row in rows("department_id")(raw)
    }
    if not all(listed):
        raise Unusable("department_id: a row is not usable")
    return {number: row for number, row in listed.items() if number}


def read_ids_page(raw: Raw) -> tuple[tuple[tuple[str, int], ...], str]:
    """The (userid, department id) rows of user/list_id and the cursor of the next page, "" after the last (page 96067).

    Raises Unusable for any row that cannot be read: these rows prove who exists.
    """
    cursor = raw.get("next_cursor") or ""
    if not isinstance(cursor, str):
        raise Unusable("next_cursor: wrong type")
    return tuple(_pair(row) for row in rows("dept_user")(raw)), cursor


def _pair(row: object) -> tuple[str, int]:
    if isinstance(row, Mapping):
        userid, number = row.get("userid"), whole_number(row.get("department"))
        if is_userid(userid) and number is not None:
            return userid, number
    raise Unusable("dept_user: a row is not usable")


@dataclass(frozen=True, slots=True)
class Visible:
    """What agent/get says an app may see (page 90227)."""

    departments: tuple[int, ...]
    users: tuple[str, ...]
    tags: tuple[int, ...]


def read_visible(raw: Raw) -> Visible:
    """The visible range; a missing list is an empty one. Raises Unusable: half a range must not pass for the whole."""
    users = [
        item.get("userid") if isinstance(item, Mapping) else None for item in _list_in(raw, "allow_userinfos", "user")
    ]
    if not all(is_userid(userid) for userid in users):
        raise Unusable("allow_userinfos: not usable")
    return Visible(
        departments=_ids(_list_in(raw, "allow_partys", "partyid"), "allow_partys"),
        users=tuple(sorted({key_of(userid): userid for userid in users if userid}.values(), key=key_of)),
        tags=_ids(_list_in(raw, "allow_tags", "tagid"), "allow_tags"),
    )


def read_tag(raw: Raw) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The visible members and departments of a tag (page 90213). Raises Unusable, also when it holds neither list."""
    if "userlist" not in raw and "partylist" not in raw:
        raise Unusable("userlist: missing")
    users = [item.get("userid") if isinstance(item, Mapping) else None for item in _list(raw, "userlist")]
    if not all(is_userid(userid) for userid in users):
        raise Unusable("userlist: not usable")
    return tuple(userid for userid in users if userid), _ids(_list(raw, "partylist"), "partylist")


def _list_in(raw: Raw, outer: str, inner: str) -> list[Any]:
    holder = raw.get(outer)
    if holder is None:
        return []
    if not isinstance(holder, Mapping):
        raise Unusable(f"{outer}: wrong type")
    return _list(holder, inner)


def _list(raw: Raw, name: str) -> list[Any]:
    value = raw.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unusable(f"{name}: wrong type")
    return value


def _few(raw: Raw, name: str) -> list[Any]:
    """A list inside one record, where thousands of items are an accident."""
    value = _list(raw, name)
    if len(value) > MOST_ITEMS:
        raise Unusable(f"{name}: more than {MOST_ITEMS} items")
    return value


def _ids(values: list[Any], name: str) -> tuple[int, ...]:
    numbers = {whole_number(value) or 0 for value in values}
    if 0 in numbers:
        raise Unusable(f"{name}: not usable")
    return tuple(sorted(numbers))


def _number(raw: Raw, name: str) -> int | None:
    value = raw.get(name)
    if value is None:
        return None
    number = whole_number(value)
    if number is None:
        raise Unusable(f"{name}: wrong type or out of range")
    return number


def _text(raw: Raw, name: str) -> str | None:
    return None if raw.get(name) is None else _storable(raw[name], name)


def _storable(value: object, name: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL and UTF-8 no lone surrogates."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Unusable(f"{name}: wrong type")
    if len(value) > LONGEST_TEXT:
        raise Unusable(f"{name}: longer than {LONGEST_TEXT} characters")
    if _UNSTORABLE.search(value):
        raise Unusable(f"{name}: holds a character that cannot be stored")
    return value


def _userids(raw: Raw, name: str) -> tuple[str, ...] | None:
    """A list of userids without repetition; a single one may come without its list."""
    if raw.get(name) is None:
        return None
    values = ([raw[name]] if raw[name] else []) if isinstance(raw[name], str) else _few(raw, name)
    if not all(is_userid(value) for value in values):
        raise Unusable(f"{name}: not usable")
    return tuple({key_of(value): value for value in reversed(values)}.values())[::-1]


def _memberships(raw: Raw) -> tuple[Membership, ...] | None:
    """`order` and `is_leader_in_dept` go with `department` by position, and may be shorter or longer."""
    if raw.get("department") is None:
        return None
    orders, leads = _few(raw, "order"), _few(raw, "is_leader_in_dept")
    found: dict[int, Membership] = {}
    for position, value in enumerate(_few(raw, "department")):
        number = whole_number(value)
        if not number:
            raise Unusable("department: not usable")
        leader = bool(_at(leads, position, "is_leader_in_dept"))
        found.setdefault(number, Membership(number, _at(orders, position, "order"), leader))
    return tuple(sorted(found.values()))


def _at(values: list[Any], position: int, name: str) -> int:
    value = values[position] if position < len(values) else None
    number = int(value or 0) if value is None or isinstance(value, bool) else whole_number(value)
    if number is None:
        raise Unusable(f"{name}: wrong type or out of range")
    return number


def _extattrs(raw: Raw) -> tuple[Raw, ...] | None:
    holder = raw.get("extattr")
    if holder is None:
        return None
    if not isinstance(holder, Mapping):
        raise Unusable("extattr: wrong type")
    return tuple(_extattr(item) for item in _few(holder, "attrs"))


def _extattr(item: object) -> Raw:
    """One attribute in the present form (old records have a flat `value`, no type); an unknown type has its name."""
    if not isinstance(item, Mapping):
        raise Unusable("extattr: wrong type")
    kind = _number(item, "type")
    if kind is None:
        kind = 1 if "web" in item else 0
    head = {"type": kind, "name": _text(item, "name") or ""}
    if kind == 0:
        inner = _inner(item, "text")
        return head | {"text": {"value": _text(inner, "value") or _text(item, "value") or ""}}
    if kind == 1:
        inner = _inner(item, "web")
        return head | {"web": {"url": _text(inner, "url") or "", "title": _text(inner, "title") or ""}}
    return head


def _inner(item: Raw, name: str) -> Raw:
    inner = item.get(name) or {}
    if not isinstance(inner, Mapping):
        raise Unusable("extattr: wrong type")
    return inner
