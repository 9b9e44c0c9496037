"""What a sweep must not believe: people and departments that move, come and go while they are read."""

import pytest

from app.simulator import Event, Fault, Range
from app.store.db import Database
from app.store.sources import Source
from tests.sync.conftest import small_company
from tests.sync.harness import (
    Bench,
    bench,
    departments,
    first,
    members_of,
    memberships,
    planned,
    sweep_held,
    users,
)
from tests.sync.replay import check_feed


async def test_story_with_both_secrets_too_who_moves_while_we_read_stays_in_sight(desk: Bench) -> None:
    """The list of ids says that he exists; then it is worth one call to see where."""
    await desk.sync()
    async with sweep_held(desk, members_of(4), staged=["list:1", "list:2", "list:3"]):
        desk.company.move("p02", [2])
    row = await desk.user("p02")
    assert (row["active"], row["unmanaged_since"]) == (True, None)
    assert await desk.seats("p02") == {2}
    assert await desk.differences() == {}


async def test_story_who_is_on_the_list_of_ids_but_out_of_range_becomes_unmanaged(desk: Bench) -> None:
    await desk.sync()
    desk.company.app.visible = Range.of(departments=[2, 4])  # 3 is below 2
    await desk.sync()
    desk.company.app.visible = Range.of(departments=[4])
    desk.company.leave("p03")
    run = await desk.sync()
    assert run.counts["users"]["unmanaged"] == 19
    assert (await desk.user("p01"))["active"]
    assert (await desk.user("p01"))["unmanaged_since"]
    assert not (await desk.user("p03"))["active"]


async def test_story_a_department_deleted_while_we_read_is_excused(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    desk.simulator.before_call(members_of(3), lambda: desk.company.delete_department(3, cascade=True))
    run = await desk.sync()
    assert (run.state, run.counts["departments"]["removed"]) == ("succeeded", 1)
    assert run.counts["users"]["deactivated"] == 0
    await desk.sync()
    assert await desk.differences() == {}


async def test_story_a_department_that_answers_unknown_but_still_exists_is_not_excused(app_desk: Bench) -> None:
    await app_desk.sync()
    fault = Fault("errcode", errcode=60003, path="user/list", where=members_of(3), times=None)
    app_desk.simulator.faults.append(fault)
    app_desk.company.leave("p02")
    run = await app_desk.sync()
    assert run.state == "partial"
    assert "department.unreadable" in [warning["code"] for warning in run.warnings]
    assert await app_desk.count(users, users.c.active, users.c.unmanaged_since.is_(None)) == 30


async def test_story_a_department_created_while_we_read_is_read_too(desk: Bench) -> None:
    await desk.sync()

    def grow() -> None:
        desk.company.create_department("新", parent=3, id=9)
        desk.company.join("new.one", "新人", (9,))

    desk.simulator.before_call(members_of(4), grow)
    await desk.sync()
    assert await desk.seats("new.one") == {9}
    assert await desk.differences() == {}


async def test_story_a_list_that_lacks_a_department_is_checked_with_a_second_one(desk: Bench) -> None:
    """The app does not see it any more, the list of the whole company still does."""
    await desk.sync()
    desk.company.app.visible = Range.of(departments=[2])
    run = await desk.sync()
    assert run.counts["departments"]["removed"] == 0
    assert (await desk.department(4))["unmanaged_since"]
    desk.company.delete_department(4, cascade=True)
    run = await desk.sync()
    assert run.counts["departments"]["removed"] == 1
    assert not (await desk.department(4))["active"]


async def test_story_the_range_changes_while_we_read(app_desk: Bench) -> None:
    await app_desk.sync()
    app_desk.company.leave("p02")

    def narrow() -> None:
        app_desk.company.app.visible = Range.of(departments=[1], users=["p01"])

    app_desk.simulator.before_call(members_of(4), narrow)
    run = await app_desk.sync()
    assert "range.changed" in [warning["code"] for warning in run.warnings]
    assert run.counts["users"]["deactivated"] == 0
    run = await app_desk.sync()
    assert run.counts["users"]["deactivated"] == 1


async def test_story_the_range_narrows_while_candidates_are_asked_for(app_desk: Bench) -> None:
    """WeCom answers 60111 for who is out of sight, too."""
    await app_desk.sync()
    app_desk.simulator.settings.out_of_range_code = 60111

    def narrow() -> None:
        app_desk.company.app.visible = Range.of(departments=[4])

    app_desk.simulator.before_call("user/get", narrow)
    async with sweep_held(app_desk, members_of(4), staged=["list:1", "list:2", "list:3"]):
        app_desk.company.move("p02", [2])
    row = await app_desk.user("p02")
    assert (row["active"], bool(row["unmanaged_since"])) == (True, True)


async def crowd(desk: Bench, count: int) -> None:
    """So many people join department 4, are synced, and leave."""
    with desk.company.quiet():
        for number in range(count):
            desk.company.join(f"x{number:03}", "临时", (4,))
    await desk.sync()
    await desk.unguarded()
    with desk.company.quiet():
        for number in range(count):
            desk.company.leave(f"x{number:03}")


async def test_story_many_candidates_and_a_newcomer(app_desk: Bench) -> None:
    """A second sweep plans nobody twice, and finds who moved during the first."""
    await crowd(app_desk, 210)
    app_desk.company.join("new.one", "新人", (3,))
    app_desk.company.rename("p01", "改名")
    async with sweep_held(app_desk, members_of(4), staged=["list:1", "list:2", "list:3"]):
        app_desk.company.move("p02", [2])
    assert await app_desk.count(users, users.c.user_key == "new.one") == 1
    assert await app_desk.differences() == {}
    await check_feed(app_desk)


async def test_story_many_candidates_and_a_second_sweep_that_is_not_complete(app_desk: Bench) -> None:
    await crowd(app_desk, 210)
    async with sweep_held(app_desk, members_of(4), staged=["list:1", "list:2", "list:3"]) as run:
        app_desk.company.move("p02", [2])
        fault = Fault("errcode", errcode=60003, path="user/list", where=members_of(2), times=None)
        app_desk.simulator.faults.append(fault)
    assert (await app_desk.user("p02"))["active"]
    assert (await app_desk.run(run.id)).counts["users"]["deactivated"] == 0


async def test_story_many_candidates_and_a_department_that_the_second_sweep_does_not_know(app_desk: Bench) -> None:
    await crowd(app_desk, 210)

    def hide() -> None:
        app_desk.company.create_department("新", id=9)
        app_desk.company.move("p02", [9])

    again = first(lambda call: members_of(2)(call) and app_desk.simulator.calls.per_path["user/list"] > 8)
    app_desk.simulator.before_call(again, hide)
    async with sweep_held(app_desk, members_of(4), staged=["list:1", "list:2", "list:3"]):
        app_desk.company.move("p02", [2])
    assert (await app_desk.user("p02"))["active"]
    await app_desk.sync()
    assert await app_desk.differences() == {}


@pytest.mark.parametrize("contacts", [True, False], ids=["app+contacts", "app"])
async def test_story_a_membership_that_ended_out_of_sight_ends(database: Database, contacts: bool) -> None:
    """The range narrows, he changes in sight and leaves a department out of sight, the range widens."""
    from app.simulator import Simulator

    company = small_company()
    company.move("p02", [3, 4])
    async with bench(database, Simulator(company), contacts=contacts) as desk:
        await desk.sync()
        company.app.visible = Range.of(departments=[4])
        company.rename("p02", "改名")
        await desk.sync()
        assert await desk.seats("p02") == {3, 4}
        company.move("p02", [4])
        await desk.sync()
        assert await desk.seats("p02") == {3, 4}  # nobody can know
        company.app.visible = Range.of(departments=[1])
        await desk.sync()
        assert await desk.seats("p02") == {4}
        assert await desk.differences() == {}


async def test_story_a_membership_in_a_department_that_was_removed_out_of_sight(desk: Bench) -> None:
    await desk.unguarded()
    desk.company.move("p02", [3, 4])
    await desk.sync()
    desk.company.app.visible = Range.of(departments=[4])
    desk.company.rename("p02", "改名")
    await desk.sync()
    desk.company.delete_department(3, cascade=True)
    desk.company.move("p02", [4])
    await desk.sync()
    assert not (await desk.department(3))["active"]
    desk.company.app.visible = Range.of(departments=[1])
    await desk.sync()
    assert await desk.seats("p02") == {4}
    assert await desk.differences() == {}


async def test_story_a_membership_in_a_department_that_lived_only_between_two_lists(desk: Bench) -> None:
    await desk.sync()

    def come() -> None:
        desk.company.create_department("短", id=9)
        desk.company.move("p01", [3, 9])

    def go() -> None:
        desk.company.move("p01", [3])
        desk.company.delete_department(9)

    desk.simulator.calls.clear()
    desk.simulator.before_call(members_of(3), come)
    last = first(lambda call: call.path == "department/list" and desk.simulator.calls.per_path[call.path] == 2)
    desk.simulator.before_call(last, go)
    await desk.sync()
    assert await desk.seats("p01") == {3, 9}
    await desk.sync()
    assert await desk.seats("p01") == {3}
    assert await desk.differences() == {}


async def test_story_a_renamed_person_and_a_department_that_is_gone(desk: Bench) -> None:
    """His membership in it was left over; that he has another userid now does not keep it."""
    await desk.sync()

    def come() -> None:
        desk.company.create_department("短", id=9)
        desk.company.move("p01", [3, 9])

    def go() -> None:
        desk.company.move("p01", [3])
        desk.company.delete_department(9)

    desk.simulator.calls.clear()
    desk.simulator.before_call(members_of(3), come)
    last = first(lambda call: call.path == "department/list" and desk.simulator.calls.per_path[call.path] == 2)
    desk.simulator.before_call(last, go)
    await desk.sync()
    assert await desk.seats("p01") == {3, 9}
    await desk.tell(*desk.company.rename_userid("p01", "zhang.san"))
    await desk.put_off()
    await desk.sync()
    assert await desk.seats("zhang.san") == {3}
    assert await desk.differences() == {}


async def test_story_unknown_parents_make_a_forest(desk: Bench) -> None:
    desk.company.app.visible = Range.of(departments=[3, 4], users=["p03"])
    run = await desk.sync()
    assert run.state == "succeeded"
    held = {row["department_id"]: row["parent_id"] for row in await desk.rows(departments)}
    assert held == {3: None, 4: None}
    assert await desk.count(users) == 21
    assert await desk.count(memberships) == 20
    assert await desk.differences() == {}


async def test_story_a_cycle_from_two_moves_read_at_different_moments(desk: Bench) -> None:
    """Where WeCom refuses the whole list every department is read by itself: 3 under 2, later 2 under 3."""
    await desk.sync()
    desk.simulator.faults.append(Fault("errcode", errcode=45029, path="department/list", times=None))
    got = desk.simulator.hold(lambda call: call.path == "department/get" and call.params.get("id") == "2")
    run = await desk.order()
    await got.reached()

    def read_three() -> bool:
        return any(c.path == "department/get" and c.params["id"] == "3" and c.answer == 0 for c in desk.simulator.calls)

    from tests.sync.harness import until

    async def answered() -> bool:
        return read_three()

    await until(answered)
    desk.company.move_department(3, 1)
    desk.company.move_department(2, 3)
    got.release()
    await desk.worker.settled()
    ended = await desk.run(run.id)
    assert (ended.state, ended.warnings) == ("succeeded", [])
    assert (await desk.department(2))["parent_id"] == 3
    assert (await desk.department(3))["parent_id"] == 1
    assert await desk.differences() == {}


async def test_story_a_cycle_from_two_events_of_which_one_is_lost(desk: Bench) -> None:
    await desk.sync()
    desk.company.move_department(3, 1)
    await desk.tell(*desk.company.move_department(2, 3))
    await desk.drain()
    held = {row["department_id"]: row["parent_id"] for row in await desk.rows(departments)}
    assert held == {1: None, 2: 3, 3: 1, 4: 1}
    assert await desk.differences() == {}


@pytest.mark.parametrize("contacts", [True, False], ids=["app+contacts", "app"])
async def test_story_a_bad_record_is_set_aside_with_its_reason(database: Database, contacts: bool) -> None:
    from app.simulator import Simulator

    async with bench(database, Simulator(small_company()), contacts=contacts) as desk:
        await desk.sync()
        desk.company.rename("p01", "坏\0")
        desk.company.rename("p02", "好")
        run = await desk.sync()
        assert (run.state, run.counts["users"]["failed"]) == ("partial", 1)
        (bad,) = await desk.rows(planned, planned.c.run_id == run.id, planned.c.state == "failed")
        assert (bad["kind"], bad["key"], bad["reason"]) == (
            "user",
            "p01",
            "name: holds a character that cannot be stored",
        )
        row = await desk.user("p01")
        assert (row["active"], row["unmanaged_since"], row["name"]) == (True, None, "员工1")
        assert (await desk.user("p02"))["name"] == "好"
        desk.company.rename("p01", "员工1")
        assert (await desk.sync()).state == "succeeded"
        assert await desk.differences() == {}


@pytest.mark.parametrize("contacts", [True, False], ids=["app+contacts", "app"])
async def test_story_a_bad_department_is_set_aside_with_its_reason(database: Database, contacts: bool) -> None:
    from app.simulator import Simulator

    async with bench(database, Simulator(small_company()), contacts=contacts) as desk:
        await desk.sync()
        desk.company.rename_department(3, "坏\0")
        desk.company.rename_department(4, "好")
        desk.company.leave("p02")
        run = await desk.sync()
        assert (run.state, run.counts["departments"]["failed"]) == ("partial", 1)
        (bad,) = await desk.rows(planned, planned.c.run_id == run.id, planned.c.state == "failed")
        assert (bad["kind"], bad["key"], bad["reason"]) == (
            "department", "3", "name: holds a character that cannot be stored",
        )  # fmt: skip
        row = await desk.department(3)
        assert (row["active"], row["unmanaged_since"], row["name"]) == (True, None, "前端")
        assert (await desk.department(4))["name"] == "好"
        assert await desk.count(users, users.c.active, users.c.unmanaged_since.is_(None)) == 30
        desk.company.rename_department(3, "前端")
        assert (await desk.sync()).state == "succeeded"
        assert await desk.differences() == {}


async def test_story_who_moved_and_has_a_bad_record_is_left_alone(app_desk: Bench) -> None:
    await app_desk.sync()
    async with sweep_held(app_desk, members_of(4), staged=["list:1", "list:2", "list:3"]) as run:
        app_desk.company.move("p02", [2])
        app_desk.company.rename("p02", "坏\0")
    row = await app_desk.user("p02")
    assert (row["active"], row["unmanaged_since"]) == (True, None)
    assert (await app_desk.run(run.id)).state == "partial"


async def test_story_readability_is_the_verdict_of_complete_sweeps_only(desk: Bench) -> None:
    await desk.sync()
    desk.company.app.withheld = frozenset()
    await desk.tell(Event("update_user", "p01", 1, frozenset({"departments"}), after=desk.company.user("p01")))
    await desk.drain()
    assert (await desk.user("p01"))["mobile"] is None
    await desk.sync()
    assert (await desk.user("p01"))["mobile"] == "13800000001"
    source: Source = await desk.sources_value()
    assert "mobile" in source.readable
