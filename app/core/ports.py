"""What the floors need of one another without importing it: reader, listener, token store, engine.

A reader never touches our database and never decides what a change is: it fetches, and says exactly what was seen,
under which observation number, and what it could not see.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from app.core.directory import Department, User
from app.core.event import Event
from app.core.outgoing import Outcome, Outgoing, Pairing

Observe = Callable[[], Awaitable[int]]
"""Takes the next observation number; called just before a request is sent."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be understood; it is set aside and the run ends `partial`. `reason` holds no values."""

    kind: Literal["department", "user"]
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Range:
    """What the reading credential may see (agent/get, page 90227); `everything` is the root department in range.

    `details` is False when only ids can be read (a contacts secret from a new IP); `lists_ids` is True when there is a
    credential that may call user/list_id, the only proof of who exists corp-wide. `fingerprint` changes whenever the
    visible range or the kind of credential does.
    """

    departments: tuple[int, ...]
    users: tuple[str, ...]
    tags: tuple[int, ...]
    everything: bool
    details: bool
    lists_ids: bool
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DepartmentsRead:
    """One complete department list. `parent_id` is already None where the parent is not in the same list."""

    observed: int
    departments: tuple[Department, ...]
    bad: tuple[BadRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class UsersPage:
    """One answered read of users. `key` names the page for resuming ("list:7", "user:lisi", "tag:3", "ids:2").

    `gone_department` is set instead of users when the department did not exist any more.
    `granted_departments` are departments a tag brought into sight (read them too).
    """

    key: str
    observed: int
    users: tuple[User, ...] = ()
    bad: tuple[BadRecord, ...] = ()
    gone_department: int | None = None
    granted_users: tuple[str, ...] = ()
    granted_departments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IdsPage:
    """One page of user/list_id: (userid, department id) pairs of the whole corp (page 96067)."""

    observed: int
    pairs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class UserRead:
    """The answer to a read of one user: his record, or None with the errcode (60111, 60011, 60021) that hid him."""

    observed: int
    user: User | None
    errcode: int = 0
    bad: BadRecord | None = None


@dataclass(frozen=True, slots=True)
class DepartmentRead:
    """The answer to a read of one department; `raw_parent_id` is WeCom's parent, visible or not."""

    observed: int
    department: Department | None
    errcode: int = 0
    raw_parent_id: int | None = None
    bad: BadRecord | None = None


@dataclass(frozen=True, slots=True)
class TagRead:
    """Members and departments of a tag that the credential may see; `found` is False for an unknown tag."""

    observed: int
    found: bool
    userids: tuple[str, ...] = ()
    departments: tuple[int, ...] = ()


class Reader(Protocol):
    """One source, opened for reading; used by one task tree at a time, closed by `aclose`.

    Every method raises TryLater (worth another try), AskAdmin (a setting is wrong, or unknown errcode). An answer that
    is not the expected JSON is TryLater("wecom.bad_answer"), never an empty result.
    """

    calls: int
    """API calls sent so far, tokens included."""

    async def range(self) -> Range:
        """Prove the credentials and read the visible range (gettoken, agent/list if need be, agent/get)."""
        ...

    async def departments(self) -> DepartmentsRead:
        """Every visible department, complete or an error."""
        ...

    def users(self, departments: Collection[int], *, range_: Range, done: Collection[str]) -> AsyncIterator[UsersPage]:
        """The direct members of these departments, and the members granted by name or tag, at most 8 calls in flight.

        Pages whose key is in `done` were read before (a resumed run) and are not read again. Departments that a tag
        grants and that are not in `departments` are yielded as `granted_departments`, not followed.
        """
        ...

    def ids(self) -> AsyncIterator[IdsPage]:
        """A complete pass of user/list_id; restarts from scratch on 50100. Only where `range.lists_ids`."""
        ...

    async def department_ids(self) -> tuple[int, frozenset[int]]:
        """(observed, ids): a fresh complete list of department ids, from the contacts secret where there is one."""
        ...

    async def user(self, userid: str) -> UserRead: ...

    async def department(self, department_id: int) -> DepartmentRead: ...

    async def department_members(self, department_id: int) -> UsersPage: ...

    async def tag(self, tag_id: int) -> TagRead: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Check:
    """One named check of a source, with what to do about it; `code` has texts in three languages."""

    name: str
    status: Literal["ok", "warning", "failed", "skipped"]
    message: str
    hint: str = ""
    code: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    params: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallbackPair:
    """Token and EncodingAESKey of one receiver, and the receive id its messages must name (the CorpID, page 90968)."""

    token: str = field(repr=False)
    encoding_aes_key: str = field(repr=False)
    receiver: str


class CallbackRefused(Exception):
    """A callback that is not taken; `status` is 403 (not authentic, all causes alike) or 400 (not the envelope)."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Listener(Protocol):
    """Verifies and reads callbacks; pure, needs neither network nor API credentials."""

    def verify(self, pairs: Sequence[CallbackPair], query: Mapping[str, str]) -> tuple[bytes, int]:
        """The decrypted echostr, byte for byte, and the index of the pair that signed it. Raises CallbackRefused."""
        ...

    def receive(self, pairs: Sequence[CallbackPair], query: Mapping[str, str], body: bytes) -> tuple[Event, int]:
        """The event of a POSTed envelope and the index of the pair that signed it. Raises CallbackRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when it ends (UTC)."""

    value: str = field(repr=False)
    expires_at: datetime


class TokenStore(Protocol):
    """Access tokens, circuit breakers and call budgets, shared by all workers and kept over a restart.

    `credential` is an opaque key for (corp, secret) that reveals neither.
    """

    async def get(self, credential: str) -> Token | None: ...

    async def put(self, credential: str, token: Token) -> None: ...

    async def drop(self, credential: str, value: str) -> None:
        """Forget this token, unless it has already been replaced by another."""
        ...

    def refreshing(self, credential: str) -> "AsyncContext":
        """Held by the one worker that fetches a new token; the others wait, then find it with `get`."""
        ...

    async def broken(self, credential: str) -> Mapping[str, object] | None:
        """The recorded refusal (ServiceError.record()) of a credential whose secret is wrong, else None."""
        ...

    async def break_(self, credential: str, error: Mapping[str, object]) -> None:
        """Stop all calls with this credential until its configuration changes or `mend` is called."""
        ...

    async def mend(self, credential: str) -> None: ...

    async def spend(self, corp: str, api: str, *, per_minute: int, per_hour: int) -> float:
        """Take one call of an API's budget: 0 when it may be sent now, else the seconds to wait before asking again."""
        ...

    async def block(self, corp: str, api: str, seconds: float) -> None:
        """WeCom said 45009: nobody calls this API for so long."""
        ...


class Writer(Protocol):
    """One target, opened for writing; used by one task at a time, closed by `aclose`."""

    batch: int
    """The most objects in one `write`; may shrink and grow with the time the target takes."""

    def record(self, item: Outgoing) -> Mapping[str, object] | None:
        """What the target is to hold of an object, whole; None when it is to hold nothing. Pure: a resync compares its
        digest with what was acknowledged last, and an equal one is not sent."""
        ...

    async def write(self, items: Sequence[Outgoing]) -> list[Outcome]:
        """Bring these objects to the target; one outcome each, in their order. All items are of one kind, and either
        all removals or none; departments come parents first (removals: children first).

        Raises TryLater (the target is away: everything is sent again), AskAdmin (a setting is wrong; with code
        `target.gone` the target has said to stop). Sending the same again must be harmless.
        """
        ...

    async def settle(self, since: datetime) -> None:
        """Return when nothing of a write that began at `since`, and whose end nobody saw, can still be under way."""
        ...

    async def pair(self, items: Sequence[Outgoing]) -> dict[str, Pairing]:
        """By object id, what the first write of these unlinked users would do; empty where there is no pairing."""
        ...

    async def aclose(self) -> None: ...


class AsyncContext(Protocol):
    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc: object) -> bool | None: ...


class Engine(Protocol):
    """Carries wake-ups for work whose truth is in the tables; losing one costs a tick, never the work."""

    def wake(self, task: str, key: str) -> None:
        """Start `task` for `key` soon, at once if it is not running, once more if it is."""
        ...
