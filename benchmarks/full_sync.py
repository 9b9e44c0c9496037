"""A full sync of a simulated company over real HTTP: wall time, API calls, memory, and what a second run writes.

    python -m benchmarks.full_sync --users 10000 --departments 300 [--latency 0.03] [--database postgresql://…]

The simulated WeCom runs in a process of its own; memory is that of the syncing process alone. "ideal" is the time
that the same number of calls takes at eight in flight when each is answered after the latency.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import structlog
from cryptography.fernet import Fernet
from sqlalchemy import event

from app.simulator import SimulatorSettings, run
from app.store import runs
from app.store.db import Database
from app.store.keys import Sealer
from app.store.migrations import migrate
from app.store.sources import Sources
from app.store.tokens import Tokens
from app.sync.tasks import Worker

AT_ONCE = 8


def simulate(port: int, users: int, departments: int, latency: float) -> None:
    """The simulated WeCom, until it is killed."""
    run("127.0.0.1", port, users, departments, 1, settings=SimulatorSettings(latency=latency))


async def ready(base_url: str) -> dict[str, Any]:
    """The company's credentials, once the simulated WeCom answers."""
    async with httpx.AsyncClient() as client:
        while True:
            try:
                answer = await client.get(f"{base_url}/control/company", timeout=600)
                return dict(answer.json())
            except httpx.ConnectError:
                await asyncio.sleep(0.1)


async def measure(arguments: argparse.Namespace, base_url: str) -> dict[str, Any]:
    """Two full syncs: the first fills the directory, the second finds nothing to change."""
    company = await ready(base_url)
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database or f"sqlite:///{Path(folder) / 'bench.db'}"
        await migrate(url)
        db = await Database.open(url)
        sealer = Sealer([Fernet.generate_key()])
        sources, tokens = Sources(sealer), Tokens(db, sealer, "bench")
        app = company["credentials"]["app"]
        async with db.write() as conn:
            config = {"corp_id": company["corp_id"], "agent_id": app["agent_id"], "base_url": base_url}
            source = await sources.create(
                conn, name="bench", kind="wecom", config=config, secrets={"app_secret": app["secret"]}
            )
        worker = Worker(db, sources, tokens, "bench")
        await worker.start()
        try:
            first = await one_run(db, sources, worker, source.id, arguments.latency)
            writes = count_writes(db)
            second = await one_run(db, sources, worker, source.id, arguments.latency)
        finally:
            await worker.stop()
            await db.close()
    return {"first": first, "unchanged": second | {"rows_written_to_directory": writes["directory"]}}


async def one_run(db: Database, sources: Sources, worker: Worker, source_id: str, latency: float) -> dict[str, Any]:
    """Order a run, wait for its end, and say how long it took."""
    async with db.write() as conn:
        ordered = await runs.order(conn, await sources.get(conn, source_id))
    began, cpu = time.perf_counter(), time.process_time()
    worker.wake("runs", source_id)
    await worker.settled()
    took = time.perf_counter() - began
    async with db.read() as conn:
        ended = await runs.get(conn, ordered.id)
    ideal = ended.api_calls / AT_ONCE * latency
    return {
        "state": ended.state,
        "seconds": round(took, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "api_calls": ended.api_calls,
        "ideal_seconds": round(ideal, 2),
        "ratio_to_ideal": round(took / ideal, 2) if ideal else None,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "users": ended.counts["users"],
    }


def count_writes(db: Database) -> dict[str, int]:
    """Counts statements that write to the directory or the feed from now on."""
    counts = {"directory": 0}
    tables = ('"user"', "department", "membership", "change", '"department"', '"membership"', '"change"')

    def watch(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        words = statement.split(None, 3)
        if words[0] in ("INSERT", "UPDATE", "DELETE") and any(word in tables for word in words[1:3]):
            counts["directory"] += 1

    event.listen(db._writer.sync_engine, "before_cursor_execute", watch)
    return counts


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--departments", type=int, default=300)
    parser.add_argument("--latency", type=float, default=0.03)
    parser.add_argument("--database")
    arguments = parser.parse_args()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    port = free_port()
    simulated = multiprocessing.get_context("spawn").Process(
        target=simulate, args=(port, arguments.users, arguments.departments, arguments.latency), daemon=True
    )
    simulated.start()
    try:
        result = asyncio.run(measure(arguments, f"http://127.0.0.1:{port}"))
    finally:
        simulated.kill()
    print(json.dumps({"cpus": os.cpu_count(), **vars(arguments), **result}, indent=2))


if __name__ == "__main__":
    main()
