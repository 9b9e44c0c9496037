"""Reading a simulated company in every combination of credentials."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import httpx
import pytest

from app.core.ports import Range, UsersPage
from app.errors import AskAdmin, ServiceError, TryLater
from app.simulator import Company, Fault, generate_company
from app.simulator import Range as Visible
from app.sources.wecom.reader import WeComReader
from tests.sources.world import World


async def test_it(world: World) -> None:
    async with world.reader() as reader:
        print(await reader.range())
        print(await reader.departments())
        range_ = await reader.range()
        async for p in reader.users([1, 2, 3, 4], range_=range_, done=()):
            print(p)
        print(world.sim.calls.paths(), reader.calls)
