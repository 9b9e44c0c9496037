"""Call budgets: no window of a minute or an hour ever holds more calls than allowed, whoever restarts or shares."""

import asyncio
from bisect import bisect_left

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from app.store.budgets import Budgets, table
from app.store.db import Database
from tests.conftest import OpenDatabase
from tests.store.conftest import counted_commits

START = 1_767_225_600.0


class Clock:
    def __init__(self) -> None:
        self.now = START + 1.7

    def __call__(self) -> float:
        return self.now


def most_in(times: list[float], width: float) -> int:
    """The largest number of calls in any window of `width` seconds."""
    ordered = sorted(times)
    return max((bisect_left(ordered, start + width) - n for n, start in enumerate(ordered)), default=0)


steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.9, 4.9, 5.0, 31.0, 59.9, 600.0]),
        st.integers(1, 30),
        st.sampled_from(["first", "second", "restart", "wait"]),
    ),
    max_size=40,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, per_minute=st.sampled_from([1, 7, 40, 500]), per_hour=st.sampled_from([1, 50, 2000]))
async def test_no_window_ever_holds_too_many(
    database: Database, steps: list[tuple[float, int, str]], per_minute: int, per_hour: int
) -> None:
    async with database.write() as conn:
        await conn.execute(delete(table))
    clock, sent = Clock(), list[float]()
    processes = {"first": Budgets(database, clock), "second": Budgets(database, clock)}
    for gap, calls, what in steps:
        clock.now += gap
        if what == "restart":
            processes["first"] = Budgets(database, clock)
        for _ in range(calls):
            budgets = processes.get(what, processes["first"])
            wait = await budgets.spend("corp", "user/list", per_minute, per_hour)
            assert wait >= 0
            if wait == 0:
                sent.append(clock.now)
            elif what == "wait":
                clock.now += wait
    assert most_in(sent, 60) <= per_minute
    assert most_in(sent, 3600) <= per_hour


async def test_waiting_as_told_always_leads_to_a_call(database: Database) -> None:
    clock = Clock()
    budgets = Budgets(database, clock)
    sent: list[float] = []
    while len(sent) < 60:
        wait = await budgets.spend("corp", "api", 10, 40)
        if wait:
            clock.now += wait
            assert await budgets.spend("corp", "api", 10, 40) == 0
        sent.append(clock.now)
    assert most_in(sent, 60) == 10
    assert most_in(sent, 3600) == 40
    # Ten a minute and forty an hour: the last twenty wait for the first ones to be an hour old.
    assert 3600 <= sent[-1] - sent[0] <= 3600 + 4 * 66


async def test_what_was_reserved_in_a_slot_is_not_spent_after_it(database: Database) -> None:
    clock, sent = Clock(), list[float]()
    budgets = Budgets(database, clock)
    for pause in (0.0, 59.0, 7.0):
        clock.now += pause
        calls = 1 if pause == 0 else 20 if pause == 59 else 600
        for _ in range(calls):
            if await budgets.spend("corp", "api", 500, 10_000) == 0:
                sent.append(clock.now)
    assert len(sent) > 400
    assert most_in(sent, 60) <= 500


async def test_nearly_the_whole_allowance_can_be_used(database: Database) -> None:
    clock = Clock()
    budgets = Budgets(database, clock)
    sent = 0
    began = clock.now
    while clock.now < began + 600:
        wait = await budgets.spend("corp", "api", 1000, 100_000)
        sent += wait == 0
        clock.now += wait or 0.01
    assert sent >= 0.85 * 10 * 1000


async def test_a_call_costs_a_transaction_only_now_and_then(database: Database) -> None:
    clock = Clock()
    budgets = Budgets(database, clock)
    with counted_commits() as commits:
        for _ in range(600):
            assert await budgets.spend("corp", "api", 9000, 135_000) == 0
    assert 1 <= len(commits) <= 600 / 50


async def test_what_was_spent_before_a_restart_counts(database_url: str, open_database: OpenDatabase) -> None:
    clock = Clock()
    first = await open_database(database_url)
    for _ in range(20):
        assert await Budgets(first, clock).spend("corp", "api", 20, 100) == 0
    await first.close()
    restarted = Budgets(await open_database(database_url), clock)
    wait = await restarted.spend("corp", "api", 20, 100)
    assert 55 <= wait <= 65
    clock.now += wait
    assert await restarted.spend("corp", "api", 20, 100) == 0


async def test_what_was_not_needed_is_given_back(database: Database) -> None:
    clock = Clock()
    budgets = Budgets(database, clock)
    for _ in range(10):
        assert await budgets.spend("corp", "api", 9000, 135_000) == 0
        clock.now += 5
    async with database.read() as conn:
        assert await conn.scalar(select(func.sum(table.c.calls))) < 9 + 65


async def test_the_budgets_of_apis_and_corporations_are_separate(database: Database) -> None:
    budgets = Budgets(database, Clock())
    assert await budgets.spend("corp", "one", 1, 1) == 0
    assert await budgets.spend("corp", "one", 1, 1) > 0
    assert await budgets.spend("corp", "two", 1, 1) == 0
    assert await budgets.spend("other", "one", 1, 1) == 0


async def test_many_processes_at_once_share_one_budget(database: Database) -> None:
    clock = Clock()
    processes = [Budgets(database, clock) for _ in range(6)]
    waits = await asyncio.gather(*(processes[n % 6].spend("corp", "api", 100, 1000) for n in range(300)))
    assert sum(wait == 0 for wait in waits) == 100


async def test_a_blocked_api_waits_everywhere_and_over_a_restart(
    database_url: str, open_database: OpenDatabase
) -> None:
    clock = Clock()
    database = await open_database(database_url)
    budgets = Budgets(database, clock)
    assert await budgets.spend("corp", "api", 100, 1000) == 0
    await budgets.block("corp", "api", 60)
    await budgets.block("corp", "api", 10)
    assert await budgets.spend("corp", "api", 100, 1000) == pytest.approx(60)
    assert await budgets.spend("corp", "other", 100, 1000) == 0
    await database.close()
    clock.now += 20
    restarted = Budgets(await open_database(database_url), clock)
    assert await restarted.spend("corp", "api", 100, 1000) == pytest.approx(40)
    clock.now += 40.1
    assert await restarted.spend("corp", "api", 100, 1000) == 0


async def test_a_clock_that_was_set_back_forgets_no_call(database: Database) -> None:
    clock = Clock()
    for _ in range(20):
        assert await Budgets(database, clock).spend("corp", "api", 20, 100) == 0
    clock.now -= 300
    assert await Budgets(database, clock).spend("corp", "api", 20, 100) > 300


async def test_the_table_does_not_grow(database: Database) -> None:
    clock = Clock()
    budgets = Budgets(database, clock)
    for _ in range(30):
        await budgets.spend("corp", "api", 100, 1000)
        clock.now += 1800
    async with database.read() as conn:
        assert await conn.scalar(select(func.count()).select_from(table)) <= 5


def test_the_measure_of_windows_is_right() -> None:
    assert most_in([0.0, 59.9, 60.0, 119.8], 60) == 3
