"""What the tests read from: a simulated WeCom or a scripted one; and a token store that lives in memory."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.core.ports import Token
from app.simulator import Company, Simulator
from app.sources.wecom.client import Client
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.reader import WeComReader

SECRET = "canary-app-secret"
CONFIG = WeComConfig(corp_id="ww1", app_secret=SECRET)
TOKEN = {"errcode": 0, "errmsg": "ok", "access_token": "canary-token", "expires_in": 7200}


@dataclass
class MemoryTokens:
    """Keeps the promises of `core.ports.TokenStore` within one process."""

    tokens: dict[str, Token] = field(default_factory=dict)
    breaks: dict[str, Mapping[str, object]] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    spent: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[tuple[str, str, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def get(self, credential: str) -> Token | None:
        return self.tokens.get(credential)

    async def put(self, credential: str, token: Token) -> None:
        self.tokens[credential] = token

    async def drop(self, credential: str, value: str) -> None:
        if credential in self.tokens and self.tokens[credential].value == value:
            del self.tokens[credential]

    def refreshing(self, credential: str) -> asyncio.Lock:
        return self.locks.setdefault(credential, asyncio.Lock())

    async def broken(self, credential: str) -> Mapping[str, object] | None:
        return self.breaks.get(credential)

    async def break_(self, credential: str, error: Mapping[str, object]) -> None:
        self.breaks[credential] = error

    async def mend(self, credential: str) -> None:
        self.breaks.pop(credential, None)

    async def spend(self, corp: str, api: str, *, per_minute: int, per_hour: int) -> float:
        if self.waits:
            return self.waits.pop(0)
        self.spent.append((corp, api))
        return 0.0

    async def block(self, corp: str, api: str, seconds: float) -> None:
        self.blocked.append((corp, api, seconds))


@dataclass
class World:
    """One company, its simulated WeCom, and what readers leave behind: tokens, observation numbers, pauses."""

    sim: Simulator
    tokens: MemoryTokens = field(default_factory=MemoryTokens)
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    observed: int = 0
    pauses: list[float] = field(default_factory=list)

    @property
    def company(self) -> Company:
        return self.sim.company

    async def observe(self) -> int:
        self.observed = next(self.numbers)
        return self.observed

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def connect(self, config: WeComConfig) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.sim.app))

    def config(self, **more: Any) -> WeComConfig:
        """The app secret, unless something else is said; `app_secret=None` takes it away."""
        return WeComConfig(**{"corp_id": self.company.corp_id, "app_secret": self.company.app.secret, **more})

    def both(self, **more: Any) -> WeComConfig:
        return self.config(**{"contacts_secret": self.company.contacts.secret, **more})

    def contacts_only(self, **more: Any) -> WeComConfig:
        return self.both(app_secret=None, **more)

    @asynccontextmanager
    async def reader(self, config: WeComConfig | None = None, **more: Any) -> AsyncIterator[WeComReader]:
        reader = WeComReader(
            config or self.config(),
            **{
                "tokens": self.tokens,
                "observe": self.observe,
                "client_factory": self.connect,
                "sleep": self.pause,
                "spread": lambda: 0.5,
            }
            | more,
        )
        try:
            yield reader
        finally:
            await reader.aclose()


@dataclass(frozen=True)
class Http:
    """An answer as it comes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def streamed(self) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(self.body))


class Scripted:
    """A WeCom that answers each API with a list of answers, one after the other, the last one for ever."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"gettoken": [TOKEN], **{api.replace("__", "/"): given for api, given in answers.items()}}
        self.requests: list[httpx.Request] = []
        self.signed_by: list[str | None] = []
        self.tokens = MemoryTokens()
        self.pauses: list[float] = []
        self.observed = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.signed_by.append(request.url.params.get("access_token"))
        answers = self.answers[request.url.path.removeprefix("/cgi-bin/")]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return (answer if isinstance(answer, Http) else Http(body=json.dumps(answer).encode())).streamed()

    async def observe(self) -> int:
        self.observed += 1
        return self.observed

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def connect(self, _: WeComConfig) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.answer))

    def client(self, config: WeComConfig = CONFIG, **more: Any) -> Client:
        return Client(
            config,
            tokens=self.tokens,
            observe=self.observe,
            client_factory=self.connect,
            **{"sleep": self.pause, "spread": lambda: 0.5} | more,
        )

    def asked(self) -> list[str]:
        return [request.url.path.removeprefix("/cgi-bin/") for request in self.requests]
