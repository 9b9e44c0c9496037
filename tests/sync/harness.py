"""A simulated company, a database and a worker, joined as in the running service, but without its web server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from cryptography.fernet import Fernet
from sqlalchemy import event, func, select

from app.core.directory import WITHHELD
from app.simulator import Company, Simulator, render
from app.simulator.crypto import encrypt, sign
from app.sources.kinds import KINDS
from app.sources.wecom.client import connect
from app.sources.wecom.reader import WeComReader
from app.store import runs
from app.store.bulk import table_of
from app.store.db import Database, now
from app.store.inbox_writer import InboxWriter
from app.store.keys import Sealer
from app.store.runs import Run
from app.store.sources import Source, Sources
from app.store.tables import (
    BudgetRow,
    ChangeRow,
    DepartmentRow,
    InboxRow,
    LeaseRow,
    MembershipRow,
    PlannedChangeRow,
    RunRow,
    SourceRow,
    StagedPageRow,
    UserRow,
)
from app.store.tokens import Tokens
from app.sync import events
from app.sync.tasks import Worker

TOKEN, AES_KEY = "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
WIDE = {"max_percent": 100, "max_count": 1_000_000, "floor": 0}
ENDED = (*runs.ENDED, "awaiting_approval")
users, departments, memberships = table_of(UserRow), table_of(DepartmentRow), table_of(MembershipRow)
budget = table_of(BudgetRow)
changes, inbox_table, planned = table_of(ChangeRow), table_of(InboxRow), table_of(PlannedChangeRow)
pages, leases, run_table, source_table = map(table_of, (StagedPageRow, LeaseRow, RunRow, SourceRow))


@dataclass
class Held:
    """What we hold of a simulated company, as the tables say."""

    simulator: Simulator
    db: Database

    @property
    def company(self) -> Company:
        return self.simulator.company

    async def count(self, table: Any, *where: Any) -> int:
        async with self.db.read() as conn:
            return await conn.scalar(select(func.count()).select_from(table).where(*where)) or 0

    async def rows(self, table: Any, *where: Any) -> list[dict[str, Any]]:
        async with self.db.read() as conn:
            return [dict(row) for row in (await conn.execute(select(table).where(*where))).mappings()]

    async def user(self, userid: str) -> dict[str, Any]:
        (row,) = await self.rows(users, users.c.user_key == userid.lower(), users.c.superseded_at.is_(None))
        return row

    async def department(self, number: int) -> dict[str, Any]:
        (row,) = await self.rows(departments, departments.c.department_id == number)
        return row

    async def seats(self, userid: str) -> set[int]:
        id_ = (await self.user(userid))["id"]
        return {row["department_id"] for row in await self.rows(memberships, memberships.c.user_id == id_)}

    async def feed(self) -> list[dict[str, Any]]:
        return sorted(await self.rows(changes), key=lambda row: row["seq"])

    async def plan(self, run_id: str) -> list[dict[str, Any]]:
        return await self.rows(planned, planned.c.run_id == run_id)

    async def differences(self) -> dict[str, Any]:
        """What our directory says otherwise than the company, field by field, of everything that is in sight: empty
        when they agree. Who is unmanaged, or has a membership out of sight, is not in what the company shows."""
        truth = self.company.truth(self.company.app)
        return {
            name: difference
            for name, difference in {
                "departments": await self._departments_differ(truth),
                "users": await self._users_differ(truth),
                "memberships": await self._memberships_differ(truth),
            }.items()
            if difference
        }

    async def _departments_differ(self, truth: dict[str, Any]) -> list[Any]:
        seen = (departments.c.active, departments.c.unmanaged_since.is_(None))
        held = {row["department_id"]: row for row in await self.rows(departments, *seen)}
        wanted = {item["department_id"]: item for item in truth["departments"]}
        names = ("name", "name_en", "parent_id", "order")
        found: list[Any] = [("only one side", n) for n in held.keys() ^ wanted.keys()]
        for number in held.keys() & wanted.keys():
            row, item = held[number], wanted[number]
            found += [(number, n, row[n], item.get(n)) for n in names if (row[n] or None) != (item.get(n) or None)]
            if sorted(row["leaders"] or []) != sorted(item.get("leaders") or []):
                found.append((number, "leaders", row["leaders"], item["leaders"]))
        return found

    async def _users_differ(self, truth: dict[str, Any]) -> list[Any]:
        where = (users.c.superseded_at.is_(None),)
        held = {row["userid"]: row for row in await self.rows(users, *where)}
        wanted = {item["userid"]: item for item in truth["users"]}
        active = {userid for userid, row in held.items() if row["active"] and not row["unmanaged_since"]}
        working = {userid for userid, item in wanted.items() if item.get("status") != 5}
        found: list[Any] = [("active on one side", userid) for userid in active ^ working]
        for userid in held.keys() & wanted.keys():
            row, item = held[userid], wanted[userid]
            names = [n for n in item if n not in ("userid", "memberships")]
            if item["main_department_id"] is None:  # it may be out of sight
                names.remove("main_department_id")
            for name in names:
                ours, theirs = row[name], item[name]
                if name in WITHHELD and not ours and (not theirs or theirs == "0"):
                    continue
                if (ours or None) != (theirs or None):
                    found.append((userid, name, ours, theirs))
        return found

    async def _memberships_differ(self, truth: dict[str, Any]) -> list[Any]:
        seen = (users.c.active, users.c.unmanaged_since.is_(None))
        names = {row["id"]: row["userid"] for row in await self.rows(users, *seen)}
        away = {
            row["department_id"] for row in await self.rows(departments, departments.c.unmanaged_since.is_not(None))
        }
        held = {
            (names[row["user_id"]], row["department_id"], row["order"], row["is_leader"])
            for row in await self.rows(memberships)
            if row["user_id"] in names and row["department_id"] not in away
        }
        left = {item["userid"] for item in truth["users"] if item.get("status") == 5}
        wanted = {
            (item["userid"], item["department_id"], item["order"], bool(item["is_leader"]))
            for item in truth["memberships"]
            if item["userid"] not in left
        }
        return sorted(held ^ wanted)


@dataclass
class Bench(Held):
    """A source of that company, and a worker for it."""

    sources: Sources
    source: Source
    worker: Worker
    inbox: InboxWriter
    sealer: Sealer

    async def sync(self, **order: Any) -> Run:
        """Order a run and wait for its end."""
        async with self.db.write() as conn:
            source = await self.sources.get(conn, self.source.id)
            run = await runs.order(conn, source, **order)
        return await self.ended(run.id)

    async def order(self, **order: Any) -> Run:
        """Order a run and let it begin."""
        async with self.db.write() as conn:
            run = await runs.order(conn, await self.sources.get(conn, self.source.id), **order)
        self.worker.wake("runs", self.source.id)
        return run

    async def ended(self, run_id: str) -> Run:
        self.worker.wake("runs", self.source.id)
        await self.worker.settled()
        run = await self.run(run_id)
        assert run.state in ENDED, run
        return run

    async def run(self, run_id: str) -> Run:
        async with self.db.read() as conn:
            return await runs.get(conn, run_id)

    async def tell(self, *told: Any, form: str = "ids", apps: bool = False) -> None:
        """Put events of the simulator into the inbox, as the callback route does; those to an app's
        own receiver only with `apps`."""
        kind = KINDS["wecom"]
        async with self.db.read() as conn:
            config = kind.config.model_validate(await self.sources.revealed(conn, self.source.id))
        for news in told:
            if not news.raised_in(form) or (news.agent_id is not None and not apps):
                continue
            sealed = encrypt(AES_KEY, render(news, self.company.corp_id, form).encode(), self.company.corp_id)
            query = {"timestamp": "1", "nonce": "2", "msg_signature": sign(TOKEN, "1", "2", sealed)}
            body = f"<xml><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()
            read, _ = kind.listener.receive(kind.callback_pairs(config), query, body)
            await self.inbox.put(self.source.id, read)

    async def drain_beside(self) -> None:
        """One drain, while a run may be under way."""
        self.worker.wake("events", self.source.id)
        task = self.worker._jobs["events", self.source.id].task
        assert task is not None
        await task

    async def drain(self, *, until_done: bool = True) -> None:
        """Work the inbox off; events that were put off are made due at once."""
        for _ in range(8):
            self.worker.wake("events", self.source.id)
            await self.worker.settled()
            if not until_done or not await self.count(inbox_table, inbox_table.c.state == "pending"):
                return
            await self.make_due()

    async def forget_limits(self) -> None:
        """Let WeCom's 45009 windows pass."""
        async with self.db.write() as conn:
            await conn.execute(budget.delete())
        self.worker.tokens = Tokens(self.db, self.sealer, "worker-1")
        for _, reader in self.worker._readers.values():  # they remember the former tokens
            await reader.aclose()
        self.worker._readers.clear()

    async def restart(self) -> None:
        """The worker is torn out of whatever it does, and started again."""
        was = self.worker
        await was.stop()
        self.worker = Worker(
            self.db,
            self.sources,
            was.tokens,
            was.owner,
            was.open_reader,
            was.outlets,
            tick_seconds=3600,
            tries=was.tries,
        )
        await self.worker.start()

    async def take_over(self) -> None:
        """Somebody else claims the lease of the runs, and lets go of it."""
        async with self.db.write() as conn:
            where = leases.c.id == f"{self.source.id}:sync"
            await conn.execute(leases.update().where(where).values(token=leases.c.token + 1, owner=None, until=None))

    async def unguarded(self) -> None:
        """Let the guard stop nothing."""
        async with self.db.write() as conn:
            await self.sources.patch(conn, self.source.id, {"guard": WIDE})

    def rest(self) -> None:
        """Let the pauses after failures pass."""
        for job in self.worker._jobs.values():
            job.failures, job.not_before = 0, 0.0

    async def put_off(self) -> None:
        """What waits now is not due for an hour."""
        async with self.db.write() as conn:
            await conn.execute(inbox_table.update().values(next_attempt_at=now() + timedelta(hours=1)))

    async def make_due(self) -> None:
        async with self.db.write() as conn:
            await conn.execute(inbox_table.update().values(next_attempt_at=now() - timedelta(seconds=1)))

    async def sources_value(self) -> Source:
        async with self.db.read() as conn:
            return await self.sources.get(conn, self.source.id)


@asynccontextmanager
async def bench(
    db: Database,
    simulator: Simulator,
    *,
    contacts: bool = True,
    app: bool = True,
    guard: dict[str, Any] | None = None,
    client: Callable[[Any], httpx.AsyncClient] | None = None,
    base_url: str | None = None,
    observe: Callable[[], Awaitable[int]] | None = None,
) -> AsyncIterator[Bench]:
    """A source of the simulated company, ready to be synced: in process, or over HTTP at `base_url`."""
    company = simulator.company
    secrets = {"token": TOKEN, "encoding_aes_key": AES_KEY}
    if app:
        secrets["app_secret"] = company.app.secret
    if contacts:
        secrets["contacts_secret"] = company.contacts.secret
    config = {"corp_id": company.corp_id, "base_url": base_url or "http://wecom"}
    if app:
        config["agent_id"] = company.app.agent_id
    sealer = Sealer([Fernet.generate_key()])
    sources, tokens = Sources(sealer), Tokens(db, sealer, "worker-1")
    async with db.write() as conn:
        source = await sources.create(conn, name="HQ", kind="wecom", config=config, secrets=secrets, guard=guard or {})

    def make_client(config: Any) -> httpx.AsyncClient:
        if base_url:
            return connect(config)
        return httpx.AsyncClient(transport=httpx.ASGITransport(simulator.app), base_url="http://wecom")

    async def open_reader(wanted: Source) -> Any:
        kind = KINDS[wanted.kind]
        async with db.read() as conn:
            read = kind.config.model_validate(await sources.revealed(conn, wanted.id))
        factory = client or make_client
        return WeComReader(
            read,
            tokens=made.worker.tokens,
            observe=observe or db.observe,
            client_factory=factory,
            patience=1,
            sleep=no_sleep,
        )

    inbox = InboxWriter(db)
    worker = Worker(db, sources, tokens, "worker-1", open_reader=open_reader, tick_seconds=3600, tries=1)
    await worker.start()
    made = Bench(simulator, db, sources, source, worker, inbox, sealer)
    try:
        yield made
    finally:
        await made.worker.stop()
        await inbox.close()


@asynccontextmanager
async def sweep_held(desk: Bench, when: Any, **held: Any) -> AsyncIterator[Run]:
    """As `run_held`, and it ends well."""
    async with run_held(desk, when, **held) as run:
        yield run
    ended = await desk.run(run.id)
    assert ended.state in ("succeeded", "partial"), ended


@asynccontextmanager
async def run_held(desk: Bench, when: Any, *, staged: Collection[str] = (), **held: Any) -> AsyncIterator[Run]:
    """A full sync that stands still at a call, the pages named in `staged` behind it; it ends with the block."""
    barrier = desk.simulator.hold(when, **held)
    run = await desk.order()
    await barrier.reached()

    async def read() -> bool:
        return {row["key"] for row in await desk.rows(pages, pages.c.run_id == run.id)} >= set(staged)

    await until(read)
    try:
        yield run
    finally:
        barrier.release()
        await desk.worker.settled()


def members_of(department: int) -> Callable[[Any], bool]:
    """The call that reads the members of a department."""
    return lambda call: call.path == "user/list" and call.params.get("department_id") == str(department)


def first(matches: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Only the first of the calls meant."""
    numbers: list[int] = []

    def meant(call: Any) -> bool:
        if matches(call) and not numbers:
            numbers.append(call.number)
        return call.number in numbers

    return meant


@contextmanager
def once_written(
    db: Database, statement: str, act: Callable[[], Awaitable[None]]
) -> Iterator[list[asyncio.Task[None]]]:
    """As soon as a statement that begins so is sent, let `act` be the next to write."""
    acting: list[asyncio.Task[None]] = []

    def watch(_conn: object, _cursor: object, text: str, *_rest: object) -> None:
        if text.startswith(statement) and not acting:
            acting.append(asyncio.ensure_future(act()))

    engine = db._writer.sync_engine
    event.listen(engine, "before_cursor_execute", watch)
    try:
        yield acting
    finally:
        event.remove(engine, "before_cursor_execute", watch)


async def no_sleep(_seconds: float) -> None:
    """Pauses between retries are not what these tests are about."""
    await asyncio.sleep(0)


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until an awaitable condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it is a row that changes
            await asyncio.sleep(0.02)


__all__ = ["Bench", "bench", "events", "until"]
