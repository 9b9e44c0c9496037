"""Reading a company in every combination of credentials, and while it changes or fails."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from app.core.directory import WITHHELD, User
from app.core.ports import DepartmentsRead, IdsPage, Range, Reader, UsersPage
from app.errors import AskAdmin, ServiceError, TryLater
from app.simulator import SENSITIVE, Company, Credential, Fault, generate_company, running
from app.simulator import Range as Visible
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.reader import AT_ONCE, WeComReader
from tests.sources.world import SECRET, Scripted, World

EVERYBODY = Range((1,), (), (), everything=True, details=True, lists_ids=False, fingerprint="")
ALL = (1, 2, 3, 4)


async def pages_of(
    reader: Reader, departments: Collection[int] = ALL, range_: Range = EVERYBODY, done: Collection[str] = ()
) -> list[UsersPage]:
    return [page async for page in reader.users(departments, range_=range_, done=done)]


def people(pages: Collection[UsersPage]) -> dict[str, User]:
    return {user.key: user for page in pages for user in page.users}


async def whole(reader: Reader) -> tuple[Range, DepartmentsRead, dict[str, User]]:
    """Range, departments and people, as a full sync reads them."""
    range_ = await reader.range()
    departments = await reader.departments()
    ids = [department.department_id for department in departments.departments]
    return range_, departments, people(await pages_of(reader, ids, range_))


def as_truth(departments: DepartmentsRead, users: dict[str, User], truth: dict[str, Any]) -> dict[str, Any]:
    """What was read in the form of the simulator's truth, with the fields that the truth has."""
    said = [
        {"department_id": one.department_id, "parent_id": one.parent_id, "order": one.order}
        | (
            {"name": one.name, "name_en": one.name_en, "leaders": sorted(one.leaders)}
            if one.leaders is not None
            else {}
        )
        for one in departments.departments
    ]
    names = truth["users"][0]
    shown = [
        {name: [*value] if isinstance(value := getattr(user, name), tuple) else value for name in names}
        for user in users.values()
    ]
    places = [
        {
            "userid": user.userid,
            "department_id": place.department_id,
            "order": place.order,
            "is_leader": place.is_leader,
        }
        | {"is_main": place.department_id == user.main_department_id}
        for user in users.values()
        for place in user.memberships or ()
    ]
    known = truth["memberships"][0]
    return {
        "departments": sorted(said, key=lambda one: one["department_id"]),
        "users": sorted(shown, key=lambda one: one["userid"].lower()),
        "memberships": sorted(
            ({name: place[name] for name in known} for place in places),
            key=lambda one: (one["userid"].lower(), one["department_id"]),
        ),
    }


# Every combination of credentials


@pytest.mark.parametrize("withheld", [SENSITIVE, frozenset()], ids=["new app", "old app"])
@pytest.mark.parametrize("departments", [(1,), (2, 5)], ids=["root", "part"])
async def test_an_app_reads_what_it_sees(
    make_world: Callable[[Company], World], withheld: frozenset[str], departments: tuple[int, ...]
) -> None:
    company = generate_company(users=300, departments=25, seed=7)
    company.app.withheld, company.app.visible = withheld, Visible.of(departments=departments)
    world = make_world(company)
    async with world.reader() as reader:
        range_, read, users = await whole(reader)
    truth = company.truth(company.app)
    assert as_truth(read, users, truth) == truth
    assert (range_.everything, range_.details, range_.lists_ids) == (departments == (1,), True, False)
    assert all((getattr(user, name) is None) == bool(withheld) for user in users.values() for name in WITHHELD)
    assert not world.sim.limits.violations


async def test_an_app_with_the_contacts_secret_also_lists_ids(world: World) -> None:
    async with world.reader(world.both()) as reader:
        range_, _, users = await whole(reader)
        pairs = [pair async for page in reader.ids() for pair in page.pairs]
    assert (range_.everything, range_.details, range_.lists_ids) == (True, True, True)
    assert sorted(pairs) == [("ZhangSan", 2), ("lisi", 2), ("lisi", 3), ("wangwu", 4), ("zhaoliu", 1)]
    assert users["zhangsan"].position == "工程师"
    assert "user/list_id" in world.sim.calls.paths()


@pytest.mark.parametrize("known_ip", [True, False], ids=["old IP", "new IP"])
async def test_a_lone_contacts_secret_reads_what_its_address_allows(world: World, known_ip: bool) -> None:
    world.company.contacts.known_ip = known_ip
    async with world.reader(world.contacts_only()) as reader:
        range_, departments, users = await whole(reader)
    truth = world.company.truth(world.company.contacts)
    assert as_truth(departments, users, truth) == truth
    assert (range_.everything, range_.details, range_.lists_ids) == (True, known_ip, True)
    assert {user.name is None for user in users.values()} == {not known_ip}
    assert {department.name is None for department in departments.departments} == {not known_ip}
    assert not world.sim.limits.violations


async def test_ids_alone_say_nothing_else(world: World) -> None:
    async with world.reader(world.contacts_only()) as reader:
        pages = await pages_of(reader)
        lisi = await reader.user("LiSi")
        nobody = await reader.user("nobody")
        department, unknown = await reader.department(3), await reader.department(99)
        members = await reader.department_members(3)
    assert people(pages)["lisi"] == replace(User("lisi"), memberships=lisi.user.memberships if lisi.user else None)
    assert [place.department_id for place in people(pages)["lisi"].memberships or ()] == [2, 3]
    assert (nobody.user, nobody.errcode) == (None, 60111)
    assert department.department is not None
    assert (department.department.name, department.department.parent_id, department.raw_parent_id) == (None, 2, 2)
    assert (unknown.department, unknown.errcode) == (None, 60003)
    assert list(people([members])) == ["lisi"]


async def test_ids_alone_come_in_pages_that_a_resumed_run_does_not_know(make_world: Callable[[Company], World]) -> None:
    world = make_world(generate_company(users=2300, departments=5, seed=1))
    async with world.reader(world.contacts_only()) as reader:
        pages = await pages_of(reader, [1, 2, 3, 4, 5], done={"ids:1", "ids:3"})
        few = await pages_of(reader, [2])
    assert [page.key for page in pages] == ["ids:2", "ids:4", "ids:5"]
    assert [len(page.users) for page in pages] == [1000, 1000, 300]
    assert len(people(pages)) == 2300
    assert set(people(few)) == set(world.company.records.members[2])


async def test_those_who_ask_at_the_same_time_share_a_pass(world: World) -> None:
    async with world.reader(world.contacts_only()) as reader:
        await reader.range()
        world.sim.settings.latency = 0.001
        reads = await asyncio.gather(*(reader.user("lisi") for _ in range(20)))
        assert world.sim.calls.per_path["user/list_id"] == 2
        world.company.leave("lisi")
        assert (await reader.user("lisi")).user is None
    assert all(read.user is not None for read in reads)


async def test_without_a_secret_nothing_is_sent(world: World) -> None:
    async with world.reader(world.config(app_secret=None)) as reader:
        for call in (
            reader.range,
            reader.departments,
            reader.department_ids,
            lambda: reader.user("lisi"),
            lambda: reader.department(1),
            lambda: reader.department_members(1),
            lambda: reader.tag(1),
            lambda: pages_of(reader),
        ):
            with pytest.raises(AskAdmin, match=r"source\.no_credentials"):
                await call()
        with pytest.raises(AskAdmin, match=r"source\.no_contacts_secret"):
            await anext(reader.ids())
        assert reader.calls == world.sim.calls.total == 0


async def test_secrets_in_the_wrong_place_are_named(world: World) -> None:
    company = world.company
    swapped = world.config(app_secret=company.contacts.secret, contacts_secret=company.app.secret)
    async with world.reader(swapped) as reader:
        with pytest.raises(AskAdmin) as refused:
            await reader.range()
        assert refused.value.code == "wecom.api_forbidden"
        with pytest.raises(AskAdmin, match=r"wecom\.api_forbidden"):
            await anext(reader.ids())
        with pytest.raises(AskAdmin, match=r"wecom\.contacts_secret_ids_only"):
            await reader.user("lisi")


async def test_a_wrong_contacts_secret_is_found_before_anything_is_read(world: World) -> None:
    async with world.reader(world.both(contacts_secret="wrong")) as reader:
        with pytest.raises(AskAdmin, match=r"wecom\.wrong_secret"):
            await reader.range()


# The range


async def test_the_app_finds_its_own_agent_id_once(world: World) -> None:
    async with world.reader() as reader:
        await reader.range()
        await reader.range()
    assert world.sim.calls.paths() == ["gettoken", "agent/list", "agent/get", "agent/get"]
    world.sim.calls.clear()
    async with world.reader(world.config(agent_id=1000002)) as reader:
        await reader.range()
    assert world.sim.calls.paths() == ["agent/get"]


async def test_a_foreign_agent_id_is_named(world: World) -> None:
    async with world.reader(world.config(agent_id=1000003)) as reader:
        with pytest.raises(AskAdmin, match=r"wecom\.not_this_agent"):
            await reader.range()


@pytest.mark.parametrize("agents", [[], [{"agentid": 1}, {"agentid": 2}], [{"name": "x"}]])
async def test_an_agent_that_cannot_be_found(agents: list[dict[str, Any]]) -> None:
    wecom = Scripted(agent__list=[{"errcode": 0, "agentlist": agents}])
    with pytest.raises(AskAdmin, match=r"wecom\.agent_unknown"):
        await scripted(wecom).range()


async def test_the_fingerprint_changes_with_the_range_and_with_nothing_else(world: World) -> None:
    company = world.company
    tag = company.create_tag("标签", ["lisi"], [])
    ranges = [
        Visible.of(departments=[1]),
        Visible.of(departments=[2]),
        Visible.of(departments=[2, 4]),
        Visible.of(departments=[2, 4], users=["zhaoliu"]),
        Visible.of(departments=[2, 4], users=["zhaoliu"], tags=[tag]),
        Visible.of(users=["zhaoliu"]),
        Visible(),
    ]
    prints = []
    for visible in [*ranges, *ranges]:
        company.app.visible = visible
        async with world.reader() as reader:
            range_ = await reader.range()
        prints.append(range_.fingerprint)
        assert range_.everything is (visible == ranges[0])
        assert (set(range_.departments), set(range_.users), set(range_.tags)) == (
            visible.departments,
            visible.users,
            visible.tags,
        )
    assert prints[: len(ranges)] == prints[len(ranges) :]
    company.app.visible = ranges[0]
    others = [world.both(), world.contacts_only(), world.contacts_only()]
    for index, config in enumerate(others):
        company.contacts.known_ip = index == 2
        async with world.reader(config) as reader:
            prints.append((await reader.range()).fingerprint)
    assert len(set(prints)) == len(ranges) + len(others)


async def test_missing_ranges_are_empty(world: World) -> None:
    world.sim.settings.omit_empty_ranges = True
    world.company.app.visible = Visible.of(users=["lisi"])
    async with world.reader() as reader:
        range_, departments, users = await whole(reader)
    assert (range_.departments, range_.users, range_.tags, range_.everything) == ((), ("lisi",), (), False)
    assert departments.departments == ()
    assert list(users) == ["lisi"]


async def test_a_root_of_another_id_is_recognised_when_it_was_seen() -> None:
    wecom = Scripted(
        agent__list=[{"errcode": 0, "agentlist": [{"agentid": 7}]}],
        agent__get=[{"errcode": 0, "allow_partys": {"partyid": [100]}}],
        department__list=[{"errcode": 0, "department": [{"id": 100, "parentid": 0}, {"id": 101, "parentid": 100}]}],
    )
    reader = scripted(wecom)
    before = await reader.range()
    await reader.departments()
    after = await reader.range()
    assert (before.everything, after.everything) == (False, True)
    assert before.fingerprint == after.fingerprint


# Departments


async def test_a_forest(world: World) -> None:
    world.company.app.visible = Visible.of(departments=[3, 4])
    async with world.reader() as reader:
        read = await reader.departments()
        three = await reader.department(3)
    assert {one.department_id: one.parent_id for one in read.departments} == {3: None, 4: None}
    assert three.raw_parent_id == 2


@pytest.mark.parametrize("errcode", [45029, 48002, 60011])
async def test_a_list_that_is_refused_is_read_one_by_one(world: World, errcode: int) -> None:
    async with world.reader() as reader:
        listed = await reader.departments()
        world.sim.faults.append(Fault("errcode", errcode=errcode, path="department/list"))
        world.sim.before_call("department/get", lambda: world.company.delete_department(4, cascade=True))
        read = await reader.departments()
    assert set(read.departments) == {one for one in listed.departments if one.department_id != 4}
    assert read.observed < world.observed
    assert world.sim.calls.per_path["department/get"] == 4


@pytest.mark.parametrize("config", ["config", "both", "contacts_only"])
async def test_the_ids_of_departments(world: World, config: str) -> None:
    world.company.app.visible = Visible.of(departments=[2])
    async with world.reader(getattr(world, config)()) as reader:
        observed, ids = await reader.department_ids()
    assert ids == ({2, 3} if config == "config" else {1, 2, 3, 4})
    assert observed == world.observed


@pytest.mark.parametrize("code", [60003, 60123])
async def test_one_department(world: World, code: int) -> None:
    world.sim.settings.unknown_department_code = code
    async with world.reader() as reader:
        found, root, gone = await reader.department(3), await reader.department(1), await reader.department(99)
        world.company.app.visible = Visible.of(departments=[4])
        hidden = await reader.department(3)
    assert found.department is not None
    assert (found.department.name, found.department.parent_id, found.raw_parent_id) == ("产品部", 2, 2)
    assert (root.department and root.department.parent_id, root.raw_parent_id) == (None, 0)
    assert (gone.department, gone.errcode) == (None, code)
    assert (hidden.department, hidden.errcode) == (None, 60011)
    assert found.observed < root.observed < gone.observed < hidden.observed == world.observed


async def test_bad_departments_are_set_aside() -> None:
    wecom = Scripted(
        department__list=[{"errcode": 0, "department": [{"id": 1, "name": []}, {"id": 2, "parentid": 1}, {}]}],
        department__get=[{"errcode": 0, "department": {"id": 1, "name": []}}],
    )
    reader = scripted(wecom)
    read, one = await reader.departments(), await reader.department(1)
    assert [(record.kind, record.key) for record in read.bad] == [("department", "1"), ("department", "department#2")]
    assert [(department.department_id, department.parent_id) for department in read.departments] == [(2, 1)]
    assert one.bad == read.bad[0]


async def test_the_answer_about_another_department_is_none() -> None:
    wecom = Scripted(department__get=[{"errcode": 0, "department": {"id": 2}}])
    with pytest.raises(TryLater, match=r"wecom\.bad_answer"):
        await scripted(wecom).department(1)


# Users


@pytest.mark.parametrize("code", [60011, 60111])
async def test_one_user(world: World, code: int) -> None:
    world.sim.settings.out_of_range_code = code
    async with world.reader() as reader:
        found, gone = await reader.user("zhangsan"), await reader.user("nobody")
        world.company.app.visible = Visible.of(departments=[4])
        hidden = await reader.user("lisi")
    assert found.user is not None
    assert found.user.userid == "ZhangSan"
    assert (gone.user, gone.errcode) == (None, 60111)
    assert (hidden.user, hidden.errcode) == (None, code)
    assert found.observed < gone.observed < hidden.observed == world.observed


async def test_a_bad_user_is_set_aside() -> None:
    wecom = Scripted(
        user__get=[{"errcode": 0, "userid": "a", "name": []}],
        user__list=[{"errcode": 0, "userlist": [{"userid": "a", "name": []}, {"userid": "b"}, {}]}],
    )
    reader = scripted(wecom)
    read, page = await reader.user("a"), await reader.department_members(7)
    assert (read.user, read.bad and read.bad.key) == (None, "a")
    assert [record.key for record in page.bad] == ["a", "list:7#2"]
    assert page.users == (User("b"),)
    wecom.answers["user/get"] = [{"errcode": 0, "userid": "c", "name": []}]
    pages = await pages_of(reader, [7], replace(EVERYBODY, users=("A", "c")))
    assert [(one.key, [record.key for record in one.bad]) for one in pages] == [
        ("list:7", ["a", "list:7#2"]),
        ("user:c", ["c"]),
    ]


async def test_the_answer_about_another_user_is_none() -> None:
    for answer in ({"errcode": 0}, {"errcode": 0, "userid": "b"}):
        with pytest.raises(TryLater, match=r"wecom\.bad_answer"):
            await scripted(Scripted(user__get=[answer])).user("a")


@pytest.mark.parametrize("code", [60003, 60123])
async def test_a_department_that_vanished_meanwhile(world: World, code: int) -> None:
    world.sim.settings.unknown_department_code = code
    world.sim.before_call("user/list", lambda: world.company.delete_department(3, cascade=True))
    async with world.reader() as reader:
        pages = {page.key: page for page in await pages_of(reader)}
    assert pages["list:3"].gone_department == 3
    assert pages["list:3"].users == ()
    assert {page.gone_department for page in pages.values()} == {3, None}
    assert "lisi" in people(list(pages.values()))


async def test_a_department_that_left_the_range_meanwhile(world: World) -> None:
    world.company.app.visible = Visible.of(departments=[2])
    async with world.reader() as reader:
        assert (await reader.department_members(4)).gone_department == 4


async def test_members_granted_by_name_and_by_tag(world: World) -> None:
    company = world.company
    tag = company.create_tag("标签", ["wangwu", "lisi"], [3])
    company.app.visible = Visible.of(users=["zhaoliu", "ZHANGSAN"], departments=[2], tags=[tag])
    async with world.reader() as reader:
        range_ = await reader.range()
        world.sim.calls.clear()
        pages = await pages_of(reader, [2], range_)
        again = await pages_of(reader, [2], range_, done={page.key for page in pages})
        none = await pages_of(reader, [2], range_, done={page.key for page in [*pages, *again]})
        half = await pages_of(reader, [2], range_, done={"list:2", "user:zhaoliu"})
    assert [page.key for page in pages][-1] == f"tag:{tag}"
    assert {page.key for page in pages} == {"list:2", "user:zhaoliu", "user:wangwu", f"tag:{tag}"}
    assert set(people(pages)) == {"zhangsan", "lisi", "wangwu", "zhaoliu"}
    assert (pages[-1].granted_users, pages[-1].granted_departments) == (("lisi", "wangwu"), (3,))
    assert [page.key for page in again] == ["user:zhangsan"]
    assert none == []
    assert {page.key for page in half} == {"user:wangwu", "user:zhangsan", "user:lisi", f"tag:{tag}"}


async def test_a_granted_member_who_is_gone_leaves_an_empty_page(world: World) -> None:
    async with world.reader() as reader:
        pages = await pages_of(reader, [], replace(EVERYBODY, users=("Nobody",)))
    assert [(page.key, page.users, page.gone_department) for page in pages] == [("user:nobody", (), None)]


async def test_tags(world: World) -> None:
    tag = world.company.create_tag("标签", ["wangwu"], [2, 3])
    async with world.reader() as reader:
        known, unknown = await reader.tag(tag), await reader.tag(99)
        world.sim.faults.append(Fault("errcode", errcode=81011, path="tag/get"))
        forbidden = await reader.tag(tag)
        pages = await pages_of(reader, [], replace(EVERYBODY, tags=(99,)))
    assert (known.found, known.userids, known.departments) == (True, ("wangwu",), (2, 3))
    assert (unknown.found, unknown.userids, forbidden.found) == (False, (), False)
    assert [(page.key, page.granted_users) for page in pages] == [("tag:99", ())]


# Order, number and calls


async def test_a_number_is_taken_before_each_request(world: World) -> None:
    """A change made while a request waits at WeCom is newer than the number of the read."""
    async with world.reader() as reader:
        await reader.range()
        barrier = world.sim.hold("user/get")
        read = asyncio.create_task(reader.user("lisi"))
        await barrier.reached()
        later = await world.observe()
        barrier.release()
        assert (await read).observed == later - 1


async def test_a_repeated_request_takes_a_new_number(world: World) -> None:
    async with world.reader() as reader:
        await reader.range()
        world.sim.faults.append(Fault("errcode", errcode=-1, path="user/get", times=2))
        before = world.observed
        assert (await reader.user("lisi")).observed == before + 3
        world.sim.tokens.invalidate(world.company.app)
        assert (await reader.user("lisi")).observed == world.observed == before + 6


async def test_a_full_sync_keeps_its_budget(make_world: Callable[[Company], World]) -> None:
    """One call per department and four more, besides the token and the search for the agent id."""
    company = generate_company(users=200, departments=30, seed=3)
    world = make_world(company)
    async with world.reader(world.config(agent_id=company.app.agent_id)) as reader:
        await whole(reader)
        await reader.departments()
        await reader.range()
        assert reader.calls == world.sim.calls.total == 1 + 30 + 4
    assert world.sim.limits.peak["user/list"] <= AT_ONCE


async def test_eight_calls_are_in_flight(make_world: Callable[[Company], World]) -> None:
    world = make_world(generate_company(users=50, departments=40, seed=3))
    full, arrived = asyncio.Event(), []

    async def wait_for_the_others() -> None:
        arrived.append(1)
        if len(arrived) == AT_ONCE:
            full.set()
        await full.wait()

    world.sim.before_call("user/list", wait_for_the_others, times=None)
    async with (
        asyncio.timeout(30),
        running(world.sim) as base_url,
        world.reader(world.config(base_url=base_url), client_factory=None) as reader,
    ):
        pages = await pages_of(reader, range(1, 41))
    assert len(pages) == 40
    assert world.sim.limits.peak["user/list"] == AT_ONCE


async def test_reading_waits_for_a_slow_caller(make_world: Callable[[Company], World]) -> None:
    """Answers that nobody takes are not piled up."""
    world = make_world(generate_company(users=50, departments=60, seed=3))
    async with world.reader() as reader, aclosing(reader.users(range(1, 61), range_=EVERYBODY, done=())) as pages:
        await anext(pages)
        for _ in range(2000):
            await asyncio.sleep(0)
        assert world.sim.calls.per_path["user/list"] <= 2 * AT_ONCE + 1


async def test_an_error_ends_the_other_calls_and_is_raised_itself(world: World) -> None:
    world.sim.faults.append(Fault("errcode", errcode=60020, path="user/list", nth=2))
    barrier = world.sim.hold("user/list", nth=3)
    async with world.reader() as reader:
        before = asyncio.all_tasks()
        with pytest.raises(AskAdmin) as refused:
            await pages_of(reader)
        assert asyncio.all_tasks() == before
    assert type(refused.value) is AskAdmin
    assert refused.value.code == "wecom.ip_not_trusted"
    barrier.release()


async def test_closing_early_ends_the_calls(world: World) -> None:
    barrier = world.sim.hold("user/list", nth=2)
    async with world.reader() as reader:
        before = asyncio.all_tasks()
        async with aclosing(reader.users(ALL, range_=EVERYBODY, done=())) as pages:
            await anext(pages)
            await barrier.reached()
            assert asyncio.all_tasks() != before
        assert asyncio.all_tasks() == before
    barrier.release()


async def test_cancelling_ends_the_calls(world: World) -> None:
    barrier = world.sim.hold("user/list", nth=2)
    async with world.reader() as reader:
        before = asyncio.all_tasks()
        sweep = asyncio.create_task(pages_of(reader))
        await barrier.reached()
        sweep.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sweep
        assert asyncio.all_tasks() == before
    barrier.release()


# Passes over the ids


async def ids_of(reader: Reader) -> list[IdsPage]:
    return [page async for page in reader.ids()]


def ids_page(*rows: tuple[str, int], cursor: str | None = None) -> dict[str, Any]:
    page: dict[str, Any] = {"errcode": 0, "dept_user": [{"userid": userid, "department": id} for userid, id in rows]}
    return page | ({} if cursor is None else {"next_cursor": cursor})


@pytest.mark.parametrize("last", [None, ""])
async def test_pages_of_ids(last: str | None) -> None:
    wecom = Scripted(user__list_id=[ids_page(("a", 1), cursor="2"), ids_page(("a", 2), ("b", 1), cursor=last)])
    pages = await ids_of(scripted(wecom))
    assert [(page.observed, page.pairs) for page in pages] == [(2, (("a", 1),)), (3, (("a", 2), ("b", 1)))]
    assert [request.content for request in wecom.requests[1:]] == [b'{"limit":10000}', b'{"limit":10000,"cursor":"2"}']


@pytest.mark.parametrize("errcode", [50100, 60268])
async def test_an_invalid_cursor_starts_the_pass_again(errcode: int) -> None:
    wecom = Scripted(
        user__list_id=[
            ids_page(("a", 1), cursor="2"),
            {"errcode": errcode},
            ids_page(("a", 1), cursor="3"),
            ids_page(("b", 1)),
        ]
    )
    pages = await ids_of(scripted(wecom))
    assert [page.pairs for page in pages] == [(("a", 1),), (("a", 1),), (("b", 1),)]


async def test_cursors_that_are_never_valid_are_for_later() -> None:
    wecom = Scripted(user__list_id=[ids_page(("a", 1), cursor="2"), {"errcode": 50100}] * 5)
    with pytest.raises(TryLater, match=r"wecom\.cursor_invalid"):
        await ids_of(scripted(wecom))
    assert wecom.asked().count("user/list_id") == 6


async def test_cursors_that_go_round_are_not_followed() -> None:
    wecom = Scripted(user__list_id=[ids_page(("a", 1), cursor="2"), ids_page(cursor="3"), ids_page(cursor="2")])
    with pytest.raises(TryLater, match=r"wecom\.bad_answer"):
        await ids_of(scripted(wecom))


async def test_the_ids_of_a_large_company(make_world: Callable[[Company], World]) -> None:
    company = generate_company(users=12_000, departments=20, seed=2)
    world = make_world(company)
    async with world.reader(world.both()) as reader:
        pages = await ids_of(reader)
    assert len(pages) == 2
    assert {userid.lower() for page in pages for userid, _ in page.pairs} == set(company.records.users)


# Faults


Outcome = tuple[Range, DepartmentsRead, dict[str, User], frozenset[str]]


async def outcome(reader: Reader, credential: Credential) -> Outcome:
    range_, departments, users = await whole(reader)
    ids = {userid async for page in reader.ids() for userid, _ in page.pairs} if credential.kind == "app" else set()
    return range_, replace(departments, observed=0), users, frozenset(ids)


@pytest.mark.parametrize("kind", ["errcode", "http", "cut", "garbage", "truncated", "empty"])
@pytest.mark.parametrize("times", [1, 4], ids=["passing", "lasting"])
@pytest.mark.parametrize("config", ["both", "contacts_only"])
async def test_a_fault_at_any_call_is_overcome_or_reported(world: World, kind: Any, times: int, config: str) -> None:
    """Never a smaller company: the same as without the fault, or an error to try again later."""
    credential = world.company.app if config == "both" else world.company.contacts
    async with running(world.sim) as base_url:

        async def read() -> Outcome:
            world.tokens.tokens.clear()
            world.sim.calls.clear()
            async with world.reader(getattr(world, config)(base_url=base_url), client_factory=None) as reader:
                return await outcome(reader, credential)

        expected = await read()
        for path, count in dict(world.sim.calls.per_path).items():
            for nth in range(1, count + 1):
                world.sim.faults[:] = [Fault(kind, path=path, nth=nth, times=times)]
                if times == 1:
                    assert await read() == expected, (path, nth)
                elif nth == count:
                    with pytest.raises(TryLater):
                        await read()


@pytest.mark.parametrize("errcode", [40013, 48006, 50003, 60020, 60031, 301007, 99999])
async def test_a_refusal_at_any_call_ends_the_read(world: World, errcode: int) -> None:
    async with world.reader(world.both()) as reader:
        await outcome(reader, world.company.app)
    for path, count in dict(world.sim.calls.per_path).items():
        for nth in range(1, count + 1):
            world.tokens.tokens.clear()
            world.tokens.breaks.clear()
            world.sim.faults[:] = [Fault("errcode", errcode=errcode, path=path, nth=nth)]
            async with world.reader(world.both()) as reader:
                with pytest.raises(ServiceError) as refused:
                    await outcome(reader, world.company.app)
            assert isinstance(refused.value, AskAdmin)


def scripted(wecom: Scripted) -> WeComReader:
    """A reader with both secrets over scripted answers."""
    config = WeComConfig(corp_id="ww1", app_secret=SECRET, contacts_secret="another")
    return WeComReader(
        config,
        tokens=wecom.tokens,
        observe=wecom.observe,
        client_factory=wecom.connect,
        sleep=wecom.pause,
        spread=lambda: 0.5,
    )
