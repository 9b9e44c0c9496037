"""WeCom's records read into values: what is lenient, what is refused, and that refusals name no values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.directory import Department, Membership, User
from app.core.ports import BadRecord
from app.sources.wecom.records import (
    Unusable,
    is_userid,
    read_department,
    read_department_rows,
    read_forest,
    read_ids_page,
    read_tag,
    read_user,
    read_users,
    read_visible,
    rows,
    whole_number,
)

OLD_APP = json.loads("""
{"errcode":0,"errmsg":"ok","userid":"zhangsan","name":"张三","department":[2,1],"order":[2,1],
 "position":"后台工程师","mobile":"13800000000","gender":"1","email":"zhangsan@gzdev.com",
 "biz_mail":"zhangsan@qyycs2.wecom.work","is_leader_in_dept":[1,0],"direct_leader":["lisi"],
 "avatar":"https://wework.qpic.cn/0","thumb_avatar":"https://wework.qpic.cn/100","telephone":"020-123456",
 "alias":"jackzhang","address":"广州市","main_department":1,"status":1,
 "extattr":{"attrs":[{"type":0,"name":"文本名称","text":{"value":"文本"}},
                     {"type":1,"name":"网页名称","web":{"url":"http://www.test.com","title":"标题"}}]},
 "qr_code":"https://open.work.weixin.qq.com/wwopen/userQRCode?vcode=xxx","external_position":"产品经理",
 "external_profile":{"external_corp_name":"企业简称"}}""")
INACTIVE = json.loads("""
{"errcode":0,"errmsg":"ok","userid":"ceshizhanghao","name":"测试账号","department":[19],"position":"","mobile":"1",
 "gender":"0","email":"","avatar":"","status":4,"isleader":0,"extattr":{"attrs":[]},"telephone":"","enable":1,
 "hide_mobile":0,"order":[0],"main_department":19,"alias":"","is_leader_in_dept":[0],"direct_leader":[]}""")
NEW_APP = json.loads("""
{"userid":"zhangsan","name":"张三","department":[2],"position":"","status":1,"isleader":0,"extattr":{"attrs":[]},
 "telephone":"","enable":1,"hide_mobile":0,"order":[0],"main_department":2,"alias":"","is_leader_in_dept":[0],
 "direct_leader":[]}""")


def user(**raw: Any) -> User:
    read = read_user({"userid": "a", **raw}, "?")
    assert isinstance(read, User)
    return read


def reason(**raw: Any) -> str:
    read = read_user({"userid": "a", **raw}, "?")
    assert isinstance(read, BadRecord)
    assert (read.kind, read.key) == ("user", "a")
    return read.reason


def test_a_whole_record() -> None:
    assert read_user(OLD_APP, "?") == User(
        userid="zhangsan",
        name="张三",
        alias="jackzhang",
        position="后台工程师",
        status=1,
        mobile="13800000000",
        email="zhangsan@gzdev.com",
        biz_mail="zhangsan@qyycs2.wecom.work",
        telephone="020-123456",
        gender="1",
        avatar="https://wework.qpic.cn/0",
        address="广州市",
        direct_leaders=("lisi",),
        main_department_id=1,
        extattrs=(
            {"type": 0, "name": "文本名称", "text": {"value": "文本"}},
            {"type": 1, "name": "网页名称", "web": {"url": "http://www.test.com", "title": "标题"}},
        ),
        memberships=(Membership(1, 1, False), Membership(2, 2, True)),
    )


def test_empty_is_empty_and_absent_is_unknown() -> None:
    inactive, new = read_user(INACTIVE, "?"), read_user(NEW_APP, "?")
    assert isinstance(inactive, User)
    assert isinstance(new, User)
    assert (inactive.email, inactive.gender, inactive.avatar, inactive.biz_mail) == ("", "0", "", None)
    assert (new.mobile, new.email, new.gender, new.avatar, new.address) == (None,) * 5
    assert (new.extattrs, new.direct_leaders, new.alias) == ((), (), "")


def test_a_bare_userid_says_nothing_else() -> None:
    assert user() == User("a")
    assert user(name=None, department=None, extattr=None, direct_leader=None, status=None) == User("a")


def test_the_spelling_of_a_userid_is_kept() -> None:
    assert user(userid="Zhang.San@Example-Corp_1").userid == "Zhang.San@Example-Corp_1"


@pytest.mark.parametrize(
    ("raw", "memberships"),
    [
        ({"department": []}, ()),
        ({"department": [3, 1, 2]}, (Membership(1), Membership(2), Membership(3))),
        ({"department": [3, 1], "order": [7]}, (Membership(1), Membership(3, 7))),
        ({"department": [1], "order": [7, 8, 9], "is_leader_in_dept": [1, 1, 1]}, (Membership(1, 7, True),)),
        ({"department": [1, 2], "is_leader_in_dept": [0, 1]}, (Membership(1), Membership(2, 0, True))),
        (
            {"department": ["1"], "order": ["4294967295"], "is_leader_in_dept": ["1"]},
            (Membership(1, 4294967295, True),),
        ),
        ({"department": [1, 1], "order": [5, 6]}, (Membership(1, 5),)),
        ({"department": [2**63 - 1], "order": [2**40]}, (Membership(2**63 - 1, 2**40),)),
        (
            {"department": [1, 2], "order": [None, 3], "is_leader_in_dept": [True, False]},
            (Membership(1, 0, True), Membership(2, 3)),
        ),
    ],
)
def test_memberships(raw: dict[str, Any], memberships: tuple[Membership, ...]) -> None:
    assert user(**raw).memberships == memberships


@pytest.mark.parametrize(
    ("raw", "leaders"),
    [
        ({"direct_leader": ["lisi", "LISI", "wangwu"]}, ("lisi", "wangwu")),
        ({"direct_leader": "lisi"}, ("lisi",)),
        ({"direct_leader": ""}, ()),
    ],
)
def test_direct_leaders(raw: dict[str, Any], leaders: tuple[str, ...]) -> None:
    assert user(**raw).direct_leaders == leaders


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"name": "爱好", "value": "旅游"}, {"type": 0, "name": "爱好", "text": {"value": "旅游"}}),
        (
            {"name": "爱好", "value": "旧", "text": {"value": "新"}},
            {"type": 0, "name": "爱好", "text": {"value": "新"}},
        ),
        ({"type": "0", "name": "a", "text": None}, {"type": 0, "name": "a", "text": {"value": ""}}),
        ({"name": "a", "web": {"url": "u"}}, {"type": 1, "name": "a", "web": {"url": "u", "title": ""}}),
        ({"type": 2, "name": "a", "miniprogram": {"appid": "wx"}}, {"type": 2, "name": "a"}),
        ({"type": 0}, {"type": 0, "name": "", "text": {"value": ""}}),
    ],
)
def test_extended_attributes(item: dict[str, Any], expected: dict[str, Any]) -> None:
    assert user(extattr={"attrs": [item]}).extattrs == (expected,)
    assert user(extattr={}).extattrs == ()


def test_numbers_for_texts_and_unknown_states_are_taken() -> None:
    read = user(telephone=20123456, gender=2, status="7", main_department="0")
    assert (read.telephone, read.gender, read.status, read.main_department_id) == ("20123456", "2", 7, None)
    assert user(name="𠮷野家\u202e\n" + "x" * 64).name == "𠮷野家\u202e\n" + "x" * 64


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"name": []}, "name"),
        ({"name": True}, "name"),
        ({"name": "a\0canary"}, "name"),
        ({"mobile": "canary\ud800"}, "mobile"),
        ({"address": "canary" * 2000}, "address"),
        ({"status": "canary"}, "status"),
        ({"status": -1}, "status"),
        ({"status": 1.5}, "status"),
        ({"main_department": 2**63}, "main_department"),
        ({"department": "canary"}, "department"),
        ({"department": {"1": 1}}, "department"),
        ({"department": ["canary"]}, "department"),
        ({"department": [0]}, "department"),
        ({"department": [None]}, "department"),
        ({"department": [2**63]}, "department"),
        ({"department": list(range(1, 1002))}, "department"),
        ({"department": [1], "order": ["canary"]}, "order"),
        ({"department": [1], "order": [-1]}, "order"),
        ({"department": [1], "order": [2**63]}, "order"),
        ({"department": [1], "is_leader_in_dept": ["canary"]}, "is_leader_in_dept"),
        ({"direct_leader": {"canary": 1}}, "direct_leader"),
        ({"direct_leader": ["canary\0"]}, "direct_leader"),
        ({"extattr": "canary"}, "extattr"),
        ({"extattr": {"attrs": "canary"}}, "attrs"),
        ({"extattr": {"attrs": ["canary"]}}, "extattr"),
        ({"extattr": {"attrs": [{"text": "canary"}]}}, "extattr"),
        ({"extattr": {"attrs": [{"type": "canary"}]}}, "type"),
        ({"extattr": {"attrs": [{"name": "a", "text": {"value": "canary\0"}}]}}, "value"),
    ],
)
def test_a_bad_field_is_named_without_its_content(raw: dict[str, Any], field: str) -> None:
    assert reason(**raw).startswith(f"{field}: ")
    assert "canary" not in reason(**raw)


@pytest.mark.parametrize("userid", [None, "", " ", "a ", "a\0", "a\n", "\ud800", 7, "x" * 129, ["a"]])
def test_a_record_without_a_userid_goes_by_its_place(userid: object) -> None:
    assert read_user({"userid": userid, "name": "canary"}, "list:7#3") == BadRecord(
        "user", "list:7#3", "userid: missing or not usable"
    )
    assert not is_userid(userid)


@pytest.mark.parametrize("raw", [None, [], "canary", 7])
def test_a_record_that_is_no_object(raw: object) -> None:
    assert read_user(raw, "list:7#3") == BadRecord("user", "list:7#3", "the record is not an object")
    assert read_department(raw, "department#0") == BadRecord(
        "department", "department#0", "the record is not an object"
    )


def test_of_a_repeated_person_the_later_record_counts() -> None:
    users, bad = read_users([{"userid": "A", "name": "1"}, {"userid": "a", "name": "2"}, {}], "list:7")
    assert users == (User("a", name="2"),)
    assert [record.key for record in bad] == ["list:7#2"]


def test_a_department() -> None:
    raw = {
        "id": "9007199254740993",
        "name": "a/b 部门\u2028",
        "name_en": "",
        "parentid": 0,
        "order": 2**33,
        "department_leader": ["A", "a", "b"],
    }
    record = read_department(raw, "?")
    assert not isinstance(record, BadRecord)
    assert record.department == Department(9007199254740993, "a/b 部门\u2028", "", None, 2**33, ("A", "b"))
    assert record.raw_parent_id == 0


def test_a_department_known_by_id() -> None:
    record = read_department({"id": 2, "parentid": 1}, "?")
    assert not isinstance(record, BadRecord)
    assert record.department == Department(2, parent_id=1)
    assert record.department.leaders is None


@pytest.mark.parametrize(
    ("raw", "key", "field"),
    [
        ({}, "department#0", "id"),
        ({"id": 0}, "department#0", "id"),
        ({"id": 2, "name": 1.5}, "2", "name"),
        ({"id": 2, "parentid": "x"}, "2", "parentid"),
        ({"id": 2, "order": 2**63}, "2", "order"),
        ({"id": 2, "department_leader": [{"userid": "canary"}]}, "2", "department_leader"),
    ],
)
def test_a_bad_department(raw: dict[str, Any], key: str, field: str) -> None:
    record = read_department(raw, "department#0")
    assert isinstance(record, BadRecord)
    assert record.key == key
    assert record.reason.startswith(f"{field}: ")
    assert "canary" not in record.reason


def test_a_parent_counts_if_it_is_in_the_same_list() -> None:
    departments, bad, roots = read_forest(
        [
            {"id": 1, "parentid": 0},
            {"id": 2, "parentid": 1},
            {"id": 3, "parentid": 99},
            {"id": 4, "parentid": 5},
            {"id": 5, "parentid": 1, "name": []},
            {"id": 2, "parentid": 3},
        ]
    )
    assert {one.department_id: one.parent_id for one in departments} == {1: None, 2: 3, 3: None, 4: 5}
    assert [record.key for record in bad] == ["5"]
    assert roots == {1}


def test_a_list_that_is_missing_is_not_empty() -> None:
    assert rows("userlist")({"userlist": []}) == []
    for raw in ({}, {"userlist": None}, {"userlist": {}}, {"userlist": "x"}):
        with pytest.raises(Unusable):
            rows("userlist")(raw)


def test_rows_of_departments_are_proof() -> None:
    assert set(read_department_rows({"department_id": [{"id": 1}, {"id": "2"}]})) == {1, 2}
    for row in (None, {}, {"id": 0}, {"id": "x"}):
        with pytest.raises(Unusable):
            read_department_rows({"department_id": [{"id": 1}, row]})


def test_a_page_of_ids() -> None:
    page = {"dept_user": [{"userid": "A", "department": 1}, {"userid": "b", "department": "2"}]}
    assert read_ids_page(page) == ((("A", 1), ("b", 2)), "")
    assert read_ids_page(page | {"next_cursor": ""})[1] == ""
    assert read_ids_page(page | {"next_cursor": None})[1] == ""
    assert read_ids_page(page | {"next_cursor": "c"})[1] == "c"


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"dept_user": None},
        {"dept_user": [None]},
        {"dept_user": [{"userid": "a"}]},
        {"dept_user": [{"department": 1}]},
        {"dept_user": [], "next_cursor": 7},
    ],
)
def test_a_page_of_ids_that_proves_nothing(raw: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        read_ids_page(raw)


def test_a_visible_range() -> None:
    raw = {
        "allow_userinfos": {"user": [{"userid": "b"}, {"userid": "A"}, {"userid": "a"}]},
        "allow_partys": {"partyid": [3, "1", 3]},
        "allow_tags": {"tagid": [2]},
    }
    visible = read_visible(raw)
    assert (visible.departments, visible.users, visible.tags) == ((1, 3), ("a", "b"), (2,))
    empty = read_visible({"allow_partys": {}})
    assert (empty.departments, empty.users, empty.tags) == ((), (), ())


@pytest.mark.parametrize(
    "raw",
    [
        {"allow_userinfos": []},
        {"allow_userinfos": {"user": {}}},
        {"allow_userinfos": {"user": [{"name": "x"}]}},
        {"allow_userinfos": {"user": ["a"]}},
        {"allow_partys": {"partyid": ["x"]}},
        {"allow_partys": {"partyid": 1}},
        {"allow_tags": {"tagid": [0]}},
    ],
)
def test_half_a_range_is_none(raw: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        read_visible(raw)


def test_a_tag() -> None:
    assert read_tag({"userlist": [{"userid": "A", "name": "x"}], "partylist": [2, 1]}) == (("A",), (1, 2))
    assert read_tag({"userlist": []}) == ((), ())
    for raw in ({}, {"userlist": [{}]}, {"userlist": "a"}, {"userlist": [], "partylist": [-1]}):
        with pytest.raises(Unusable):
            read_tag(raw)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        ("0", 0),
        ("007", 7),
        (2**63 - 1, 2**63 - 1),
        (str(2**63 - 1), 2**63 - 1),
        (2**63, None),
        (str(2**63), None),
        (-1, None),
        ("-1", None),
        ("", None),
        (" 1", None),
        ("1_0", None),
        ("٣", None),
        ("²", None),
        ("1" * 5000, None),
        (True, None),
        (1.0, None),
        (None, None),
        ([], None),
    ],
)
def test_whole_numbers(value: object, number: int | None) -> None:
    assert whole_number(value) == number


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "name", "text", "value", "web", "attrs", "url"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(raw=st.dictionaries(st.sampled_from([*OLD_APP, "userid"]), anything))
def test_any_record_is_a_person_that_can_be_stored_or_a_reason(raw: dict[str, Any]) -> None:
    read = read_user(raw, "page#0")
    if isinstance(read, User):
        json.dumps([read.name, read.extattrs, read.userid], ensure_ascii=False).encode()
        assert read.memberships is None or list(read.memberships) == sorted(read.memberships)
    else:
        assert read.reason


@given(raw=st.dictionaries(st.sampled_from(["id", "name", "parentid", "order", "department_leader"]), anything))
def test_any_record_is_a_department_or_a_reason(raw: dict[str, Any]) -> None:
    departments, bad, _ = read_forest([raw])
    assert len(departments) + len(bad) == 1
