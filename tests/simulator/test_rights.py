"""Who may read what: secrets, ranges, addresses, states, tokens and limits."""

import asyncio

import pytest

from app.simulator import Range

CALLS = {
    "department/list": {},
    "department/simplelist": {},
    "department/get": {"id": 1},
    "user/get": {"userid": "lisi"},
    "user/simplelist": {"department_id": 1},
    "user/list": {"department_id": 1},
    "user/list_id": {"body": {}},
    "user/getuserid": {"body": {"mobile": "13800000001"}},
    "tag/list": {},
    "tag/get": {"tagid": 1},
    "agent/get": {"agentid": 1000002},
    "getcallbackip": {},
    "get_api_domain_ip": {},
}
BLOCKED = ("department/list", "department/get", "user/get", "user/simplelist", "user/list")


@pytest.mark.parametrize("path", CALLS)
async def test_the_matrix_of_rights(call, company, path):
    ask = CALLS[path]
    no_agent = 301002 if path == "agent/get" else 0
    assert await call.code(path, company.app, **ask) == (48002 if path == "user/list_id" else 0)
    assert await call.code(path, company.contacts, **ask) == (48009 if path in BLOCKED else no_agent)
    company.contacts.known_ip = True
    assert await call.code(path, company.contacts, **ask) == no_agent


async def test_a_range_holds_descendants_and_people_by_name(call, narrow):
    assert [one["id"] for one in (await call("department/list", narrow))["department"]] == [2, 4]
    assert await call.code("user/list", narrow, department_id=4) == 0
    assert await call.code("user/list", narrow, department_id=3) == 60011
    assert await call.code("department/get", narrow, id=1) == 60011
    named = await call("user/get", narrow, userid="wangwu")
    assert (named["errcode"], named["department"], "main_department" in named) == (0, [], False)


async def test_a_range_of_tags(call, company):
    app = company.add_app("tagged", "t" * 43, 1000004, Range.of(tags=[1]))
    assert [one["id"] for one in (await call("department/list", app))["department"]] == [3]
    assert await call.code("user/get", app, userid="lisi") == 0
    company.change_tag(1, remove_users=["lisi"])
    assert await call.code("user/get", app, userid="lisi") == 60011


async def test_people_outside_of_the_range_answer_either_code(call, company, narrow, simulator):
    company.move("ZhangSan", [3])
    assert await call.code("user/get", narrow, userid="ZhangSan") == 60011
    simulator.settings.out_of_range_code = 60111
    assert await call.code("user/get", narrow, userid="ZhangSan") == 60111


async def test_leaders_out_of_range_are_not_named(call, company, narrow):
    company.lead("wangwu", 3)
    app = company.add_app("front", "f" * 43, 1000005, Range.of(departments=[3]))
    assert (await call("department/get", app, id=3))["department"]["department_leader"] == ["wangwu"]
    company.lead("wangwu", 3, False)
    assert (await call("department/get", app, id=3))["department"]["department_leader"] == []


async def test_only_trusted_addresses_each_credential_its_own(call, company, simulator):
    company.app.trusted_ips = frozenset({"198.51.100.1"})
    answer = await call("tag/list")
    assert answer["errcode"] == 60020
    assert "from ip: 127.0.0.1" in answer["errmsg"]
    assert await call.code("tag/list", company.contacts) == 0
    simulator.settings.caller_ip = "198.51.100.1"
    assert await call.code("tag/list") == 0


async def test_states_of_an_app_come_after_the_address_and_before_the_rights(call, company, client):
    token = await call.token(company.app)

    async def code():
        response = await client.post("/cgi-bin/user/list_id", params={"access_token": token})
        return response.json()["errcode"]

    assert await code() == 48002
    company.app.dormant = True
    assert await code() == 48006
    company.app.enabled = False
    assert await code() == 50003
    company.app.trusted_ips = frozenset()
    assert await code() == 60020


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, 41004),
        ({"corpid": "ww0123456789abcdef"}, 41004),
        ({"corpsecret": "s" * 43}, 41002),
        ({"corpid": "ww1", "corpsecret": "s" * 43}, 40013),
        ({"corpid": "ww0123456789abcdef", "corpsecret": "x"}, 40001),
        ({"corpid": "ww0123456789abcdef", "corpsecret": "s" * 43}, 0),
    ],
)
async def test_the_ladder_of_gettoken(client, query, code):
    assert (await client.get("/cgi-bin/gettoken", params=query)).json()["errcode"] == code


async def test_a_token_stays_the_same_until_it_expires(call, company, simulator, client):
    first = await call.token(company.app)
    simulator.clock.advance(7000)
    assert await call.token(company.app) == first
    simulator.clock.advance(200)
    answer = await client.get("/cgi-bin/tag/list", params={"access_token": first})
    assert answer.json()["errcode"] == 42001
    assert await call.token(company.app) != first
    assert await call.token(company.contacts) not in (first, await call.token(company.app))


async def test_tokens_can_be_rotated_expired_and_revoked(call, company, simulator, client):
    async def code(token):
        return (await client.get("/cgi-bin/tag/list", params={"access_token": token})).json()["errcode"]

    app, contacts = await call.token(company.app), await call.token(company.contacts)
    simulator.tokens.expire(company.app)
    assert (await code(app), await code(contacts)) == (42001, 0)
    simulator.tokens.invalidate()
    assert (await code(app), await code(contacts)) == (40014, 40014)
    fresh = await call.token(company.app)
    company.app.secret = "r" * 43
    assert await code(fresh) == 40014
    simulator.settings.rotate_tokens = True
    assert await call.token(company.app) != await call.token(company.app)


async def test_wrong_secrets_bar_the_caller_for_an_hour(client, company, simulator):
    simulator.settings.wrong_secret_limit = 2

    async def code(secret):
        query = {"corpid": company.corp_id, "corpsecret": secret}
        return (await client.get("/cgi-bin/gettoken", params=query)).json()["errcode"]

    assert [await code("wrong") for _ in range(4)] == [40001, 40001, 40001, 45009]
    assert await code(company.app.secret) == 45009
    simulator.clock.advance(3601)
    assert await code(company.app.secret) == 0


async def test_the_limit_of_a_minute_blocks_that_path_for_a_minute(call, simulator):
    simulator.settings.minute_limits["user/get"] = 2
    codes = [await call.code("user/get", userid="lisi") for _ in range(4)]
    assert codes == [0, 0, 45009, 45009]
    assert await call.code("tag/list") == 0
    assert simulator.limits.violations == {("user/get", 45009): 2}
    simulator.clock.advance(59)
    assert await call.code("user/get", userid="lisi") == 45009
    simulator.clock.advance(2)
    assert await call.code("user/get", userid="lisi") == 0


async def test_the_window_slides(call, simulator):
    simulator.settings.minute_limits["user/get"] = 2
    assert await call.code("user/get", userid="lisi") == 0
    simulator.clock.advance(40)
    assert await call.code("user/get", userid="lisi") == 0
    simulator.clock.advance(25)
    assert await call.code("user/get", userid="lisi") == 0
    assert await call.code("user/get", userid="lisi") == 45009


async def test_the_limit_of_an_hour(call, company, client, simulator):
    query = {"access_token": await call.token(company.app)}
    simulator.settings.hour_limit = 1

    async def code():
        return (await client.get("/cgi-bin/tag/list", params=query)).json()["errcode"]

    assert [await code(), await code()] == [0, 45009]
    simulator.clock.advance(3500)
    assert await code() == 45009
    simulator.clock.advance(101)
    assert await code() == 0


async def test_too_many_at_once(call, company, client, simulator):
    simulator.settings.concurrency_limit = 2
    token = await call.token(company.app)
    crowded = asyncio.Event()
    simulator.before_call(lambda _: simulator.limits.peak["tag/list"] == 3, crowded.set)
    barrier = simulator.hold("tag/list")
    calls = [asyncio.create_task(client.get("/cgi-bin/tag/list", params={"access_token": token})) for _ in range(3)]
    await crowded.wait()
    barrier.release()
    assert [(await one).json()["errcode"] for one in calls] == [0, 0, 45033]
    assert simulator.limits.violations == {("tag/list", 45033): 1}
    assert await call.code("tag/list") == 0
