"""The events that changes of a company raise, and their XML in both forms.

`ids`: what the contacts assistant receives at a URL saved after 2022-08-15; `long`: what older URLs still receive.
Sources: WeCom pages 90970 (members), 90971 (departments), 90972 (tags), 90240 (an app's own events).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from app.simulator.permissions import View
from app.simulator.records import Department, User

Form = Literal["ids", "long"]
HINTED = frozenset({"userid", "departments", "leader", "main_department"})
"""The changes of a member of which an ids-only receiver is told."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a company at `created` (seconds).

    `change_type`: create_user, update_user, delete_user, create_party, update_party, delete_party, update_tag,
    or another event of WeCom (subscribe, unsubscribe, batch_job_result). `key`: the userid (the old one on a
    rename), department id, tag id or job id. `agent_id` is set for events that only one app receives.
    """

    change_type: str
    key: str
    created: int
    changed: frozenset[str] = frozenset()
    before: User | Department | None = None
    after: User | Department | None = None
    new_key: str | None = None
    agent_id: int | None = None
    details: dict[str, str] = field(default_factory=dict)

    def raised_in(self, form: Form) -> bool:
        """Whether a receiver of this form is told: most edits raise nothing in the ids-only form."""
        if form == "long":
            return True
        if self.change_type == "update_user":
            return not self.changed.isdisjoint(HINTED)
        return self.change_type != "update_party" or "parent" in self.changed


def render(event: Event, corp_id: str, form: Form, *, view: View | None = None, cdata: bool = True) -> str:
    """The inner XML in one line, as captured ones are; `view` cuts departments to what the receiver sees."""
    if event.agent_id is not None:
        head = _head(corp_id, event, event.key, event.change_type)
        return f"<xml>{head}<AgentID>{event.agent_id}</AgentID></xml>"
    if event.change_type == "batch_job_result":
        job = _all({"JobId": event.key, "JobType": event.details.get("job_type", "sync_user")})
        job += "<ErrCode>0</ErrCode><ErrMsg><![CDATA[ok]]></ErrMsg>"
        return f"<xml>{_head(corp_id, event, 'sys', 'batch_job_result')}<BatchJob>{job}</BatchJob></xml>"
    kind = _text("ChangeType", event.change_type) if cdata else f"<ChangeType>{event.change_type}</ChangeType>"
    return f"<xml>{_head(corp_id, event, 'sys', 'change_contact')}{kind}{_body(event, form, view)}</xml>"


def _head(corp_id: str, event: Event, sender: str, name: str) -> str:
    return (
        _text("ToUserName", corp_id)
        + _text("FromUserName", sender)
        + f"<CreateTime>{event.created}</CreateTime>"
        + _text("MsgType", "event")
        + _text("Event", name)
    )


def _body(event: Event, form: Form, view: View | None) -> str:
    if event.change_type == "update_tag":
        return f"<TagId>{event.key}</TagId>" + _all(event.details)
    if event.change_type.endswith("_party"):
        return _party(event, form)
    body = _text("UserID", event.key)
    if event.new_key is not None:
        body += _text("NewUserID", event.new_key)
    if not isinstance(event.after, User):
        return body
    if form == "long":
        return body + _member(event.after, event.changed, view)
    return body + (_departments(event.after, view) if event.changed != {"userid"} else "")


def _party(event: Event, form: Form) -> str:
    body = f"<Id>{event.key}</Id>"
    department = event.after
    if not isinstance(department, Department):
        return body
    created = event.change_type == "create_party"
    if form == "long" and (created or "name" in event.changed):
        body += _text("Name", department.name)
    if created or "parent" in event.changed:
        body += _text("ParentId", str(department.parent))
    return body + (f"<Order>{department.order}</Order>" if created and form == "long" else "")


def _departments(user: User, view: View | None) -> str:
    return _text("Department", _joined(id for id in user.departments if view is None or view.sees_department(id)))


def _member(user: User, changed: frozenset[str], view: View | None) -> str:
    """The long member payload: on creation (`changed` empty) everything, else what changed and the status."""
    withheld = view.credential.withheld if view else frozenset[str]()
    places = [place for place in user.memberships if view is None or view.sees_department(place.department)]
    main = [("main_department", f"<MainDepartment>{user.main_department}</MainDepartment>")]
    parts = [
        ("name", _text("Name", user.name)),
        ("departments", _departments(user, view)),
        *(main if user.main_department is not None else []),
        ("departments", _text("IsLeaderInDept", _joined(int(place.leader) for place in places))),
        ("direct_leaders", _text("DirectLeader", _joined(user.direct_leaders))),
        ("position", _text("Position", user.position)),
        ("mobile", _text("Mobile", user.mobile)),
        ("gender", f"<Gender>{'0' if 'gender' in withheld else user.gender}</Gender>"),
        ("email", _text("Email", user.email)),
        ("biz_mail", _text("BizMail", user.biz_mail)),
        ("status", f"<Status>{user.status}</Status>"),
        ("avatar", _text("Avatar", user.avatar)),
        ("alias", _text("Alias", user.alias)),
        ("telephone", _text("Telephone", user.telephone)),
        ("address", _text("Address", user.address)),
        ("extattrs", _extattrs(user)),
    ]
    asked = changed | {"status"} | ({"departments"} if "leader" in changed else frozenset[str]())
    told = [(name, xml) for name, xml in parts if name == "gender" or name not in withheld]
    return "".join(xml for name, xml in told if not changed or name in asked)


def _extattrs(user: User) -> str:
    items = ""
    for attr in user.extattrs:
        if attr["type"] == 1:
            value = f"<Web>{_text('Title', attr['web']['title'])}{_text('Url', attr['web']['url'])}</Web>"
        else:
            value = f"<Text>{_text('Value', attr['text']['value'])}</Text>"
        items += f"<Item>{_text('Name', attr['name'])}<Type>{attr['type']}</Type>{value}</Item>"
    return f"<ExtAttr>{items}</ExtAttr>"


def _joined(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def _all(values: dict[str, str]) -> str:
    return "".join(_text(name, value) for name, value in values.items() if name[0].isupper())


def _text(name: str, value: str) -> str:
    return f"<{name}><![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]></{name}>"
