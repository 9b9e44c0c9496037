"""Observation numbers: a read takes one before its request is sent, and the larger number saw the later truth.

They grow strictly, over restarts too: a number is handed out only after the database has durably passed it.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BLOCK: Final = 1_000
RESERVE: Final = text("UPDATE counter SET value = value + :count WHERE name = 'observation' RETURNING value")
NEXT: Final = text("SELECT nextval('observation')")

Write = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class Observations(Protocol):
    async def take(self) -> int:
        """The next number, outside of any transaction."""
        ...

    def take_in(self, conn: Connection) -> int:
        """The next number within the write transaction `conn`."""
        ...


class SequenceNumbers:
    """PostgreSQL's own sequence, one for all processes; nextval is logged before its commit returns."""

    def __init__(self, autocommit: AsyncEngine) -> None:
        self._autocommit = autocommit

    async def take(self) -> int:
        async with self._autocommit.connect() as conn:
            return await conn.run_sync(self.take_in)

    def take_in(self, conn: Connection) -> int:
        return int(conn.execute(NEXT).scalar_one())


class BlockNumbers:
    """Blocks reserved in the counter table (SQLite, where one process works); a crash loses the rest of one."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._next = 1
        self._end = 0
        self._reserving = asyncio.Lock()
        self._taking = threading.Lock()

    async def take(self) -> int:
        while (number := self._from_block()) is None:
            await self._reserve()
        return number

    def take_in(self, conn: Connection) -> int:
        number = self._from_block()
        # A block reserved inside the caller's transaction would not be durable before its commit: take just one.
        return number if number is not None else _reserved(conn, 1)

    def _from_block(self) -> int | None:
        with self._taking:
            if self._next > self._end:
                return None
            self._next += 1
            return self._next - 1

    async def _reserve(self) -> None:
        async with self._reserving:
            if self._next <= self._end:
                return
            async with self._write() as conn:
                end = await conn.run_sync(_reserved, BLOCK)
            with self._taking:
                self._next, self._end = end - BLOCK + 1, end


def _reserved(conn: Connection, count: int) -> int:
    return int(conn.execute(RESERVE, {"count": count}).scalar_one())
