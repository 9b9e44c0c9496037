"""The full sync: what it brings over, what it leaves alone, and what it refuses to believe."""

from dataclasses import replace

import pytest

from app.simulator import Fault, Membership, Range
from tests.sync.harness import Bench, changes, departments, memberships, until, users


async def test_everything_arrives_field_by_field(desk: Bench) -> None:
    run = await desk.sync()
    assert (run.state, run.error) == ("succeeded", None)
    assert run.counts["users"]["created"] == 30
    assert run.counts["departments"]["created"] == 4
    assert await desk.differences() == {}


async def test_the_api_budget_is_departments_plus_four(app_desk: Bench) -> None:
    await app_desk.sync()
    app_desk.simulator.calls.clear()
    run = await app_desk.sync()
    assert app_desk.simulator.calls.total <= 4 + 4
    assert run.api_calls == app_desk.simulator.calls.total


async def test_a_second_sync_without_changes_writes_nothing(desk: Bench) -> None:
    from sqlalchemy import event

    await desk.sync()
    written: list[str] = []

    def watch(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        written.append(statement)

    engine = desk.db._writer.sync_engine
    event.listen(engine, "before_cursor_execute", watch)
    run = await desk.sync()
    event.remove(engine, "before_cursor_execute", watch)
    verbs = ("INSERT INTO", "UPDATE", "DELETE FROM")
    tables = ("department", "user", "membership", "change")
    touched = [s for s in written for t in tables for v in verbs if s.startswith((f'{v} "{t}"', f"{v} {t} "))]
    assert touched == []
    assert written  # the run itself is on record
    assert run.counts["users"]["unchanged"] == 30
    assert run.counts["departments"]["unchanged"] == 4


async def test_several_departments_with_order_leader_and_main(desk: Bench) -> None:
    desk.company.move("p01", [Membership(3, order=7, leader=True), Membership(4, order=4294967295)])
    desk.company.edit("p01", main_department=4, direct_leaders=("p02",))
    await desk.sync()
    assert await desk.differences() == {}
    assert await desk.seats("p01") == {3, 4}
    assert (await desk.user("P01"))["main_department_id"] == 4


async def test_extattrs_of_both_types_arrive(desk: Bench) -> None:
    items = (
        {"type": 0, "name": "爱好", "text": {"value": "旅游"}},
        {"type": 1, "name": "主页", "web": {"url": "https://example.com", "title": "我"}},
    )
    desk.company.edit("p05", extattrs=items)
    await desk.sync()
    assert (await desk.user("p05"))["extattrs"] == list(items)


async def test_ids_and_orders_beyond_32_bits(desk: Bench) -> None:
    desk.company.create_department("远", id=4294967299, order=4294967295)
    desk.company.join("Far.Away", "远方", (4294967299,))
    await desk.sync()
    assert await desk.differences() == {}
    assert (await desk.user("far.away"))["userid"] == "Far.Away"


async def test_a_leaver_is_proven_by_two_id_passes_and_keeps_his_row(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p03")
    desk.company.leave("p03")
    run = await desk.sync()
    after = await desk.user("p03")
    assert run.counts["users"]["deactivated"] == 1
    assert after["id"] == before["id"]
    assert not after["active"]
    assert await desk.seats("p03") == set()
    assert desk.simulator.calls.per_path["user/list_id"] >= 3  # one in the first run, two in the second


async def test_without_a_contacts_secret_a_leaver_is_asked_for_by_name(app_desk: Bench) -> None:
    await app_desk.sync()
    app_desk.company.leave("p03")
    app_desk.simulator.calls.clear()
    await app_desk.sync()
    assert not (await app_desk.user("p03"))["active"]
    assert app_desk.simulator.calls.per_path["user/get"] == 1


async def test_many_candidates_are_swept_again_instead_of_asked(database: object, app_desk: Bench) -> None:
    with app_desk.company.quiet():
        for number in range(230):
            app_desk.company.join(f"x{number:03}", "临时", (4,))
    await app_desk.sync()
    async with app_desk.db.write() as conn:
        await app_desk.sources.patch(conn, app_desk.source.id, {"guard": {"max_percent": 100, "max_count": 1000}})
    with app_desk.company.quiet():
        for number in range(230):
            app_desk.company.leave(f"x{number:03}")
    app_desk.simulator.calls.clear()
    run = await app_desk.sync()
    assert run.counts["users"]["deactivated"] == 230
    assert app_desk.simulator.calls.per_path["user/get"] == 0
    assert app_desk.simulator.calls.per_path["user/list"] == 2 * 4


async def test_a_returner_is_reactivated_under_his_old_id(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p03")
    desk.company.leave("p03")
    await desk.sync()
    desk.company.join("p03", "员工3", (3,), mobile="13800000003")
    run = await desk.sync()
    after = await desk.user("p03")
    assert (after["id"], after["active"]) == (before["id"], True)
    assert run.counts["users"]["reactivated"] == 1
    assert await desk.differences() == {}


async def test_a_reused_userid_is_a_new_person(desk: Bench) -> None:
    await desk.sync()
    before = await desk.user("p03")
    desk.company.leave("p03")
    await desk.sync()
    desk.company.join("P03", "别人", (4,), mobile="13999999999")
    await desk.sync()
    after = await desk.user("p03")
    assert after["id"] != before["id"]
    assert after["active"]
    assert await desk.count(users, users.c.user_key == "p03") == 2


async def test_status_decides_who_is_active(desk: Bench) -> None:
    await desk.sync()
    for userid, status in (("p01", 2), ("p02", 4), ("p03", 5)):
        desk.company.set_status(userid, status)
    await desk.sync()
    assert [(await desk.user(u))["active"] for u in ("p01", "p02", "p03")] == [True, True, False]
    desk.company.set_status("p03", 1)
    await desk.sync()
    assert (await desk.user("p03"))["active"]


async def test_story_moving_from_an_unread_to_a_read_department(app_desk: Bench) -> None:
    """He is on no page: he left the department that was not read yet for one that had been read already."""
    await app_desk.sync()
    app_desk.simulator.before_call(
        lambda call: call.path == "user/list" and call.params.get("department_id") == "4",
        lambda: app_desk.company.move("p02", [1]),
    )
    barrier = app_desk.simulator.hold(lambda c: c.path == "user/list" and c.params.get("department_id") == "4")
    import asyncio

    syncing = asyncio.create_task(app_desk.sync())
    await barrier.reached()

    async def all_asked() -> bool:
        return app_desk.simulator.calls.per_path["user/list"] >= 8

    await until(all_asked)
    barrier.release()
    run = await syncing
    assert run.state == "succeeded"
    assert (await app_desk.user("p02"))["active"]
    assert run.counts["users"]["deactivated"] == 0
    assert await app_desk.differences() == {}


async def test_story_the_parent_comes_into_sight(desk: Bench) -> None:
    desk.company.app.visible = Range.of(departments=[3])
    await desk.sync()
    assert (await desk.department(3))["parent_id"] is None
    desk.company.app.visible = Range.of(departments=[2])
    await desk.sync()
    assert (await desk.department(3))["parent_id"] == 2
    assert await desk.differences() == {}


async def test_story_the_range_narrows_and_widens(app_desk: Bench) -> None:
    await app_desk.sync()
    whole = app_desk.company.app.visible
    app_desk.company.app.visible = Range.of(departments=[4])
    run = await app_desk.sync()
    assert run.counts["users"]["deactivated"] == 0
    assert await app_desk.count(users, users.c.active, users.c.unmanaged_since.is_not(None)) == 20
    assert await app_desk.count(departments, departments.c.unmanaged_since.is_not(None)) == 3
    assert run.counts["users"]["unmanaged"] == 20
    assert await app_desk.count(memberships) == 30  # frozen, not ended
    app_desk.company.app.visible = whole
    await app_desk.sync()
    assert await app_desk.count(users, users.c.unmanaged_since.is_not(None)) == 0
    assert await app_desk.differences() == {}


async def test_story_readability_of_mobile_changes(desk: Bench) -> None:
    desk.company.app.withheld = frozenset()
    await desk.sync()
    assert (await desk.user("p07"))["mobile"] == "13800000007"
    for form in ("absent", "empty"):
        desk.company.app.withheld = frozenset({"mobile"})
        desk.simulator.settings.withheld_as = form
        before = await desk.count(changes)
        await desk.sync()
        assert (await desk.user("p07"))["mobile"] == "13800000007"
        assert await desk.count(changes) == before
        desk.company.app.withheld = frozenset()
        await desk.sync()
        assert await desk.count(changes) == before
    desk.company.edit("p07", mobile="")
    await desk.sync()
    assert (await desk.user("p07"))["mobile"] == ""


async def test_a_range_of_members_only(desk: Bench) -> None:
    desk.company.app.visible = Range.of(users=["p01", "p02"])
    run = await desk.sync()
    assert run.state == "succeeded"
    assert await desk.count(users) == 2
    assert await desk.count(departments) == 0


async def test_members_granted_by_tag(desk: Bench) -> None:
    tag = desk.company.create_tag("外聘", users=["p01"], departments=[4])
    desk.company.app.visible = Range.of(tags=[tag])
    await desk.sync()
    assert await desk.differences() == {}
    assert await desk.count(users) == 11


async def test_contacts_secret_from_a_new_address_reads_ids_only(database: object, company: object) -> None:
    from app.simulator import Simulator
    from tests.sync.harness import bench

    async with bench(database, Simulator(company), app=False) as made:  # type: ignore[arg-type]
        run = await made.sync()
        assert run.state == "succeeded"
        assert "details.unreadable" in [warning["code"] for warning in run.warnings]
        assert await made.count(users) == 30
        assert (await made.user("p01"))["name"] is None
        assert await made.seats("p01") == {3}
        made.company.leave("p01")
        await made.sync()
        assert not (await made.user("p01"))["active"]


async def test_contacts_secret_from_an_old_address_reads_everything(database: object, company: object) -> None:
    from app.simulator import Simulator
    from tests.sync.harness import bench

    company.contacts.known_ip = True  # type: ignore[attr-defined]
    async with bench(database, Simulator(company), app=False) as made:  # type: ignore[arg-type]
        run = await made.sync()
        assert run.state == "succeeded"
        assert (await made.user("p01"))["mobile"] == "13800000001"


async def test_no_credential_at_all_says_so(database: object, company: object) -> None:
    from app.simulator import Simulator
    from tests.sync.harness import bench

    async with bench(database, Simulator(company), app=False, contacts=False) as made:  # type: ignore[arg-type]
        run = await made.sync()
        assert run.state == "failed"
        assert run.error
        assert run.error["code"] == "source.no_credentials"


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("errcode", errcode=-1, times=None),
        Fault("errcode", errcode=60011, times=None),
        Fault("errcode", errcode=45009, times=None),
        Fault("http", status=502, times=None),
        Fault("garbage", times=None),
        Fault("truncated", times=None),
        Fault("empty", times=None),
        Fault("cut", times=None),
    ],
    ids=lambda fault: f"{fault.kind}{fault.errcode or ''}",
)
async def test_a_fault_at_every_position_deactivates_nobody(desk: Bench, fault: Fault, lasting: bool) -> None:
    await desk.sync()
    desk.simulator.calls.clear()
    await desk.sync()
    calls = desk.simulator.calls.total
    for position in range(1, calls + 1):
        desk.simulator.reset()
        await desk.forget_limits()
        reached = [replace(fault, call=number) for number in range(position, position + (60 if lasting else 1))]
        desk.simulator.faults.extend(reached)
        run = await desk.sync()
        assert run.counts["users"]["deactivated"] == 0
        assert run.counts["departments"]["removed"] == 0
        assert run.state in ("succeeded", "failed", "partial"), run
        assert (run.error is None) == (run.state != "failed")
        assert await desk.count(users, users.c.active) == 30
        assert await desk.count(departments, departments.c.active) == 4
    desk.simulator.reset()
    await desk.forget_limits()
    assert (await desk.sync()).state == "succeeded"
    assert await desk.differences() == {}
