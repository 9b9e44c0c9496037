"""Dry runs, the guard and approvals."""

import pytest

from app.errors import Refused
from app.store import runs
from tests.sync.harness import Bench, changes, users


async def leave(desk: Bench, count: int, first: int = 1) -> None:
    with desk.company.quiet():
        for number in range(first, first + count):
            desk.company.leave(f"p{number:02}")


async def decide(desk: Bench, run: runs.Run, decision: str = "approve") -> runs.Run:
    async with desk.db.write() as conn:
        act = runs.approve if decision == "approve" else runs.reject
        return await act(conn, run.id, run.digest or "", "checked", "admin")


async def test_a_dry_run_changes_nothing_and_tells_everything(desk: Bench) -> None:
    await desk.sync()
    desk.company.rename("p01", "新名")
    desk.company.leave("p02")
    before = [await desk.rows(users), await desk.feed()]
    run = await desk.sync(dry_run=True)
    assert run.state == "succeeded"
    assert [await desk.rows(users), await desk.feed()] == before
    plan = {(row["kind"], row["action"], row["key"]): row for row in await desk.plan(run.id)}
    assert plan["user", "update", "p01"]["before"] == {"name": "员工1"}
    assert plan["user", "update", "p01"]["after"] == {"name": "新名"}
    assert ("user", "deactivate", "p02") in plan
    assert run.counts["users"]["deactivated"] == 1


async def test_a_dry_run_can_be_carried_out(desk: Bench) -> None:
    await desk.sync()
    desk.company.leave("p02")
    run = await desk.sync(dry_run=True)
    await decide(desk, run)
    done = await desk.ended(run.id)
    assert done.state == "succeeded"
    assert not (await desk.user("p02"))["active"]


async def test_over_the_limit_the_rest_is_applied_and_the_destruction_withheld(desk: Bench) -> None:
    await desk.sync()
    await leave(desk, 4)  # 4 of 30 is more than 10 %
    desk.company.rename("p10", "新名")
    run = await desk.sync()
    assert run.state == "awaiting_approval"
    assert run.counts["users"]["withheld"] == 4
    assert await desk.count(users, users.c.active) == 30
    assert (await desk.user("p10"))["name"] == "新名"
    assert (await desk.sources_value()).open_approval == run.id
    done = await approve_and_wait(desk, run)
    assert done.state == "succeeded"
    assert await desk.count(users, users.c.active) == 26
    assert (await desk.sources_value()).open_approval is None
    assert await desk.differences() == {}


async def approve_and_wait(desk: Bench, run: runs.Run) -> runs.Run:
    await decide(desk, run)
    return await desk.ended(run.id)


async def test_just_below_the_limit_nothing_is_withheld(desk: Bench) -> None:
    await desk.sync()
    await leave(desk, 3)  # exactly 10 %
    run = await desk.sync()
    assert run.state == "succeeded"
    assert await desk.count(users, users.c.active) == 27


async def test_an_approval_is_a_ceiling(desk: Bench) -> None:
    await desk.sync()
    await leave(desk, 4)
    run = await desk.sync()
    await leave(desk, 2, first=10)
    again = await approve_and_wait(desk, run)
    assert again.state == "awaiting_approval"
    assert again.digest != run.digest
    assert await desk.count(users, users.c.active) == 30
    done = await approve_and_wait(desk, again)
    assert done.state == "succeeded"
    assert await desk.count(users, users.c.active) == 24


async def test_an_approved_run_destroys_less_when_people_came_back(desk: Bench) -> None:
    await desk.sync()
    await leave(desk, 5)
    run = await desk.sync()
    desk.company.join("p01", "员工1", (3,), mobile="13800000001")
    done = await approve_and_wait(desk, run)
    assert done.state == "succeeded"
    assert await desk.count(users, users.c.active) == 26


async def test_a_rejected_run_stays_rejected_and_a_wrong_digest_is_refused(desk: Bench) -> None:
    await desk.sync()
    await leave(desk, 4)
    run = await desk.sync()
    async with desk.db.write() as conn:
        with pytest.raises(Refused) as refused:
            await runs.approve(conn, run.id, "0" * 64, None, "admin")
    assert refused.value.code == "run.digest_mismatch"
    assert (await decide(desk, run, "reject")).state == "rejected"
    assert await desk.count(users, users.c.active) == 30
    with pytest.raises(Refused) as again:
        await decide(desk, run)
    assert again.value.code == "run.not_awaiting_approval"


async def test_later_runs_do_not_stack_approvals_and_a_normal_plan_clears_them(desk: Bench) -> None:
    await desk.sync()
    await leave(desk, 4)
    first = await desk.sync()
    second = await desk.sync()
    assert (await desk.run(first.id)).state == "rejected"
    assert ((await desk.run(first.id)).error or {})["code"] == "superseded"
    assert (await desk.sources_value()).open_approval == second.id
    for number in range(1, 5):
        desk.company.join(f"p{number:02}", f"员工{number}", (2 + number % 3,), mobile=f"138000000{number:02}")
    assert (await desk.sync()).state == "succeeded"
    assert (await desk.sources_value()).open_approval is None


async def test_a_person_whose_set_of_departments_shrinks_is_withheld_whole(desk: Bench) -> None:
    await desk.sync()
    for number in range(1, 8):
        desk.company.move(f"p{number:02}", [1])
    run = await desk.sync()
    assert run.state == "awaiting_approval"
    assert await desk.seats("p01") == {3}
    assert (await desk.user("p01"))["main_department_id"] == 3
    await approve_and_wait(desk, run)
    assert await desk.seats("p01") == {1}
    assert await desk.differences() == {}


async def test_blanked_values_are_guarded_per_field(desk: Bench) -> None:
    for number in range(1, 31):
        desk.company.edit(f"p{number:02}", position="工程师", telephone="020-1")
    await desk.sync()
    for number in range(1, 10):
        desk.company.edit(f"p{number:02}", position="", telephone="020-2")
    run = await desk.sync()
    assert run.state == "awaiting_approval"
    row = await desk.user("p01")
    assert (row["position"], row["telephone"]) == ("工程师", "020-2")
    await approve_and_wait(desk, run)
    assert (await desk.user("p01"))["position"] == ""


async def test_events_obey_the_same_limits_over_a_day(desk: Bench) -> None:
    await desk.sync()
    told = [event for number in range(1, 6) for event in desk.company.leave(f"p{number:02}")]
    for event in told:  # one by one: no single drain loses much
        await desk.tell(event)
        await desk.drain()
    assert await desk.count(users, users.c.active) == 27
    run_id = (await desk.sources_value()).open_approval
    assert run_id
    run = await desk.run(run_id)
    assert (run.kind, run.state) == ("events", "awaiting_approval")
    assert len([row for row in await desk.plan(run.id) if row["action"] == "deactivate"]) == 2
    done = await approve_and_wait(desk, run)
    assert done.state == "succeeded"
    assert await desk.count(users, users.c.active) == 25
    assert await desk.count(changes, changes.c.action == "deactivate") == 5


async def test_what_was_partly_withheld_is_compared_again(desk: Bench) -> None:
    """The position was applied, the telephone withheld; WeCom goes back to the old values: so must we."""
    for number in range(1, 31):
        desk.company.edit(f"p{number:02}", position="旧", telephone="020-1")
    await desk.sync()
    for number in range(1, 11):
        desk.company.edit(f"p{number:02}", position="新", telephone="")
    assert (await desk.sync()).state == "awaiting_approval"
    assert (await desk.user("p01"))["position"] == "新"
    for number in range(1, 11):
        desk.company.edit(f"p{number:02}", position="旧", telephone="020-1")
    assert (await desk.sync()).state == "succeeded"
    assert await desk.differences() == {}


async def test_emptied_lists_are_measured_against_those_who_had_one(desk: Bench) -> None:
    for number in range(2, 5):
        desk.company.edit(f"p{number:02}", direct_leaders=("p01",))
    await desk.sync()
    for number in range(2, 5):
        desk.company.edit(f"p{number:02}", direct_leaders=())
    assert (await desk.sync()).state == "awaiting_approval"
    assert (await desk.user("p02"))["direct_leaders"] == ["p01"]
