"""The real service, killed or stopped at any moment: nothing acknowledged is lost, nothing is done twice."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.simulator import DeliverySettings, Simulator, SimulatorSettings, generate_company, running
from app.simulator.churn import Churn
from app.store.db import Database
from tests.conftest import OpenDatabase
from tests.installation import Installation, installed
from tests.sync.harness import (
    AES_KEY,
    ENDED,
    TOKEN,
    WIDE,
    Held,
    budget,
    changes,
    inbox_table,
    leases,
    pages,
    run_table,
    until,
)
from tests.sync.replay import check_feed

pytestmark = pytest.mark.slow


@dataclass
class Place:
    """A company behind real HTTP, the service beside it, and its database to look into."""

    held: Held
    service: Installation
    source: dict[str, Any]

    @property
    def simulator(self) -> Simulator:
        return self.held.simulator

    async def order(self, service: Installation | None = None, **headers: str) -> dict[str, Any]:
        return await (service or self.service).post(f"/sources/{self.source['id']}/runs", {}, **headers)

    async def try_to_order(self) -> dict[str, Any]:
        """The run, or the refusal because one is active: a storm of events orders one, too."""
        async with self.service.client() as client:
            answer = await client.post(f"/api/v1/sources/{self.source['id']}/runs", json={})
        assert answer.status_code in (202, 409), answer.text
        return answer.json()

    async def ended(self, run_id: str, seconds: float = 60) -> dict[str, Any]:
        async def over() -> bool:
            return (await self.run(run_id))["state"] in ENDED

        await until(over, seconds)
        return await self.run(run_id)

    async def run(self, run_id: str) -> dict[str, Any]:
        (row,) = await self.held.rows(run_table, run_table.c.id == run_id)
        return row

    async def reconciled(self) -> None:
        """Whatever is under way ends, then one more sweep; it is the truth, and the feed is whole."""
        accepted: list[str] = []

        async def ordered() -> bool:
            answer = await self.try_to_order()
            accepted.extend([answer["id"]] if "id" in answer else [])
            return bool(accepted)

        await until(ordered, 60)
        run = await self.ended(accepted[0])
        assert (run["state"], run["error"]) == ("succeeded", None)
        assert await self.held.differences() == {}
        await check_feed(self.held)


@asynccontextmanager
async def place(folder: Path, url: str, db: Database, simulator: Simulator, **config: Any) -> AsyncIterator[Place]:
    company = simulator.company
    async with running(simulator) as base_url, installed(folder, url) as service:
        given = {
            "corp_id": company.corp_id,
            "agent_id": company.app.agent_id,
            "app_secret": company.app.secret,
            "contacts_secret": company.contacts.secret,
            "token": TOKEN,
            "encoding_aes_key": AES_KEY,
            "base_url": base_url,
        }
        body = {"name": "HQ", "kind": "wecom", "config": given | config, "guard": WIDE, "schedule": None}
        source = await service.post("/sources", body, expect=201)
        yield Place(Held(simulator, db), service, source)


def simulated(users: int, departments: int, seed: int = 1, **settings: Any) -> Simulator:
    simulator = Simulator(generate_company(users, departments, seed), SimulatorSettings(**settings))
    simulator.churn = Churn(simulator.company, seed)
    return simulator


async def test_a_storm_of_events_survives_kills(tmp_path: Path, database_url: str, open_database: OpenDatabase) -> None:
    """Every event that was answered with 200 is in the inbox, whatever happened in the second after."""
    dice, delivery = random.Random(5), DeliverySettings(duplicate=0.1, reorder=True, retry_pause=0.3, concurrency=8)
    simulator = simulated(80, 12, latency=0.01, delivery=delivery)
    db = await open_database(database_url)
    async with place(tmp_path, database_url, db, simulator) as at:
        await at.ended((await at.order())["id"])
        saved = await simulator.callbacks.save(simulator.company.contacts, at.source["callback_url"], TOKEN, AES_KEY)
        assert saved.ok, saved
        storm = asyncio.create_task(blow(simulator))
        for _ in range(4):
            known = await at.held.count(inbox_table)
            await until(grown(at.held, known + dice.randrange(5, 40)))
            if dice.random() < 0.5:
                await at.try_to_order()
            await asyncio.sleep(dice.random() * 0.3)  # any moment will do
            at.service.kill()
            await at.service.start()
        storm.cancel()
        await asyncio.gather(storm, return_exceptions=True)
        await until(quiet(simulator))
        await acknowledged_is_stored(at)
        await at.reconciled()


async def blow(simulator: Simulator) -> None:
    while True:
        simulator.churn.step()
        await asyncio.sleep(0.02)


def grown(held: Held, count: int) -> Callable[[], Any]:
    async def enough() -> bool:
        return await held.count(inbox_table) >= count

    return enough


def quiet(simulator: Simulator) -> Callable[[], Any]:
    async def nothing_waits() -> bool:
        return simulator.callbacks.counts()["waiting"] == 0

    return nothing_waits


async def acknowledged_is_stored(at: Place) -> None:
    deliveries = at.simulator.callbacks.deliveries
    taken = {hashlib.sha256(one.xml.encode()).hexdigest() for one in deliveries if one.outcome == "delivered"}
    stored = {row["digest"] for row in await at.held.rows(inbox_table)}
    assert len(taken) > 50
    assert taken <= stored


async def test_a_full_sync_survives_kills_at_any_moment(
    tmp_path: Path, database_url: str, open_database: OpenDatabase
) -> None:
    dice = random.Random(11)
    simulator = simulated(1500, 60, latency=0.01)
    db = await open_database(database_url)
    async with place(tmp_path, database_url, db, simulator) as at:
        run_id = (await at.order())["id"]
        for moment in (pages_read(at, 20), pages_read(at, 55), fed(at, 1), fed(at, 700)):
            await until(moment)
            await asyncio.sleep(dice.random() * 0.05)
            at.service.kill()
            await at.service.start()
        run = await at.ended(run_id)
        assert (run["state"], run["counts"]["users"]["created"]) == ("succeeded", 1500)
        await check_feed(at.held)
        await at.reconciled()


def pages_read(at: Place, count: int) -> Callable[[], Any]:
    async def read() -> bool:
        return await at.held.count(pages) >= count or await at.held.count(changes) > 0

    return read


def fed(at: Place, count: int) -> Callable[[], Any]:
    async def told() -> bool:
        return await at.held.count(changes) >= count

    return told


@pytest.mark.parametrize("takes_over", [False, True], ids=["restarted", "another"])
async def test_killed_at_four_fifths_of_the_reading_it_goes_on_there(
    tmp_path: Path, database_url: str, open_database: OpenDatabase, takes_over: bool
) -> None:
    if takes_over and database_url.startswith("sqlite"):
        pytest.skip("one process works on SQLite")
    simulator = simulated(300, 200)
    db = await open_database(database_url)
    async with place(tmp_path, database_url, db, simulator) as at:
        barrier = simulator.hold("user/list", nth=161)
        run_id = (await at.order())["id"]
        await until(pages_read(at, 161))
        whole = 200 + 8
        assert simulator.calls.total < whole
        at.service.kill()
        barrier.release()
        simulator.calls.clear()
        if takes_over:
            async with installed(tmp_path, database_url, keys=at.service.keys):
                run = await taken_up(at, run_id)
        else:
            await at.service.start()
            run = await taken_up(at, run_id)
        assert (run["state"], run["attempts"]) == ("succeeded", 2)
        assert simulator.calls.total < whole / 4
        assert await at.held.differences() == {}
        await check_feed(at.held)


async def taken_up(at: Place, run_id: str) -> dict[str, Any]:
    """Within a few seconds: the tick of a second, and the life of a lease where its owner does not come back."""

    async def again() -> bool:
        return (await at.run(run_id))["attempts"] == 2

    await until(again, 10)
    return await at.ended(run_id)


async def test_an_idempotency_key_is_known_after_a_crash(
    tmp_path: Path, database_url: str, open_database: OpenDatabase
) -> None:
    db = await open_database(database_url)
    async with place(tmp_path, database_url, db, simulated(30, 4)) as at:
        run = await at.order(**{"Idempotency-Key": "once"})
        at.service.kill()
        await at.service.start()
        assert (await at.order(**{"Idempotency-Key": "once"}))["id"] == run["id"]
        assert await at.held.count(run_table) == 1
        assert (await at.ended(run["id"]))["state"] == "succeeded"
        assert (await at.order(**{"Idempotency-Key": "once"}))["id"] == run["id"]
        again = {"dry_run": True}
        await at.service.post(f"/sources/{at.source['id']}/runs", again, expect=422, **{"Idempotency-Key": "once"})


async def test_a_wrong_secret_is_not_tried_again_after_a_crash(
    tmp_path: Path, database_url: str, open_database: OpenDatabase
) -> None:
    simulator = simulated(30, 4)
    db = await open_database(database_url)
    async with place(tmp_path, database_url, db, simulator, app_secret="x" * 43, contacts_secret=None) as at:
        first = await at.ended((await at.order())["id"])
        assert (first["state"], first["error"]["code"]) == ("failed", "wecom.wrong_secret")
        asked = simulator.calls.per_path["gettoken"]
        assert asked >= 1
        at.service.kill()
        await at.service.start()
        second = await at.ended((await at.order())["id"])
        assert (second["state"], second["error"]["code"]) == ("failed", "wecom.wrong_secret")
        assert simulator.calls.per_path["gettoken"] == asked


async def test_call_budgets_are_kept_over_a_crash(
    tmp_path: Path, database_url: str, open_database: OpenDatabase
) -> None:
    """What was called, and what a killed process had set aside, still counts."""
    simulator = simulated(30, 12)
    db = await open_database(database_url)
    async with place(tmp_path, database_url, db, simulator) as at:
        await at.ended((await at.order())["id"])
        at.service.kill()
        before = await spent(at)
        assert all(before.get(path, 0) >= count for path, count in simulator.calls.per_path.items())
        await at.service.start()
        await at.ended((await at.order())["id"])
        after = await spent(at)
        assert simulator.calls.per_path["user/list"] == 24
        assert all(after.get(path, 0) >= count for path, count in simulator.calls.per_path.items())


async def spent(at: Place) -> dict[str, int]:
    rows = await at.held.rows(budget, budget.c.slot > 0)
    return {api: sum(row["calls"] for row in rows if row["api"] == api) for api in {row["api"] for row in rows}}


@pytest.mark.postgres
async def test_who_was_stopped_for_longer_than_its_lease_is_fenced(
    tmp_path: Path, postgresql_url: str, open_database: OpenDatabase
) -> None:
    """It wakes up in the middle of its reading, and nothing of what it still holds is written."""
    simulator = simulated(300, 60)
    db = await open_database(postgresql_url)
    async with (
        place(tmp_path, postgresql_url, db, simulator) as at,
        installed(tmp_path, postgresql_url, keys=at.service.keys) as other,
    ):
        barrier = simulator.hold("user/list", nth=30, answered=True)
        run_id = (await at.order())["id"]
        await until(pages_read(at, 30))
        at.service.stop()
        await until(owned_by(at, other), 20)
        barrier.release()
        run = await at.ended(run_id)
        assert (run["state"], run["attempts"]) == ("succeeded", 2)
        before = await everything(at)
        at.service.go_on()
        await until(logged(at.service, "lease_lost", "work_waits"), 60)
        assert await everything(at) == before
        simulator.churn.steps(10)
        assert (await at.ended((await at.order())["id"]))["state"] == "succeeded"
        assert await at.held.differences() == {}
        await check_feed(at.held)


@pytest.mark.postgres
async def test_who_is_stopped_while_it_writes_holds_nobody_up(
    tmp_path: Path, postgresql_url: str, open_database: OpenDatabase
) -> None:
    simulator = simulated(3000, 20)
    db = await open_database(postgresql_url)
    async with (
        place(tmp_path, postgresql_url, db, simulator) as at,
        installed(tmp_path, postgresql_url, keys=at.service.keys) as other,
    ):
        run_id = (await at.order())["id"]
        await until(fed(at, 1))
        at.service.stop()
        await until(owned_by(at, other), 40)
        assert (await at.ended(run_id))["state"] == "succeeded"
        await check_feed(at.held)
        before = await everything(at)
        at.service.go_on()
        await until(logged(at.service, "lease_lost", "work_waits"))
        assert await everything(at) == before
        assert await at.held.differences() == {}


def owned_by(at: Place, service: Installation) -> Callable[[], Any]:
    async def owned() -> bool:
        rows = await at.held.rows(leases, leases.c.id == f"{at.source['id']}:sync")
        return any(str(row["owner"]).endswith(f":{service.port}") for row in rows)

    return owned


def logged(service: Installation, *events: str) -> Callable[[], Any]:
    async def found() -> bool:
        return any(event in service.log for event in events)

    return found


async def everything(at: Place) -> list[Any]:
    return [await at.held.rows(run_table), await at.held.feed(), await at.held.count(pages)]
