"""Another system in memory, which a target of ours is to keep equal to the directory, and which may misbehave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet

from app.core.outgoing import Outcome, Outgoing, Pairing
from app.core.ports import Writer
from app.store import runs, targets
from app.store.deliveries import Delivery
from app.store.keys import Sealer
from app.store.runs import Run
from app.store.tables import DeliveryRow, DepartmentRow, LinkRow, MembershipRow, RunRow, TargetRow, UserRow
from app.store.targets import Target, Targets
from app.sync.outlets import Outlets
from tests.sync.harness import Bench, table_of

delivery_table, link_table, run_table, target_table = map(table_of, (DeliveryRow, LinkRow, RunRow, TargetRow))


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Remote:
    """What the other system holds, by our ids, and every write it saw. `before` and `after` are called around a write
    and may raise; objects whose key is in `refused` are not taken."""

    held: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    writes: list[list[Outgoing]] = field(default_factory=list)
    settled: list[datetime] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    batch: int = 50
    writing: int = 0
    pairings: dict[str, Pairing] = field(default_factory=dict)

    def record(self, item: Outgoing) -> Mapping[str, object] | None:
        value = item.value
        if not value.get("active", True):
            return None
        if item.kind == "department":
            return {"name": value["name"], "parent": value["parent"], "order": value["order"]}
        if item.kind == "run":
            return {"run": value["id"], "state": value["state"]}
        seats = sorted((s["id"], s["is_leader"], s["is_main"]) for s in value["departments"] if s["id"])
        return {"userid": value["userid"], "name": value["name"], "mobile": value["mobile"], "seats": seats}

    async def write(self, items: Sequence[Outgoing]) -> list[Outcome]:
        assert self.writing == 0, "two writes at the same time"
        self.writing += 1
        try:
            self.before()
            self.writes.append(list(items))
            outcomes = [self._take(item) for item in items]
            self.after()
            return outcomes
        finally:
            self.writing -= 1

    def _take(self, item: Outgoing) -> Outcome:
        if item.key in self.refused:
            return Outcome(self.refused[item.key], "remote.refused", "not taken")  # type: ignore[arg-type]
        record = self.record(item)
        if record is None:
            self.held.pop(item.object_id, None)
        else:
            parent = record.get("parent")
            assert parent is None or parent in self.held, "a child came before its parent"
            self.held[item.object_id] = record
        return Outcome("delivered", remote_id=f"r-{item.object_id}")

    async def settle(self, since: datetime) -> None:
        self.settled.append(since)

    async def pair(self, items: Sequence[Outgoing]) -> dict[str, Pairing]:
        return {item.object_id: self.pairings[item.key] for item in items if item.key in self.pairings}

    async def aclose(self) -> None:
        return

    @property
    def told(self) -> list[str]:
        """The keys of everything that was sent, in order."""
        return [item.key for write in self.writes for item in write]


@dataclass
class Outlet:
    """A target of the bench's source that ends in `remote`."""

    desk: Bench
    remote: Remote
    targets: Targets
    id: str

    async def target(self) -> Target:
        async with self.desk.db.read() as conn:
            return await self.targets.get(conn, self.id)

    async def deliver(self) -> None:
        """Send what is due, whatever pauses were noted."""
        async with self.desk.db.write() as conn:
            await targets.record(conn, self.id, next_attempt_at=None)
            await conn.execute(delivery_table.update().values(next_attempt_at=None))
        self.desk.worker.wake("deliver", self.id)
        await self.desk.worker.settled()

    async def resync(self, *, dry_run: bool = False) -> Run:
        async with self.desk.db.write() as conn:
            run = await runs.order_resync(conn, self.id, self.desk.source.id, dry_run=dry_run)
        self.desk.worker.wake("deliver", self.id)
        await self.desk.worker.settled()
        return await self.desk.run(run.id)

    async def deliveries(self, **where: Any) -> list[Delivery]:
        rows = await self.desk.rows(delivery_table, *(delivery_table.c[k] == v for k, v in where.items()))
        return [
            Delivery(**{name: row[name] for name in Delivery.__slots__}) for row in sorted(rows, key=lambda r: r["id"])
        ]

    async def differences(self) -> list[Any]:
        """What the other system holds otherwise than the directory says: empty when they agree."""
        held = self.desk
        departments = {row["department_id"]: row for row in await held.rows(table_of(DepartmentRow)) if row["active"]}
        seats: dict[str, list[Any]] = {}
        people = {row["id"]: row for row in await held.rows(table_of(UserRow)) if row["active"]}
        for row in await held.rows(table_of(MembershipRow)):
            if row["user_id"] in people and row["department_id"] in departments:
                main = people[row["user_id"]]["main_department_id"] == row["department_id"]
                seats.setdefault(row["user_id"], []).append(
                    (departments[row["department_id"]]["id"], row["is_leader"], main)
                )
        wanted: dict[str, Any] = {
            row["id"]: {
                "name": row["name"],
                "parent": departments[row["parent_id"]]["id"] if row["parent_id"] in departments else None,
                "order": row["order"],
            }
            for row in departments.values()
        }
        for id_, row in people.items():
            own = {name: row[name] for name in ("userid", "name", "mobile")}
            wanted[id_] = own | {"seats": sorted(seats.get(id_, []))}
        mine = {id_: value for id_, value in self.remote.held.items() if "run" not in value}
        return [
            (id_, mine.get(id_), wanted.get(id_))
            for id_ in mine.keys() | wanted.keys()
            if mine.get(id_) != wanted.get(id_)
        ]


async def outlet(desk: Bench, *, enabled: bool = True, guard: dict[str, Any] | None = None, **given: Any) -> Outlet:
    """A new target; one worker serves every target of the bench, each by its own remote."""
    store = _store_of(desk)
    id_ = targets.fresh_id()
    values = {"name": "Other", "kind": "memory", "config": {}, "secrets": {}, "channel": id_, "wants_news": False}
    async with desk.db.write() as conn:
        made = await store.create(
            conn, id=id_, source_id=desk.source.id, enabled=enabled, guard=guard or {}, **values | given
        )
        if enabled:
            await runs.order_resync(conn, made.id, made.source_id)
    remote = Remote()
    _remotes(desk)[id_] = remote
    return Outlet(desk, remote, store, id_)


def _remotes(desk: Bench) -> dict[str, Remote]:
    return desk.worker.outlets.open_writer.remotes  # type: ignore[union-attr,attr-defined]


def _store_of(desk: Bench) -> Targets:
    if desk.worker.outlets is None:
        remotes: dict[str, Remote] = {}

        async def open_writer(target: Target) -> Writer:
            return remotes[target.id]

        open_writer.remotes = remotes  # type: ignore[attr-defined]
        desk.worker.outlets = Outlets(desk.db, Targets(Sealer([Fernet.generate_key()])), open_writer)
    return desk.worker.outlets.targets


@contextmanager
def failing(remote: Remote, error: BaseException, *, after: bool = False) -> Iterator[None]:
    """Every write fails, before or after it was taken."""

    def fail() -> None:
        raise error

    name = "after" if after else "before"
    setattr(remote, name, fail)
    try:
        yield
    finally:
        setattr(remote, name, lambda: None)
