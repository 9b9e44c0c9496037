"""Runs that are stopped, cancelled, torn out, repeated, taken over; and what the database refuses."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.errors import Refused
from app.simulator import Range
from app.store import runs
from app.store.db import now
from tests.sync.harness import (
    Bench,
    changes,
    departments,
    inbox_table,
    members_of,
    memberships,
    once_written,
    pages,
    planned,
    run_held,
    run_table,
    source_table,
    sweep_held,
    until,
    users,
)
from tests.sync.replay import check_feed


async def everything(desk: Bench) -> list[list[dict[str, Any]]]:
    """Every row that is the directory's, the feed's, the inbox's or the source's."""
    return [await desk.rows(t) for t in (users, departments, memberships, changes, inbox_table, source_table)]


def many(desk: Bench, count: int = 1000) -> None:
    with desk.company.quiet():
        for number in range(count):
            desk.company.join(f"n{number:03}", f"新人{number}", (2 + number % 3,))


async def test_story_a_dry_run_leaves_every_row_as_it_was(desk: Bench) -> None:
    await desk.sync()
    await desk.tell(*desk.company.rename_userid("p01", "zhang.san"), *desk.company.move("p02", [2]))
    await desk.put_off()
    desk.company.leave("p03")
    desk.company.create_department("新", id=9)
    desk.company.app.visible = Range.of(departments=[2, 4, 9])
    before = await everything(desk)
    first, second = await desk.sync(dry_run=True), await desk.sync(dry_run=True)
    assert await everything(desk) == before
    assert first.digest == second.digest
    assert first.counts == second.counts
    assert first.counts["users"]["deactivated"] == 1
    real = await desk.sync()
    assert real.counts == first.counts


async def test_story_cancelled_between_two_pages_and_tried_again(desk: Bench) -> None:
    async with run_held(desk, members_of(4), staged=["list:3"]) as run, desk.db.write() as conn:
        assert (await runs.cancel(conn, run.id)).state == "running"
    ended = await desk.run(run.id)
    assert (ended.state, ended.error) == ("cancelled", None)
    assert await desk.count(users) == 0
    async with desk.db.write() as conn:
        again = await runs.retry(conn, run.id, desk.source)
    done = await desk.ended(again.id)
    assert (done.state, done.retry_of) == ("succeeded", run.id)
    assert await desk.differences() == {}


async def test_story_cancelled_while_it_applies(desk: Bench) -> None:
    """What was applied stays applied and is told truly; the next run does the rest."""
    many(desk)

    async def cancel() -> None:
        async with desk.db.write() as conn:
            await conn.execute(run_table.update().values(cancel_requested=True))

    with once_written(desk.db, "UPDATE planned_change SET state", cancel):
        run = await desk.sync()
    assert run.state == "cancelled"
    assert 0 < await desk.count(users) < 1030
    await check_feed(desk)
    assert (await desk.sync()).state == "succeeded"
    assert await desk.differences() == {}
    await check_feed(desk)


async def test_story_a_queued_run_that_is_cancelled_never_begins(desk: Bench) -> None:
    dice = random.Random(7)
    for _ in range(20):
        run = await desk.order()
        for _ in range(dice.randrange(40)):
            await asyncio.sleep(0)
        async with desk.db.write() as conn:
            told = await runs.cancel(conn, run.id)
        await desk.worker.settled()
        ended = await desk.run(run.id)
        assert ended.state == "cancelled"
        assert told.state == "running" or ended.attempts == 0


async def test_story_a_lease_lost_while_it_applies(desk: Bench) -> None:
    """The one who lost it writes nothing more; whoever comes next finishes the plan, and nothing is applied twice."""
    many(desk)
    with once_written(desk.db, "UPDATE planned_change SET state", desk.take_over) as acting:
        run = await desk.order()
        await desk.worker.settled()
        await acting[0]
    halted = await desk.run(run.id)
    assert (halted.state, halted.stage) == ("running", "apply")
    assert 0 < await desk.count(changes) < 2000
    desk.simulator.calls.clear()
    assert (await desk.ended(run.id)).state == "succeeded"
    assert desk.simulator.calls.total == 0
    assert await desk.differences() == {}
    await check_feed(desk)


async def test_story_a_lease_lost_while_it_reads(desk: Bench) -> None:
    run = await desk.order()
    barrier = desk.simulator.hold(members_of(4))
    await barrier.reached()
    await desk.take_over()
    barrier.release()
    await desk.worker.settled()
    assert (await desk.run(run.id)).state == "running"
    assert await desk.count(users) == 0
    assert (await desk.ended(run.id)).state == "succeeded"
    assert await desk.differences() == {}


async def test_story_torn_out_while_reading_it_goes_on_at_its_page(desk: Bench) -> None:
    calls = await interrupted(desk)
    assert not [c for c in calls if c.path == "user/list" and c.params["department_id"] in ("1", "2", "3")]


async def test_story_torn_out_and_found_too_late_it_reads_anew(desk: Bench) -> None:
    async def late() -> None:
        async with desk.db.write() as conn:
            await conn.execute(run_table.update().values(read_at=now() - timedelta(minutes=16)))

    calls = await interrupted(desk, late)
    assert len([c for c in calls if c.path == "user/list"]) == 4


async def test_story_torn_out_and_the_range_has_changed_it_reads_anew(desk: Bench) -> None:
    async def widen() -> None:
        desk.company.app.visible = Range.of(departments=[1], users=["p01"])

    calls = await interrupted(desk, widen)
    assert len([c for c in calls if c.path == "user/list"]) == 4


async def interrupted(desk: Bench, meanwhile: Any = None) -> list[Any]:
    """A run torn out before its last page and taken up again; the calls of its second part."""
    barrier = desk.simulator.hold(members_of(4))
    run = await desk.order()
    await barrier.reached()

    async def staged() -> bool:
        return await desk.count(pages, pages.c.key.in_(["list:1", "list:2", "list:3"])) == 3

    await until(staged)
    barrier.release()
    await desk.restart()
    if meanwhile:
        await meanwhile()
    desk.simulator.calls.clear()
    ended = await desk.ended(run.id)
    assert (ended.state, ended.attempts) == ("succeeded", 2)
    assert await desk.differences() == {}
    return list(desk.simulator.calls)


async def test_story_an_incomplete_run_torn_out_while_applying_stays_partial(desk: Bench) -> None:
    await desk.sync()
    many(desk)
    desk.company.rename_department(4, "坏\0")
    with once_written(desk.db, "UPDATE planned_change SET state", desk.take_over) as acting:
        run = await desk.order()
        await desk.worker.settled()
        await acting[0]
    assert (await desk.run(run.id)).stage == "apply"
    await desk.restart()
    assert (await desk.ended(run.id)).state == "partial"


async def test_story_an_incomplete_run_does_not_clear_an_approval(desk: Bench) -> None:
    """It saw nobody gone because it could not, not because they came back."""
    await desk.sync()
    for number in range(1, 6):
        desk.company.leave(f"p{number:02}")
    waiting = await desk.sync()
    assert waiting.state == "awaiting_approval"
    desk.company.rename_department(4, "坏\0")
    assert (await desk.sync()).state == "partial"
    assert (await desk.run(waiting.id)).state == "awaiting_approval"
    assert (await desk.sources_value()).open_approval == waiting.id


async def test_story_who_the_database_refuses_fails_alone(desk: Bench) -> None:
    async with desk.db.write() as conn:
        if desk.db.dialect == "sqlite":
            refusal = "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            await conn.execute(text(f"CREATE TRIGGER no BEFORE INSERT ON user WHEN NEW.userid = 'p07' {refusal}"))
        else:
            await conn.execute(text("ALTER TABLE \"user\" ADD CHECK (userid <> 'p07')"))
    run = await desk.sync()
    assert (run.state, run.counts["users"]["failed"], run.counts["users"]["created"]) == ("partial", 1, 29)
    failed = await desk.rows(planned, planned.c.state == "failed")
    assert {(row["key"], row["reason"]) for row in failed} == {
        ("p07", "refused_by_database"),
        ("p07:3", "refused_by_database"),
    }
    assert await desk.count(users) == 29
    await check_feed(desk)


async def test_story_a_second_order_is_refused_while_one_is_active(desk: Bench) -> None:
    async with sweep_held(desk, members_of(4)) as run:
        with pytest.raises(Refused) as refused:
            await desk.order()
    assert (refused.value.code, refused.value.extra) == ("run.already_active", {"run_id": run.id})
    assert await desk.count(run_table) == 1
