"""Faults, hooks, barriers, stale reads and the call log: what a test needs to disturb a sweep."""

import asyncio
import json
import math
import time

import httpx
import pytest

from app.simulator import Fault, Simulator, running


async def test_an_errcode_strikes_the_chosen_calls_of_a_path_only(call, simulator):
    simulator.faults.append(Fault("errcode", errcode=-1, path="user/get", nth=2, times=2))
    codes = [await call.code("user/get", userid="lisi") for _ in range(4)]
    assert codes == [0, -1, -1, 0]
    assert await call.code("tag/list") == 0


async def test_a_fault_at_a_call_number_and_one_without_end(call, simulator):
    simulator.faults.append(Fault("http", status=503, call=4))
    assert await call.code("tag/list") == 0
    assert (await call.response("tag/list")).status_code == 503
    simulator.faults.append(Fault("errcode", errcode=45033, path="tag/list", times=None))
    assert [await call.code("tag/list") for _ in range(3)] == [45033] * 3
    simulator.faults.clear()
    assert await call.code("tag/list") == 0


async def test_of_two_faults_that_are_due_the_first_strikes_and_the_other_waits(call, simulator):
    simulator.faults += [Fault("errcode", errcode=-1, path="tag/list"), Fault("errcode", errcode=6000, path="tag/list")]
    assert [await call.code("tag/list") for _ in range(3)] == [-1, 6000, 0]


async def test_a_fault_for_certain_parameters(call, simulator):
    simulator.faults.append(Fault("empty", where=lambda one: one.params.get("department_id") == "3"))
    assert await call.code("user/list", department_id=2) == 0
    assert (await call.response("user/list", department_id=3)).content == b""


@pytest.mark.parametrize("kind", ["garbage", "truncated", "empty"])
async def test_bodies_that_are_no_json(call, simulator, kind):
    simulator.faults.append(Fault(kind, path="tag/list"))
    response = await call.response("tag/list")
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|decode|Unterminated"):
        json.loads(response.content)


async def test_a_cut_connection_is_a_transport_error_in_process_and_over_http(call, simulator):
    simulator.faults.append(Fault("cut", path="tag/list", times=2))
    with pytest.raises(httpx.RemoteProtocolError):
        await call("tag/list")
    async with running(simulator) as url, httpx.AsyncClient(base_url=url) as client:
        call.client = client
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            await call("tag/list")
        assert await call.code("tag/list") == 0
    assert [one.answer for one in simulator.calls if one.path == "tag/list"] == ["cut", "cut", 0]


async def test_slow_answers_and_latency_take_their_time(call, simulator):
    simulator.faults.append(Fault("slow", seconds=0.05, path="tag/list"))
    simulator.settings.latency = 0.02
    begun = time.monotonic()
    assert await call.code("tag/list") == 0
    assert time.monotonic() - begun >= 0.085


async def test_the_company_changes_between_two_calls_of_a_sweep(call, company, simulator):
    token = await call.token(company.app)
    number = simulator.calls.total + 2
    simulator.before_call(number, lambda: company.move("lisi", [2]))

    async def people(department):
        query = {"access_token": token, "department_id": department}
        answer = await call.client.get("/cgi-bin/user/list", params=query)
        return [user["userid"] for user in answer.json()["userlist"]]

    # He moves from a department that is not read yet to one that was: the sweep does not meet him.
    assert await people(2) == ["ZhangSan"]
    assert await people(4) == []
    assert await people(2) == ["ZhangSan", "lisi"]


async def test_hooks_by_path_and_by_test_may_be_coroutines_and_repeat(call, simulator):
    met = []

    async def note():
        met.append("path")

    simulator.before_call("tag/list", note, times=2)
    simulator.before_call(lambda one: one.params.get("userid") == "lisi", lambda: met.append("lisi"), times=None)
    for _ in range(3):
        await call("tag/list")
        await call("user/get", userid="lisi")
    assert met == ["path", "lisi", "path", "lisi", "lisi"]


@pytest.mark.parametrize(("answered", "seen"), [(False, "新名"), (True, "李四")])
async def test_a_barrier_holds_a_call_before_or_after_its_data_are_read(call, company, simulator, answered, seen):
    barrier = simulator.hold("user/get", answered=answered)
    waiting = asyncio.create_task(call("user/get", userid="lisi"))
    await barrier.reached()
    company.rename("lisi", "新名")
    assert not waiting.done()
    barrier.release()
    assert (await waiting)["name"] == seen
    assert (await call("user/get", userid="lisi"))["name"] == "新名"


async def test_stale_reads_show_each_change_only_later(call, company, simulator):
    simulator.lag(5)
    company.move("lisi", [3])
    company.create_department("新部门", 2)
    company.leave("wangwu")

    async def state():
        people = await call("user/list", department_id=1, fetch_child=1)
        departments = await call("department/simplelist")
        places = {user["userid"]: user["department"] for user in people["userlist"]}
        return places, len(departments["department_id"])

    before = ({"ZhangSan": [2, 3], "lisi": [4], "wangwu": [3]}, 4)
    after = ({"ZhangSan": [2, 3], "lisi": [3]}, 5)
    assert await state() == before
    simulator.clock.advance(4)
    assert await state() == before
    simulator.clock.advance(1.1)
    assert await state() == after
    simulator.lag(math.inf)
    company.rename("lisi", "甲")
    assert (await call("user/get", userid="lisi"))["name"] == "李四"
    assert [user["name"] for user in company.truth(company.app)["users"]] == ["甲", "张三"]
    simulator.catch_up()
    assert (await call("user/get", userid="lisi"))["name"] == "甲"
    company.rename("lisi", "乙")
    assert (await call("user/get", userid="lisi"))["name"] == "乙"


async def test_the_log_tells_calls_without_secrets(call, company, simulator):
    await call("user/list_id", company.contacts, body={"limit": 2})
    await call("user/get", userid="nobody")
    shown = [(one.number, one.path, one.credential, one.answer) for one in simulator.calls]
    assert shown == [
        (1, "gettoken", "contacts", 0),
        (2, "user/list_id", "contacts", 0),
        (3, "gettoken", "app", 0),
        (4, "user/get", "app", 60111),
    ]
    assert simulator.calls[1].params == {"limit": 2}
    assert simulator.calls.per_path == {"gettoken": 2, "user/list_id": 1, "user/get": 1}
    assert all(secret not in repr(simulator.calls) for secret in (company.app.secret, company.contacts.secret))
    assert all(one.finished >= one.started for one in simulator.calls)
    simulator.calls.clear()
    await call("tag/list")
    assert [one.number for one in simulator.calls] == [1, 2]


async def test_reset_forgets_what_was_scripted(call, company, simulator):
    simulator.faults.append(Fault("http", times=None))
    simulator.before_call("tag/list", lambda: company.leave("lisi"))
    simulator.hold("tag/list")
    simulator.reset()
    assert await call.code("tag/list") == 0
    assert "lisi" in company.userids


async def test_served_calls_end_with_the_server(company):
    simulator = Simulator(company)
    async with running(simulator) as url, httpx.AsyncClient() as client:
        barrier = simulator.hold("gettoken")
        waiting = asyncio.create_task(client.get(f"{url}/cgi-bin/gettoken"))
        await barrier.reached()
        simulator.reset()
        assert (await waiting).json()["errcode"] == 41004
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as client:
            await client.get(url)
