"""What each endpoint answers, and the wire details of all of them."""

import re

import pytest

from app.simulator import SENSITIVE, Membership, Range


async def test_departments_come_parents_first_with_their_leaders(call):
    assert (await call("department/list"))["department"] == [
        {"id": 1, "name": "示例公司", "name_en": "", "department_leader": [], "parentid": 0, "order": 100000000},
        {"id": 2, "name": "研发", "name_en": "", "department_leader": ["ZhangSan"], "parentid": 1, "order": 100000000},
        {"id": 3, "name": "销售", "name_en": "", "department_leader": [], "parentid": 1, "order": 99999000},
        {"id": 4, "name": "前端", "name_en": "", "department_leader": [], "parentid": 2, "order": 100000000},
    ]
    assert (await call("department/simplelist", id=2))["department_id"] == [
        {"id": 2, "parentid": 1, "order": 100000000},
        {"id": 4, "parentid": 2, "order": 100000000},
    ]
    assert (await call("department/get", id=4))["department"]["name"] == "前端"


async def test_a_member_of_two_departments_is_answered_with_aligned_lists(call):
    user = await call("user/get", userid="zhangsan")
    assert user["userid"] == "ZhangSan"
    assert user["department"] == [2, 3]
    assert user["order"] == [7, 2**32 - 1]
    assert user["is_leader_in_dept"] == [1, 0]
    assert (user["main_department"], user["status"]) == (2, 1)


async def test_lists_hold_direct_members_and_descendants_only_when_asked(call):
    assert [user["userid"] for user in (await call("user/list", department_id=2))["userlist"]] == ["ZhangSan"]
    below = (await call("user/list", department_id=2, fetch_child=1))["userlist"]
    assert [user["userid"] for user in below] == ["ZhangSan", "lisi"]
    assert (await call("user/simplelist", department_id=4))["userlist"] == [
        {"userid": "lisi", "name": "李四", "department": [4]}
    ]


async def test_a_new_app_gets_no_sensitive_fields_and_an_old_one_all(call, company, simulator):
    assert SENSITIVE.isdisjoint(await call("user/get", userid="ZhangSan"))
    simulator.settings.withheld_as = "empty"
    empty = await call("user/get", userid="ZhangSan")
    assert {name: empty[name] for name in SENSITIVE} == dict.fromkeys(SENSITIVE, "") | {"gender": "0"}
    company.app.withheld = frozenset({"mobile"})
    mixed = await call("user/get", userid="lisi")
    assert (mixed["mobile"], mixed["avatar"], mixed["thumb_avatar"]) == ("", "https://x/0", "https://x/100")
    company.app.withheld = frozenset()
    assert (await call("user/get", userid="ZhangSan"))["mobile"] == "13800000001"


async def test_extended_attributes_and_legacy_keys(call, simulator):
    user = await call("user/get", userid="lisi")
    assert user["extattr"] == {"attrs": [{"type": 0, "name": "爱好", "text": {"value": "旅游"}}]}
    assert "isleader" not in user
    simulator.settings.legacy_keys = True
    assert (await call("user/get", userid="ZhangSan"))["isleader"] == 1


async def test_list_id_pages_by_rows_and_ends_without_a_cursor(call, company, simulator):
    rows, body = [], {"limit": 2}
    while True:
        page = await call("user/list_id", company.contacts, body=body)
        assert len(page["dept_user"]) <= 2
        rows += [(row["userid"], row["department"]) for row in page["dept_user"]]
        if not page.get("next_cursor"):
            break
        body = {"limit": 2, "cursor": page["next_cursor"]}
    assert rows == [("ZhangSan", 2), ("ZhangSan", 3), ("lisi", 4), ("wangwu", 3)]
    assert "next_cursor" not in page
    simulator.settings.last_cursor_empty = True
    assert (await call("user/list_id", company.contacts, body={}))["next_cursor"] == ""


async def test_a_row_split_across_pages_and_people_who_leave_meanwhile(call, company):
    first = await call("user/list_id", company.contacts, body={"limit": 1})
    assert first["dept_user"] == [{"userid": "ZhangSan", "department": 2}]
    company.leave("lisi")
    company.join("zhaoliu", "赵六")
    rest = await call("user/list_id", company.contacts, body={"cursor": first["next_cursor"]})
    assert rest["dept_user"] == [{"userid": "ZhangSan", "department": 3}, {"userid": "wangwu", "department": 3}]


@pytest.mark.parametrize("cursor", ["made-up", "a-b-c", "0123456789abcdef-0-0"])
async def test_a_foreign_cursor_is_refused(call, company, cursor):
    assert await call.code("user/list_id", company.contacts, body={"cursor": cursor}) == 50100


async def test_a_cursor_grows_old(call, company, simulator):
    page = await call("user/list_id", company.contacts, body={"limit": 1})
    simulator.clock.advance(601)
    assert await call.code("user/list_id", company.contacts, body={"cursor": page["next_cursor"]}) == 50100


async def test_tags_agent_and_addresses(call, company, narrow):
    assert (await call("tag/list", narrow))["taglist"] == [{"tagid": 1, "tagname": "球队"}]
    assert (await call("tag/get", tagid=1))["userlist"] == [{"userid": "lisi", "name": "李四"}]
    seen = await call("tag/get", narrow, tagid=1)
    assert (seen["userlist"], seen["partylist"]) == ([{"userid": "lisi", "name": "李四"}], [])
    agent = await call("agent/get", narrow, agentid=1000003)
    assert agent["allow_userinfos"] == {"user": [{"userid": "wangwu"}]}
    assert (agent["allow_partys"], agent["allow_tags"]) == ({"partyid": [2]}, {"tagid": []})
    assert [one["agentid"] for one in (await call("agent/list"))["agentlist"]] == [1000002]
    assert (await call("getcallbackip", company.contacts))["ip_list"] == ["127.0.0.1"]
    assert (await call("get_api_domain_ip"))["ip_list"] == ["127.0.0.1"]


async def test_empty_ranges_can_be_left_out(call, simulator):
    simulator.settings.omit_empty_ranges = True
    agent = await call("agent/get", agentid=1000002)
    assert "allow_partys" in agent
    assert "allow_userinfos" not in agent


async def test_look_up_by_phone_and_mail(call, company, narrow):
    assert (await call("user/getuserid", body={"mobile": "13800000001"}))["userid"] == "ZhangSan"
    mail = {"email": "zs@example.com", "email_type": 2}
    assert (await call("user/get_userid_by_email", body=mail))["userid"] == "ZhangSan"
    assert await call.code("user/get_userid_by_email", body={"email": "zs@example.com"}) == 46004
    company.move("ZhangSan", [3])
    assert await call.code("user/getuserid", narrow, body={"mobile": "13800000001"}) == 46004
    assert await call.code("user/getuserid", body={}) == 40063


REFUSALS = [
    ("department/list", {"id": 99}, 60003, {"department": []}),
    ("department/get", {}, 60127, {}),
    ("user/get", {"userid": "nobody"}, 60111, {"department": [], "order": [], "direct_leader": []}),
    ("user/get", {}, 41009, {"is_leader_in_dept": []}),
    ("user/get", {"userid": "x" * 65}, 40058, {}),
    ("user/list", {}, 41019, {"userlist": []}),
    ("user/list", {"department_id": 99}, 60003, {}),
    ("user/list", {"department_id": "one"}, 40058, {}),
    ("tag/get", {}, 41017, {}),
    ("tag/get", {"tagid": 99}, 40068, {}),
    ("agent/get", {}, 41011, {}),
    ("agent/get", {"agentid": 5}, 301002, {}),
    ("agent/get", {"agentid": "x"}, 40056, {}),
]


@pytest.mark.parametrize(("path", "query", "code", "arrays"), REFUSALS)
async def test_refusals_carry_their_code_and_empty_arrays(call, path, query, code, arrays):
    answer = await call(path, **query)
    assert answer["errcode"] == code
    assert answer | arrays == answer


async def test_an_unknown_department_may_have_the_other_code(call, simulator):
    simulator.settings.unknown_department_code = 60123
    assert await call.code("department/get", id=99) == 60123


async def test_too_large_a_list_is_refused(call, simulator):
    simulator.settings.answer_limit = 1
    assert await call.code("user/list", department_id=2) == 0
    assert await call.code("user/list", department_id=2, fetch_child=1) == 45029


async def test_the_wire_form_of_a_refusal(call, simulator):
    simulator.settings.caller_ip = "203.0.113.9"
    response = await call.response("user/get", userid="nobody")
    shape = (
        r"userid not found, hint: \[\d{19}\], from ip: 203\.0\.113\.9, "
        r"more info at https://open\.work\.weixin\.qq\.com/devtool/query\?e=60111"
    )
    assert response.status_code == 200
    assert re.fullmatch(shape, response.json()["errmsg"])
    assert response.headers["error-code"] == "60111"
    assert response.headers["error-msg"] == response.json()["errmsg"]
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    good = await call.response("user/get", userid="lisi")
    assert (good.headers["error-code"], good.headers["error-msg"]) == ("0", "ok")


@pytest.mark.parametrize("path", ["/cgi-bin/user/nothing", "/cgi-bin/", "/elsewhere", "/control/nothing"])
async def test_unknown_paths_answer_404_and_nothing_else(client, path):
    response = await client.get(path)
    assert (response.status_code, response.content) == (404, b"")


async def test_the_token_counts_only_in_the_query_and_before_the_parameters(client, call):
    token = await call.token(call.simulator.company.app)
    path = "/cgi-bin/user/get"
    assert (await client.get(path, headers={"Authorization": f"Bearer {token}"})).json()["errcode"] == 41001
    assert (await client.post(path, json={"access_token": token})).json()["errcode"] == 41001
    assert (await client.get(path, params={"access_token": "made-up"})).json()["errcode"] == 40014
    assert (await client.get(path, params={"access_token": token})).json()["errcode"] == 41009


async def test_get_where_post_is_due_and_malformed_json(call, company, client):
    assert await call.code("user/list_id", company.contacts) == 40058
    token = await call.token(company.app)
    response = await client.post("/cgi-bin/user/getuserid", params={"access_token": token}, content=b"{broken")
    assert response.json()["errcode"] == 40063
    assert response.json()["errmsg"].startswith("Warning: wrong json format. ")


async def test_a_department_without_its_parent_in_range(call, company):
    company.set_range(company.app, Range.of(departments=[4]))
    assert [one["parentid"] for one in (await call("department/list"))["department"]] == [2]
    company.move("lisi", [Membership(4, 5), 3])
    user = await call("user/get", userid="lisi")
    assert (user["department"], user["order"], user["main_department"]) == ([4], [5], 4)
