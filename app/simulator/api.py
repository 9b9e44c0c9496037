"""The read endpoints of WeCom: what each one checks and answers (pages named at each function)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from app.simulator.company import Company
from app.simulator.permissions import Credential, View
from app.simulator.records import Department, User
from app.simulator.settings import Clock, SimulatorSettings

ERRORS = {
    -1: "system busy",
    40001: "invalid credential",
    40003: "invalid userid",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40056: "invalid agentid",
    40058: "invalid request parameter",
    40063: "some parameters are empty",
    40068: "invalid tagid",
    41001: "access_token missing",
    41002: "corpid missing",
    41004: "corpsecret missing",
    41009: "userid missing",
    41011: "agentid missing",
    41017: "tagid missing",
    41019: "department missing",
    42001: "access_token expired",
    45009: "api freq out of limit",
    45029: "data too large",
    45033: "api concurrent out of limit",
    46004: "no exist user",
    48002: "api forbidden",
    48006: "api forbidden for long time no use",
    48009: "api forbidden for contact assistant",
    50003: "application disabled",
    50100: "invalid cursor",
    60003: "department not found",
    60011: "no privilege to access/modify contact/party/agent",
    60020: "not allow to access from your ip",
    60111: "userid not found",
    60123: "invalid party id",
    60127: "department parameter missing",
    301002: "no privilege to access the agent",
}


class Refused(Exception):
    """An answer with an errcode other than 0."""

    def __init__(self, errcode: int, text: str = "") -> None:
        self.errcode = errcode
        self.text = text or ERRORS.get(errcode, "error")
        super().__init__(f"{errcode}: {self.text}")


@dataclass(slots=True)
class Cursors:
    """Running `user/list_id` sweeps: each shows the people who were there when it began, in their present places."""

    clock: Clock
    settings: SimulatorSettings
    open: dict[str, tuple[Credential, list[str], float]] = field(default_factory=dict)

    def begin(self, credential: Credential, keys: list[str]) -> str:
        """Keep the order of a new sweep; the oldest of many is forgotten."""
        name = secrets.token_hex(8)
        self.open[name] = (credential, keys, self.clock.now() + self.settings.cursor_seconds)
        if len(self.open) > 32:
            self.open.pop(next(iter(self.open)))
        return name

    def keys(self, name: str, credential: Credential) -> list[str]:
        """The order of a sweep; raises Refused 50100 for a foreign, unknown or old one."""
        owner, keys, until = self.open.get(name, (None, [], 0.0))
        if owner is not credential or self.clock.now() > until:
            raise Refused(50100)
        return keys


@dataclass(slots=True)
class Ask:
    """One accepted call: who asks, what he sees, and the parameters."""

    company: Company
    credential: Credential
    view: View
    settings: SimulatorSettings
    cursors: Cursors
    query: dict[str, str]
    body: dict[str, Any]

    def number(self, name: str, missing: int | None = None) -> int | None:
        """An integer parameter; raises Refused `missing` when it has to be there."""
        value = self.query.get(name, "")
        if not value:
            if missing:
                raise Refused(missing)
            return None
        if not value.lstrip("-").isascii() or not value.lstrip("-").isdigit():
            raise Refused(40056 if name == "agentid" else 40058)
        return int(value)

    def department(self, id: int) -> Department:
        """A visible department, else Refused 60003 (or 60123) or 60011."""
        department = self.view.records.departments.get(id)
        if department is None:
            raise Refused(self.settings.unknown_department_code)
        if not self.view.sees_department(id):
            raise Refused(60011)
        return department

    def shown(self, user: User) -> dict[str, Any]:
        settings = self.settings
        return self.view.user(user, withheld_as=settings.withheld_as, legacy=settings.legacy_keys)


Answer = dict[str, Any]


def department_list(ask: Ask) -> Answer:
    """Page 90208: one department and everything below it, or all visible ones."""
    departments = ask.view.records.departments
    return {"department": [ask.view.department(departments[id]) for id in _asked_departments(ask)]}


def department_simplelist(ask: Ask) -> Answer:
    """Page 95350: the same without names."""
    departments = [ask.view.records.departments[id] for id in _asked_departments(ask)]
    return {"department_id": [{"id": one.id, "parentid": one.parent, "order": one.order} for one in departments]}


def _asked_departments(ask: Ask) -> list[int]:
    id = ask.number("id")
    if not id:
        return ask.view.department_ids()
    ask.department(id)
    return ask.view.records.below([id])


def department_get(ask: Ask) -> Answer:
    """Page 95351."""
    return {"department": ask.view.department(ask.department(ask.number("id", 60127) or 0))}


def user_get(ask: Ask) -> Answer:
    """Page 90196; out of range answers 60011 or 60111, both are documented."""
    userid = ask.query.get("userid", "")
    if not userid:
        raise Refused(41009)
    if len(userid.encode()) > 64:
        raise Refused(40058)
    user = ask.view.records.user(userid)
    if user is None:
        raise Refused(60111)
    if not ask.view.sees(user):
        raise Refused(ask.settings.out_of_range_code)
    return ask.shown(user)


def user_simplelist(ask: Ask) -> Answer:
    """Page 90200."""
    shown = (ask.shown(user) for user in _asked_people(ask))
    return {"userlist": [{name: user[name] for name in ("userid", "name", "department")} for user in shown]}


def user_list(ask: Ask) -> Answer:
    """Page 90201: direct members, with `fetch_child=1` everybody below as well."""
    return {"userlist": [ask.shown(user) for user in _asked_people(ask)]}


def _asked_people(ask: Ask) -> list[User]:
    id = ask.department(ask.number("department_id", 41019) or 0).id
    records = ask.view.records
    if ask.query.get("fetch_child") == "1":
        keys = dict.fromkeys(key for below in records.below([id]) for key in records.members.get(below, ()))
        people = [records.users[key] for key in keys]
    else:
        people = list(records.people_of(id))
    if len(people) > ask.settings.answer_limit:
        raise Refused(45029)
    return people


def user_list_id(ask: Ask) -> Answer:
    """Page 96067: one row per member and department, paged by an opaque cursor."""
    limit = ask.body.get("limit", 10_000)
    cursor = ask.body.get("cursor") or ""
    if type(limit) is not int or not 1 <= limit <= 10_000 or not isinstance(cursor, str):
        raise Refused(40058)
    name, person, place = _position(ask, cursor)
    keys = ask.cursors.keys(name, ask.credential)
    rows: list[Answer] = []
    while person < len(keys) and len(rows) < limit:
        user = ask.view.records.users.get(keys[person])
        places = user.memberships if user else ()
        fitting = list(islice(places, place, place + limit - len(rows)))
        rows += [{"userid": user.userid, "department": one.department} for one in fitting] if user else []
        place += len(fitting)
        if place >= len(places):
            person, place = person + 1, 0
    if person < len(keys):
        return {"next_cursor": f"{name}-{person}-{place}", "dept_user": rows}
    return {"dept_user": rows} | ({"next_cursor": ""} if ask.settings.last_cursor_empty else {})


def _position(ask: Ask, cursor: str) -> tuple[str, int, int]:
    if not cursor:
        return ask.cursors.begin(ask.credential, list(ask.view.records.users)), 0, 0
    parts = cursor.split("-")
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise Refused(50100)
    return parts[0], int(parts[1]), int(parts[2])


def user_getuserid(ask: Ask) -> Answer:
    """Page 95402."""
    return _found(ask, "mobile", ("mobile",))


def user_by_email(ask: Ask) -> Answer:
    """Page 95895: `email_type` 1 corporate (default), 2 personal."""
    return _found(ask, "email", ("email",) if ask.body.get("email_type") == 2 else ("biz_mail",))


def _found(ask: Ask, parameter: str, names: tuple[str, ...]) -> Answer:
    value = ask.body.get(parameter)
    if not isinstance(value, str) or not value:
        raise Refused(40063 if value in (None, "") else 40058)
    for user in ask.view.people():
        if value in (getattr(user, name) for name in names):
            return {"userid": user.userid}
    raise Refused(46004)


def tag_list(ask: Ask) -> Answer:
    """Page 90216: every tag, whatever the range."""
    return {"taglist": [{"tagid": tag.id, "tagname": tag.name} for tag in ask.view.records.tags.values()]}


def tag_get(ask: Ask) -> Answer:
    """Page 90213: the visible part of a tag's content."""
    tag = ask.view.records.tags.get(ask.number("tagid", 41017) or 0)
    if tag is None:
        raise Refused(40068)
    users = [ask.view.records.users[key] for key in sorted(tag.users) if key in ask.view.records.users]
    return {
        "tagname": tag.name,
        "userlist": [{"userid": user.userid, "name": user.name} for user in users if ask.view.sees(user)],
        "partylist": [id for id in sorted(tag.departments) if ask.view.sees_department(id)],
    }


def agent_get(ask: Ask) -> Answer:
    """Page 90227: only about oneself."""
    if ask.number("agentid", 41011) != ask.credential.agent_id:
        raise Refused(301002)
    visible = ask.credential.visible
    users = [user.userid for key in sorted(visible.users) if (user := ask.view.records.users.get(key))]
    ranges: Answer = {
        "allow_userinfos": {"user": [{"userid": userid} for userid in users]},
        "allow_partys": {"partyid": [id for id in sorted(visible.departments) if id in ask.view.records.departments]},
        "allow_tags": {"tagid": [id for id in sorted(visible.tags) if id in ask.view.records.tags]},
    }
    if ask.settings.omit_empty_ranges:
        ranges = {name: value for name, value in ranges.items() if any(value.values())}
    agent = {"agentid": ask.credential.agent_id, "name": ask.credential.name, "description": "", "close": 0}
    agent |= {"redirect_domain": "", "report_location_flag": 0, "isreportenter": 0, "home_url": ""}
    return agent | {"square_logo_url": "", "customized_publish_status": 1} | ranges


def agent_list(ask: Ask) -> Answer:
    """An app sees only itself."""
    return {"agentlist": [{"agentid": ask.credential.agent_id, "name": ask.credential.name, "square_logo_url": ""}]}


def callback_ips(ask: Ask) -> Answer:
    """Page 90930."""
    return {"ip_list": list(ask.settings.callback_ips)}


def api_ips(ask: Ask) -> Answer:
    """Page 92520."""
    return {"ip_list": list(ask.settings.api_ips)}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a path answers; `empty` are the arrays that failures still carry, `post` refuses GET with 40058."""

    answer: Callable[[Ask], Answer]
    empty: tuple[str, ...] = ()
    post: bool = False


USER_ARRAYS = ("department", "order", "is_leader_in_dept", "direct_leader")
ENDPOINTS = {
    "department/list": Endpoint(department_list, ("department",)),
    "department/simplelist": Endpoint(department_simplelist, ("department_id",)),
    "department/get": Endpoint(department_get),
    "user/get": Endpoint(user_get, USER_ARRAYS),
    "user/simplelist": Endpoint(user_simplelist, ("userlist",)),
    "user/list": Endpoint(user_list, ("userlist",)),
    "user/list_id": Endpoint(user_list_id, ("dept_user",), post=True),
    "user/getuserid": Endpoint(user_getuserid, post=True),
    "user/get_userid_by_email": Endpoint(user_by_email, post=True),
    "tag/list": Endpoint(tag_list, ("taglist",)),
    "tag/get": Endpoint(tag_get, ("userlist", "partylist")),
    "agent/get": Endpoint(agent_get),
    "agent/list": Endpoint(agent_list, ("agentlist",)),
    "getcallbackip": Endpoint(callback_ips, ("ip_list",)),
    "get_api_domain_ip": Endpoint(api_ips, ("ip_list",)),
}
