"""A real NocoBase, which `tests/nocobase/up` installed and started; see `make test-nocobase`."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.simulator import Company, Simulator, SimulatorSettings
from app.store import runs, targets
from app.store.bulk import table_of
from app.store.db import Database
from app.store.tables import DeliveryRow
from app.store.targets import Target, Targets
from app.sync.outlets import Outlets
from app.targets.kinds import KINDS
from tests.sync.harness import WIDE, Bench, bench

KIND = KINDS["nocobase"]
ROOT = "nocobase"


@pytest.fixture(scope="session")
def address() -> dict[str, str]:
    """Where NocoBase is, and the key of a role that may push and read."""
    return {"url": os.environ["NOCOBASE_URL"], "api_key": os.environ["NOCOBASE_API_KEY"]}


@dataclass
class Real:
    """A source, and a target of it that ends in the real NocoBase."""

    desk: Bench
    id: str
    source_name: str
    client: httpx.AsyncClient

    async def target(self) -> Target:
        async with self.desk.db.read() as conn:
            return await self.desk.worker.outlets.targets.get(conn, self.id)  # type: ignore[union-attr]

    async def sync(self) -> None:
        """A full sync and everything that follows from it."""
        await self.desk.sync()
        await self.deliver()

    async def deliver(self) -> None:
        async with self.desk.db.write() as conn:
            await targets.record(conn, self.id, next_attempt_at=None)
            await conn.execute(table_of(DeliveryRow).update().values(next_attempt_at=None))
        self.desk.worker.wake("deliver", self.id)
        await self.desk.worker.settled()

    async def people(self) -> dict[str, dict[str, Any]]:
        """NocoBase's accounts by user name, our own helpers' left out."""
        body = await self._list("users", appends="departments,mainDepartment")
        return {row["username"]: row for row in body if row["username"] not in (ROOT, "sync-bot")}

    async def places(self) -> list[dict[str, Any]]:
        return await self._list("departments", appends="parent,owners")

    async def _list(self, collection: str, **query: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/{collection}:list", params={"pageSize": "2000", **query})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows


@pytest.fixture
async def real(sqlite_url: str, address: dict[str, str]) -> AsyncIterator[Real]:
    company, database = Company(), await Database.open(sqlite_url)
    headers = {"Authorization": f"Bearer {address['api_key']}"}
    async with (
        bench(database, Simulator(company, SimulatorSettings()), guard=WIDE) as desk,
        httpx.AsyncClient(base_url=f"{address['url']}/api/", headers=headers, timeout=60) as client,
    ):
        store = Targets(desk.sealer)
        id_ = targets.fresh_id()
        config = KIND.config.model_validate(address | {"source_name": id_})

        async def open_writer(_target: Target) -> Any:
            return KIND.open_writer(config, "corp")

        desk.worker.outlets = Outlets(database, store, open_writer)
        async with database.write() as conn:
            made = await store.create(
                conn,
                id=id_,
                source_id=desk.source.id,
                name="NocoBase",
                kind="nocobase",
                config={},
                secrets={},
                channel=KIND.channel(config),
                wants_news=False,
                guard=WIDE,
            )
            await runs.order_resync(conn, made.id, made.source_id)
        yield Real(desk, id_, id_, client)
    await database.close()
