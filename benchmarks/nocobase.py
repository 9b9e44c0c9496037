"""A real NocoBase: our first load against what NocoBase itself needs, and how soon a person's change is to be seen.

    python -m benchmarks.nocobase [--users 1000] [--departments 40] [--rounds 3] [--changes 30]

`python -m app serve` works on SQLite beside a simulated WeCom whose people it has read already. What its first load
pushes is taken down by a gateway that answers at once; then three sides bring just these records to NocoBase: the
service ("ours", from adding the target to the end of its resync), and httpx by itself with all people in one push
("one_push") and with 100 in each ("pushes_of_100"), departments first. Every load meets a NocoBase just started on a
blank database (`tests/nocobase/up`): NocoBase looks its records up without an index, so that in a shared one the later
side would pay for the rows of the earlier, and a fresh start gives all the same cold process, too. The sides take
turns, each round begins with another one, and the ratios are medians of those within a round.

NocoBase's own time for the same push varies by half on a busy machine. Our pushes therefore pass the gateway on their
way, and "ours_in_nocobase" is the part of "ours" during which NocoBase had one: that ratio does not depend on how fast
NocoBase was in another round, nor does it say whether our pushes are of the right size, as the other two do.

A change is a person's move to another department, told by a real callback. It is seen when NocoBase's users:list shows
it, read every 10 ms, and timed from the change in the simulated WeCom. "told_directly" is a move pushed by httpx alone,
as the only record: what NocoBase itself needs of that time.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import httpx
import structlog

from app.simulator import Company, Department, Simulator, SimulatorSettings, generate_company, running
from benchmarks._stand import Bench, Place, Push, gateway, nocobase, service
from benchmarks.events import connected

PATIENCE = 60
SOURCE = "bench"
SIDES = {"ours": 0, "one_push": 1_000_000, "pushes_of_100": 100}
"""How many people each side sends in one push; ours decides by itself."""


async def first_load(bench: Bench, url: str, key: str) -> tuple[float, str]:
    """Add a target and wait until its first resync has ended: the seconds, and the target's id."""
    config = {"url": url, "api_key": key, "source_name": SOURCE}
    body = {"name": "bench", "kind": "nocobase", "source_id": bench.source_id, "config": config}
    began = time.perf_counter()
    target_id = (await bench.client.post("/api/v1/targets", json=body)).raise_for_status().json()["id"]
    run: dict[str, Any] = {"finished_at": None}
    while not run["finished_at"]:
        await asyncio.sleep(0.1)
        newest = {"source_id": bench.source_id, "limit": 1}
        run = (await bench.client.get("/api/v1/runs", params=newest)).json()["items"][0]
    assert (run["target_id"], run["state"]) == (target_id, "succeeded"), run
    return time.perf_counter() - began, target_id


async def forget(bench: Bench, target_id: str) -> None:
    """Delete a target."""
    (await bench.client.delete(f"/api/v1/targets/{target_id}")).raise_for_status()


async def push(client: httpx.AsyncClient, kind: str, records: list[dict[str, Any]]) -> None:
    """One push that NocoBase takes whole."""
    body = {"dataType": kind, "sourceName": SOURCE, "records": records}
    answer = (await client.post("/userData:push", json=body)).raise_for_status().json()
    assert not any(part["detail"]["failedRecords"] for part in answer["data"]["result"])


async def direct_load(client: httpx.AsyncClient, pushes: list[Push], size: int) -> float:
    """All departments in one push, then people, `size` in each: the seconds."""
    places = [record for one in pushes if one["dataType"] == "department" for record in one["records"]]
    people = [record for one in pushes if one["dataType"] == "user" for record in one["records"]]
    began = time.perf_counter()
    await push(client, "department", places)
    for start in range(0, len(people), size):
        await push(client, "user", people[start : start + size])
    return time.perf_counter() - began


async def accounts(client: httpx.AsyncClient, **which: str) -> list[list[Any]]:
    """What NocoBase holds of people, in a form to compare: user name, name, phone, mail, departments, main one."""
    query = {"pageSize": "1000000", "appends": "departments,mainDepartment", **which}
    rows = (await client.get("/users:list", params=query)).raise_for_status().json()["data"]
    return sorted(
        [
            row["username"],
            row["nickname"],
            row["phone"],
            row["email"],
            sorted(place["title"] for place in row["departments"]),
            (row["mainDepartment"] or {}).get("title"),
        ]
        for row in rows
    )


async def loads(bench: Bench, pushes: list[Push], rounds: int) -> dict[str, list[float]]:
    """The seconds of each side in each round; all three must leave the same behind."""
    took: dict[str, list[float]] = {side: [] for side in ("ours_in_nocobase", *SIDES)}
    expected: list[list[Any]] | None = None
    for number in range(rounds):
        for side in [*SIDES][number % 3 :] + [*SIDES][: number % 3]:
            async with nocobase() as place:
                if side == "ours":
                    seconds, within = await our_load(bench, place)
                    took["ours_in_nocobase"].append(within)
                else:
                    seconds = await direct_load(place.client, pushes, SIDES[side])
                took[side].append(seconds)
                found = await accounts(place.client)
            expected = expected or found
            assert found == expected, f"{side} left something else behind"
            print(f"{side}: {seconds:.1f} s", file=sys.stderr)
    return took


async def our_load(bench: Bench, place: Place) -> tuple[float, float]:
    """The seconds of a first load, and those of them during which NocoBase had a push."""
    async with gateway(place.client) as before:
        seconds, target_id = await first_load(bench, before.url, place.key)
        await forget(bench, target_id)
    return seconds, before.seconds


async def until(holds: Callable[[], Awaitable[bool]], every: float) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await holds():
                return
            await asyncio.sleep(every)


async def seen(place: Place, userid: str, title: str) -> None:
    """Wait until NocoBase shows a person in this department alone."""

    async def shown() -> bool:
        which = {"filter": json.dumps({"username": userid.lower()})}
        return [row[4] for row in await accounts(place.client, **which)] == [[title]]

    await until(shown, 0.01)


async def rested(bench: Bench, target_id: str) -> None:
    """Wait until nothing waits for the target, and then for a while that has no rhythm."""

    async def done() -> bool:
        return not (await bench.client.get(f"/api/v1/targets/{target_id}")).json()["backlog"]

    await until(done, 0.05)
    await asyncio.sleep(random.uniform(0.2, 1.2))


async def changes(bench: Bench, pushes: list[Push], number: int) -> dict[str, list[float]]:
    """The seconds until a move of a person is seen: made in WeCom, and pushed by httpx."""
    records = [record for one in pushes for record in one["records"]]
    people = {record["username"]: record for record in records if "username" in record}
    places = {record["title"]: record["uid"] for record in records if "title" in record}
    took: dict[str, list[float]] = {"ours": [], "told_directly": []}
    async with nocobase() as place:
        _, target_id = await first_load(bench, place.url, place.key)
        for userid in random.Random(1).sample(bench.simulator.company.userids, number):
            there, title = other_places(bench.simulator.company, userid)
            await rested(bench, target_id)
            began = time.perf_counter()
            bench.simulator.company.move(userid, [there.id])
            await seen(place, userid, there.name)
            took["ours"].append(time.perf_counter() - began)
            await rested(bench, target_id)
            seat = {"uid": places[title], "isMain": True, "isOwner": False}
            began = time.perf_counter()
            record = people[userid.lower()] | {"departments": [seat]}
            pushing = asyncio.create_task(push(place.client, "user", [record]))
            await seen(place, userid, title)
            took["told_directly"].append(time.perf_counter() - began)
            await pushing
        await forget(bench, target_id)
    return took


def other_places(company: Company, userid: str) -> tuple[Department, str]:
    """Two departments in which a person is not: one, and the title of the other."""
    held = {seat.department for seat in company.user(userid).memberships}
    first, second = [one for id, one in sorted(company.records.departments.items()) if id not in held][:2]
    return first, second.name


def summary(alone: float, took: dict[str, list[float]]) -> dict[str, Any]:
    """The first load in figures."""
    ratios = {
        f"ours_to_{side}": round(median(a / b for a, b in zip(took["ours"], took[side], strict=True)), 3)
        for side in ("ours_in_nocobase", "one_push", "pushes_of_100")
    }
    seconds = {side: [round(one, 1) for one in each] for side, each in took.items()}
    return {"seconds": seconds, **ratios, "ours_with_a_target_that_answers_at_once": round(alone, 2)}


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    held = sorted(seconds)
    return {"p50_ms": round(median(held) * 1000), "p95_ms": round(held[len(held) * 95 // 100] * 1000)}


async def measure(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    """First loads, then changes."""
    company = generate_company(users=arguments.users, departments=arguments.departments, seed=1)
    simulator = Simulator(company, SimulatorSettings())
    async with running(simulator) as base_url, service(folder) as client:
        bench = Bench(simulator, client, await connected(client, simulator, base_url))
        async with gateway() as alone:
            seconds, target_id = await first_load(bench, alone.url, "none")
            await forget(bench, target_id)
        loaded = await loads(bench, alone.pushes, arguments.rounds)
        told = await changes(bench, alone.pushes, arguments.changes)
    return {
        "first_load": summary(seconds, loaded),
        "change_to_seen": {side: spread(seconds) for side, seconds in told.items()},
    }


def main() -> None:
    """Measure and print one JSON object; ends with 75 where no NocoBase can be had."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--departments", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", type=int, default=30)
    arguments = parser.parse_args()
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(arguments, folder))
    print(json.dumps({"cpus": os.cpu_count(), **vars(arguments), **result}, indent=2))


if __name__ == "__main__":
    main()
