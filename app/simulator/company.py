"""A company that changes: who joins, leaves, moves and is renamed, and which events that raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from app.simulator.events import Event
from app.simulator.permissions import Credential, Range, View, Views
from app.simulator.records import ROOT, Department, Membership, Op, Records, Tag, User
from app.simulator.truth import truth

FIRST_ORDER = 100_000_000
DEPTH = 15
EDITABLE = frozenset(User._fields) - {"userid", "memberships"}


class CompanyError(Exception):
    """A change that WeCom would refuse; `errcode` is the code its own API answers (page 90313)."""

    def __init__(self, errcode: int, message: str) -> None:
        super().__init__(f"{errcode}: {message}")
        self.errcode = errcode


class Company:
    """One corp: its people, departments, tags and credentials.

    Every change returns the events it raises in the long form; `Event.raised_in("ids")` tells which of them a modern
    receiver hears. They also go to `listeners`. The company has one app that sees everything and one contacts secret
    from a new address; add more with `add_app`.
    """

    def __init__(
        self,
        corp_id: str = "ww0123456789abcdef",
        name: str = "示例公司",
        *,
        app_secret: str = "s" * 43,
        contacts_secret: str = "c" * 43,
        agent_id: int = 1000002,
    ) -> None:
        self.corp_id = corp_id
        self.records = Records()
        self.listeners: list[Callable[[Event], None]] = []
        self.now: Callable[[], float] = time.time
        self.also_updates_on_leave: Literal["no", "before", "after"] = "no"
        self.records.apply(Op("department", ROOT, Department(ROOT, name, 0, FIRST_ORDER)))
        whole = Range.of(departments=[ROOT])
        self.app = Credential("app", "app", app_secret, agent_id, whole)
        self.contacts = Credential("contacts", "contacts", contacts_secret, withheld=frozenset())
        self.credentials = {"app": self.app, "contacts": self.contacts}
        self.next_department = ROOT + 1
        self._silent = False
        self._views = Views()

    # Reading

    def view(self, credential: Credential) -> View:
        """What this credential sees at the moment."""
        return self._views.of(self.records, credential)

    def truth(self, credential: Credential) -> dict[str, Any]:
        """What a complete and correct copy made with this credential holds; see `truth.truth`."""
        return truth(self.view(credential))

    def user(self, userid: str) -> User:
        """The member of that userid in any spelling; raises CompanyError 60111."""
        user = self.records.user(userid)
        if user is None:
            raise CompanyError(60111, f"userid not found: {userid}")
        return user

    def department(self, id: int) -> Department:
        """The department; raises CompanyError 60003."""
        department = self.records.departments.get(id)
        if department is None:
            raise CompanyError(60003, f"no department {id}")
        return department

    @property
    def userids(self) -> list[str]:
        return [user.userid for user in self.records.users.values()]

    def add_app(self, name: str, secret: str, agent_id: int, visible: Range, **rights: Any) -> Credential:
        """Another app of the company; `rights` are further attributes of Credential."""
        self.credentials[name] = Credential("app", name, secret, agent_id, visible, **rights)
        return self.credentials[name]

    # People

    def join(
        self,
        userid: str,
        name: str,
        departments: Iterable[int | Membership] = (ROOT,),
        **fields: Any,
    ) -> list[Event]:
        """A new member; the first department becomes the main one unless `main_department` says otherwise."""
        if self.records.user(userid):
            raise CompanyError(60102, f"userid exists: {userid}")
        self._known(fields)
        places = self._placed((), departments)
        user = User(userid, name, places, **({"main_department": places[0].department} | fields))
        return self._store(user.key, user, Event("create_user", userid, self._second(), after=user))

    def leave(self, userid: str) -> list[Event]:
        """A member is removed from the company, and from the superiors of others (which raises no event)."""
        user = self.user(userid)
        gone = Event("delete_user", user.userid, self._second(), before=user)
        changed = frozenset({"departments"})
        echo = Event("update_user", user.userid, self._second(), changed, before=user)
        events = {"no": [gone], "before": [echo, gone], "after": [gone, echo]}[self.also_updates_on_leave]
        raised = self._store(user.key, None, *events)
        self._replace_superior(user.userid, None)
        self._replace_in_lists(user.key, None)
        return raised

    def move(self, userid: str, departments: Iterable[int | Membership]) -> list[Event]:
        """Put a member into exactly these departments; a bare id keeps the order and leader flag he had there."""
        user = self.user(userid)
        places = self._placed(user.memberships, departments)
        ids = {place.department for place in places}
        main = user.main_department
        if main is not None and main not in ids:
            main = places[0].department
        return self._change(user, user._replace(memberships=places, main_department=main))

    def edit(self, userid: str, **fields: Any) -> list[Event]:
        """Change fields of `User` other than the userid and the memberships."""
        self._known(fields)
        user = self.user(userid)
        return self._change(user, user._replace(**fields))

    def rename(self, userid: str, name: str) -> list[Event]:
        """Change the displayed name; an ids-only receiver hears nothing of it."""
        return self.edit(userid, name=name)

    def rename_userid(self, userid: str, new: str) -> list[Event]:
        """Change the userid itself; the old one answers 60111 from now on."""
        user = self.user(userid)
        taken = self.records.user(new)
        if taken is not None and taken.key != user.key:
            raise CompanyError(60102, f"userid exists: {new}")
        renamed = user._replace(userid=new)
        event = Event("update_user", user.userid, self._second(), frozenset({"userid"}), user, renamed, new)
        if renamed.key != user.key:
            self.records.apply(Op("user", user.key, None))
        raised = self._store(renamed.key, renamed, event)
        self._replace_superior(user.userid, new)
        self._replace_in_lists(user.key, renamed.key)
        return raised

    def set_status(self, userid: str, status: int) -> list[Event]:
        """1 active, 2 disabled, 4 not activated, 5 left the company but still listed."""
        return self.edit(userid, status=status)

    def disable(self, userid: str) -> list[Event]:
        return self.set_status(userid, 2)

    def enable(self, userid: str) -> list[Event]:
        return self.set_status(userid, 1)

    def lead(self, userid: str, department: int, leader: bool = True) -> list[Event]:
        """Make a member the leader of one of his departments, or stop it."""
        user = self.user(userid)
        if department not in user.departments:
            raise CompanyError(40066, f"{userid} is not in department {department}")
        places = (
            place._replace(leader=leader) if place.department == department else place for place in user.memberships
        )
        return self._change(user, user._replace(memberships=tuple(places)))

    # Departments

    def create_department(
        self, name: str, parent: int = ROOT, *, id: int | None = None, order: int | None = None, name_en: str = ""
    ) -> list[Event]:
        """A new department; its id is the event's key. Siblings come after each other unless `order` says otherwise."""
        self.department(parent)
        self._shallow(parent, 1)
        self._free_name(name, parent)
        id = self.next_department if id is None else id
        if id in self.records.departments:
            raise CompanyError(60008, f"department {id} exists")
        self.next_department = max(self.next_department, id + 1)
        siblings = self.records.children.get(parent, {})
        order = FIRST_ORDER - 1000 * len(siblings) if order is None else order
        department = Department(id, name, parent, order, name_en)
        event = Event("create_party", str(id), self._second(), after=department)
        return self._store_department(id, department, event)

    def move_department(self, id: int, parent: int) -> list[Event]:
        """Hang a department under another parent, with everything below it."""
        self.department(parent)
        below = self.records.below([id])
        if parent in below:
            raise CompanyError(60010, "a department cannot be below itself")
        if below:
            self._shallow(parent, 1 + self.records.level(below[-1]) - self.records.level(id))
        return self._change_department(id, parent=parent)

    def rename_department(self, id: int, name: str) -> list[Event]:
        """An ids-only receiver hears nothing of it."""
        return self._change_department(id, name=name)

    def reorder_department(self, id: int, order: int) -> list[Event]:
        return self._change_department(id, order=order)

    def delete_department(self, id: int, *, cascade: bool = False) -> list[Event]:
        """Remove an empty department; `cascade` first moves its people to the parent and removes what is below."""
        department = self.department(id)
        if id == ROOT:
            raise CompanyError(60007, "the root cannot be deleted")
        raised: list[Event] = []
        if cascade:
            raised += self._empty(department)
        if self.records.members.get(id):
            raise CompanyError(60005, f"department {id} has members")
        if self.records.children.get(id):
            raise CompanyError(60006, f"department {id} has departments below it")
        self._without_department(id)
        event = Event("delete_party", str(id), self._second(), before=department)
        return raised + self._store_department(id, None, event)

    # Tags, ranges, jobs

    def create_tag(self, name: str, users: Iterable[str] = (), departments: Iterable[int] = ()) -> int:
        """A new tag; returns its id. WeCom raises an event only for later changes of its content."""
        id = max(self.records.tags, default=0) + 1
        tag = Tag(id, name, frozenset(self.user(userid).key for userid in users), frozenset(departments))
        self.records.apply(Op("tag", id, tag))
        return id

    def change_tag(
        self,
        id: int,
        *,
        add_users: Sequence[str] = (),
        remove_users: Sequence[str] = (),
        add_departments: Sequence[int] = (),
        remove_departments: Sequence[int] = (),
    ) -> list[Event]:
        """Change who carries a tag; raises CompanyError 40068 for an unknown one."""
        tag = self.records.tags.get(id)
        if tag is None:
            raise CompanyError(40068, f"no tag {id}")
        users = tag.users.union(self.user(userid).key for userid in add_users)
        users -= {userid.lower() for userid in remove_users}
        departments = tag.departments.union(add_departments) - set(remove_departments)
        self.records.apply(Op("tag", id, tag._replace(users=users, departments=departments)))
        lists = {"AddUserItems": add_users, "DelUserItems": remove_users}
        lists |= {"AddPartyItems": [str(id) for id in add_departments]}
        lists |= {"DelPartyItems": [str(id) for id in remove_departments]}
        details = {name: ",".join(values) for name, values in lists.items() if values}
        return self._raise([Event("update_tag", str(id), self._second(), details=details)])

    def delete_tag(self, id: int) -> None:
        self.records.apply(Op("tag", id, None))

    def set_range(self, credential: Credential, visible: Range) -> list[Event]:
        """Change an app's visible range; the app hears subscribe and unsubscribe of everybody concerned."""
        before = {user.key: user.userid for user in self.view(credential).people()}
        credential.visible = visible
        after = {user.key: user.userid for user in self.view(credential).people()}
        come = [userid for key, userid in after.items() if key not in before]
        gone = [userid for key, userid in before.items() if key not in after]
        changes = [("subscribe", userid) for userid in come] + [("unsubscribe", userid) for userid in gone]
        events = [
            Event(name, userid, self._second(), agent_id=credential.agent_id)
            for name, userid in changes
            if credential.agent_id is not None
        ]
        return self._raise(events)

    def finish_job(self, job_id: str, job_type: str = "sync_user") -> list[Event]:
        """Announce the end of a bulk import; make its changes under `quiet()`."""
        return self._raise([Event("batch_job_result", job_id, self._second(), details={"job_type": job_type})])

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Changes inside raise no events, as those made through the assistant's own API."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def reset_secret(self, credential: Credential, secret: str) -> None:
        """The old secret answers 40001 from now on; tokens made with it are no longer valid (see Tokens)."""
        credential.secret = secret

    # Inside

    def _second(self) -> int:
        return int(self.now())

    def _known(self, fields: dict[str, Any]) -> None:
        unknown = set(fields) - EDITABLE
        if unknown:
            raise CompanyError(40058, f"no such field: {', '.join(sorted(unknown))}")
        fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}

    def _placed(self, old: Sequence[Membership], new: Iterable[int | Membership]) -> tuple[Membership, ...]:
        held = {place.department: place for place in old}
        places = tuple(held.get(at, Membership(at)) if isinstance(at, int) else at for at in new)
        if not places:
            raise CompanyError(41019, "a member needs a department")
        for place in places:
            self.department(place.department)
        return places

    def _change(self, before: User, after: User) -> list[Event]:
        changed = _differences(before, after)
        if not changed:
            return []
        event = Event("update_user", before.userid, self._second(), changed, before, after)
        return self._store(before.key, after, event)

    def _store(self, key: str, user: User | None, *events: Event) -> list[Event]:
        old = self.records.users.get(key)
        seen = self._seen_by(old)
        self.records.apply(Op("user", key, user))
        crossing = self._crossings(events, seen, self._seen_by(user))
        return self._raise([*events, *crossing])

    def _seen_by(self, user: User | None) -> set[str]:
        """The names of the apps with a narrowed or whole range that can use this member: in range and not disabled."""
        if user is None or user.status in (2, 5):
            return set()
        apps = [one for one in self.credentials.values() if one.kind == "app"]
        return {app.name for app in apps if self.view(app).sees(user)}

    def _crossings(self, events: Sequence[Event], before: set[str], after: set[str]) -> list[Event]:
        if any(event.new_key for event in events):
            return []
        told = [("subscribe", name) for name in sorted(after - before)]
        told += [("unsubscribe", name) for name in sorted(before - after)]
        agents = [(what, self.credentials[name].agent_id) for what, name in told]
        userid = events[0].key
        return [Event(what, userid, self._second(), agent_id=agent) for what, agent in agents if agent is not None]

    def _store_department(self, id: int, department: Department | None, event: Event) -> list[Event]:
        self.records.apply(Op("department", id, department))
        return self._raise([event])

    def _change_department(self, id: int, **fields: Any) -> list[Event]:
        before = self.department(id)
        after = before._replace(**fields)
        changed = frozenset(name for name in fields if getattr(before, name) != getattr(after, name))
        if not changed:
            return []
        if changed & {"name", "parent"}:
            self._free_name(after.name, after.parent, id)
        return self._store_department(id, after, Event("update_party", str(id), self._second(), changed, before, after))

    def _shallow(self, parent: int, levels: int) -> None:
        if self.records.level(parent) + levels > DEPTH:
            raise CompanyError(81002, f"deeper than {DEPTH} levels")

    def _free_name(self, name: str, parent: int, own: int = 0) -> None:
        siblings = self.records.children.get(parent, {})
        if any(self.records.departments[id].name == name for id in siblings if id != own):
            raise CompanyError(60008, f"department name exists: {name}")

    def _empty(self, department: Department) -> list[Event]:
        raised: list[Event] = []
        for child in list(self.records.children.get(department.id, {})):
            raised += self.delete_department(child, cascade=True)
        for user in list(self.records.people_of(department.id)):
            rest = [place for place in user.memberships if place.department != department.id]
            raised += self.move(user.userid, rest or [department.parent])
        return raised

    def _without_department(self, id: int) -> None:
        for tag in list(self.records.tags.values()):
            if id in tag.departments:
                self.records.apply(Op("tag", tag.id, tag._replace(departments=tag.departments - {id})))

    def _replace_superior(self, userid: str, new: str | None) -> None:
        if not self.records.reports.get(userid.lower()):
            return
        for user in list(self.records.users.values()):
            if userid in user.direct_leaders:
                kept = tuple(new or "" if leader == userid else leader for leader in user.direct_leaders)
                self.records.apply(Op("user", user.key, user._replace(direct_leaders=tuple(filter(None, kept)))))

    def _replace_in_lists(self, key: str, new: str | None) -> None:
        for tag in list(self.records.tags.values()):
            if key in tag.users:
                self.records.apply(Op("tag", tag.id, tag._replace(users=_swapped(tag.users, key, new))))
        for app in self.credentials.values():
            if key in app.visible.users:
                visible = app.visible
                app.visible = Range(_swapped(visible.users, key, new), visible.departments, visible.tags)

    def _raise(self, events: list[Event]) -> list[Event]:
        if self._silent:
            return []
        for event in events:
            for listener in self.listeners:
                listener(event)
        return events


def _swapped(keys: frozenset[str], key: str, new: str | None) -> frozenset[str]:
    return (keys - {key}) | ({new} if new else set())


def _differences(before: User, after: User) -> frozenset[str]:
    names = {name for name in EDITABLE if getattr(before, name) != getattr(after, name)}
    if before.memberships != after.memberships:
        flags = [{(place.department, place.leader) for place in user.memberships} for user in (before, after)]
        ids = [set(user.departments) for user in (before, after)]
        names.add("departments" if ids[0] != ids[1] else "leader" if flags[0] != flags[1] else "order")
    return frozenset(names)
