"""How soon a change in WeCom is in our directory, told by real callbacks at a steady rate; and what idling costs.

    python -m benchmarks.events [--rate 50] [--seconds 20] [--users 2000] [--idle 20]

The service runs as `serve` runs it, on SQLite, in a process of its own; the simulated WeCom answers every read after
30 ms and posts encrypted callbacks. The time of a change is from the change in the simulated company to the moment at
which the feed shows it, read every 20 ms.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import structlog

from app.logs import configure
from app.main import create_app
from app.settings import Settings
from app.simulator import Simulator, SimulatorSettings, generate_company, running
from app.store.db import url_of
from app.store.migrations import migrate
from benchmarks.callback import SECRET, serve
from benchmarks.full_sync import free_port

AES_KEY, TOKEN = "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt", "benchmark"


def service(port: int, folder: str) -> None:
    """The whole service with its worker."""
    settings = Settings(data_dir=Path(folder), admin_token=SECRET, public_url=f"http://127.0.0.1:{port}")  # type: ignore[arg-type]
    configure("warning", settings.log_format)
    asyncio.run(migrate(url_of(settings)))
    serve(create_app(settings), port)


async def connected(client: httpx.AsyncClient, simulator: Simulator, base_url: str) -> str:
    """A source of the simulated company after its first full sync, its callback URL saved in WeCom."""
    company = simulator.company
    while True:
        try:
            await client.get("/healthz")
            break
        except httpx.TransportError:
            await asyncio.sleep(0.05)
    config = {
        "corp_id": company.corp_id,
        "agent_id": company.app.agent_id,
        "app_secret": company.app.secret,
        "contacts_secret": company.contacts.secret,
        "token": TOKEN,
        "encoding_aes_key": AES_KEY,
        "base_url": base_url,
    }
    source = (
        await client.post(
            "/api/v1/sources",
            json={
                "name": "bench",
                "kind": "wecom",
                "config": config,
                "guard": {"max_percent": 100, "max_count": 100000},
            },
        )
    ).json()
    run = (await client.post(f"/api/v1/sources/{source['id']}/runs", json={})).json()
    while run["state"] in ("queued", "running"):
        await asyncio.sleep(0.1)
        run = (await client.get(f"/api/v1/runs/{run['id']}")).json()
    assert run["state"] == "succeeded", run
    saved = await simulator.callbacks.save(company.contacts, source["callback_url"], TOKEN, AES_KEY, form="ids")
    assert saved.ok, saved.reason
    return str(source["id"])


async def live(simulator: Simulator, rate: int, seconds: float, changed: dict[str, float]) -> None:
    """Move a different person to another department `rate` times a second."""
    company, start = simulator.company, time.perf_counter()
    places = sorted(company.records.departments)
    people = random.Random(1).sample(company.userids, int(rate * seconds))
    for number, userid in enumerate(people):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        held = {seat.department for seat in company.user(userid).memberships}
        target = next(place for place in places[number % len(places) :] + places if place not in held)
        changed[userid] = time.perf_counter()
        company.move(userid, [target])


async def watch(client: httpx.AsyncClient, source_id: str, changed: dict[str, float], took: list[float]) -> None:
    """Follow the feed and note when each person's move arrives."""
    feed = {"source_id": source_id, "limit": 500}
    after = 0
    while page := (await client.get("/api/v1/changes", params={**feed, "after": after})).json():
        seen = time.perf_counter()
        after = page["next_after"]
        for item in page["items"]:
            userid = item["key"].rpartition(":")[0]
            if item["kind"] == "membership" and userid in changed:
                took.append(seen - changed.pop(userid))
        await asyncio.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(arguments: argparse.Namespace, port: int, pid: int) -> dict[str, Any]:
    """The steady stream, then silence."""
    company = generate_company(users=arguments.users, departments=60, seed=1)
    simulator = Simulator(company, SimulatorSettings(latency=0.03))
    changed: dict[str, float] = {}
    took: list[float] = []
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        running(simulator) as base_url,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client,
    ):
        source_id = await connected(client, simulator, base_url)
        watching = asyncio.create_task(watch(client, source_id, changed, took))
        await live(simulator, arguments.rate, arguments.seconds, changed)
        await asyncio.sleep(5)
        watching.cancel()
        before = cpu_seconds(pid)
        await asyncio.sleep(arguments.idle)
        idle = (cpu_seconds(pid) - before) / arguments.idle
    took.sort()
    return {
        "events": len(took),
        "not_arrived": len(changed),
        "p50_seconds": round(took[len(took) // 2], 2),
        "p95_seconds": round(took[len(took) * 95 // 100], 2),
        "idle_share_of_a_core": round(idle, 4),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--idle", type=float, default=20)
    arguments = parser.parse_args()
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=service, args=(port, folder), daemon=True)
        process.start()
        try:
            result = asyncio.run(measure(arguments, port, process.pid or 0))
        finally:
            process.kill()
            process.join()
    print(json.dumps({"cpus": os.cpu_count(), **vars(arguments), **result}, indent=2))


if __name__ == "__main__":
    main()
