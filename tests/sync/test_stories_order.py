"""Observation order: whatever was read later wins, in whatever order it is written."""

from app.simulator import Event
from tests.sync.harness import Bench, changes, first, inbox_table, members_of, sweep_held, until, users


def hint(desk: Bench, userid: str) -> Event:
    """An event that says no more than that somebody changed."""
    known = userid in desk.company.userids
    after = desk.company.user(userid) if known else None
    return Event("update_user", userid, 1, frozenset({"departments"}), after=after)


async def test_story_events_flow_while_a_long_sweep_reads(desk: Bench) -> None:
    await desk.sync()
    async with sweep_held(desk, members_of(4), staged=["list:3"]) as run:
        await desk.tell(*desk.company.move("p01", [2]), *desk.company.leave("p06"))
        await desk.drain_beside()
        assert await desk.seats("p01") == {2}
        assert not (await desk.user("p06"))["active"]
        assert (await desk.run(run.id)).state == "running"
    assert (await desk.run(run.id)).state == "succeeded"
    assert await desk.seats("p01") == {2}
    assert await desk.differences() == {}


async def test_story_an_older_page_never_wins_over_a_drain(desk: Bench) -> None:
    await desk.sync()
    desk.company.edit("p01", position="甲")
    async with sweep_held(desk, members_of(4), staged=["list:3"]):
        desk.company.edit("p01", position="乙")
        await desk.tell(hint(desk, "p01"))
        await desk.drain_beside()
        assert (await desk.user("p01"))["position"] == "乙"
    assert (await desk.user("p01"))["position"] == "乙"
    assert await desk.count(changes, changes.c.key == "p01", changes.c.action == "update") == 1


async def test_story_a_read_that_found_nothing_new_outdates_an_older_page_too(desk: Bench) -> None:
    """The page saw a value that was taken back; the drain saw what we hold already, and is the later of the two."""
    desk.company.edit("p01", position="甲")
    await desk.sync()
    desk.company.edit("p01", position="乙")
    async with sweep_held(desk, members_of(4), staged=["list:3"]):
        desk.company.edit("p01", position="甲")
        await desk.tell(hint(desk, "p01"))
        await desk.drain_beside()
    assert (await desk.user("p01"))["position"] == "甲"
    assert await desk.differences() == {}


async def test_story_a_department_read_again_outdates_an_older_list_too(desk: Bench) -> None:
    await desk.sync()
    desk.company.move_department(3, 4)
    held = first(lambda call: call.path == "agent/get" and desk.simulator.calls.per_path["department/list"] >= 4)
    async with sweep_held(desk, held):
        desk.company.move_department(3, 2)
        await desk.tell(
            Event("update_party", "3", 1, frozenset({"name"}), after=desk.company.department(3)), form="long"
        )
        await desk.drain_beside()
    assert (await desk.department(3))["parent_id"] == 2
    assert await desk.differences() == {}


async def test_story_who_left_again_is_not_brought_back_by_an_older_page(desk: Bench) -> None:
    """Inactive, seen on a page, gone again, and a drain has asked since: nothing to change for it, but it knows."""
    await desk.sync()
    desk.company.leave("p01")
    await desk.sync()
    desk.company.join("p01", "员工1", (3,), mobile="13800000001")
    async with sweep_held(desk, members_of(4), staged=["list:3"]):
        await desk.tell(*desk.company.leave("p01"))
        await desk.drain_beside()
    assert not (await desk.user("p01"))["active"]
    assert await desk.differences() == {}


async def test_story_a_newcomer_who_left_before_the_pages_were_compared(desk: Bench) -> None:
    """Nobody told of his coming; the event of his leaving found nobody, and a page still holds him."""
    await desk.sync()
    desk.company.join("brief", "短暂", (3,))
    async with sweep_held(desk, members_of(4), staged=["list:3"]):
        await desk.tell(*desk.company.leave("brief"))
        await desk.drain_beside()
    await desk.drain()
    assert await desk.count(users, users.c.user_key == "brief", users.c.active) == 0
    assert await desk.differences() == {}


async def test_story_a_read_that_proves_nothing_shields_nobody_from_the_sweep(desk: Bench) -> None:
    """An event announced where he is, the drain could not find him and waits; the sweep has its proof."""
    await desk.sync()
    async with sweep_held(desk, first(lambda call: call.path == "department/list")):
        told = desk.company.move("p03", [2, 3])
        desk.company.leave("p03")
        await desk.tell(*told)
        await desk.drain_beside()
        row = await desk.user("p03")
        assert (row["active"], row["unmanaged_since"]) == (True, None)
    assert not (await desk.user("p03"))["active"]
    assert await desk.differences() == {}


async def test_story_a_rename_between_planning_and_applying(desk: Bench) -> None:
    """The sweep planned it; before that was applied a drain found the old userid gone."""
    await desk.sync()
    before = await desk.user("p01")
    await desk.tell(*desk.company.rename_userid("p01", "zhang.san"))
    await desk.put_off()
    asked = first(lambda call: call.path == "user/get" and call.params.get("userid") == "p01")
    async with sweep_held(desk, asked, answered=True):
        await desk.tell(hint(desk, "p01"))
        await desk.drain_beside()
    assert await desk.count(users, users.c.user_key == "zhang.san", ~users.c.active) == 0
    await desk.make_due()
    await desk.drain()
    assert (await desk.user("zhang.san"))["id"] == before["id"]
    assert await desk.differences() == {}


async def test_story_events_are_settled_by_a_sweep_only_if_read_after_they_came(desk: Bench) -> None:
    await desk.sync()

    async def told(userid: str) -> None:
        await desk.tell(*desk.company.move(userid, [2, 3, 4]))
        await desk.put_off()

    desk.simulator.calls.clear()
    desk.simulator.before_call("department/list", lambda: told("p02"))  # before any page is read
    last = first(lambda call: call.path == "department/list" and desk.simulator.calls.per_path[call.path] == 2)
    desk.simulator.before_call(last, lambda: told("p01"))  # after all of them
    run = await desk.sync()
    states = {row["key"]: row["state"] for row in await desk.rows(inbox_table)}
    assert states == {"p01": "pending", "p02": "applied"}
    assert (await desk.rows(inbox_table, inbox_table.c.key == "p02"))[0]["run_id"] == run.id
    await desk.make_due()
    await desk.drain()
    assert await desk.differences() == {}


async def test_story_an_event_whose_news_the_sweep_does_not_show_stays(desk: Bench) -> None:
    """WeCom answered the sweep late: he is still in one of the two departments that the event announced."""
    await desk.sync()
    desk.simulator.lag(1e9)
    await desk.tell(*desk.company.move("p01", [3, 4]), *desk.company.create_department("新", id=9))
    await desk.put_off()
    await desk.sync()
    assert await desk.count(inbox_table, inbox_table.c.state == "pending") == 2
    desk.simulator.catch_up()
    await desk.make_due()
    await desk.drain()
    assert await desk.seats("p01") == {3, 4}
    assert await desk.differences() == {}


async def test_story_a_proof_by_list_that_began_before_he_came_back(desk: Bench) -> None:
    """He is on no page and not on the first list; before the second list he joins again."""
    await desk.sync()
    desk.company.leave("p03")
    desk.simulator.calls.clear()
    second = first(lambda call: call.path == "user/list_id" and desk.simulator.calls.per_path["user/list_id"] == 2)
    desk.simulator.before_call(second, lambda: desk.company.join("p03", "员工3", (2,), mobile="13800000003"))
    run = await desk.sync()
    assert desk.simulator.calls.per_path["user/list_id"] == 2
    assert run.counts["users"]["deactivated"] == 0
    await desk.sync()
    assert (await desk.user("p03"))["active"]
    assert await desk.differences() == {}


async def test_story_two_identical_runs(desk: Bench) -> None:
    """The second of two orders is refused while the first is active; afterwards it changes nothing."""
    first_run = await desk.sync()
    feed = await desk.feed()
    second_run = await desk.sync()
    assert (first_run.state, second_run.state) == ("succeeded", "succeeded")
    assert await desk.feed() == feed
    assert second_run.counts["users"]["unchanged"] == 30
    assert second_run.digest == (await desk.sync()).digest


async def test_story_reopened_by_a_duplicate_it_is_read_once_more(desk: Bench) -> None:
    await desk.sync()
    told = desk.company.move("p01", [4])
    await desk.tell(*told)
    await desk.drain()
    desk.simulator.calls.clear()
    await desk.tell(*told, *told)
    (row,) = await desk.rows(inbox_table)
    assert (row["state"], row["duplicates"], row["applied_at"]) == ("pending", 2, None)

    async def applied() -> bool:
        return await desk.count(inbox_table, inbox_table.c.state == "applied") == 1

    desk.worker.wake("events", desk.source.id)
    await until(applied)
    assert desk.simulator.calls.per_path["user/get"] == 1
