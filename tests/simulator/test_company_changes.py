"""How a company changes, and what WeCom tells of it in both forms."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.simulator import Company, CompanyError, Membership, Range, generate_company, render
from app.simulator.churn import Churn
from app.simulator.lag import LaggingReads
from app.simulator.settings import Clock, SimulatorSettings

HEAD = (
    "<xml><ToUserName><![CDATA[ww0123456789abcdef]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>1700000000</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_contact]]></Event>"
)


@pytest.fixture(autouse=True)
def fixed_time(company):
    company.now = lambda: 1700000000.9


def told(company, events, form):
    """The XML that a receiver of contact changes gets of them."""
    return [
        render(event, company.corp_id, form) for event in events if event.agent_id is None and event.raised_in(form)
    ]


def ids_only(company, events):
    return [xml.removeprefix(HEAD).removesuffix("</xml>") for xml in told(company, events, "ids")]


def test_an_ids_only_event_to_the_letter(company):
    assert told(company, company.join("new", "新人", [2, 3]), "ids") == [
        HEAD + "<ChangeType><![CDATA[create_user]]></ChangeType><UserID><![CDATA[new]]></UserID>"
        "<Department><![CDATA[2,3]]></Department></xml>"
    ]
    event = company.leave("new")[0]
    bare = "<ChangeType>delete_user</ChangeType><UserID><![CDATA[new]]></UserID></xml>"
    assert render(event, company.corp_id, "ids", cdata=False) == HEAD + bare


def change_type(name):
    return f"<ChangeType><![CDATA[{name}]]></ChangeType>"


def test_the_ids_only_form_of_every_change(company):
    user = change_type("update_user") + "<UserID><![CDATA[lisi]]></UserID>"
    assert ids_only(company, company.move("lisi", [2, 3])) == [user + "<Department><![CDATA[2,3]]></Department>"]
    assert ids_only(company, company.lead("lisi", 3)) == [user + "<Department><![CDATA[2,3]]></Department>"]
    assert ids_only(company, company.edit("lisi", main_department=3)) == [
        user + "<Department><![CDATA[2,3]]></Department>"
    ]
    assert ids_only(company, company.rename_userid("lisi", "lisi2")) == [
        user + "<NewUserID><![CDATA[lisi2]]></NewUserID>"
    ]
    assert ids_only(company, company.create_department("新", 3)) == [
        change_type("create_party") + "<Id>5</Id><ParentId><![CDATA[3]]></ParentId>"
    ]
    assert ids_only(company, company.move_department(5, 2)) == [
        change_type("update_party") + "<Id>5</Id><ParentId><![CDATA[2]]></ParentId>"
    ]
    assert ids_only(company, company.delete_department(5)) == [change_type("delete_party") + "<Id>5</Id>"]
    lists = "<AddUserItems><![CDATA[wangwu]]></AddUserItems><DelPartyItems><![CDATA[3]]></DelPartyItems>"
    assert ids_only(company, company.change_tag(1, add_users=["wangwu"], remove_departments=[3])) == [
        change_type("update_tag") + "<TagId>1</TagId>" + lists
    ]


@pytest.mark.parametrize(
    "edit",
    [
        lambda company: company.rename("lisi", "新名"),
        lambda company: company.edit("lisi", mobile="13900000000", alias="x", position="经理"),
        lambda company: company.disable("lisi"),
        lambda company: company.set_status("lisi", 5),
        lambda company: company.edit("lisi", direct_leaders=()),
        lambda company: company.edit("lisi", extattrs=()),
        lambda company: company.move("lisi", [Membership(4, 9)]),
        lambda company: company.rename_department(2, "改名"),
        lambda company: company.reorder_department(2, 1),
    ],
)
def test_most_edits_raise_nothing_in_the_ids_only_form(company, edit):
    events = [event for event in edit(company) if event.agent_id is None]
    assert [event.change_type for event in events] in (["update_user"], ["update_party"])
    assert ids_only(company, events) == []


def test_a_change_that_changes_nothing_raises_nothing(company):
    assert company.rename("lisi", "李四") == company.move("lisi", [4]) == company.rename_department(2, "研发") == []


def test_the_long_form_carries_the_person(company):
    [event] = company.edit("ZhangSan", position="总监", status=4)
    body = "<UserID><![CDATA[ZhangSan]]></UserID><Position><![CDATA[总监]]></Position><Status>4</Status></xml>"
    assert told(company, [event], "long") == [HEAD + change_type("update_user") + body]
    web = {"type": 1, "name": "主页", "web": {"url": "https://example.com/?a&b", "title": "t]]>"}}
    created = company.join("new", "新人", [Membership(3, 0, True), 2], mobile="13711111111", extattrs=(web,))
    [xml] = told(company, created[:1], "long")
    for part in (
        "<Name><![CDATA[新人]]></Name><Department><![CDATA[3,2]]></Department><MainDepartment>3</MainDepartment>",
        "<IsLeaderInDept><![CDATA[1,0]]></IsLeaderInDept>",
        "<Mobile><![CDATA[13711111111]]></Mobile><Gender>0</Gender>",
        "<ExtAttr><Item><Name><![CDATA[主页]]></Name><Type>1</Type><Web><Title><![CDATA[t]]]]><![CDATA[>]]></Title>"
        "<Url><![CDATA[https://example.com/?a&b]]></Url></Web></Item></ExtAttr>",
    ):
        assert part in xml
    assert "\n" not in xml


def test_the_long_form_of_departments(company):
    created = change_type("create_party") + "<Id>5</Id><Name><![CDATA[新]]></Name><ParentId><![CDATA[1]]></ParentId>"
    assert told(company, company.create_department("新"), "long") == [HEAD + created + "<Order>99998000</Order></xml>"]
    renamed = change_type("update_party") + "<Id>5</Id><Name><![CDATA[旧]]></Name></xml>"
    assert told(company, company.rename_department(5, "旧"), "long") == [HEAD + renamed]


def test_an_app_hears_who_enters_and_leaves_its_range(company, narrow):
    def heard(events):
        return sorted((event.change_type, event.key) for event in events if event.agent_id == narrow.agent_id)

    assert heard(company.join("new", "新人", [4])) == [("subscribe", "new")]
    assert heard(company.move("new", [3])) == [("unsubscribe", "new")]
    assert heard(company.move("ZhangSan", [2])) == []
    assert heard(company.disable("lisi")) == [("unsubscribe", "lisi")]
    assert heard(company.set_range(narrow, Range.of(users=["lisi"]))) == [
        ("unsubscribe", "ZhangSan"),
        ("unsubscribe", "wangwu"),
    ]
    [event] = [event for event in company.enable("lisi") if event.agent_id == narrow.agent_id]
    assert render(event, company.corp_id, "ids") == (
        HEAD.replace("sys", "lisi").replace("change_contact", "subscribe") + "<AgentID>1000003</AgentID></xml>"
    )


def test_a_job_ends_with_one_event_and_its_changes_are_quiet(company):
    with company.quiet():
        assert company.join("imported", "导入") == []
    [event] = company.finish_job("job1")
    assert "<BatchJob><JobId><![CDATA[job1]]></JobId><JobType><![CDATA[sync_user]]></JobType>" in render(
        event, company.corp_id, "ids"
    )


@pytest.mark.parametrize(
    ("setting", "types"),
    [("no", ["delete_user"]), ("before", ["update_user", "delete_user"]), ("after", ["delete_user", "update_user"])],
)
def test_a_leave_may_also_raise_an_update(company, setting, types):
    company.also_updates_on_leave = setting
    assert [event.change_type for event in company.leave("lisi") if event.agent_id is None] == types


def test_a_rename_of_a_userid_reaches_superiors_tags_and_ranges(company, narrow):
    company.rename_userid("zhangsan", "zs001")
    assert company.user("lisi").direct_leaders == ("zs001",)
    company.rename_userid("lisi", "ls001")
    assert company.records.tags[1].users == {"ls001"}
    company.rename_userid("wangwu", "ww001")
    assert narrow.visible.users == {"ww001"}
    company.leave("zs001")
    assert company.user("ls001").direct_leaders == ()
    with pytest.raises(CompanyError, match="60111"):
        company.user("zhangsan")


def test_a_rename_may_change_the_spelling_only(company):
    company.rename_userid("lisi", "LiSi")
    assert company.user("lisi").userid == "LiSi"
    assert company.records.members[4] == {"lisi": None}


def test_deleting_a_department_with_all_it_holds(company):
    events = company.delete_department(2, cascade=True)
    told = [(event.change_type, event.key) for event in events if event.agent_id is None]
    assert told == [
        ("update_user", "lisi"),
        ("delete_party", "4"),
        ("update_user", "ZhangSan"),
        ("update_user", "lisi"),
        ("delete_party", "2"),
    ]
    assert (company.user("lisi").departments, company.user("zhangsan").departments) == ((1,), (3,))
    assert company.user("zhangsan").main_department == 3


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (60102, lambda company: company.join("LISI", "又一个")),
        (60111, lambda company: company.leave("nobody")),
        (60003, lambda company: company.move("lisi", [99])),
        (41019, lambda company: company.move("lisi", [])),
        (40058, lambda company: company.edit("lisi", nickname="x")),
        (60102, lambda company: company.rename_userid("lisi", "WangWu")),
        (40066, lambda company: company.lead("lisi", 3)),
        (60008, lambda company: company.create_department("研发")),
        (60008, lambda company: company.create_department("x", id=2)),
        (60003, lambda company: company.create_department("x", 99)),
        (60010, lambda company: company.move_department(2, 4)),
        (60005, lambda company: company.delete_department(4)),
        (60006, lambda company: company.delete_department(2, cascade=False) if company.move("ZhangSan", [3]) else None),
        (60007, lambda company: company.delete_department(1)),
        (40068, lambda company: company.change_tag(9)),
    ],
)
def test_changes_that_wecom_refuses(company, code, change):
    with pytest.raises(CompanyError) as refused:
        change(company)
    assert refused.value.errcode == code


def test_no_more_than_fifteen_levels():
    company = Company()
    parent = 1
    for level in range(2, 16):
        parent = int(company.create_department(f"层{level}", parent)[0].key)
    with pytest.raises(CompanyError, match="81002"):
        company.create_department("太深", parent)
    other = int(company.create_department("旁")[0].key)
    company.create_department("旁下", other)
    with pytest.raises(CompanyError, match="81002"):
        company.move_department(other, parent - 1)
    company.move_department(other, parent - 2)


def test_the_truth_of_a_range(company, narrow):
    truth = company.truth(narrow)
    assert [(one["department_id"], one["parent_id"]) for one in truth["departments"]] == [(2, None), (4, 2)]
    assert truth["departments"][0]["leaders"] == ["ZhangSan"]
    assert [(user["userid"], user["main_department_id"]) for user in truth["users"]] == [
        ("lisi", 4),
        ("wangwu", None),
        ("ZhangSan", 2),
    ]
    assert "mobile" not in truth["users"][2]
    assert truth["memberships"] == [
        {"userid": "lisi", "department_id": 4, "order": 0, "is_leader": False, "is_main": True},
        {"userid": "ZhangSan", "department_id": 2, "order": 7, "is_leader": True, "is_main": True},
    ]
    narrow.withheld = frozenset()
    assert company.truth(narrow)["users"][2]["mobile"] == "13800000001"


def test_the_truth_of_ids_only(company):
    truth = company.truth(company.contacts)
    assert truth["users"][0] == {"userid": "lisi"}
    assert truth["departments"][1] == {"department_id": 2, "parent_id": 1, "order": 100000000}
    assert truth["memberships"][0] == {"userid": "lisi", "department_id": 4}


def indexes(records):
    """The look-ups, worked out again from the people and departments alone."""
    members, leaders, children, reports = {}, {}, {}, {}
    for key, user in records.users.items():
        for place in user.memberships:
            members.setdefault(place.department, set()).add(key)
            if place.leader:
                leaders.setdefault(place.department, set()).add(key)
        for superior in user.direct_leaders:
            reports[superior.lower()] = reports.get(superior.lower(), 0) + 1
    for department in records.departments.values():
        children.setdefault(department.parent, set()).add(department.id)
    return members, leaders, children, reports


def kept(records):
    sets = [{id: set(keys) for id, keys in index.items() if keys} for index in (records.members, records.leaders)]
    children = {id: set(ids) for id, ids in records.children.items() if ids}
    return *sets, children, {key: count for key, count in records.reports.items() if count}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), early=st.integers(0, 80), late=st.integers(0, 80))
def test_any_life_of_a_company_keeps_its_look_ups_right_and_its_stale_copy_catches_up(seed, early, late):
    company = generate_company(60, 12, seed)
    clock, behaviour = Clock(), SimulatorSettings(lag=10)
    reads = LaggingReads(company.records, clock, behaviour)
    reads.prepare()
    before = company.records.copy()
    churn = Churn(company, seed)
    churn.steps(early)
    stale = reads.current()
    assert (stale.users, stale.departments, stale.tags) == (before.users, before.departments, before.tags)
    clock.advance(11)
    churn.steps(late)
    clock.advance(11)
    for records in (company.records, reads.current()):
        assert kept(records) == indexes(records)
        assert records.users == company.records.users
        assert records.departments == company.records.departments
    assert all(
        place.department in company.records.departments
        for user in company.records.users.values()
        for place in user.memberships
    )


def test_the_same_seed_lives_the_same_life():
    def life():
        company = generate_company(50, 10, 3)
        company.now = lambda: 0.0
        return [(event.change_type, event.key) for event in Churn(company, 5).steps(200)], company.truth(company.app)

    assert life() == life()


def test_every_kind_of_event_turns_up_in_a_life():
    company = generate_company(50, 10, 3)
    types = {event.change_type for event in Churn(company, 5).steps(400)}
    assert types == {
        "create_user",
        "update_user",
        "delete_user",
        "create_party",
        "update_party",
        "delete_party",
        "subscribe",
        "unsubscribe",
    }
    assert re.fullmatch(r"ww[0-9a-f]{16}", company.corp_id)
