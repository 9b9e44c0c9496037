"""Bringing one target up to date: take changes of the feed, put their objects in line, send them as they are now.

A delivery is sent at least once: whoever dies between sending and marking leaves it to be sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.backoff import backoff
from app.core.fingerprint import digest_of
from app.core.guard import Limit, Loss, trips
from app.core.outgoing import Outcome, Outgoing
from app.core.ports import Writer
from app.errors import AskAdmin, Refused, ServiceError, TryLater
from app.store import audit, deliveries, pages, runs, targets
from app.store.db import Database, now
from app.store.deliveries import DEPARTMENT_GONE, SEATS, USER, USER_GONE, Delivery, Waiting
from app.store.leases import Lease
from app.store.outgoing import Tree, values
from app.store.targets import Target, Targets

log = structlog.get_logger()

TAKEN_AT_ONCE: Final = 1000
WINDOW: Final = timedelta(hours=24)
GIVEN_UP_AFTER: Final = timedelta(days=3)
LONGEST: Final = 900.0
LONGEST_ASKING: Final = 3600.0
PAUSES: Final = (5, 30, 120, 600, 3600, 3600, 3600)
"""Seconds before an object that was not taken is tried again; then it is dead."""
GONE: Final = "target.gone"


@dataclass(frozen=True, slots=True)
class Delivering:
    """One target, opened for writing under the lease of its channel."""

    db: Database
    targets: Targets
    target: Target
    lease: Lease
    writer: Writer


async def deliver(work: Delivering) -> None:
    """Send until nothing is due. Raises TryLater and AskAdmin after having noted them on the target."""
    target = work.target
    if not target.enabled or target.state == "suspended":
        return
    try:
        await _settle(work)
        while True:
            await _take(work)
            await _guard(work)
            async with work.db.read() as conn:
                batch = await deliveries.next_batch(conn, target.id, work.writer.batch, now())
            if not batch:
                break
            await _send(work, batch)
    except (TryLater, AskAdmin) as error:
        await _target_failed(work, error)
        raise


async def _settle(work: Delivering) -> None:
    """A write whose end nobody saw may still be under way over there."""
    channel = work.target.channel
    async with work.db.read() as conn:
        since = await targets.sending(conn, channel)
    if since is not None:
        await work.writer.settle(since)
        async with work.db.fenced(work.lease) as conn:
            await targets.settled(conn, channel)


async def _take(work: Delivering) -> None:
    """Put the objects of new changes in line."""
    id_, source_id = work.target.id, work.target.source_id
    while True:
        async with work.db.fenced(work.lease) as conn:
            target = await work.targets.get(conn, id_)
            try:
                rows = await pages.feed(conn, source_id, after=target.taken, limit=TAKEN_AT_ONCE)
            except Refused:  # purged: the whole directory is compared instead
                await _overtaken(conn, target)
                return
            if not rows:
                return
            await enqueue(conn, target, deliveries.gathered(rows))
            await targets.record(conn, id_, taken=rows[-1].seq)
            await runs.end_needless(conn, target)


async def _overtaken(conn: AsyncConnection, target: Target) -> None:
    source = await targets.newest(conn, target.source_id)
    await targets.record(conn, target.id, taken=source)
    if await runs.active_resync(conn, target.id) is None:
        await runs.order_resync(conn, target.id, target.source_id, trigger="event")


async def enqueue(conn: AsyncConnection, target: Target, waiting: Sequence[Waiting]) -> None:
    """Put objects in line by what they are now: parents first, people, people gone, departments gone."""
    tree = await Tree.read(conn, target.source_id)
    for kind in ("department", "user"):
        ids = [one.object_id for one in waiting if one.kind == kind]
        found = await values(conn, tree, kind, ids) if ids else {}
        for one in waiting:
            if one.kind == kind:
                one.rank = rank(kind, found.get(one.object_id))
    await deliveries.enqueue(conn, target.id, waiting)


def rank(kind: str, value: Mapping[str, Any] | None) -> int:
    """Where an object stands in line; one that was erased is gone."""
    active = bool(value and value["active"])
    depth = min(value["depth"], 998) if value and kind == "department" else 0
    if kind == "department":
        return depth if active else DEPARTMENT_GONE + 999 - depth
    return USER if active else USER_GONE


async def _guard(work: Delivering) -> None:
    """Hold removals back that together are more than the target's limit allows within a day."""
    async with work.db.read() as conn:
        waiting = await deliveries.removals(conn, work.target.id)
        if not waiting:
            return
        counts = await deliveries.present_counts(conn, work.target.id, now() - WINDOW)
        links = await deliveries.links_of(conn, work.target.id, [one.object_id for one in waiting])
    real = [one for one in waiting if one.object_id in links and links[one.object_id].present]
    limit = Limit(**work.target.guard)
    excess = [one for one in real if trips(_loss(one.kind, real, counts), limit)]
    if excess:
        async with work.db.fenced(work.lease) as conn:
            await runs.hold_removals(conn, await work.targets.get(conn, work.target.id), excess)


def _loss(kind: str, removed: Sequence[Delivery], counts: Mapping[str, tuple[int, int]]) -> Loss:
    there, recent = counts.get(kind, (0, 0))
    lost = sum(one.kind == kind for one in removed)
    return Loss("department" if kind == "department" else "deactivate", lost, there, recent=recent)


async def _send(work: Delivering, batch: Sequence[Delivery]) -> None:
    async with work.db.read() as conn:
        items = await outgoing(conn, work.target, batch)
    by_id = {item.delivery_id: item for item in items}
    idle = [one.id for one in batch if one.id not in by_id or not _to_tell(work.writer, by_id[one.id])]
    if idle:
        async with work.db.fenced(work.lease) as conn:
            await deliveries.finish(conn, idle)
            await _moved(conn, work.target.id)
    telling = [by_id[one.id] for one in batch if one.id not in idle]
    # What was a removal when it was put in line may not be one any more, and the other way round.
    telling = [item for item in telling if item.removal == telling[0].removal]
    if telling:
        await _write(work, telling)


async def outgoing(conn: AsyncConnection, target: Target, batch: Sequence[Delivery]) -> list[Outgoing]:
    """The objects of these deliveries as they are now; those that were erased are left out unless they are linked."""
    newest = await targets.newest(conn, target.source_id)  # before what it covers is read
    tree, ids = await Tree.read(conn, target.source_id), [one.object_id for one in batch]
    found = {kind: await values(conn, tree, kind, ids) for kind in {one.kind for one in batch}}
    links = await deliveries.links_of(conn, target.id, ids)
    items = []
    for one in batch:
        value = found[one.kind].get(one.object_id)
        if value is None and one.object_id in links:
            value = {"id": one.object_id, "active": False}
        if value is not None:
            items.append(_item(one, value, links.get(one.object_id), newest))
    return items


def _item(one: Delivery, value: Mapping[str, Any], link: Any, newest: int) -> Outgoing:
    return Outgoing(
        delivery_id=one.id,
        kind=one.kind,  # type: ignore[arg-type]  # what the column holds
        object_id=one.object_id,
        key=one.key,
        sequence=one.seq or newest,
        at=one.changed_at,
        value=value,
        actions=tuple(one.actions),
        previous=before(value, one.previous),
        link=link,
    )


def before(value: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """What was before, in the shape of the value: a user's departments as a list, whole, where one of them changed."""
    known = {name: held for name, held in previous.items() if name != SEATS}
    touched = previous.get(SEATS, {})
    if "departments" not in value or not (touched or "main_department_id" in previous):
        return known
    seats = {str(seat["department_id"]): seat for seat in value["departments"]} | touched
    main = previous.get("main_department_id", value.get("main_department_id"))
    names = ("department_id", "order", "is_leader")
    kept = [{name: seat[name] for name in names} for seat in seats.values() if seat is not None]
    listed = [seat | {"is_main": seat["department_id"] == main} for seat in kept]
    return known | {"departments": sorted(listed, key=lambda seat: seat["department_id"])}


def _to_tell(writer: Writer, item: Outgoing) -> bool:
    """Whether the target does not know it yet."""
    record = writer.record(item)
    if item.link is None:
        return record is not None
    if record is None:
        return item.link.present
    return item.link.digest != digest_of(record) or item.removal


async def _write(work: Delivering, items: Sequence[Outgoing]) -> None:
    began = now()
    async with work.db.fenced(work.lease) as conn:
        await targets.record(conn, work.target.id, sending_since=began)
    try:
        outcomes = await work.writer.write(items)
    except (TryLater, AskAdmin) as error:
        async with work.db.fenced(work.lease) as conn:
            attempt = _attempt(began, error.code, error.message)
            ids = [item.delivery_id for item in items]
            await deliveries.postpone(conn, dict.fromkeys(ids), dict.fromkeys(ids, attempt), state="retrying")
            await targets.record(conn, work.target.id, sending_since=None)
        raise
    async with work.db.fenced(work.lease) as conn:
        await _mark(conn, work, items, outcomes, began)


async def _mark(
    conn: AsyncConnection,
    work: Delivering,
    items: Sequence[Outgoing],
    outcomes: Sequence[Outcome],
    began: datetime,
) -> None:
    taken = [(item, out) for item, out in zip(items, outcomes, strict=True) if out.state == "delivered"]
    links = [_link(work.writer, item, out) for item, out in taken if item.kind in ("user", "department")]
    await deliveries.acknowledged(conn, work.target.id, links)
    status = next((out.status for _, out in taken if out.status), None)
    await deliveries.finish(conn, [item.delivery_id for item, _ in taken], _attempt(began, None, "", status))
    for item, out in zip(items, outcomes, strict=True):
        if out.state != "delivered":
            await _object_failed(conn, item, out, began)
    await _line_up_dependents(conn, work.target, [item for item, _ in taken])
    done = {"last_delivered_at": now(), "last_error": None} | targets.FRESH if taken else {}
    await targets.record(conn, work.target.id, sending_since=None, **done)
    await _moved(conn, work.target.id)


def _link(writer: Writer, item: Outgoing, out: Outcome) -> dict[str, Any]:
    record, present = writer.record(item), bool(item.value.get("active", True))
    known = item.link.remote_id if item.link else None
    return {
        "object_id": item.object_id,
        "kind": item.kind,
        "key": item.key,
        "remote_id": out.remote_id or known,
        "digest": None if record is None else digest_of(record),
        "present": present,
        "removed_at": None if present else now(),
    }


async def _object_failed(conn: AsyncConnection, item: Outgoing, out: Outcome, began: datetime) -> None:
    delivery = await deliveries.get(conn, item.delivery_id)
    left = out.state == "retrying" and delivery.failures < len(PAUSES)
    again = now() + timedelta(seconds=PAUSES[delivery.failures]) if left else None
    await deliveries.fail(conn, item.delivery_id, _attempt(began, out.code, out.message, out.status), again)
    if again is None:
        log.warning("delivery_dead", delivery=item.delivery_id, code=out.code)


async def _line_up_dependents(conn: AsyncConnection, target: Target, taken: Sequence[Outgoing]) -> None:
    """A target may have passed over who belongs to a department while it did not know it."""
    fresh = [item for item in taken if item.kind == "department" and not (item.link and item.link.present)]
    with_it = {item.object_id for item in taken}
    for item in fresh:
        if item.value["active"]:
            found = await deliveries.dependents(conn, target, item.value["department_id"])
            waiting = [one for one in found if one.object_id not in with_it]
            await deliveries.forget_digests(conn, target.id, [one.object_id for one in waiting])
            await enqueue(conn, target, waiting)


async def _moved(conn: AsyncConnection, target_id: str) -> None:
    taken = await targets.taken(conn, target_id)
    await targets.record(conn, target_id, position=await deliveries.position(conn, target_id, taken))


async def _target_failed(work: Delivering, error: ServiceError) -> None:
    """The whole target waits; after days of it, or when it has said so, until somebody changes it."""
    async with work.db.fenced(work.lease) as conn:
        target = await work.targets.get(conn, work.target.id)
        since = target.failing_since or now()
        asking = isinstance(error, AskAdmin)
        wait = backoff(
            target.failures + 1,
            after=getattr(error, "after", None),
            first=5.0,
            longest=LONGEST_ASKING if asking else LONGEST,
        )
        over = (asking and error.code == GONE) or now() - since > GIVEN_UP_AFTER
        state = {"state": "suspended" if over else "retrying", "failing_since": since, "failures": target.failures + 1}
        again = now() + timedelta(seconds=wait)
        await targets.record(conn, target.id, next_attempt_at=again, last_error=error.record(), **state)
        if over:
            await audit.record(conn, "service", "target.suspend", target.id, code=error.code)
            await deliveries.tell(conn, target.source_id, "target", target.id)
    log.warning("target_suspended" if over else "target_waits", target=target.id, code=error.code)


def _attempt(at: datetime, code: str | None, message: str, status: int | None = None) -> dict[str, Any]:
    error = {"code": code, "message": message} if code else None
    return {"at": at.isoformat().replace("+00:00", "Z"), "status": status, "response": None, "error": error}
