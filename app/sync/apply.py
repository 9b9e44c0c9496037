"""Carrying out a plan in small transactions, so that callbacks and events come between."""

import asyncio
import time
from collections.abc import Collection, Sequence

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Change, key_of, object_of
from app.store import plans, runs, staging
from app.store.changes import Origin, lock
from app.store.db import now
from app.store.directory import Mark, stored_departments, stored_users, write
from app.store.runs import Run
from app.sync.report import Cancelled, Report
from app.sync.work import Work

MOST, LEAST = 1000, 50
BATCH_SECONDS = 0.05


async def apply_plan(work: Work, run: Run, report: Report) -> None:
    """Apply what is planned, batch by batch; every batch is one transaction of rows, marks and feed.

    A batch ends after 1,000 changes or about 50 ms. An object the database refuses is marked failed, the rest goes on.
    """
    async with work.db.read() as conn:
        total = await plans.total(conn, run.id, "planned")
    done, size, careful = 0, LEAST * 4, 0
    while True:
        began = time.monotonic()
        try:
            count = await _one_batch(work, run, size, one=careful > 0)
        except (IntegrityError, DataError, OverflowError):
            if careful:  # this one person or department is what the database refuses
                await _fail_first(work, run)
            careful = careful - 1 if careful else size
            continue
        if not count:
            return
        done, careful = done + count, max(0, careful - 1)
        took = max(time.monotonic() - began, 0.001)
        size = max(LEAST, min(MOST, int(size * BATCH_SECONDS / took)))
        await report.progress("apply", min(done, total), total)
        await asyncio.sleep(0)


async def _one_batch(work: Work, run: Run, size: int, *, one: bool) -> int:
    async with work.db.fenced(work.lease) as conn:
        await lock(conn, work.source.id)
        if await runs.cancel_requested(conn, run.id):
            raise Cancelled
        found = await plans.batch(conn, run.id, size, one=one)
        if not found:
            return 0
        fresh = await _not_overtaken(conn, work.source.id, [change for _, change in found])
        changes = [change for change, ok in zip((c for _, c in found), fresh, strict=True) if ok]
        marks = await _marks(conn, work, run, changes)
        origin = Origin(run_id=run.id, approved=run.approved)
        await write(conn, work.source.id, changes, at=now(), origin=origin, marks=marks)
        await plans.set_state(conn, [id_ for (id_, _), ok in zip(found, fresh, strict=True) if ok], "applied")
        await plans.drop(conn, [id_ for (id_, _), ok in zip(found, fresh, strict=True) if not ok])
        return len(found)


async def _not_overtaken(conn: AsyncConnection, source_id: str, changes: Sequence[Change]) -> list[bool]:
    """For each change whether its object has not been observed later than the plan's read, under its old userid too."""
    former = {object_of(c)[1]: key_of(c.previous_key) for c in changes if c.previous_key}
    keys = {object_of(c)[1] for c in changes if c.kind != "department"}
    users = await stored_users(conn, source_id, keys | set(former.values()))
    numbers = {int(c.key) for c in changes if c.kind == "department"}
    departments = await stored_departments(conn, source_id, numbers)

    def fresh(change: Change) -> bool:
        key = object_of(change)[1]
        person = users.get(key) or users.get(former.get(key, key))
        held = departments.get(int(key)) if change.kind == "department" else person
        return held is None or held.observed <= change.observed

    return [fresh(change) for change in changes]


async def _marks(
    conn: AsyncConnection, work: Work, run: Run, changes: Collection[Change]
) -> dict[tuple[str, str], Mark]:
    """The hashes of the staged reads whose changes are all applied in this batch."""
    observed = {object_of(change): change.observed for change in changes}
    people = {key for kind, key in observed if kind == "user"}
    whole = people - await plans.withheld_people(conn, run.id, people)
    readable = (await work.sources.get(conn, work.source.id)).readable
    users = await staging.user_marks(conn, run.id, whole, readable)
    places = await staging.department_marks(conn, run.id, {int(key) for kind, key in observed if kind != "user"})
    marks = {("user", key): Mark(*mark) for key, mark in users.items()}
    marks |= {("department", str(number)): Mark(*mark) for number, mark in places.items()}
    # A page read again after the plan was made is newer than its change: the next sweep must still see the difference.
    return {key: mark for key, mark in marks.items() if mark.observed == observed[key]}


async def _fail_first(work: Work, run: Run) -> None:
    async with work.db.fenced(work.lease) as conn:
        found = await plans.batch(conn, run.id, LEAST, one=True)
        await plans.set_state(conn, [id_ for id_, _ in found], "failed", "refused_by_database")
