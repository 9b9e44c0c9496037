"""Call budgets per corporation and API: never more calls in any minute or any hour than allowed (page 90312).

Time is cut into slots of five seconds. A process reserves a block of calls in the slot of the moment, in the database
before the first of them is sent, and spends it from memory until the slot ends; what it did not need is given back with
its next reservation, what a killed process reserved stays counted. A window of sixty seconds touches thirteen slots and
an hour 721, so their sums bound every sliding window.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.bulk import table_of
from app.store.db import Database, insert_into
from app.store.tables import BudgetRow

SLOT_SECONDS: Final = 5
MINUTE: Final = 60 // SLOT_SECONDS + 1
HOUR: Final = 3600 // SLOT_SECONDS + 1
LARGEST_BLOCK: Final = 64
LONGEST_WAIT: Final = 3600.0
BLOCK_ROW: Final = 0
"""The slot of the row that holds `blocked_until` and is locked while calls are reserved."""

table = table_of(BudgetRow)


@dataclass(slots=True)
class _Block:
    """What this process holds of one API's budget: calls in one slot, or the time until which there are none."""

    slot: int = 0
    left: int = 0
    none_before: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Budgets:
    """The budgets as one process spends them; `clock` gives seconds since 1970."""

    def __init__(self, db: Database, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._blocks: dict[tuple[str, str], _Block] = {}

    async def spend(self, corp: str, api: str, per_minute: int, per_hour: int) -> float:
        """Take one call: 0, or the seconds after which to ask again."""
        block = self._blocks.setdefault((corp, api), _Block())
        async with block.turn:
            while True:
                moment = self._clock()
                if block.none_before > moment:
                    return min(block.none_before - moment, LONGEST_WAIT)
                if block.left and block.slot == _slot(moment):
                    block.left -= 1
                    return 0.0
                await self._reserve(corp, api, block, per_minute, per_hour)

    async def block(self, corp: str, api: str, seconds: float) -> None:
        """Nobody calls this API for so long; a longer block that stands is kept."""
        until = self._clock() + seconds
        async with self._db.write() as conn:
            standing = await _lock(conn, corp, api)
            until = max(until, standing)
            where = (*_of(corp, api), table.c.slot == BLOCK_ROW)
            await conn.execute(update(table).where(*where).values(blocked_until=datetime.fromtimestamp(until, UTC)))
        held = self._blocks.setdefault((corp, api), _Block())
        held.none_before = max(held.none_before, until)

    async def _reserve(self, corp: str, api: str, block: _Block, per_minute: int, per_hour: int) -> None:
        async with self._db.write() as conn:
            blocked_until = await _lock(conn, corp, api)
            # Read under the lock: the slot must be the one of the moment at which the sums are taken.
            moment = self._clock()
            slot = _slot(moment)
            await _give_back(conn, corp, api, block)
            calls = await _calls(conn, corp, api, slot)
            room = min(_room(calls, slot, MINUTE, per_minute), _room(calls, slot, HOUR, per_hour))
            taken = 0 if blocked_until > moment else max(0, min(room, LARGEST_BLOCK, max(1, per_minute // 20)))
            if taken:
                await _add(conn, corp, api, slot, taken)
        block.slot, block.left = slot, taken
        if not taken:
            free = (_free_at(calls, slot, MINUTE, per_minute), _free_at(calls, slot, HOUR, per_hour))
            block.none_before = max(blocked_until, *(at for at in free))


def _slot(moment: float) -> int:
    return int(moment // SLOT_SECONDS)


def _room(calls: Mapping[int, int], slot: int, width: int, limit: int) -> int:
    return limit - sum(count for at, count in calls.items() if at > slot - width)


def _free_at(calls: Mapping[int, int], slot: int, width: int, limit: int) -> float:
    """The beginning of the first slot, after this one, at which the window has room for a call."""
    later = slot
    while _room(calls, later, width, limit) < 1:
        oldest = min((at for at in calls if at > later - width), default=None)
        if oldest is None:
            return math.inf
        later = oldest + width
    return float(later * SLOT_SECONDS)


async def _lock(conn: AsyncConnection, corp: str, api: str) -> float:
    """Make this transaction the only one that reserves calls of an API; returns until when the API is blocked."""
    row = {"corp": corp, "api": api, "slot": BLOCK_ROW, "calls": 0}
    await conn.execute(insert_into(conn, BudgetRow).values(row).on_conflict_do_nothing())
    where = (*_of(corp, api), table.c.slot == BLOCK_ROW)
    until: datetime | None = await conn.scalar(select(table.c.blocked_until).where(*where).with_for_update())
    return until.timestamp() if until else 0.0


async def _give_back(conn: AsyncConnection, corp: str, api: str, block: _Block) -> None:
    if block.left:
        where = (*_of(corp, api), table.c.slot == block.slot)
        await conn.execute(update(table).where(*where).values(calls=table.c.calls - block.left))
        block.left = 0


async def _calls(conn: AsyncConnection, corp: str, api: str, slot: int) -> dict[int, int]:
    """Calls by slot of the last hour; later slots too, should the clock have been set back."""
    past = (*_of(corp, api), table.c.slot > BLOCK_ROW, table.c.slot <= slot - HOUR)
    await conn.execute(delete(table).where(*past))
    query = select(table.c.slot, table.c.calls).where(*_of(corp, api), table.c.slot > BLOCK_ROW, table.c.calls > 0)
    return {row.slot: row.calls for row in await conn.execute(query)}


async def _add(conn: AsyncConnection, corp: str, api: str, slot: int, calls: int) -> None:
    insert = insert_into(conn, BudgetRow).values(corp=corp, api=api, slot=slot, calls=calls)
    await conn.execute(
        insert.on_conflict_do_update(
            index_elements=["corp", "api", "slot"], set_={"calls": table.c.calls + insert.excluded.calls}
        )
    )


def _of(corp: str, api: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.corp == corp, table.c.api == api
