"""The active part of one source as LDIF (RFC 2849): departments, people, and the members of each department.

A department is an `organizationalUnit` named by WeCom's id, since names repeat, change, and hold anything; its name is
a second value of `ou`. A person is an `inetOrgPerson` (RFC 2798) under `ou=people`, and who is directly in a
department is in a `groupOfNames` under `ou=groups`, its leaders as `owner`.
"""

import base64
import re
from collections.abc import AsyncIterator, Iterable
from typing import Final

from app.api.schemas.directory import DepartmentOut, UserOut
from app.api.sheets import Names, departments_of, users_of
from app.store.db import Database
from app.store.pages import DepartmentFilter, UserFilter

WIDTH: Final = 76
SPECIAL: Final = frozenset('"+,;<>\\=')
_PAIR = r"[A-Za-z][A-Za-z0-9-]*=[^,+\"\\<>;=\x00-\x1f]+"
DN: Final = re.compile(f"{_PAIR}(,{_PAIR})*")

Attributes = Iterable[tuple[str, str | None]]


async def ldif(db: Database, source_id: str, base_dn: str) -> AsyncIterator[str]:
    """The whole file, piece by piece: parents before children, members after everybody."""
    yield "version: 1\n\n" + "".join(
        _entry(f"ou={name},{base_dn}", [("objectClass", "organizationalUnit"), ("ou", name)])
        for name in ("departments", "people", "groups")
    )
    places, names = await _tree(db, source_id), await Names.read(db, source_id)
    dns: dict[int, str] = {}
    for place in places:
        above = dns.get(place.parent_id or 0, f"ou=departments,{base_dn}")
        dns[place.department_id] = f"ou={place.department_id},{above}"
        yield _department(place, dns[place.department_id], names)
    async for users in users_of(db, UserFilter(source_id, active=True)):
        yield "".join(_person(user, base_dn) for user in users)
    for place in places:
        yield await _group(db, source_id, place, base_dn)


def is_dn(text: str) -> bool:
    """Whether a text is a distinguished name without anything that would have to be escaped."""
    return bool(DN.fullmatch(text))


def escaped(value: str) -> str:
    """A value for a distinguished name (RFC 4514, 2.4)."""
    marked = "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in value).replace("\x00", "\\00")
    marked = f"\\{marked}" if marked.startswith(("#", " ")) else marked
    return f"{marked[:-1]}\\ " if marked.endswith(" ") and not marked.endswith("\\ ") else marked


def line(name: str, value: str) -> str:
    """One attribute, in base64 where the value is not plain ASCII, folded (RFC 2849, notes 2 to 4)."""
    plain = value.isascii() and not set(value) & set("\x00\r\n") and value == value.strip(" ")
    plain = plain and not value.startswith((":", "<"))
    whole = f"{name}: {value}" if plain else f"{name}:: {base64.b64encode(value.encode()).decode()}"
    rest = range(WIDTH, len(whole), WIDTH - 1)
    return "\n ".join([whole[:WIDTH], *(whole[start : start + WIDTH - 1] for start in rest)]) + "\n"


def _entry(dn: str, attributes: Attributes) -> str:
    return line("dn", dn) + "".join(line(name, value) for name, value in attributes if value) + "\n"


async def _tree(db: Database, source_id: str) -> list[DepartmentOut]:
    """The active departments, parents first; one in a cycle, or whose parent is gone, counts as a top one."""
    found = [place async for page in departments_of(db, DepartmentFilter(source_id, active=True)) for place in page]
    known = {place.department_id for place in found}
    children: dict[int | None, list[DepartmentOut]] = {}
    for place in found:
        children.setdefault(place.parent_id if place.parent_id in known else None, []).append(place)
    ordered: list[DepartmentOut] = []
    waiting = list(children.get(None, []))
    while waiting:
        ordered.append(waiting.pop(0))
        waiting += children.get(ordered[-1].department_id, [])
    there = {place.department_id for place in ordered}
    return ordered + [place for place in found if place.department_id not in there]


def _department(place: DepartmentOut, dn: str, names: Names) -> str:
    attributes = [("objectClass", "organizationalUnit"), ("ou", str(place.department_id)), ("ou", place.name)]
    return _entry(dn, [*attributes, ("description", names.path(place))])


def _person(user: UserOut, base_dn: str) -> str:
    name = user.name or user.userid
    mails = dict.fromkeys(mail for mail in (user.biz_mail, user.email) if mail)
    attributes: list[tuple[str, str | None]] = [
        ("objectClass", "inetOrgPerson"),
        ("uid", user.userid),
        ("cn", name),
        ("sn", name),
        ("displayName", user.alias or name),
        ("title", user.position),
        *(("mail", mail) for mail in mails),
        ("mobile", user.mobile),
        ("telephoneNumber", user.telephone),
        *(("departmentNumber", str(seat.department_id)) for seat in user.departments),
        *(("manager", _dn(leader, base_dn)) for leader in user.direct_leaders or ()),
    ]
    return _entry(_dn(user.userid, base_dn), attributes)


async def _group(db: Database, source_id: str, place: DepartmentOut, base_dn: str) -> str:
    """Nothing for a department that nobody is directly in: a `groupOfNames` has a member (RFC 4519, 3.5)."""
    members: list[tuple[str, str | None]] = []
    async for users in users_of(db, UserFilter(source_id, department_id=place.department_id, active=True)):
        for user in users:
            leads = any(seat.department_id == place.department_id and seat.is_leader for seat in user.departments)
            dn = _dn(user.userid, base_dn)
            members += [("member", dn), *([("owner", dn)] if leads else [])]
    if not members:
        return ""
    head = [("objectClass", "groupOfNames"), ("cn", str(place.department_id)), ("description", place.name)]
    return _entry(f"cn={place.department_id},ou=groups,{base_dn}", [*head, *members])


def _dn(userid: str, base_dn: str) -> str:
    return f"uid={escaped(userid)},ou=people,{base_dn}"
