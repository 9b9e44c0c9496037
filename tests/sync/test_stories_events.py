"""Events that come at the wrong moment, say too much, or cannot be carried out."""

from app.core.event import Event as Told
from app.simulator import Fault, Range
from app.store import inbox
from tests.sync.harness import Bench, departments, inbox_table, members_of, run_table, sweep_held, users


async def the_event(desk: Bench) -> dict[str, object]:
    (row,) = await desk.rows(inbox_table)
    return row


async def test_story_an_import_that_ends_while_a_sweep_reads(desk: Bench) -> None:
    """The sweep under way began before the import ended: it is no answer, another one is ordered."""
    await desk.sync()
    async with sweep_held(desk, members_of(4), staged=["list:3"]) as run:
        with desk.company.quiet():
            desk.company.join("imported", "导入", (3,))
        await desk.tell(*desk.company.finish_job("job-1"), apps=True)
        await desk.drain_beside()
    await desk.drain()
    assert (await desk.user("imported"))["active"]
    assert (await the_event(desk))["run_id"] not in (None, run.id)
    assert await desk.count(run_table) == 3


async def test_story_an_import_and_a_move_while_a_sweep_reads(desk: Bench) -> None:
    await desk.sync()
    async with sweep_held(desk, members_of(4), staged=["list:3"]):
        await desk.tell(*desk.company.finish_job("job-1"), *desk.company.move("p01", [2]), apps=True)
        await desk.drain_beside()
        assert await desk.seats("p01") == {2}  # it does not wait for the sweep
    await desk.drain()
    rows = await desk.rows(inbox_table)
    assert {row["state"] for row in rows} == {"applied"}


async def test_story_a_departure_told_after_the_sweep_has_seen_it(desk: Bench) -> None:
    await desk.sync()
    told = desk.company.leave("p01")
    await desk.sync()
    await desk.tell(*told)
    await desk.drain()
    row = await the_event(desk)
    assert (row["state"], row["reason"]) == ("applied", None)


async def test_story_a_departure_told_twice(desk: Bench) -> None:
    await desk.sync()
    told = desk.company.leave("p01")
    await desk.tell(*told)
    await desk.drain()
    await desk.tell(*told)
    await desk.drain()
    row = await the_event(desk)
    assert (row["state"], row["reason"], row["duplicates"]) == ("applied", None, 1)
    assert len([change for change in await desk.feed() if change["action"] == "deactivate"]) == 1


async def test_story_a_removed_department_told_twice(desk: Bench) -> None:
    desk.company.create_department("临时", id=9)
    await desk.sync()
    told = desk.company.delete_department(9)
    await desk.tell(*told)
    await desk.drain()
    await desk.tell(*told)
    await desk.drain()
    assert (await the_event(desk))["state"] == "applied"
    assert not (await desk.department(9))["active"]


async def test_story_an_event_that_cannot_be_read_fails_and_can_be_replayed(desk: Bench) -> None:
    """Its record is unusable every time; the others are not held up by it."""
    await desk.sync()
    desk.company.rename("p01", "坏\0")
    await desk.tell(*desk.company.move("p01", [2]), *desk.company.move("p02", [2]))
    await desk.drain()
    rows = {row["key"]: row for row in await desk.rows(inbox_table)}
    assert (rows["p02"]["state"], rows["p01"]["state"]) == ("applied", "failed")
    assert rows["p01"]["error"]["code"] == "record.unusable"
    assert rows["p01"]["attempts"] == 3
    desk.company.rename("p01", "员工1")
    async with desk.db.write() as conn:
        await inbox.replay(conn, rows["p01"]["id"])
    await desk.drain()
    assert await desk.seats("p01") == {2}
    assert await desk.differences() == {}


async def test_story_unknown_events_are_kept_and_ignored(desk: Bench) -> None:
    await desk.sync()
    event = Told("change_contact:merge_user", "none", "", 1, "d" * 64, "<xml/>")
    await desk.inbox.put(desk.source.id, event)
    desk.simulator.calls.clear()
    await desk.drain()
    assert (await the_event(desk))["state"] == "ignored"
    assert desk.simulator.calls.total == 0


async def test_story_a_member_of_a_department_that_nobody_told_of(desk: Bench) -> None:
    """The event of its creation was lost: it is read when somebody turns up in it."""
    await desk.sync()
    desk.company.create_department("新", parent=3, id=9)
    await desk.tell(*desk.company.move("p01", [9]))
    await desk.drain()
    assert (await desk.department(9))["parent_id"] == 3
    assert await desk.seats("p01") == {9}
    assert await desk.differences() == {}


async def test_story_the_members_of_a_deleted_department_are_read_again(desk: Bench) -> None:
    """Their own events were lost."""
    await desk.unguarded()
    await desk.sync()
    told = desk.company.delete_department(3, cascade=True)
    await desk.tell(*[event for event in told if event.change_type == "delete_party"])
    await desk.drain()
    assert await desk.count(departments, departments.c.active) == 3
    assert await desk.seats("p01") == {2}
    assert await desk.differences() == {}


async def test_story_a_fault_in_the_proof_loses_nobody(desk: Bench) -> None:
    await desk.sync()
    told = desk.company.leave("p01")
    for fault in (Fault("truncated", path="user/list_id", times=4), Fault("errcode", 60011, path="user/get")):
        desk.simulator.faults.append(fault)
    await desk.tell(*told, *desk.company.move("p02", [3]))
    await desk.drain(until_done=False)
    assert await desk.count(users, users.c.active) == 30
    desk.simulator.reset()
    desk.rest()
    await desk.drain()
    assert await desk.count(users, users.c.active) == 29
    assert await desk.differences() == {}


async def test_story_a_department_that_left_the_range_is_not_removed(app_desk: Bench) -> None:
    """The app's own list proves nothing once the range is no longer that of the last sweep."""
    await app_desk.sync()
    told = app_desk.company.move_department(3, 4)
    app_desk.company.app.visible = Range.of(departments=[2])
    await app_desk.tell(*told)
    await app_desk.drain()
    row = await app_desk.department(3)
    assert (row["active"], bool(row["unmanaged_since"])) == (True, True)
