"""The log of API calls, and the places where a test can step in between two of them."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HIDDEN = frozenset({"access_token", "corpsecret"})


@dataclass(slots=True)
class Call:
    """One API call; `number` counts from 1 over all paths, `answer` is the errcode or a word like `http 404`, `cut`.

    `params` holds query and body without secrets; times are seconds of the simulator's clock.
    """

    number: int
    path: str
    method: str
    params: dict[str, Any]
    started: float
    crowded: bool = False
    credential: str | None = None
    answer: int | str | None = None
    finished: float | None = None
    fault: str | None = None

    def shown(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


When = int | str | Callable[[Call], bool]
"""Which calls: a call number, a path, or a test of the call."""


def matches(when: When, call: Call) -> bool:
    """Whether a call is meant."""
    if isinstance(when, int):
        return call.number == when
    return call.path == when if isinstance(when, str) else when(call)


@dataclass(slots=True)
class Hook:
    """Something to do before a call is answered, `times` times."""

    when: When
    action: Callable[[], Any]
    times: int | None = 1

    async def run(self, call: Call) -> None:
        """Act if the call is meant; awaits the action's result where it can be awaited."""
        if self.times == 0 or not matches(self.when, call):
            return
        if self.times is not None:
            self.times -= 1
        result = self.action()
        if inspect.isawaitable(result):
            await result


@dataclass(slots=True)
class Barrier:
    """Holds calls until `release`; `answered` holds them after their data were read, before they are answered."""

    when: When
    answered: bool = False
    nth: int = 1
    seen: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self) -> None:
        """Wait until a call stands at the barrier."""
        await self.arrived.wait()

    def release(self) -> None:
        """Let everything through, now and later."""
        self.opened.set()

    async def pass_through(self, call: Call) -> None:
        """Stand at the barrier if the call is meant."""
        if self.opened.is_set() or not matches(self.when, call):
            return
        self.seen += 1
        if self.seen >= self.nth:
            self.arrived.set()
            await self.opened.wait()


class CallLog(deque[Call]):
    """The latest calls, oldest first; counters go over all of them."""

    def __init__(self, size: int) -> None:
        super().__init__(maxlen=size)
        self.total = 0
        self.per_path: Counter[str] = Counter()

    def begin(self, path: str, method: str, params: dict[str, Any], now: float) -> Call:
        """Note the start of a call."""
        self.total += 1
        self.per_path[path] += 1
        shown = {name: value for name, value in params.items() if name not in HIDDEN}
        call = Call(self.total, path, method, shown, now)
        self.append(call)
        return call

    def paths(self) -> list[str]:
        return [call.path for call in self]

    def clear(self) -> None:
        """Start counting at 1 again."""
        super().clear()
        self.total = 0
        self.per_path.clear()
