"""Whatever a directory lives through, one clean sweep makes it the company's again, and nobody was dropped unproven."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.simulator import Range, Simulator, SimulatorSettings, generate_company, running
from app.simulator.churn import Churn
from app.store import runs
from app.store.db import Database
from tests.sync.harness import WIDE, Bench, bench, inbox_table, users
from tests.sync.replay import check_feed
from tests.sync.weather import Weather, Witness


@asynccontextmanager
async def living(database: Database, seed: int, *, contacts: bool) -> AsyncIterator[Weather]:
    """A company of 120 people in 15 departments behind real HTTP, synced once."""
    dice = random.Random(seed)
    company = generate_company(users=120, departments=15, seed=seed)
    company.app.withheld = dice.choice((company.app.withheld, frozenset()))
    settings = SimulatorSettings(
        out_of_range_code=dice.choice((60011, 60111)),
        unknown_department_code=dice.choice((60003, 60123)),
        withheld_as=dice.choice(("absent", "empty")),
        last_cursor_empty=dice.random() < 0.5,
    )
    company.also_updates_on_leave = dice.choice(("no", "before", "after"))
    simulator = Simulator(company, settings)
    simulator.churn = Churn(company, seed)
    witness = Witness(simulator)

    async def observe() -> int:
        return await witness.observing(await database.observe())

    async with (
        running(simulator) as base_url,
        bench(database, simulator, contacts=contacts, guard=WIDE, base_url=base_url, observe=observe) as desk,
    ):
        assert (await desk.sync()).state == "succeeded"
        yield Weather(desk, witness, dice, dice.choice(("ids", "ids", "long")))


async def one_day(weather: Weather) -> None:
    """Changes and events, and in the middle of them a full sync with drains beside it, or drains alone."""
    desk, dice = weather.desk, weather.dice
    weather.brew()
    weather.changes(dice.randrange(12))
    if dice.random() < 0.4:
        weather.turn_range()
    if dice.random() < 0.3:
        weather.turn_tag()
    await weather.deliver()
    if dice.random() < 0.7:
        await swept(desk)
    await weather.deliver()
    if dice.random() < 0.3:
        await desk.restart()
    await desk.worker.settled()
    if dice.random() < 0.5:
        await desk.make_due()
    weather.clear()
    desk.rest()


async def swept(desk: Bench) -> None:
    async with desk.db.write() as conn:
        if await runs.active_full(conn, desk.source.id) is None:
            await runs.order(conn, await desk.sources.get(conn, desk.source.id))
    desk.worker.wake("runs", desk.source.id)
    desk.worker.wake("events", desk.source.id)
    await desk.worker.settled()


async def reconciled(weather: Weather, visible: Range) -> None:
    """What is in sight is read once without faults, while late events are worked off beside."""
    desk, company = weather.desk, weather.simulator.company
    weather.clear()
    desk.rest()
    await desk.forget_limits()
    company.app.visible = visible
    await swept(desk)  # what is under way ends
    await desk.make_due()
    await weather.deliver(1.0)
    run = await desk.sync()
    assert (run.state, run.error) == ("succeeded", None)
    assert await desk.differences() == {}


@pytest.mark.parametrize("contacts", [True, False], ids=["app+contacts", "app"])
@pytest.mark.parametrize("seed", range(2))
async def test_one_clean_sweep_makes_it_the_truth(database: Database, seed: int, contacts: bool) -> None:
    async with asyncio.timeout(120), living(database, seed, contacts=contacts) as weather:
        for _ in range(5):
            await one_day(weather)
        await reconciled(weather, Range.of(departments=[1]))
        assert await weather.desk.count(users, users.c.active, users.c.unmanaged_since.is_not(None)) == 0
        await settled_for_good(weather)
        assert weather.witness.check(await weather.desk.feed()) > 0


@pytest.mark.parametrize("contacts", [True, False], ids=["app+contacts", "app"])
@pytest.mark.parametrize("seed", [10])
async def test_one_clean_sweep_of_a_part_makes_that_part_the_truth(
    database: Database, seed: int, contacts: bool
) -> None:
    async with asyncio.timeout(120), living(database, seed, contacts=contacts) as weather:
        for _ in range(4):
            await one_day(weather)
        weather.turn_range()
        await reconciled(weather, weather.simulator.company.app.visible)
        await settled_for_good(weather)
        weather.witness.check(await weather.desk.feed())


async def settled_for_good(weather: Weather) -> None:
    """Whatever still comes in changes nothing any more, and the feed tells it all."""
    desk = weather.desk
    await desk.drain()
    assert await desk.count(inbox_table, inbox_table.c.state == "pending") == 0
    assert await desk.differences() == {}
    await check_feed(desk)
    assert not weather.simulator.limits.violations
