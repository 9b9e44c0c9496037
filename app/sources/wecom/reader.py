"""Reading a WeCom directory with whatever credentials there are (pages 90193 to 90227, 96067); see `core.ports.Reader`.

The app secret reads details inside its visible range. The contacts secret lists the ids of the whole company; alone, it
also reads details from an address that WeCom has long known, and from any other address nothing but ids.
"""

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import count, islice
from typing import Final

from app.core.directory import User, key_of
from app.core.ports import (
    BadRecord,
    DepartmentRead,
    DepartmentsRead,
    IdsPage,
    Observe,
    Range,
    TagRead,
    TokenStore,
    UserRead,
    UsersPage,
)
from app.errors import AskAdmin
from app.sources.wecom.auth import TokenAuth
from app.sources.wecom.client import Absent, Client, ClientFactory, Sleep
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.corp_ids import CorpIds
from app.sources.wecom.errcodes import IDS_ONLY, NO_PRIVILEGE, NO_SUCH_DEPARTMENT, NO_SUCH_USER, TOO_LARGE, said
from app.sources.wecom.parallel import in_flight
from app.sources.wecom.records import (
    Raw,
    Unusable,
    Visible,
    is_userid,
    read_department,
    read_department_rows,
    read_forest,
    read_tag,
    read_user,
    read_users,
    read_visible,
    rows,
    whole_number,
)

AT_ONCE: Final = 8
USERS_PER_PAGE: Final = 1_000
ROOT: Final = 1
UNKNOWN_USER: Final = 60111
UNKNOWN_DEPARTMENT: Final = 60003

GONE_DEPARTMENT: Final = NO_SUCH_DEPARTMENT | {NO_PRIVILEGE}
"""60011 too: a department that was visible a moment ago has left the range."""

NO_TAG: Final = frozenset({40068, NO_PRIVILEGE, 81011})
LIST_REFUSED: Final = frozenset({TOO_LARGE, NO_PRIVILEGE, 48001, 48002, 48008})
"""Refusals of department/list after which asking for each department may still be allowed (page 95350 advises it)."""


class WeComReader:
    """The `Reader` of a WeCom source; opening one sends nothing.

    `patience`, `sleep` and `spread` as for `Client`.
    """

    def __init__(
        self,
        config: WeComConfig,
        *,
        tokens: TokenStore,
        observe: Observe,
        client_factory: ClientFactory | None = None,
        patience: float = float("inf"),
        sleep: Sleep = asyncio.sleep,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.calls = 0
        self._observe = observe
        self.client = Client(
            config,
            tokens=tokens,
            observe=self._counted,
            client_factory=client_factory,
            patience=patience,
            sleep=sleep,
            spread=spread,
        )
        self._corp_ids = CorpIds(self.client, self.client.contacts) if self.client.contacts else None
        self._agent_id = config.agent_id
        self._roots = {ROOT}
        self._ids_only: bool | None = None
        self._probing = asyncio.Lock()

    async def aclose(self) -> None:
        await self.client.aclose()

    async def _counted(self) -> int:
        self.calls += 1
        return await self._observe()

    # What may be read

    async def range(self) -> Range:
        app, contacts = self.client.app, self.client.contacts
        if contacts is not None:
            await contacts.token()
        if app is None:
            return await self._whole_corp()
        agent_id = await self._agent(app)
        visible = (await self.client.get("agent/get", app, read_visible, agentid=agent_id)).value
        return Range(
            departments=visible.departments,
            users=visible.users,
            tags=visible.tags,
            everything=not self._roots.isdisjoint(visible.departments),
            details=True,
            lists_ids=contacts is not None,
            fingerprint=_fingerprint("app", agent_id, contacts is not None, visible),
        )

    async def _whole_corp(self) -> Range:
        self._ids_only = None
        details = not await self._reads_ids_only()
        fingerprint = _fingerprint("contacts", 0, details, Visible((), (), ()))
        return Range((), (), (), everything=True, details=details, lists_ids=True, fingerprint=fingerprint)

    async def _agent(self, app: TokenAuth) -> int:
        if self._agent_id is None:
            listed = (await self.client.get("agent/list", app, rows("agentlist"))).value
            ids = [whole_number(item.get("agentid")) for item in listed if isinstance(item, Mapping)]
            if len(ids) != 1 or ids[0] is None:
                raise said("wecom.agent_unknown", AskAdmin)
            self._agent_id = ids[0]
        return self._agent_id

    def _details(self) -> TokenAuth:
        """The credential that reads details, or at least is the one there is."""
        auth = self.client.app or self.client.contacts
        if auth is None:
            raise said("source.no_credentials", AskAdmin)
        return auth

    async def _reads_ids_only(self) -> bool:
        """True for a lone contacts secret that WeCom meets at a new address (48009, page 96079); asked once."""
        async with self._probing:
            if self._ids_only is None:
                self._ids_only = self.client.app is None and await self._refuses_details(self._details())
            return self._ids_only

    async def _refuses_details(self, contacts: TokenAuth) -> bool:
        try:
            await self.client.get("department/get", contacts, dict, absent=NO_SUCH_DEPARTMENT | {IDS_ONLY}, id=ROOT)
        except Absent as absent:
            return absent.errcode == IDS_ONLY
        return False

    # Departments

    async def departments(self) -> DepartmentsRead:
        auth = self._details()
        if await self._reads_ids_only():
            observed, listed = await self._department_rows(auth)
            return self._forest(observed, listed.values())
        try:
            answer = await self.client.get("department/list", auth, rows("department"), absent=LIST_REFUSED)
        except Absent:
            return await self._one_by_one(auth)
        return self._forest(answer.observed, answer.value)

    async def _department_rows(self, auth: TokenAuth) -> tuple[int, dict[int, Raw]]:
        answer = await self.client.get("department/simplelist", auth, read_department_rows)
        return answer.observed, answer.value

    async def _one_by_one(self, auth: TokenAuth) -> DepartmentsRead:
        """Every listed department by a call of its own; one that vanishes meanwhile is left out."""

        async def read(department_id: int) -> Raw | None:
            try:
                return (await self._raw_department(auth, department_id))[1]
            except Absent:
                return None

        observed, listed = await self._department_rows(auth)
        async with aclosing(in_flight(read, listed, AT_ONCE)) as answers:
            return self._forest(observed, [raw async for raw in answers if raw is not None])

    def _forest(self, observed: int, listed: Iterable[object]) -> DepartmentsRead:
        departments, bad, roots = read_forest(listed)
        self._roots.update(roots)
        return DepartmentsRead(observed, departments, bad)

    async def department_ids(self) -> tuple[int, frozenset[int]]:
        observed, listed = await self._department_rows(self.client.contacts or self._details())
        return observed, frozenset(listed)

    async def department(self, department_id: int) -> DepartmentRead:
        """One department; its `parent_id` is WeCom's, and whether that parent is visible is for the caller to say."""
        auth = self._details()
        if await self._reads_ids_only():
            observed, listed = await self._department_rows(auth)
            return _one_department(observed, listed.get(department_id), department_id)
        try:
            observed, raw = await self._raw_department(auth, department_id)
        except Absent as absent:
            return DepartmentRead(absent.observed, None, absent.errcode)
        return _one_department(observed, raw, department_id)

    async def _raw_department(self, auth: TokenAuth, department_id: int) -> tuple[int, Raw]:
        def read(raw: Raw) -> Raw:
            record = raw.get("department")
            if not isinstance(record, Mapping) or whole_number(record.get("id")) != department_id:
                raise Unusable("department: missing, or another one")
            return record

        answer = await self.client.get("department/get", auth, read, absent=GONE_DEPARTMENT, id=department_id)
        return answer.observed, answer.value

    # Users

    async def users(
        self, departments: Collection[int], *, range_: Range, done: Collection[str]
    ) -> AsyncGenerator[UsersPage, None]:
        """See `core.ports.Reader`; a tag's page comes after the pages of its members, so that `done` covers them.

        People granted by name or tag whom a department's page of this call shows are not asked for again; those whom an
        earlier call showed are, unless `done` holds "user:" and their userid in lower case.
        Where only ids can be read, a pass is made anew and its pages get keys that are not in `done`.
        """
        departments = frozenset(departments)
        if await self._reads_ids_only():
            for page in await self._pages_of_ids(departments, done):
                yield page
            return
        tags = [await self._tag_page(tag, departments) for tag in range_.tags if f"tag:{tag}" not in done]
        granted = [*range_.users, *(userid for page in tags for userid in page.granted_users)]
        unseen = {key_of(userid): userid for userid in granted}
        unread = (number for number in departments if f"list:{number}" not in done)
        async with aclosing(in_flight(self.department_members, unread, AT_ONCE)) as pages:
            async for page in pages:
                for key in _people_of(page):
                    unseen.pop(key, None)
                yield page
        unread_users = [userid for key, userid in unseen.items() if f"user:{key}" not in done]
        async with aclosing(in_flight(self._user_page, unread_users, AT_ONCE)) as pages:
            async for page in pages:
                yield page
        for page in tags:
            yield page

    async def department_members(self, department_id: int) -> UsersPage:
        auth, page = self._details(), f"list:{department_id}"
        if await self._reads_ids_only():
            everybody = await self._corp().everybody()
            return UsersPage(page, everybody.observed, _members(everybody.users.values(), {department_id}))
        try:
            answer = await self.client.get(
                "user/list", auth, rows("userlist"), absent=GONE_DEPARTMENT, department_id=department_id
            )
        except Absent as absent:
            return UsersPage(page, absent.observed, gone_department=department_id)
        users, bad = read_users(answer.value, page)
        return UsersPage(page, answer.observed, users, bad)

    async def user(self, userid: str) -> UserRead:
        auth = self._details()
        if await self._reads_ids_only():
            everybody = await self._corp().everybody()
            found = everybody.users.get(key_of(userid))
            return UserRead(everybody.observed, found, 0 if found else UNKNOWN_USER)

        def read(raw: Raw) -> Raw:
            if not is_userid(raw.get("userid")) or key_of(raw["userid"]) != key_of(userid):
                raise Unusable("userid: missing, or another one")
            return raw

        try:
            answer = await self.client.get("user/get", auth, read, absent=NO_SUCH_USER, userid=userid)
        except Absent as absent:
            return UserRead(absent.observed, None, absent.errcode)
        match read_user(answer.value, userid):
            case BadRecord() as bad:
                return UserRead(answer.observed, None, bad=bad)
            case user:
                return UserRead(answer.observed, user)

    async def _user_page(self, userid: str) -> UsersPage:
        read = await self.user(userid)
        users, bad = (read.user,) if read.user else (), (read.bad,) if read.bad else ()
        return UsersPage(f"user:{key_of(userid)}", read.observed, users, bad)

    async def tag(self, tag_id: int) -> TagRead:
        try:
            answer = await self.client.get("tag/get", self._details(), read_tag, absent=NO_TAG, tagid=tag_id)
        except Absent as absent:
            return TagRead(absent.observed, found=False)
        return TagRead(answer.observed, True, *answer.value)

    async def _tag_page(self, tag_id: int, departments: Collection[int]) -> UsersPage:
        read = await self.tag(tag_id)
        unknown = tuple(number for number in read.departments if number not in departments)
        return UsersPage(f"tag:{tag_id}", read.observed, granted_users=read.userids, granted_departments=unknown)

    # Ids of the whole company

    async def ids(self) -> AsyncGenerator[IdsPage, None]:
        async with aclosing(self._corp().pages()) as pages:
            async for page in pages:
                yield page

    def _corp(self) -> CorpIds:
        if self._corp_ids is None:
            raise said("source.no_contacts_secret", AskAdmin)
        return self._corp_ids

    async def _pages_of_ids(self, departments: Collection[int], done: Collection[str]) -> Iterator[UsersPage]:
        """Known by id only: a person's departments, and nothing else."""
        everybody = await self._corp().everybody()
        members = iter(_members(everybody.users.values(), frozenset(departments)))
        chunks = iter(lambda: tuple(islice(members, USERS_PER_PAGE)), ())
        keys = (key for key in map("ids:{}".format, count(1)) if key not in done)
        return (UsersPage(key, everybody.observed, chunk) for chunk, key in zip(chunks, keys, strict=False))


def _members(users: Iterable[User], departments: Collection[int]) -> tuple[User, ...]:
    return tuple(user for user in users if any(place.department_id in departments for place in user.memberships or ()))


def _people_of(page: UsersPage) -> Iterator[str]:
    yield from (user.key for user in page.users)
    yield from (key_of(bad.key) for bad in page.bad)


def _one_department(observed: int, raw: Raw | None, department_id: int) -> DepartmentRead:
    if raw is None:
        return DepartmentRead(observed, None, UNKNOWN_DEPARTMENT)
    match read_department(raw, str(department_id)):
        case BadRecord() as bad:
            return DepartmentRead(observed, None, bad=bad)
        case record:
            return DepartmentRead(observed, record.department, raw_parent_id=record.raw_parent_id)


def _fingerprint(kind: str, agent_id: int, flag: bool, visible: Visible) -> str:
    """Equal for equal ranges of the same kind of credential, whatever order WeCom lists them in."""
    users = sorted(map(key_of, visible.users))
    content = json.dumps([kind, agent_id, flag, sorted(visible.departments), users, sorted(visible.tags)])
    return hashlib.sha256(content.encode()).hexdigest()[:32]
