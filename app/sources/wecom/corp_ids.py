"""Passes over user/list_id (page 96067): who exists in the whole company, and in which departments."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from app.core.directory import Membership, User, key_of
from app.core.ports import IdsPage
from app.errors import TryLater
from app.sources.wecom.auth import TokenAuth
from app.sources.wecom.client import Absent, Client
from app.sources.wecom.errcodes import BAD_CURSOR, said
from app.sources.wecom.records import read_ids_page

ROWS_PER_CALL: Final = 10_000
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Everybody:
    """One complete pass, by userid in lower case; `turn` counts passes in the order in which they began."""

    turn: int
    observed: int
    users: Mapping[str, User]


class CorpIds:
    """The ids of the whole company, listed by the contacts secret."""

    def __init__(self, client: Client, contacts: TokenAuth) -> None:
        self._client = client
        self._contacts = contacts
        self._lock = asyncio.Lock()
        self._turn = 0
        self._last: Everybody | None = None

    async def pages(self) -> AsyncGenerator[IdsPage, None]:
        """One complete pass; after an invalid cursor (50100) everything comes again from the start."""
        for _ in range(TRIES):
            try:
                async with aclosing(self._pass()) as pages:
                    async for page in pages:
                        yield page
            except Absent:
                continue
            return
        raise said("wecom.cursor_invalid", TryLater)

    async def _pass(self) -> AsyncGenerator[IdsPage, None]:
        cursors = {""}
        cursor = ""
        while True:
            body = {"limit": ROWS_PER_CALL} | ({"cursor": cursor} if cursor else {})
            answer = await self._client.post("user/list_id", self._contacts, read_ids_page, body, absent=BAD_CURSOR)
            pairs, cursor = answer.value
            yield IdsPage(answer.observed, pairs)
            if not cursor:
                return
            if cursor in cursors:
                raise said("wecom.bad_answer", TryLater, api="user/list_id")
            cursors.add(cursor)

    async def everybody(self) -> Everybody:
        """A pass that began after this call; those who wait at the same time share one."""
        asked = self._turn
        async with self._lock:
            if self._last is None or self._last.turn <= asked:
                self._turn += 1
                self._last = await self._everybody(self._turn)
            return self._last

    async def _everybody(self, turn: int) -> Everybody:
        observed: int | None = None
        places: dict[str, tuple[str, set[int]]] = {}
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                observed = page.observed if observed is None else observed
                for userid, department_id in page.pairs:
                    places.setdefault(key_of(userid), (userid, set()))[1].add(department_id)
        users = {key: _known_by_id(userid, departments) for key, (userid, departments) in places.items()}
        return Everybody(turn, observed or 0, users)


def _known_by_id(userid: str, departments: set[int]) -> User:
    return User(userid, memberships=tuple(Membership(number) for number in sorted(departments)))
