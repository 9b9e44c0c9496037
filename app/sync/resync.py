"""Comparing a target with the whole directory: what it has not acknowledged is put in line, the rest is left alone."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Action, Change, GuardKind, Kind
from app.core.fingerprint import digest_of
from app.core.guard import digest
from app.core.outgoing import Outgoing, Pairing
from app.store import deliveries, plans, runs
from app.store.db import now
from app.store.deliveries import Waiting
from app.store.outgoing import Tree, ids_after, values
from app.store.runs import Run
from app.sync.deliver import Delivering, enqueue

PAGE: Final = 500


async def resync(work: Delivering, run: Run) -> None:
    """Plan one resync and put what differs in line; a dry run ends here, the others when nothing of it waits."""
    async with work.db.fenced(work.lease) as conn:
        if run.cancel_requested:
            await runs.save(conn, run.id, state="cancelled", finished_at=now())
            return
        await plans.discard(conn, run.id)
        await runs.save(conn, run.id, state="running", stage="plan", started_at=run.started_at or now())
    seen = await _plan(work, run)
    async with work.db.fenced(work.lease) as conn:
        totals = await plans.counts(conn, run.id, seen, {})
        found = digest(await plans.marks(conn, run.id, ("planned",)))
        done = {"state": "succeeded", "finished_at": now()} if run.dry_run else {"stage": "apply"}
        await runs.save(conn, run.id, counts=totals, digest=found, **done)


async def _plan(work: Delivering, run: Run) -> dict[str, int]:
    """Page by page; the number of objects looked at, by kind."""
    seen = {}
    for kind in ("department", "user"):
        after, count = "", 0
        while True:
            async with work.db.read() as conn:
                ids = await ids_after(conn, work.target.source_id, work.target.id, kind, after, PAGE)
                items = await _items(conn, work, kind, ids)
            if not ids:
                break
            after, count = ids[-1], count + len(ids)
            await _page(work, run, items, done=count)
        seen[f"{kind}s"] = count
    return seen


async def _page(work: Delivering, run: Run, items: Iterable[Outgoing], *, done: int) -> None:
    changed = [(item, change) for item in items if (change := _change(work, item))]
    pairings = await work.writer.pair([i for i, c in changed if i.link is None and i.kind == "user"])
    planned = [_paired(change, pairings.get(item.object_id)) for item, change in changed]
    async with work.db.fenced(work.lease) as conn:
        await plans.add(conn, run.id, planned, plans.PEOPLE)
        if not run.dry_run:
            waiting = [Waiting(i.kind, i.object_id, i.key, 0, now(), run_id=run.id) for i, _ in changed]
            await enqueue(conn, work.target, waiting)
        await runs.save(conn, run.id, done=done)


async def _items(conn: AsyncConnection, work: Delivering, kind: str, ids: list[str]) -> list[Outgoing]:
    tree = await Tree.read(conn, work.target.source_id)
    found = await values(conn, tree, kind, ids)
    links = await deliveries.links_of(conn, work.target.id, ids)
    gone: Mapping[str, Any] = {"active": False}
    return [
        Outgoing("", cast(Kind, kind), id_, _key(value), 0, now(), value, link=links.get(id_))  # type: ignore[arg-type]
        for id_ in ids
        for value in [found.get(id_, {**gone, "id": id_})]
    ]


def _key(value: Mapping[str, Any]) -> str:
    return str(value.get("userid") or value.get("department_id") or value["id"])


def _change(work: Delivering, item: Outgoing) -> Change | None:
    """What the target lacks, as a change of its holdings; None when it has acknowledged just this."""
    record = work.writer.record(item)
    kind = cast(Kind, item.kind)
    if item.removal:
        action: Action = "remove" if item.kind == "department" else "deactivate"
        guarded: GuardKind = "department" if item.kind == "department" else "deactivate"
        return Change(kind, action, item.key, {}, dict(record or {}), 0, item.object_id, guarded=guarded)
    if record is None or (item.link and item.link.digest == digest_of(record)):
        return None
    there = item.link is not None and item.link.present
    return Change(kind, "update" if there else "create", item.key, {}, dict(record), 0, item.object_id)


def _paired(change: Change, pairing: Pairing | None) -> Change:
    if pairing is None or pairing.state == "create":
        return change
    reason = f"{pairing.state}: {pairing.reason}"
    return Change(change.kind, change.action, change.key, {}, change.after, 0, change.object_id, reason=reason)


async def end_resyncs(work: Delivering) -> None:
    """End the resyncs of which nothing waits any more; one with dead deliveries, or withheld removals, says so."""
    async with work.db.read() as conn:
        run_id = await runs.active_resync(conn, work.target.id)
        run = None if run_id is None else await runs.get(conn, run_id)
        waits = 0 if run is None else await deliveries.open_of_run(conn, run.id, "pending", "retrying")
    if run is None or run.state == "queued" or run.stage == "plan":
        return
    if run.cancel_requested:
        async with work.db.fenced(work.lease) as conn:
            await deliveries.drop_of_run(conn, run.id)
            await runs.save(conn, run.id, state="cancelled", finished_at=now())
    elif not waits:
        async with work.db.fenced(work.lease) as conn:
            await deliveries.settle_plan(conn, run.id)
            dead = await deliveries.open_of_run(conn, run.id, "dead")
            totals = await plans.counts(conn, run.id, {}, {})
            kept = {kind: {**counts, "unchanged": run.counts[kind]["unchanged"]} for kind, counts in totals.items()}
            await runs.save(conn, run.id, state="partial" if dead else "succeeded", counts=kept, finished_at=now())
