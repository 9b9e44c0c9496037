"""The life of the demonstration's company, and the story that the change feed tells of it."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Self

import httpx

from app.cli.screen import plain, tell
from app.simulator import Company
from app.simulator.generate import person

ACTIVE: Final = 1
POLL_SECONDS: Final = 0.2
PAGE: Final = 500

Change = dict[str, Any]


async def live(company: Company, every: float) -> None:
    """Let somebody join, move or leave every so many seconds, for ever."""
    dice, number = random.Random(), 0  # noqa: S311 - a play
    while True:
        await asyncio.sleep(every)
        number += 1
        staff = [user for user in company.records.users.values() if user.status == ACTIVE]
        places = list(company.records.departments)
        happens = dice.choices(("join", "move", "leave"), (4, 5, 2 if len(staff) > 1 else 0))[0]
        if happens == "join" or not staff:
            name, userid = person(dice)
            company.join(f"{userid}-{number}", name, [dice.choice(places)])
        elif happens == "leave":
            company.leave(dice.choice(staff).userid)
        else:
            mover = dice.choice(staff)
            others = [place for place in places if place not in mover.departments]
            company.move(mover.userid, [dice.choice(others or places)])


@dataclass(slots=True)
class Story:
    """Reads the change feed of a source and tells each person's changes in one line."""

    api: httpx.AsyncClient
    source: str
    after: int
    departments: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def begun(cls, api: httpx.AsyncClient, source: str) -> Self:
        """A story that starts with what happens from now on."""
        story = cls(api, source, 0)
        while await story.news():
            pass
        cursor: str | None = ""
        while cursor is not None:
            given: dict[str, str | int] = {"source_id": source, "limit": PAGE}
            given |= {"cursor": cursor} if cursor else {}
            page = (await api.get("/departments", params=given)).raise_for_status().json()
            story.departments |= {str(item["department_id"]): item["name"] for item in page["items"]}
            cursor = page["next_cursor"]
        return story

    async def follow(self, events: int | None) -> None:
        """Tell what happens, until so many events have shown an effect."""
        told = 0
        while events is None or told < events:
            for changes in _by_object(await self.news()):
                at = datetime.fromisoformat(changes[0]["at"]).astimezone()
                tell(f"{at:%H:%M:%S}  {plain(await self.sentence(changes))}")
                told += len({change["event_id"] for change in changes if change["event_id"]})
            await asyncio.sleep(POLL_SECONDS)

    async def news(self) -> list[Change]:
        """The changes since the last time."""
        given: dict[str, str | int] = {"source_id": self.source, "after": self.after, "limit": PAGE}
        feed = (await self.api.get("/changes", params=given)).raise_for_status().json()
        self.after = feed["next_after"]
        items: list[Change] = feed["items"]
        return items

    async def sentence(self, changes: Sequence[Change]) -> str:
        """What happened to one person or department."""
        first = changes[0]
        if first["kind"] == "department":
            self.departments[first["key"]] = first["after"].get("name") or self.departments.get(first["key"], "?")
            return f"department {self.departments[first['key']]}: {first['action']}"
        name = (await self.api.get(f"/users/{first['object_id']}")).raise_for_status().json()["name"]
        actions = {change["action"] for change in changes if change["kind"] == "user"}
        came, went = self._places(changes, "create"), self._places(changes, "remove")
        if actions & {"create", "reactivate"}:
            return f"{name} {'joined' if 'create' in actions else 'came back to'} {came or 'the company'}"
        if "deactivate" in actions:
            return f"{name} left {went or 'the company'}"
        if came and went:
            return f"{name} moved from {went} to {came}"
        if came or went:
            return f"{name} is now also in {came}" if came else f"{name} is no longer in {went}"
        fields = sorted({name for change in changes for name in change["after"]})
        return f"{name} changed: {', '.join(fields)}"

    def _places(self, changes: Sequence[Change], action: str) -> str:
        keys = [c["key"].rpartition(":")[2] for c in changes if c["kind"] == "membership" and c["action"] == action]
        return "、".join(self.departments.get(key, key) for key in keys)


def _by_object(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes of one person or department that one event (or run) brought, together."""

    def cause(change: Change) -> tuple[str, str]:
        return str(change["event_id"] or change["run_id"]), str(change["object_id"])

    for _, group in groupby(sorted(changes, key=lambda change: (*cause(change), change["seq"])), key=cause):
        yield list(group)
