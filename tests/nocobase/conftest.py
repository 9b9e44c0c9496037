"""The real service between a simulated WeCom and a real NocoBase, which `tests/nocobase/up` installs and starts."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator import Company, Simulator, SimulatorSettings, generate_company, running
from tests.installation import Installation, installed
from tests.sync.harness import AES_KEY, TOKEN, WIDE, until

UP = Path(__file__).parent / "up"
NOT_OURS = ("nocobase", "sync-bot")
PEOPLE, DEPARTMENTS = 300, 24
LEFT = 15
"""More that are generated, some of whom have left: they are not to be in NocoBase."""


async def up(*arguments: str) -> dict[str, str]:
    """Run the script; what it prints of the NocoBase that is up."""
    process = await asyncio.create_subprocess_exec(UP, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0, f"up {' '.join(arguments)} ended with {process.returncode}"
    return dict(line.split("=", 1) for line in said.decode().splitlines())


@dataclass
class NocoBase:
    """A NocoBase whose database was blank at the beginning of the test."""

    url: str
    api_key: str

    async def rows(self, collection: str, **query: str) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        async with httpx.AsyncClient(base_url=f"{self.url}/api/", headers=headers, timeout=60) as client:
            answer = await client.get(f"/{collection}:list", params={"pageSize": "2000", "sort": "id", **query})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    async def people(self) -> dict[str, dict[str, Any]]:
        """Accounts by user name, without those that the installation made."""
        rows = await self.rows("users", appends="departments,mainDepartment")
        names = [row["username"] for row in rows]
        assert len(names) == len(set(names)), "an account is there twice"
        return {row["username"]: row for row in rows if row["username"] not in NOT_OURS}

    async def root(self) -> dict[str, Any]:
        """Everything that may be known of the first administrator's account."""
        [row] = [row for row in await self.rows("users", appends="roles,departments") if row["username"] == "nocobase"]
        return row | {"roles": sorted(role["name"] for role in row["roles"])}

    async def places(self) -> list[tuple[str, str | None, list[str]]]:
        """(title, title of the parent, user names of the owners) of every department, brothers in their order."""
        rows = await self.rows("departments", appends="parent,owners", sort="sort")
        return [
            (row["title"], (row["parent"] or {}).get("title"), sorted(owner["username"] for owner in row["owners"]))
            for row in rows
        ]


@dataclass
class Place:
    """The service with one source and, once `connect` was called, one target."""

    simulator: Simulator
    service: Installation
    nocobase: NocoBase
    source_id: str
    target_id: str = ""

    @property
    def company(self) -> Company:
        return self.simulator.company

    @property
    def active(self) -> list[str]:
        """The userids of those who are active in WeCom."""
        return [userid for userid in sorted(self.company.userids) if self.company.user(userid).status == 1]

    async def connect(self) -> None:
        config = {"url": self.nocobase.url, "api_key": self.nocobase.api_key}
        body = {"name": "NocoBase", "kind": "nocobase", "source_id": self.source_id, "config": config, "guard": WIDE}
        self.target_id = (await self.service.post("/targets", body, expect=201))["id"]

    async def sync(self) -> None:
        """A full sync to its end."""
        run = await self.service.post(f"/sources/{self.source_id}/runs", {})

        async def ended() -> bool:
            run["state"] = (await self.service.get(f"/runs/{run['id']}"))["state"]
            return run["state"] not in ("queued", "running")

        await until(ended, 60)
        assert run["state"] == "succeeded"

    async def target(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.service.get(f"/targets/{self.target_id}")
        return found

    async def settled(self, seconds: float = 240) -> None:
        """Until everything is delivered and no run of the target is under way."""

        async def done() -> bool:
            now = await self.target()
            runs = (await self.service.get("/runs", source_id=self.source_id, limit=500))["items"]
            active = [run for run in runs if run["state"] in ("queued", "running")]
            return now["backlog"] == 0 and now["state"] == "ok" and not active

        await until(done, seconds)
        dead = (await self.service.get(f"/targets/{self.target_id}/deliveries", state="dead"))["items"]
        assert dead == []

    async def all(self, path: str) -> list[dict[str, Any]]:
        """Every object of one kind that is in our directory and active."""
        found: list[dict[str, Any]] = []
        query = {"source_id": self.source_id, "active": "true", "limit": 500}
        while True:
            page = await self.service.get(path, **query)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def differences(self) -> list[Any]:
        """What NocoBase holds otherwise than our directory, object by object; empty when they agree."""
        places, people = await self.all("/departments"), await self.all("/users")
        titles = {place["department_id"]: place["name"] for place in places}
        assert len(set(titles.values())) == len(titles), "the comparison goes by titles"
        wanted = {person["userid"].lower(): _person(person, titles) for person in people}
        held = {name: _account(row) for name, row in (await self.nocobase.people()).items()}
        gone = [name for name, row in held.items() if name not in wanted and row["departments"]]
        wrong = [(name, held.get(name), known) for name, known in wanted.items() if not _same(held.get(name), known)]
        return [*wrong, *gone, *self._places(places, people, titles, await self.nocobase.places())]

    @staticmethod
    def _places(
        places: list[dict[str, Any]], people: list[dict[str, Any]], titles: dict[int, str], held: list[Any]
    ) -> list[Any]:
        leaders: dict[int, list[str]] = {}
        for person in people:
            for seat in person["departments"]:
                if seat["is_leader"]:
                    leaders.setdefault(seat["department_id"], []).append(person["userid"].lower())
        by_order = sorted(places, key=lambda place: -(place["order"] or 0))
        wanted = [
            (place["name"], titles.get(place["parent_id"]), sorted(leaders.get(place["department_id"], [])))
            for place in by_order
        ]
        wrong: list[Any] = [(one,) for one in {*map(str, wanted)} ^ {*map(str, held)}]
        for parent in {one[1] for one in wanted}:
            order = [one[0] for one in wanted if one[1] == parent]
            found = [one[0] for one in held if one[1] == parent]
            wrong += [(parent, found, order)] if found != order else []
        return wrong


def _person(person: dict[str, Any], titles: dict[int, str]) -> dict[str, Any]:
    return {
        "nickname": person["name"],
        "email": person["biz_mail"] or person["email"] or None,
        "phone": person["mobile"] or None,
        "departments": sorted(titles[seat["department_id"]] for seat in person["departments"]),
        "main": titles.get(person["main_department_id"]),
    }


def _same(held: dict[str, Any] | None, known: dict[str, Any]) -> bool:
    """NocoBase makes the first department the main one of somebody who has none."""
    return held is not None and held == (known if known["main"] else known | {"main": held["main"]})


def _account(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "nickname": row["nickname"],
        "email": row["email"],
        "phone": row["phone"],
        "departments": sorted(place["title"] for place in row["departments"]),
        "main": (row["mainDepartment"] or {}).get("title"),
    }


@pytest.fixture
async def nocobase() -> NocoBase:
    """A fresh one for each test: the database is copied from the one that was just installed."""
    known = await up()
    return NocoBase(known["NOCOBASE_URL"], known["NOCOBASE_API_KEY"])


@pytest.fixture
async def place(tmp_path: Path, nocobase: NocoBase) -> AsyncIterator[Place]:
    """A company of 300 people whose app may see everything, read once; NocoBase knows nothing of it yet."""
    company = generate_company(PEOPLE + LEFT, DEPARTMENTS, 7)
    company.app.withheld = frozenset()
    simulator = Simulator(company, SimulatorSettings())
    async with running(simulator) as base_url, installed(tmp_path, f"sqlite:///{tmp_path}/test.db") as service:
        config = {
            "corp_id": company.corp_id,
            "agent_id": company.app.agent_id,
            "app_secret": company.app.secret,
            "contacts_secret": company.contacts.secret,
            "token": TOKEN,
            "encoding_aes_key": AES_KEY,
            "base_url": base_url,
        }
        body = {"name": "HQ", "kind": "wecom", "config": config, "guard": WIDE, "schedule": None}
        source = await service.post("/sources", body, expect=201)
        made = Place(simulator, service, nocobase, source["id"])
        await made.sync()
        saved = await simulator.callbacks.save(company.contacts, source["callback_url"], TOKEN, AES_KEY)
        assert saved.ok, saved
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(420))


def pytest_configure() -> None:
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
