"""Events: hints that make us read again, in whatever order, number and lateness they come."""

import math

import pytest

from app.simulator import Fault, Range
from tests.sync.harness import Bench, changes, departments, inbox_table, users

FORMS = ("ids", "long")


async def states(desk: Bench) -> list[str]:
    return sorted(row["state"] for row in await desk.rows(inbox_table))


@pytest.mark.parametrize("form", FORMS)
async def test_every_member_event_in_both_forms(desk: Bench, form: str) -> None:
    await desk.sync()
    company = desk.company
    await desk.tell(*company.join("new.one", "新人", (3, 4)), form=form)
    await desk.drain()
    assert await desk.seats("new.one") == {3, 4}
    await desk.tell(*company.move("p01", [4]), form=form)
    await desk.drain()
    assert await desk.seats("p01") == {4}
    await desk.tell(*company.leave("p02"), form=form)
    await desk.drain()
    assert not (await desk.user("p02"))["active"]
    assert await desk.differences() == {}
    assert set(await states(desk)) == {"applied"}


@pytest.mark.parametrize("form", FORMS)
async def test_every_department_event_in_both_forms(desk: Bench, form: str) -> None:
    await desk.sync()
    company = desk.company
    await desk.tell(*company.create_department("测试", parent=3, id=9), form=form)
    await desk.drain()
    assert (await desk.department(9))["parent_id"] == 3
    await desk.tell(*company.move_department(9, 4), form=form)
    await desk.drain()
    assert (await desk.department(9))["parent_id"] == 4
    await desk.tell(*company.delete_department(9), form=form)
    await desk.drain()
    assert not (await desk.department(9))["active"]
    assert await desk.differences() == {}


async def test_a_tag_of_the_range_is_read_again(desk: Bench) -> None:
    tag = desk.company.create_tag("外聘", users=["p01"])
    desk.company.app.visible = Range.of(tags=[tag])
    await desk.sync()
    await desk.tell(*desk.company.change_tag(tag, add_users=["p02"]))
    await desk.drain()
    assert (await desk.user("p02"))["active"]
    await desk.tell(*desk.company.change_tag(tag, remove_users=["p02"], add_departments=[4]))
    await desk.drain()
    assert await desk.differences() == {}


async def test_subscribe_reads_the_member_and_an_import_orders_a_full_sync(desk: Bench) -> None:
    await desk.sync()
    desk.company.rename("p01", "改名")  # raises no event of its own in the modern form
    await desk.tell(*desk.company.finish_job("job-1"), apps=True)
    await desk.drain()
    assert (await desk.user("p01"))["name"] == "改名"
    (row,) = await desk.rows(inbox_table)
    assert (await desk.run(row["run_id"])).trigger == "event"


async def test_every_change_names_its_event(desk: Bench) -> None:
    await desk.sync()
    await desk.tell(*desk.company.move("p01", [4]))
    await desk.drain()
    (row,) = await desk.rows(inbox_table)
    made = [change for change in await desk.feed() if change["event_id"]]
    assert {change["event_id"] for change in made} == {row["id"]}
    assert {change["kind"] for change in made} == {"user", "membership"}


async def test_story_a_stale_read_commits_after_a_sweep(desk: Bench) -> None:
    """The drain's answer was made before the move; the sweep saw the move first: the old answer must not win."""
    await desk.sync()
    await desk.tell(*desk.company.edit("p01", direct_leaders=("p02",)), *desk.company.move("p01", [2]))
    barrier = desk.simulator.hold(lambda call: call.path == "user/get", answered=True)
    desk.worker.wake("events", desk.source.id)
    await barrier.reached()
    desk.company.move("p01", [4])
    async with desk.db.write() as conn:
        from app.store import runs

        run = await runs.order(conn, await desk.sources.get(conn, desk.source.id))
    desk.worker.wake("runs", desk.source.id)

    async def swept() -> bool:
        return (await desk.run(run.id)).state == "succeeded"

    from tests.sync.harness import until

    await until(swept)
    assert await desk.seats("p01") == {4}
    barrier.release()
    await desk.worker.settled()
    await desk.drain()
    assert await desk.seats("p01") == {4}
    assert await desk.differences() == {}


async def test_a_read_that_lags_behind_is_made_again(desk: Bench) -> None:
    await desk.sync()
    desk.simulator.lag(math.inf)
    await desk.tell(*desk.company.move("p01", [4]), *desk.company.join("late", "迟到", (4,)))
    await desk.drain(until_done=False)
    assert await states(desk) == ["pending", "pending"]
    assert await desk.count(users, users.c.user_key == "late") == 0
    desk.simulator.catch_up()
    await desk.drain()
    assert await states(desk) == ["applied", "applied"]
    assert await desk.differences() == {}


async def test_what_never_appears_is_accepted_after_the_last_retry(desk: Bench) -> None:
    await desk.sync()
    told = desk.company.move("p01", [4])
    desk.company.move("p01", [3])
    await desk.tell(*told)
    await desk.drain()
    (row,) = await desk.rows(inbox_table)
    assert (row["state"], row["attempts"]) == ("applied", 3)
    assert await desk.seats("p01") == {3}


async def test_a_broken_credential_consumes_no_attempt(desk: Bench) -> None:
    await desk.sync()
    desk.company.app.secret = "x" * 43
    desk.simulator.tokens.expire()
    await desk.tell(*desk.company.move("p01", [4]))
    await desk.drain(until_done=False)
    (row,) = await desk.rows(inbox_table)
    assert (row["state"], row["attempts"]) == ("pending", 0)


async def test_one_unreadable_object_does_not_hold_up_the_others(desk: Bench) -> None:
    await desk.sync()
    desk.simulator.faults.append(Fault("garbage", path="user/get", nth=1, times=40))
    await desk.tell(*desk.company.move("p01", [4]))
    desk.simulator.faults.clear()
    await desk.tell(*desk.company.move("p02", [3]))
    await desk.drain()
    assert await desk.seats("p02") == {3}
    assert await desk.differences() == {}


async def test_out_of_range_is_ignored_with_that_reason(desk: Bench) -> None:
    desk.company.app.visible = Range.of(departments=[4])
    await desk.sync()
    await desk.tell(*desk.company.join("hidden", "看不见", (2,)))
    await desk.drain()
    (row,) = await desk.rows(inbox_table)
    assert (row["state"], row["reason"]) == ("ignored", "out_of_range")
    assert await desk.count(users, users.c.user_key == "hidden") == 0


async def test_leaving_the_range_is_not_leaving_the_company(desk: Bench) -> None:
    desk.company.app.visible = Range.of(departments=[4])
    await desk.sync()
    await desk.tell(*desk.company.move("p02", [2]))
    await desk.drain()
    row = await desk.user("p02")
    assert row["active"]
    assert row["unmanaged_since"]


async def test_a_storm_about_few_people_costs_few_reads(desk: Bench) -> None:
    await desk.sync()
    told = [
        event
        for turn in range(40)
        for number in (1, 2, 3)
        for event in desk.company.move(f"p0{number}", [2 + turn % 3])
    ]
    await desk.tell(*told)
    desk.simulator.calls.clear()
    await desk.drain()
    assert desk.simulator.calls.total <= 3 * 4 + 2
    assert await desk.differences() == {}


async def test_a_storm_about_many_people_becomes_one_full_sync(desk: Bench) -> None:
    await desk.sync()
    async with desk.db.write() as conn:
        await desk.sources.patch(conn, desk.source.id, {"guard": {"max_percent": 100}})
    told = [event for number in range(1, 21) for event in desk.company.move(f"p{number:02}", [4])]
    await desk.tell(*told)
    desk.simulator.calls.clear()
    await desk.drain()
    assert desk.simulator.calls.per_path["user/get"] == 0
    assert set(await states(desk)) == {"applied"}
    assert await desk.count(changes, changes.c.run_id.is_not(None), changes.c.kind == "membership") > 0
    told = [event for number in range(1, 21) for event in desk.company.move(f"p{number:02}", [2])]
    await desk.tell(*told)
    await desk.drain()  # within ten minutes of the last one: read one by one
    assert desk.simulator.calls.per_path["user/get"] > 0
    assert await desk.differences() == {}


async def test_story_two_identical_events_in_one_second(desk: Bench) -> None:
    """WeCom numbers its events by the second: the same text may be a retry or a second change; reading tells."""
    await desk.sync()
    (told,) = desk.company.move("p01", [4])
    await desk.tell(told)
    await desk.drain()
    desk.company.move("p01", [3])
    desk.company.move("p01", [4, 2])
    desk.company.move("p01", [4])
    desk.company.edit("p01", position="主管")
    await desk.tell(told)
    (row,) = await desk.rows(inbox_table)
    assert (row["state"], row["duplicates"]) == ("pending", 1)
    await desk.drain()
    assert (await desk.user("p01"))["position"] == "主管"


async def test_story_two_people_deleted_in_the_same_second(desk: Bench) -> None:
    await desk.sync()
    await desk.tell(*desk.company.leave("p01"), *desk.company.leave("p02"))
    await desk.drain()
    assert await desk.count(users, ~users.c.active) == 2


async def test_rename_keeps_our_id(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p01")
    await desk.tell(*desk.company.rename_userid("p01", "zhang.san"))
    await desk.drain()
    after = await desk.user("zhang.san")
    assert after["id"] == before["id"]
    assert await desk.count(users) == 30
    (change,) = [row for row in await desk.feed() if row["action"] == "rename"]
    assert (change["key"], change["previous_key"]) == ("zhang.san", "p01")
    assert await desk.differences() == {}


async def test_story_a_rename_that_arrives_after_a_sweep_has_seen_both(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p01")
    told = desk.company.rename_userid("p01", "zhang.san")
    await desk.sync()
    assert (await desk.user("zhang.san"))["id"] != before["id"]
    await desk.tell(*told)
    await desk.drain()
    after = await desk.user("zhang.san")
    assert (after["id"], after["active"]) == (before["id"], True)
    assert await desk.seats("zhang.san") == {3}
    assert await desk.count(users, users.c.active) == 30
    assert await desk.differences() == {}


async def test_story_a_rename_that_waits_is_evidence_for_the_sweep(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p01")
    await desk.tell(*desk.company.rename_userid("p01", "zhang.san"))
    await desk.sync()
    assert (await desk.user("zhang.san"))["id"] == before["id"]
    await desk.drain()
    assert await desk.differences() == {}


async def test_story_a_lost_rename_is_a_leaver_and_a_newcomer(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p01")
    desk.company.rename_userid("p01", "zhang.san")
    await desk.sync()
    assert not (await desk.user("p01"))["active"]
    assert (await desk.user("zhang.san"))["id"] != before["id"]
    assert await desk.differences() == {}


async def test_story_a_rename_replayed_later_does_no_harm(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p01")
    await desk.tell(*desk.company.rename_userid("p01", "zhang.san"))
    await desk.drain()
    desk.company.join("p01", "另一个人", (4,), mobile="13712345678")
    await desk.sync()
    other = await desk.user("p01")
    desk.company.leave("p01")
    await desk.sync()
    (row,) = await desk.rows(inbox_table)
    from app.store import inbox

    async with desk.db.write() as conn:
        await inbox.replay(conn, row["id"])
    await desk.drain()
    assert (await desk.user("zhang.san"))["id"] == before["id"]
    assert (await desk.user("p01"))["id"] == other["id"]
    assert await desk.differences() == {}


async def test_an_update_of_somebody_who_is_gone_is_a_departure(desk: Bench) -> None:
    await desk.sync()
    told = desk.company.move("p01", [4])
    desk.company.leave("p01")
    await desk.tell(*told)
    await desk.drain()
    assert not (await desk.user("p01"))["active"]


async def test_a_vanished_department_takes_its_memberships_along(desk: Bench) -> None:
    desk.company.create_department("临时", id=9)
    desk.company.move("p01", [9, 3])
    await desk.sync()
    desk.company.move("p01", [3])
    await desk.tell(*desk.company.delete_department(9))
    await desk.drain()
    assert await desk.seats("p01") == {3}
    assert await desk.differences() == {}


async def test_events_of_a_disabled_source_wait(desk: Bench) -> None:
    await desk.sync()
    async with desk.db.write() as conn:
        await desk.sources.patch(conn, desk.source.id, {"enabled": False})
    await desk.tell(*desk.company.move("p01", [4]))
    await desk.drain(until_done=False)
    assert await states(desk) == ["pending"]
    async with desk.db.write() as conn:
        await desk.sources.patch(conn, desk.source.id, {"enabled": True})
    await desk.drain()
    assert await desk.seats("p01") == {4}


async def test_a_new_parent_is_read_before_its_child_is_placed(desk: Bench) -> None:
    await desk.sync()
    desk.company.create_department("甲", id=8)
    await desk.tell(*desk.company.create_department("乙", parent=8, id=9))
    await desk.drain()
    assert (await desk.department(9))["parent_id"] == 8
    assert await desk.count(departments, departments.c.active) == 6


async def test_story_a_rename_that_waits_while_a_sweep_reads_the_new_id_again(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p01")
    told = desk.company.rename_userid("p01", "zhang.san")
    await desk.sync()  # the sweep makes the new userid a person of his own
    desk.simulator.lag(math.inf)
    await desk.tell(*told)
    desk.company.edit("zhang.san", position="主管")
    desk.simulator.catch_up()
    await desk.sync()  # and reads him once more before the event's turn comes
    await desk.drain()
    after = await desk.user("zhang.san")
    assert (after["id"], after["position"]) == (before["id"], "主管")
    assert await desk.differences() == {}
