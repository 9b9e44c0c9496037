"""A company lives, and a webhook receiver that follows the events knows what our directory knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.core.outgoing import Origin
from app.core.ports import Writer
from app.store.outgoing import Tree, values
from app.store.targets import Target
from app.targets.kinds import KINDS
from app.targets.webhook.config import WebhookConfig
from app.targets.webhook.events import shown
from tests.api.harness import served
from tests.sync.harness import Bench, departments, users
from tests.sync.outlet import Outlet, outlet
from tests.targets.receiver import SECRET, Receiver


@asynccontextmanager
async def hooked(desk: Bench, receiver: Receiver, **config: Any) -> AsyncIterator[Outlet]:
    """A webhook target of the bench's source."""
    with served(receiver.app) as address:
        chosen = WebhookConfig.model_validate({"url": f"{address}/hook", "secret": SECRET} | config)

        async def open_writer(target: Target) -> Writer:
            return KINDS["webhook"].open_writer(chosen, Origin(target.source_id, "corp"), ("127.0.0.1",))

        out = await outlet(desk, wants_news=True)
        object.__setattr__(desk.worker.outlets, "open_writer", open_writer)
        yield out


async def held(desk: Bench) -> dict[str, Any]:
    """Every object as our directory has it."""
    async with desk.db.read() as conn:
        tree = await Tree.read(conn, desk.source.id)
        found = {}
        for kind, table in (("user", users), ("department", departments)):
            ids = [row["id"] for row in await desk.rows(table)]
            found |= {id_: shown(value) for id_, value in (await values(conn, tree, kind, ids)).items()}
    return found


def told(receiver: Receiver) -> list[tuple[str, str]]:
    """(type, name) of what was taken of people and departments, in order."""
    objects = [(event["type"], event["data"]["object"]) for event in receiver.taken if event["type"][0] in "ud"]
    return [(kind, str(value.get("userid") or value.get("name"))) for kind, value in objects]


async def test_a_company_lives_and_a_receiver_follows(desk: Bench) -> None:
    receiver, company = Receiver(), desk.company
    await desk.sync()
    async with hooked(desk, receiver) as out:
        await out.deliver()
        people = await desk.rows(users)
        assert {kind for kind, _ in told(receiver)} == {"department.created", "user.created"}
        for row in people:
            assert receiver.object(row["id"]) == (await held(desk))[row["id"]]
        receiver.taken.clear()

        first, second, third = company.userids[:3]
        name, leaver = people[0]["name"], people[1]
        company.rename(first, "改名")
        await desk.tell(*company.leave(second))
        await desk.drain()
        await desk.sync()
        await out.deliver()
        assert sorted(told(receiver)) == sorted([("user.updated", first), ("user.deactivated", second)])
        [renamed] = [event["data"] for event in receiver.taken if event["type"] == "user.updated"]
        assert renamed["previous"] == {"name": name}
        receiver.taken.clear()

        company.join(second, leaver["name"], (1,))
        company.create_department("新部门", parent=1, id=77)
        company.move(third, (77,))
        await desk.sync()
        await out.deliver()
        assert ("user.reactivated", second) in told(receiver)
        assert ("department.created", "新部门") in told(receiver)
        for event in receiver.taken:
            if event["type"].startswith("user."):
                assert event["data"]["object"] == (await held(desk))[event["data"]["object"]["id"]]


async def test_what_a_person_was_in_before_is_told_whole(desk: Bench) -> None:
    receiver, company = Receiver(), desk.company
    await desk.sync()
    userid = company.userids[0]
    async with hooked(desk, receiver) as out:
        await out.deliver()
        [before] = [row for row in await desk.rows(users) if row["userid"] == userid]
        seats = (await held(desk))[before["id"]]["departments"]
        receiver.taken.clear()
        target = next(n for n in (1, 2, 3) if n not in [seat["department_id"] for seat in seats])
        company.move(userid, (target,))
        await desk.sync()
        await out.deliver()
        [moved] = [event["data"] for event in receiver.taken if event["type"] == "user.updated"]
        assert moved["previous"]["departments"] == seats
        assert [seat["department_id"] for seat in moved["object"]["departments"]] == [target]


async def test_a_receiver_that_was_away_is_told_once_how_it_is_now(desk: Bench) -> None:
    receiver, company = Receiver(), desk.company
    await desk.sync()
    userid = company.userids[0]
    async with hooked(desk, receiver) as out:
        await out.deliver()
        receiver.taken.clear()
        receiver.answer = lambda event: 503
        [row] = [row for row in await desk.rows(users) if row["userid"] == userid]
        for name in ("一", "二", "三"):
            company.rename(userid, name)
            await desk.sync()
        receiver.answer = lambda event: None
        await out.deliver()
        [event] = [event for event in receiver.taken if event["type"] == "user.updated"]
        assert event["data"]["object"]["name"] == "三"
        assert event["data"]["previous"] == {"name": row["name"]}


async def test_a_moved_department_says_so_and_a_removed_one_is_deleted(desk: Bench) -> None:
    receiver, company = Receiver(), desk.company
    company.create_department("甲", parent=1, id=81)
    company.create_department("乙", parent=1, id=82)
    await desk.sync()
    async with hooked(desk, receiver, events=["department.*"]) as out:
        await out.deliver()
        receiver.taken.clear()
        company.move_department(82, 81)
        await desk.sync()
        await out.deliver()
        assert told(receiver) == [("department.moved", "乙")]
        assert receiver.taken[0]["data"]["previous"] == {"parent_id": 1}
        receiver.taken.clear()
        company.delete_department(82)
        await desk.sync()
        await out.deliver()
        assert told(receiver) == [("department.deleted", "乙")]
