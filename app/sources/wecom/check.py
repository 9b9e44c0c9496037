"""The named checks of a WeCom source: what works, what does not, what to click; nothing is stored, nothing raised."""

import asyncio
import ipaddress
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from app.core.directory import WITHHELD, User
from app.core.ports import Check, DepartmentsRead, Range, TokenStore
from app.errors import ServiceError
from app.sources.wecom.auth import TokenAuth
from app.sources.wecom.client import ClientFactory, Sleep
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.reader import WeComReader
from app.sources.wecom.texts import TEXTS

LONGEST_WAIT: Final = 5.0
"""Seconds that a check waits for a call budget: a person is looking."""

MOST_SKEW: Final = timedelta(seconds=60)
SILENCE: Final = timedelta(days=7)
SAMPLED_DEPARTMENTS: Final = 5

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class CallbackFacts:
    """What the service knows of a source's callback: its URL, when it was verified, when an event last came."""

    url: str
    verified_at: datetime | None = None
    last_event_at: datetime | None = None


async def check(
    config: WeComConfig,
    *,
    tokens: TokenStore,
    callback: CallbackFacts,
    client_factory: ClientFactory | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Sleep = asyncio.sleep,
) -> list[Check]:
    """Every check in a fixed order. Fresh tokens prove the secrets; the rest is read with those that work."""
    async with aclosing(_reader(config, tokens, client_factory, sleep)) as reader:
        app = await _credential("credentials.app", reader.client.app, "check.app_token", "check.no_app_secret")
        contacts = await _credential(
            "credentials.contacts", reader.client.contacts, "check.contacts_token", "check.no_contacts_secret"
        )
        skew = reader.client.skew
    usable = _only_working(config, app=app.status == "ok", contacts=contacts.status == "ok")
    async with aclosing(_reader(usable, tokens, client_factory, sleep)) as reader:
        reading = await _reading(reader, app, contacts)
        skew = skew if reader.client.skew is None else reader.client.skew
    return [app, contacts, *reading, _clock(skew), _callback_url(callback.url), _callback(config, callback, now())]


async def _unnumbered() -> int:
    """Checks store nothing, so their reads need no place in the order of observations."""
    return 0


def _reader(config: WeComConfig, tokens: TokenStore, client_factory: ClientFactory | None, sleep: Sleep) -> WeComReader:
    return WeComReader(
        config, tokens=tokens, observe=_unnumbered, client_factory=client_factory, patience=LONGEST_WAIT, sleep=sleep
    )


def _only_working(config: WeComConfig, *, app: bool, contacts: bool) -> WeComConfig:
    secrets = {"app_secret": config.app_secret, "contacts_secret": config.contacts_secret}
    works = {"app_secret": app, "contacts_secret": contacts}
    return config.model_copy(update={name: secret if works[name] else None for name, secret in secrets.items()})


def _say(name: str, status: Status, code: str, data: dict[str, object] | None = None, **params: str | int) -> Check:
    text = TEXTS[code]["en"].filled(params)
    return Check(name, status, text.title, text.hint, code, data or {}, params)


def _failed(name: str, error: ServiceError) -> Check:
    data = {"upstream": asdict(error.upstream)} if error.upstream else {}
    return Check(name, "failed", error.message, error.hint, error.code, data, error.params)


async def _credential(name: str, auth: TokenAuth | None, works: str, missing: str) -> Check:
    if auth is None:
        return _say(name, "skipped", missing)
    try:
        await auth.prove()
    except ServiceError as error:
        return _failed(name, error)
    return _say(name, "ok", works)


# What the working credentials read


async def _reading(reader: WeComReader, app: Check, contacts: Check) -> list[Check]:
    """Range, departments, users and ids; whatever hangs on a failed check is skipped."""
    names = ["range", "departments", "users"]
    ids = await _ids(reader, contacts)
    if app.status == "failed" or (app.status == "skipped" and contacts.status != "ok"):
        return [*(_say(name, "skipped", "check.not_tried") for name in names), ids]
    done: list[Check] = []
    try:
        range_ = await reader.range()
        done.append(_range(range_, by_app=app.status == "ok"))
        departments = await reader.departments()
        done.append(_departments(departments, range_))
        done.append(await _users(reader, departments, range_))
    except ServiceError as error:
        done.append(_failed(names[len(done)], error))
    return [*done, *(_say(name, "skipped", "check.not_tried") for name in names[len(done) :]), ids]


def _range(range_: Range, *, by_app: bool) -> Check:
    if not by_app:
        return _say("range", "ok", "check.range_contacts", {"everything": True})
    counts = {"departments": len(range_.departments), "users": len(range_.users), "tags": len(range_.tags)}
    data: dict[str, object] = {"everything": range_.everything, **counts}
    if range_.everything:
        return _say("range", "ok", "check.range_everything", data)
    if not any(counts.values()):
        return _say("range", "warning", "check.range_empty", data)
    return _say("range", "warning", "check.range_partial", data, **counts)


def _departments(read: DepartmentsRead, range_: Range) -> Check:
    count = len(read.departments)
    data: dict[str, object] = {"count": count, "bad": len(read.bad)}
    if read.bad:
        return _say("departments", "warning", "check.records_bad", data, count=len(read.bad))
    if not count:
        return _say("departments", "warning", "check.departments_none", data)
    if not range_.details:
        return _say("departments", "warning", "check.departments_ids", data, count=count)
    return _say("departments", "ok", "check.departments", data, count=count)


async def _users(reader: WeComReader, departments: DepartmentsRead, range_: Range) -> Check:
    """Which of the withheld fields come with a value for at least one of a few people."""
    if not range_.details:
        return _say("users", "warning", "wecom.contacts_secret_ids_only")
    people = await _some_people(reader, departments, range_)
    if not people:
        return _say("users", "warning", "check.no_user_seen")
    readable = [name for name in WITHHELD if any(getattr(user, name) not in (None, "", "0") for user in people)]
    withheld = [name for name in WITHHELD if name not in readable]
    data: dict[str, object] = {"readable": readable, "withheld": withheld}
    if withheld:
        return _say("users", "ok", "check.user_fields_withheld", data, withheld=", ".join(withheld))
    return _say("users", "ok", "check.user_details", data)


async def _some_people(reader: WeComReader, departments: DepartmentsRead, range_: Range) -> list[User]:
    for department in departments.departments[:SAMPLED_DEPARTMENTS]:
        page = await reader.department_members(department.department_id)
        if page.users:
            return list(page.users)
    reads = [await reader.user(userid) for userid in range_.users[:1]]
    return [read.user for read in reads if read.user is not None]


async def _ids(reader: WeComReader, contacts: Check) -> Check:
    if contacts.status == "skipped":
        return _say("ids", "skipped", "check.no_contacts_secret")
    if contacts.status == "failed":
        return _say("ids", "skipped", "check.not_tried")
    try:
        async with aclosing(reader.ids()) as pages:
            await anext(pages)
    except ServiceError as error:
        return _failed("ids", error)
    return _say("ids", "ok", "check.ids")


# What needs no call


def _clock(skew: timedelta | None) -> Check:
    if skew is None:
        return _say("clock", "skipped", "check.clock_unknown")
    seconds = round(abs(skew).total_seconds())
    if abs(skew) > MOST_SKEW:
        return _say("clock", "warning", "check.clock_skew", {"seconds": round(skew.total_seconds())}, seconds=seconds)
    return _say("clock", "ok", "check.clock", {"seconds": round(skew.total_seconds())})


def _callback_url(url: str) -> Check:
    """WeCom calls from the internet: an inner address is out of reach, http and odd ports are often blocked."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_inner(host):
        return _say("callback.url", "warning", "callback.url_private", host=host)
    if parts.scheme != "https":
        return _say("callback.url", "warning", "callback.url_http")
    if parts.port is not None:
        return _say("callback.url", "warning", "callback.url_port", port=parts.port)
    return _say("callback.url", "ok", "callback.url_ok")


def _is_inner(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan"))


def _callback(config: WeComConfig, facts: CallbackFacts, now: datetime) -> Check:
    if not config.callback_pairs():
        return _say("callback", "skipped", "callback.not_configured")
    heard = [at for at in (facts.verified_at, facts.last_event_at) if at is not None]
    if not heard:
        return _say("callback", "warning", "callback.never_verified")
    silence = now - max(heard)
    if silence > SILENCE:
        return _say("callback", "warning", "callback.silent", days=silence.days)
    return _say("callback", "ok", "callback.working")
