"""Which credential may read what: the two kinds of secret, visible ranges, and withheld fields.

Sources: WeCom pages 90193 (contacts overview), 96079 (restrictions of 2022-08-15), 90313 (error codes).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from app.simulator.records import ROOT, Department, Records, User

SENSITIVE = frozenset(
    {"mobile", "email", "biz_mail", "gender", "avatar", "thumb_avatar", "qr_code", "address"},
)
"""What apps made after 2022-06-20 20:00 no longer receive."""

IDS_ONLY = frozenset({"user/list_id", "department/simplelist"})
DETAILS = frozenset({"user/get", "user/simplelist", "user/list", "department/list", "department/get"})
EVERYBODY = frozenset({"getcallbackip", "get_api_domain_ip"})


@dataclass(frozen=True, slots=True)
class Range:
    """A visible range (可见范围): people by name, departments with everything below them, tags."""

    users: frozenset[str] = frozenset()
    departments: frozenset[int] = frozenset()
    tags: frozenset[int] = frozenset()

    @classmethod
    def of(cls, users: Iterable[str] = (), departments: Iterable[int] = (), tags: Iterable[int] = ()) -> Range:
        """A range; userids may be spelt in any case."""
        return cls(frozenset(userid.lower() for userid in users), frozenset(departments), frozenset(tags))


@dataclass(slots=True)
class Credential:
    """A secret and its rights; change the attributes at any time, the next call obeys.

    `withheld` names the fields that this credential does not receive. `known_ip` is for contacts secrets:
    False means that WeCom sees a new address and refuses details (48009). `trusted_ips` None trusts every address.
    """

    kind: Literal["app", "contacts"]
    name: str
    secret: str = field(repr=False)
    agent_id: int | None = None
    visible: Range = field(default_factory=Range)
    withheld: frozenset[str] = SENSITIVE
    known_ip: bool = False
    trusted_ips: frozenset[str] | None = None
    enabled: bool = True
    dormant: bool = False
    hears_contacts: bool = False

    def refusal(self, path: str) -> int:
        """The errcode of asking for `path` at all: 0, 48002 or 48009."""
        if path in EVERYBODY:
            return 0
        if self.kind == "app":
            return 48002 if path == "user/list_id" else 0
        if path.startswith("agent/"):
            return 48002 if path == "agent/list" else 301002
        return 48009 if path in DETAILS and not self.known_ip else 0

    @property
    def reads_details(self) -> bool:
        return self.kind == "app" or self.known_ip


class View:
    """The records as one credential sees them; `departments` and `named` are None where everything is visible."""

    def __init__(self, records: Records, credential: Credential) -> None:
        self.records = records
        self.credential = credential
        self.departments: set[int] | None = None
        self.named: frozenset[str] = frozenset()
        if credential.kind == "app":
            tags = [records.tags[id] for id in credential.visible.tags if id in records.tags]
            self.named = credential.visible.users.union(*(tag.users for tag in tags))
            tops = credential.visible.departments.union(*(tag.departments for tag in tags))
            self.departments = None if ROOT in tops else set(records.below(tops))

    def sees_department(self, id: int) -> bool:
        return self.departments is None or id in self.departments

    def sees(self, user: User) -> bool:
        """Whether the user is in the range, by name or by a department."""
        if self.departments is None or user.key in self.named:
            return True
        return any(place.department in self.departments for place in user.memberships)

    def department_ids(self) -> list[int]:
        """Every visible department, parents first, siblings as WeCom sorts them (larger order first)."""
        ids = self.records.below([ROOT])
        return ids if self.departments is None else [id for id in ids if id in self.departments]

    def people(self) -> Iterable[User]:
        """Every visible user."""
        users = self.records.users
        if self.departments is None:
            return users.values()
        keys = dict.fromkeys(key for id in self.departments for key in self.records.members.get(id, ()))
        keys.update(dict.fromkeys(key for key in self.named if key in users))
        return [users[key] for key in keys]

    def leaders(self, id: int) -> list[str]:
        """The leaders of a department whom the credential sees."""
        userids = self.records.leaders_of(id)
        if self.departments is None:
            return userids
        return [userid for userid in userids if self.sees(self.records.users[userid.lower()])]

    def department(self, department: Department) -> dict[str, Any]:
        """A department object as `department/get` answers it."""
        return {
            "id": department.id,
            "name": department.name,
            "name_en": department.name_en,
            "department_leader": self.leaders(department.id),
            "parentid": department.parent,
            "order": department.order,
        }

    def user(self, user: User, *, withheld_as: str = "absent", legacy: bool = False) -> dict[str, Any]:
        """A member object as `user/get` and `user/list` answer it."""
        places = [place for place in user.memberships if self.sees_department(place.department)]
        shown: dict[str, Any] = {
            "userid": user.userid,
            "name": user.name,
            "department": [place.department for place in places],
            "order": [place.order for place in places],
            "is_leader_in_dept": [int(place.leader) for place in places],
            "position": user.position,
            "direct_leader": list(user.direct_leaders),
            "telephone": user.telephone,
            "alias": user.alias,
            "status": user.status,
            "extattr": {"attrs": list(user.extattrs)},
            "external_position": user.external_position,
        }
        if user.main_department is not None and self.sees_department(user.main_department):
            shown["main_department"] = user.main_department
        if legacy:
            shown |= {"isleader": int(any(place.leader for place in places)), "enable": int(user.status != 2)}
            shown |= {"hide_mobile": 0, "english_name": user.english_name}
        return shown | self._sensitive(user, withheld_as)

    def _sensitive(self, user: User, withheld_as: str) -> dict[str, str]:
        withheld = self.credential.withheld
        if withheld_as == "absent" and withheld >= SENSITIVE:
            return {}
        fields = {
            "mobile": user.mobile,
            "gender": user.gender,
            "email": user.email,
            "biz_mail": user.biz_mail,
            "avatar": user.avatar,
            "thumb_avatar": user.avatar[:-1] + "100" if user.avatar.endswith("/0") else user.avatar,
            "address": user.address,
            "qr_code": f"https://open.work.weixin.qq.com/wwopen/userQRCode?vcode={user.key.encode().hex()}",
        }
        if withheld_as == "absent":
            return {name: value for name, value in fields.items() if name not in withheld}
        return fields | {name: "0" if name == "gender" else "" for name in fields if name in withheld}


class Views:
    """Remembers the view of each credential until the departments, the tags or the range change."""

    def __init__(self) -> None:
        self._views: dict[str, tuple[Range, int, View]] = {}

    def of(self, records: Records, credential: Credential) -> View:
        """The view of these records; computed anew only when it must be."""
        known = self._views.get(credential.name)
        if known and known[0] is credential.visible and known[1] == records.shape and known[2].records is records:
            return known[2]
        view = View(records, credential)
        self._views[credential.name] = (credential.visible, records.shape, view)
        return view
