"""Access tokens, circuit breakers and call budgets, shared by all workers and kept over a restart.

Implements core.ports.TokenStore.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.ports import Token
from app.store.budgets import Budgets
from app.store.bulk import table_of
from app.store.db import Database, insert_into, now
from app.store.keys import Sealer
from app.store.leases import moment
from app.store.tables import CredentialRow

FRESH_SECONDS: Final = 1.0
"""So long another process's word on a credential (a new token, a breaker) may go unheard."""
REFRESH_SECONDS: Final = 30.0
"""How long one worker may take to fetch a token before another tries."""
ASK_AGAIN_SECONDS: Final = 0.2

table = table_of(CredentialRow)


@dataclass(frozen=True, slots=True)
class _Known:
    token: Token | None
    broken: Mapping[str, object] | None
    read_at: float


class Tokens:
    """The token store of one process; `owner` is a name that no other living process has."""

    def __init__(self, db: Database, sealer: Sealer, owner: str, *, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._sealer = sealer
        self._owner = owner
        self._known: dict[str, _Known] = {}
        self._forgotten = 0
        self._refreshing: dict[str, asyncio.Lock] = {}
        self._budgets = Budgets(db, clock)

    async def get(self, credential: str) -> Token | None:
        """The stored token, None when there is none or it has ended."""
        token = (await self._read(credential)).token
        return token if token and token.expires_at > now() else None

    async def put(self, credential: str, token: Token) -> None:
        """Store a new token for everybody."""
        sealed = self._sealer.seal(token.value.encode())
        await self._write(credential, token=sealed, expires_at=token.expires_at)

    async def drop(self, credential: str, value: str) -> None:
        """Forget this token, unless it has already been replaced by another."""
        async with self._db.write() as conn:
            row = await _locked(conn, credential)
            if row and row.token and self._sealer.open(row.token).decode() == value:
                await conn.execute(update(table).where(table.c.id == credential).values(token=None, expires_at=None))
        self._forget(credential)

    async def broken(self, credential: str) -> Mapping[str, object] | None:
        """The recorded refusal of a credential whose secret is wrong, else None."""
        return (await self._read(credential)).broken

    async def break_(self, credential: str, error: Mapping[str, object]) -> None:
        """Stop all calls with this credential until `mend`."""
        await self._write(credential, broken=dict(error), token=None, expires_at=None)

    async def mend(self, credential: str) -> None:
        """Let this credential be tried again."""
        await self._write(credential, broken=None)

    def refreshing(self, credential: str) -> "Refreshing":
        """Held by the one worker that fetches a new token; the others wait, then find it with `get`."""
        return Refreshing(self, credential, self._refreshing.setdefault(credential, asyncio.Lock()))

    async def spend(self, corp: str, api: str, *, per_minute: int, per_hour: int) -> float:
        """Take one call of an API's budget: 0 when it may be sent now, else the seconds to wait before asking again."""
        return await self._budgets.spend(corp, api, per_minute, per_hour)

    async def block(self, corp: str, api: str, seconds: float) -> None:
        """WeCom said 45009: nobody calls this API for so long."""
        await self._budgets.block(corp, api, seconds)

    async def claim(self, credential: str) -> bool:
        """Become the one process that fetches this token; what others fetched meanwhile is read, not remembered."""
        async with self._db.write() as conn:
            await conn.execute(insert_into(conn, CredentialRow).values(id=credential).on_conflict_do_nothing())
            free = or_(table.c.refreshing_by.is_(None), table.c.refreshing_until < moment(conn))
            claimed = await conn.execute(
                update(table)
                .where(table.c.id == credential, free)
                .values(refreshing_by=self._owner, refreshing_until=moment(conn, REFRESH_SECONDS))
                .returning(table.c.id)
            )
            alone = claimed.first() is not None
        self._forget(credential)
        return alone

    async def free(self, credential: str) -> None:
        """Let others fetch this token."""
        async with self._db.write() as conn:
            ours = (table.c.id == credential, table.c.refreshing_by == self._owner)
            await conn.execute(update(table).where(*ours).values(refreshing_by=None, refreshing_until=None))

    async def _read(self, credential: str) -> _Known:
        known = self._known.get(credential)
        if known and time.monotonic() - known.read_at < FRESH_SECONDS:
            return known
        read_at, forgotten = time.monotonic(), self._forgotten
        async with self._db.read() as conn:
            row = (await conn.execute(select(table).where(table.c.id == credential))).first()
        known = _Known(self._opened(row), row.broken if row else None, read_at)
        if forgotten == self._forgotten:
            self._known[credential] = known
        return known

    def _forget(self, credential: str) -> None:
        """Read this credential anew; a read that is under way now must not be remembered."""
        self._known.pop(credential, None)
        self._forgotten += 1

    def _opened(self, row: Any) -> Token | None:
        if row is None or row.token is None:
            return None
        expires_at: datetime = row.expires_at
        return Token(self._sealer.open(row.token).decode(), expires_at)

    async def _write(self, credential: str, **values: Any) -> None:
        async with self._db.write() as conn:
            statement = insert_into(conn, CredentialRow).values(id=credential, **values)
            await conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
        self._forget(credential)


@dataclass(frozen=True, slots=True)
class Refreshing:
    """The time in which one worker, of all processes, fetches a credential's token."""

    tokens: Tokens
    credential: str
    turn: asyncio.Lock

    async def __aenter__(self) -> None:
        await self.turn.acquire()
        try:
            while not await self.tokens.claim(self.credential):  # noqa: ASYNC110 - another process frees it
                await asyncio.sleep(ASK_AGAIN_SECONDS)
        except BaseException:
            self.turn.release()
            raise

    async def __aexit__(self, *exc: object) -> None:
        try:
            await asyncio.shield(self.tokens.free(self.credential))
        finally:
            self.turn.release()


async def _locked(conn: AsyncConnection, credential: str) -> Any:
    query = select(table.c.token).where(table.c.id == credential)
    return (await conn.execute(query.with_for_update())).first()
