"""A simulated WeCom over HTTP, and a token store that forgets everything at the end of the test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.core.ports import Token
from app.simulator import Company, Simulator
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.reader import WeComReader


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
        return self.config(contacts_secret=self.company.contacts.secret, **more)

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
