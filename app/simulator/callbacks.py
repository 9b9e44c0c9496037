"""Sending callbacks as WeCom does (page 90930): the check on saving a URL, then events, up to three times each.

Nothing is promised to the receiver, and `DeliverySettings` makes use of that: losses, duplicates, disorder, delays,
and requests that a receiver has to refuse.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

from app.simulator import crypto
from app.simulator.background import ended
from app.simulator.company import Company
from app.simulator.events import Event, Form, render
from app.simulator.permissions import Credential, View
from app.simulator.records import Department, User
from app.simulator.settings import Clock, SimulatorSettings

Spoil = Literal["bad_signature", "foreign_receiver", "garbage"]
SPOILS: tuple[Spoil, ...] = ("bad_signature", "foreign_receiver", "garbage")
REFUSED = "openapi回调地址请求不通过"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A callback URL with its Token and EncodingAESKey, saved for one credential in one form."""

    credential: Credential
    url: str
    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    form: Form = "ids"


@dataclass(slots=True)
class Delivery:
    """One event on its way to one receiver; `answers` holds the status or error of each attempt.

    `outcome`: waiting, delivered (200), failed (given up), lost (never sent).
    """

    receiver: Receiver
    xml: str
    spoil: Spoil | None = None
    outcome: Literal["waiting", "delivered", "failed", "lost"] = "waiting"
    answers: list[int | str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """The way out: one client and the places of the requests that may be on their way together."""

    client: httpx.AsyncClient
    places: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class Saved:
    """What the console says after saving a callback URL."""

    ok: bool
    reason: str = ""

    @property
    def message(self) -> str:
        return "ok" if self.ok else REFUSED


class Callbacks:
    """The receivers and what is on its way to them.

    As a context manager it delivers in the background; without, nothing is sent until `flush()`.
    """

    def __init__(
        self,
        company: Company,
        settings: SimulatorSettings,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._company, self._settings, self._clock = company, settings, clock
        self.transport = transport
        self.receivers: dict[str, Receiver] = {}
        self.waiting: deque[Delivery] = deque()
        self.deliveries: deque[Delivery] = deque(maxlen=settings.log_size)
        self._random = random.Random(settings.delivery.seed)
        self._news = asyncio.Event()
        self._background = AsyncExitStack()
        self._line: Line | None = None
        company.listeners.append(self.offer)

    # Receivers

    async def save(self, credential: Credential, url: str, token: str, aes_key: str, form: Form = "ids") -> Saved:
        """Save a callback URL as the console does: only if it answers the check rightly within a second."""
        receiver = Receiver(credential, url, token, aes_key, form)
        wrong = _wrong(receiver)
        saved = Saved(False, wrong) if wrong else await self.verify(receiver)
        if saved.ok:
            self.receivers[credential.name] = receiver
        return saved

    async def verify(self, receiver: Receiver) -> Saved:
        """The check alone: a GET with an encrypted number."""
        echo = str(secrets.randbelow(10**19)).encode()
        encrypted = crypto.encrypt(receiver.aes_key, echo, self._company.corp_id)
        url = self._signed(receiver, encrypted) + "&echostr=" + self._escaped(encrypted)
        try:
            async with self._way_out() as line, asyncio.timeout(self._settings.delivery.verify_timeout):
                response = await line.client.get(url)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            return Saved(False, type(error).__name__)
        if response.status_code != 200:
            return Saved(False, f"HTTP {response.status_code}")
        return Saved(True) if response.content == echo else Saved(False, "another body than the decrypted echostr")

    def remove(self, credential: Credential) -> None:
        """Send this credential nothing more."""
        self.receivers.pop(credential.name, None)

    # What to send

    def offer(self, event: Event) -> None:
        """Queue an event for everybody who is told of it, with the losses and duplicates of the settings."""
        for receiver in list(self.receivers.values()):
            view = self._company.view(receiver.credential)
            if self._tells(event, receiver, view):
                cdata = self._settings.delivery.cdata
                xml = render(event, self._company.corp_id, receiver.form, view=view, cdata=cdata)
                self._queue(receiver, xml)

    def push(self, xml: str, receiver: Receiver | None = None, spoil: Spoil | None = None) -> Delivery:
        """Queue any inner XML; the default receiver is the first one saved."""
        to = receiver or next(iter(self.receivers.values()), None)
        if to is None:
            raise ValueError("no callback URL is saved")
        delivery = Delivery(to, xml, spoil)
        self._add(delivery)
        return delivery

    def _tells(self, event: Event, receiver: Receiver, view: View) -> bool:
        credential = receiver.credential
        if event.agent_id is not None:
            return event.agent_id == credential.agent_id
        if event.change_type != "batch_job_result" and not event.raised_in(receiver.form):
            return False
        return credential.kind == "contacts" or (credential.hears_contacts and _concerns(event, view))

    def _queue(self, receiver: Receiver, xml: str) -> None:
        chances = self._settings.delivery
        if self._random.random() < chances.loss:
            self.deliveries.append(Delivery(receiver, xml, outcome="lost"))
            return
        spoils = (name for name in SPOILS if self._random.random() < getattr(chances, name))
        self._add(Delivery(receiver, xml, next(spoils, None)))
        if self._random.random() < chances.duplicate:
            self._add(Delivery(receiver, xml))

    def _add(self, delivery: Delivery) -> None:
        self.waiting.append(delivery)
        self.deliveries.append(delivery)
        self._news.set()

    # Sending

    async def flush(self) -> list[Delivery]:
        """Deliver everything that waits and return it; comes back when the last attempt is over."""
        batch = list(self.waiting)
        self.waiting.clear()
        if self._settings.delivery.reorder:
            self._random.shuffle(batch)
        async with self._way_out() as line, asyncio.TaskGroup() as group:
            for delivery in batch:
                group.create_task(self._deliver(line, delivery))
        return batch

    async def _deliver(self, line: Line, delivery: Delivery) -> None:
        chances = self._settings.delivery
        await asyncio.sleep(self._random.uniform(*chances.delay))
        request = self._request(delivery)
        for attempt in range(chances.attempts):
            if attempt:
                await asyncio.sleep(chances.retry_pause)
                request = self._request(delivery) if chances.reencrypt else request
            async with line.places:
                answer = await self._post(line.client, *request)
            delivery.answers.append(answer)
            if answer == 200 or (isinstance(answer, int) and not chances.retry_refusals):
                break
        delivery.outcome = "delivered" if delivery.answers[-1] == 200 else "failed"

    async def _post(self, client: httpx.AsyncClient, url: str, body: bytes) -> int | str:
        try:
            async with asyncio.timeout(self._settings.delivery.timeout):
                response = await client.post(url, content=body, headers={"Content-Type": "text/xml"})
        except (TimeoutError, httpx.HTTPError) as error:
            return type(error).__name__
        return response.status_code

    def _request(self, delivery: Delivery) -> tuple[str, bytes]:
        receiver = delivery.receiver
        addressee = "ww" + "f" * 16 if delivery.spoil == "foreign_receiver" else self._company.corp_id
        encrypted = crypto.encrypt(receiver.aes_key, delivery.xml.encode(), addressee)
        url = self._signed(receiver, encrypted, token="other" if delivery.spoil == "bad_signature" else None)
        if delivery.spoil == "garbage":
            return url, b"<xml><Encrypt>\xff"
        agent = receiver.credential.agent_id if receiver.credential.kind == "app" else None
        envelope = (
            f"<xml><ToUserName><![CDATA[{self._company.corp_id}]]></ToUserName>"
            f"<AgentID><![CDATA[{'' if agent is None else agent}]]></AgentID>"
            f"<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        )
        return url, envelope.encode()

    def _signed(self, receiver: Receiver, encrypted: str, token: str | None = None) -> str:
        timestamp, nonce = str(int(self._clock.now())), str(secrets.randbelow(10**10))
        signature = crypto.sign(token or receiver.token, timestamp, nonce, encrypted)
        joint = "&" if "?" in receiver.url else "?"
        return f"{receiver.url}{joint}msg_signature={signature}&timestamp={timestamp}&nonce={nonce}"

    def _escaped(self, encrypted: str) -> str:
        return quote(encrypted, safe="" if self._settings.delivery.escape_plus else "+")

    @asynccontextmanager
    async def _way_out(self) -> AsyncIterator[Line]:
        """The line that stays open in the background, else one for the moment."""
        if self._line is not None:
            yield self._line
            return
        # The limits on time are asyncio's, over a whole request.
        async with httpx.AsyncClient(transport=self.transport, timeout=None, trust_env=False) as client:  # noqa: S113
            yield Line(client, asyncio.Semaphore(self._settings.delivery.concurrency))

    # In the background

    async def __aenter__(self) -> Self:
        self._line = await self._background.enter_async_context(self._way_out())
        self._news.set()
        self._background.push_async_callback(ended, asyncio.create_task(self._run()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line = None
        await self._background.aclose()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._news.wait()
                self._news.clear()
                group.create_task(self._flushed())

    async def _flushed(self) -> None:
        await self.flush()

    def counts(self) -> dict[str, Any]:
        """Deliveries by outcome."""
        outcomes = [delivery.outcome for delivery in self.deliveries]
        return {name: outcomes.count(name) for name in ("waiting", "delivered", "failed", "lost")}


def _wrong(receiver: Receiver) -> str:
    """What the console's form refuses, or nothing."""
    if not re.fullmatch(r"[A-Za-z0-9]{43}", receiver.aes_key):
        return "EncodingAESKey must be 43 letters and digits"
    if not re.fullmatch(r"[A-Za-z0-9]{1,32}", receiver.token):
        return "Token must be 1 to 32 letters and digits"
    return ""


def _concerns(event: Event, view: View) -> bool:
    """Whether an app that hears of contacts sees the object, before or after the change."""
    objects = [one for one in (event.before, event.after) if one is not None]
    if any(isinstance(one, User) and view.sees(one) for one in objects):
        return True
    departments = [one for one in objects if isinstance(one, Department)]
    return not objects or any(view.sees_department(id) for one in departments for id in (one.id, one.parent))
