"""Deliveries: whatever happens on the way, a target becomes what the directory is."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from app.core.outgoing import Outcome, Outgoing, Pairing
from app.errors import AskAdmin, TryLater
from app.store import deliveries, runs, targets
from app.store.db import now
from tests.sync.harness import WIDE, Bench, users
from tests.sync.outlet import Killed, delivery_table, failing, outlet, run_table

AWAY = TryLater("target.unavailable", "away")


async def test_a_new_target_gets_the_whole_directory_once(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    assert await out.differences() == []
    assert len(out.remote.told) == len(set(out.remote.told)) == 34
    [run] = await desk.rows(run_table, run_table.c.kind == "resync")
    assert run["state"] == "succeeded"
    assert run["counts"]["users"]["created"] == 30
    target = await out.target()
    assert (target.condition, target.failures) == ("ok", 0)
    assert target.position == target.taken == await newest(desk)


async def test_a_second_resync_sends_nothing(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    before = len(out.remote.writes)
    run = await out.resync()
    assert run.state == "succeeded"
    assert await desk.plan(run.id) == []
    assert len(out.remote.writes) == before


async def test_changes_arrive_by_themselves_and_alone(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    out.remote.writes.clear()
    await desk.tell(*desk.company.move("p01", (4,)), *desk.company.rename_userid("p02", "p2"))
    await desk.drain()
    assert sorted(out.remote.told) == ["p01", "p2"]
    assert await out.differences() == []
    assert await waiting(desk, out.id) == 0


async def test_a_target_deleted_while_it_is_written_to_comes_to_rest(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    write = out.remote.write

    async def deleted_meanwhile(items: Sequence[Outgoing]) -> list[Outcome]:
        outcomes = await write(items)
        async with desk.db.write() as conn:
            await out.targets.delete(conn, out.id)
        return outcomes

    out.remote.write = deleted_meanwhile  # type: ignore[method-assign]
    await desk.worker.outlets.work_off(out.id, "worker")  # type: ignore[union-attr]
    assert len(out.remote.writes) == 1
    assert await out.deliveries() == []


async def test_what_waits_of_one_object_goes_out_once_as_it_is_now(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    out.remote.writes.clear()
    with failing(out.remote, AWAY):
        for name in ("一", "二", "三"):
            desk.company.rename("p01", name)
            await desk.sync()
    assert (await out.target()).condition == "retrying"
    assert (await out.target()).next_attempt_at is not None
    [one] = await out.deliveries(state="retrying")
    assert one.previous["name"] == "员工1"
    assert one.attempts[0]["error"] == {"code": "target.unavailable", "message": "away"}
    out.remote.writes.clear()
    await out.deliver()
    assert out.remote.told == ["p01"]
    assert out.remote.held[one.object_id]["name"] == "三"
    assert (await out.target()).condition == "ok"


async def test_one_bad_object_is_dead_and_holds_nobody_up(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    out.remote.refused["p05"] = "dead"
    await out.deliver()
    [dead] = await out.deliveries(state="dead")
    assert (dead.key, dead.attempts[-1]["error"]["code"]) == ("p05", "remote.refused")
    assert len(await out.differences()) == 1
    [run] = await desk.rows(run_table, run_table.c.kind == "resync")
    assert run["state"] == "partial"
    assert run["counts"]["users"]["failed"] == 1
    out.remote.refused.clear()
    async with desk.db.write() as conn:
        await deliveries.retry(conn, dead.id)
    await out.deliver()
    assert await out.differences() == []


async def test_a_dead_object_is_tried_again_when_it_changes(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    out.remote.refused["p05"] = "dead"
    await out.deliver()
    out.remote.refused.clear()
    desk.company.rename("p05", "好了")
    await desk.sync()
    assert await out.differences() == []
    assert await out.deliveries(state="dead") == []


async def test_an_object_that_is_not_taken_is_given_up_after_eight_tries(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    out.remote.refused["p05"] = "retrying"
    for _ in range(7):
        await out.deliver()
        [one] = await out.deliveries(key="p05")
        assert one.state == "retrying"
        assert one.next_attempt_at is not None
    await out.deliver()
    [one] = await out.deliveries(key="p05")
    assert (one.state, one.failures, len(one.attempts)) == ("dead", 8, 8)


async def test_killed_between_sending_and_marking_sends_again_after_settling(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    with failing(out.remote, Killed(), after=True), pytest.raises(Killed):
        await desk.worker.outlets.work_off(out.id, "worker-1")  # type: ignore[union-attr]
    assert (await out.target()).sending_since is not None
    await desk.restart()
    await out.deliver()
    assert len(out.remote.settled) == 1
    assert (await out.target()).sending_since is None
    assert await out.differences() == []


async def test_removals_go_last_and_children_before_their_parents(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk, guard=WIDE)
    await out.deliver()
    out.remote.writes.clear()
    company = desk.company
    for number in range(1, 31):
        if (2 + number % 3) in (2, 3):
            company.leave(f"p{number:02}")
    company.delete_department(3)
    company.delete_department(2)
    await desk.sync()
    assert out.remote.told[-2:] == ["3", "2"]
    assert await out.differences() == []
    assert {item.key for write in out.remote.writes for item in write if item.removal} >= {"2", "3", "p01"}


async def test_too_many_removals_wait_for_a_person(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    for number in range(1, 8):
        desk.company.leave(f"p{number:02}")
    desk.company.rename("p20", "还在")
    await desk.sync()
    target = await out.target()
    assert (target.condition, len(out.remote.held)) == ("awaiting_approval", 34)
    assert "还在" in [value["name"] for value in out.remote.held.values()]
    run = await desk.run(str(target.open_approval))
    assert (run.state, run.kind, run.counts["users"]["withheld"]) == ("awaiting_approval", "resync", 7)
    async with desk.db.write() as conn:
        await runs.approve(conn, run.id, str(run.digest), "they left", "admin")
    await out.deliver()
    assert await out.differences() == []
    assert (await desk.run(run.id)).state == "succeeded"
    assert (await out.target()).condition == "ok"


async def test_a_rejected_removal_is_not_sent_and_found_again(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    for number in range(1, 8):
        desk.company.leave(f"p{number:02}")
    await desk.sync()
    run = await desk.run(str((await out.target()).open_approval))
    async with desk.db.write() as conn:
        await runs.reject(conn, run.id, str(run.digest), None, "admin")
    await out.deliver()
    assert len(out.remote.held) == 34
    again = await out.resync()
    assert (again.counts["users"]["deactivated"], again.counts["users"]["withheld"]) == (0, 7)
    assert (await out.target()).condition == "awaiting_approval"


async def test_a_resync_beside_an_open_approval_leaves_it_whole(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    for number in range(1, 8):
        desk.company.leave(f"p{number:02}")
    await desk.sync()
    run = await desk.run(str((await out.target()).open_approval))
    again = await out.resync()
    assert (again.state, again.counts["users"]["withheld"]) == ("succeeded", 7)
    assert len(out.remote.held) == 34
    async with desk.db.write() as conn:
        await runs.approve(conn, run.id, str(run.digest), "they left", "admin")
    await out.deliver()
    assert await out.differences() == []


async def test_who_comes_back_before_the_approval_is_not_removed_and_follows_again(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    people = {row["userid"]: row["name"] for row in await desk.rows(users)}
    for number in range(1, 8):
        desk.company.leave(f"p{number:02}")
    await desk.sync()
    run_id = str((await out.target()).open_approval)
    for number in range(1, 8):
        desk.company.join(f"p{number:02}", people[f"p{number:02}"], (4,))
    await desk.sync()
    await out.deliver()
    assert await out.differences() == []
    run = await desk.run(run_id)
    assert (run.state, (run.error or {}).get("code")) == ("rejected", "superseded")
    assert (await out.target()).condition == "ok"


@pytest.mark.parametrize(("leavers", "held"), [(2, False), (3, False), (4, True)])
async def test_the_limit_of_removals(desk: Bench, leavers: int, held: bool) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk, guard={"max_percent": 10, "max_count": 500, "floor": 20})
    await out.deliver()
    for number in range(1, leavers + 1):
        desk.company.leave(f"p{number:02}")
    await desk.sync()
    assert ((await out.target()).open_approval is not None) is held


async def test_single_removals_add_up_over_a_day(desk: Bench) -> None:
    await desk.unguarded()
    await desk.sync()
    out = await outlet(desk, guard={"max_percent": 10, "max_count": 500, "floor": 20})
    await out.deliver()
    for number in range(1, 5):
        desk.company.leave(f"p{number:02}")
        await desk.sync()
        assert ((await out.target()).open_approval is not None) is (number == 4)


async def test_a_paused_target_misses_nothing(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    await out.deliver()
    position = (await out.target()).position
    await patch(desk, out, enabled=False)
    out.remote.writes.clear()
    desk.company.rename("p01", "停")
    await desk.sync()
    assert out.remote.writes == []
    assert ((await out.target()).condition, (await out.target()).position) == ("paused", position)
    await patch(desk, out, enabled=True)
    await out.deliver()
    assert await out.differences() == []


async def test_days_of_failure_suspend_until_somebody_changes_it(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    with failing(out.remote, AWAY):
        await out.deliver()
        async with desk.db.write() as conn:
            await targets.record(conn, out.id, failing_since=now() - timedelta(days=4))
        await out.deliver()
        assert (await out.target()).condition == "suspended"
        seen = len(out.remote.writes)
        await out.deliver()
    assert len(out.remote.writes) == seen
    await patch(desk, out, name="Mended")
    await out.deliver()
    assert (await out.target()).condition == "ok"
    assert await out.differences() == []


async def test_a_target_that_says_stop_is_suspended_at_once(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    with failing(out.remote, AskAdmin("target.gone", "gone")):
        await out.deliver()
    assert (await out.target()).condition == "suspended"
    async with desk.db.read() as conn:
        assert await targets.due(conn, now()) == []


async def test_targets_in_one_place_are_written_in_turn(desk: Bench) -> None:
    await desk.sync()
    one = await outlet(desk, channel="there")
    two = await outlet(desk, channel="there")
    two.remote.held = one.remote.held
    worker = desk.worker
    worker.wake("deliver", one.id)
    worker.wake("deliver", two.id)
    await worker.settled()
    await one.deliver()
    await two.deliver()
    assert await one.differences() == []
    assert (await two.target()).condition == "ok"


async def test_a_dry_run_writes_nothing_and_names_the_pairs(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk, enabled=False)
    out.remote.pairings["p01"] = Pairing("matched", "12", "user 12 has the same phone")
    out.remote.pairings["p02"] = Pairing("conflict", None, "two of ours for user 13")
    run = await out.resync(dry_run=True)
    assert (run.state, run.counts["users"]["created"]) == ("succeeded", 30)
    assert out.remote.writes == []
    reasons = {row["key"]: row["reason"] for row in await desk.plan(run.id) if row["reason"]}
    assert reasons == {"p01": "matched: user 12 has the same phone", "p02": "conflict: two of ours for user 13"}
    assert await desk.count(delivery_table) == 0


async def test_members_of_a_department_that_came_late_are_told_again(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk)
    out.remote.refused["4"] = "dead"
    await out.deliver()
    out.remote.refused.clear()
    out.remote.writes.clear()
    [dead] = await out.deliveries(state="dead")
    async with desk.db.write() as conn:
        await deliveries.retry(conn, dead.id)
    await out.deliver()
    assert out.remote.told[0] == "4"
    assert "p02" in out.remote.told[1:]


async def test_runs_are_told_to_those_who_want_to_know(desk: Bench) -> None:
    await desk.sync()
    out = await outlet(desk, wants_news=True)
    await out.deliver()
    run = await desk.sync()
    await out.deliver()
    told = [item.value["id"] for write in out.remote.writes for item in write if item.kind == "run"]
    assert run.id in told


async def newest(desk: Bench) -> int:
    async with desk.db.read() as conn:
        return await targets.newest(conn, desk.source.id)


async def waiting(desk: Bench, target_id: str) -> int:
    async with desk.db.read() as conn:
        return await deliveries.backlog(conn, await desk.worker.outlets.targets.get(conn, target_id))  # type: ignore[union-attr]


async def patch(desk: Bench, out: object, **changes: object) -> None:
    async with desk.db.write() as conn:
        await desk.worker.outlets.targets.patch(conn, out.id, changes)  # type: ignore[union-attr,attr-defined]
