"""Every kind of callback read into the event it stands for."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.event import Event
from app.core.ports import CallbackRefused
from app.simulator import Company, render
from app.sources.wecom.listener import read_event

COMMON = (
    "<ToUserName><![CDATA[ww1]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>1660550400</CreateTime><MsgType><![CDATA[event]]></MsgType>"
)


def event(content: str) -> Event:
    return read_event(f"<xml>{COMMON}{content}</xml>".encode())


def contact(change: str, content: str) -> Event:
    return event(f"<Event><![CDATA[change_contact]]></Event><ChangeType><![CDATA[{change}]]></ChangeType>{content}")


def told(read: Event) -> tuple[Any, ...]:
    return read.change_type, read.kind, read.key, read.new_key, dict(read.expects)


LONG_USER = """
  <UserID><![CDATA[zhangsan]]></UserID><Name><![CDATA[张三]]></Name>
  <Department><![CDATA[3,1,2]]></Department><MainDepartment>1</MainDepartment>
  <IsLeaderInDept><![CDATA[1,0,0]]></IsLeaderInDept><DirectLeader><![CDATA[lisi]]></DirectLeader>
  <Position><![CDATA[产品经理]]></Position><Mobile>13800000000</Mobile><Gender>1</Gender>
  <Email><![CDATA[zhangsan@example.com]]></Email><Status>1</Status><Alias><![CDATA[zs]]></Alias>
  <ExtAttr>
    <Item><Name><![CDATA[爱好]]></Name><Type>0</Type><Text><Value><![CDATA[旅游]]></Value></Text></Item>
    <Item><Name><![CDATA[卡号]]></Name><Type>1</Type><Web><Title>a</Title><Url><![CDATA[https://x?a=b]]></Url></Web></Item>
  </ExtAttr>"""


@pytest.mark.parametrize(
    ("change", "content", "expected"),
    [
        pytest.param(
            "create_user",
            "<UserID>zhangsan</UserID><Department>1,2,3</Department>",
            ("user", "zhangsan", None, {"present": True, "departments": [1, 2, 3]}),
            id="create_user",
        ),
        pytest.param(
            "create_user", LONG_USER, ("user", "zhangsan", None, {"present": True, "departments": [1, 2, 3]}), id="long"
        ),
        pytest.param(
            "create_user",
            "<UserID>zhangsan</UserID><Department><![CDATA[]]></Department>",
            ("user", "zhangsan", None, {"present": True}),
            id="no departments",
        ),
        pytest.param(
            "update_user",
            "<UserID>ZhangSan</UserID><Department>5, 2,5</Department>",
            ("user", "ZhangSan", None, {"departments": [2, 5]}),
            id="update_user",
        ),
        pytest.param(
            "update_user", LONG_USER, ("user", "zhangsan", None, {"departments": [1, 2, 3]}), id="long update"
        ),
        pytest.param(
            "update_user",
            "<UserID>zhangsan</UserID><MainDepartment>2</MainDepartment>",
            ("user", "zhangsan", None, {}),
            id="only the main department",
        ),
        pytest.param(
            "update_user",
            "<UserID>zhangsan</UserID><NewUserID>zhangsan001</NewUserID>",
            ("user", "zhangsan", "zhangsan001", {}),
            id="rename",
        ),
        pytest.param(
            "update_user",
            "<UserId>zhangsan</UserId><NewUserId>zhangsan001</NewUserId><department>1</department>",
            ("user", "zhangsan", "zhangsan001", {"departments": [1]}),
            id="other spelling of names",
        ),
        pytest.param(
            "update_user",
            "<UserID>zhangsan</UserID><NewUserID/>",
            ("user", "zhangsan", None, {}),
            id="empty NewUserID",
        ),
        pytest.param(
            "delete_user", "<UserID>lisi</UserID>", ("user", "lisi", None, {"absent": True}), id="delete_user"
        ),
        pytest.param(
            "create_party",
            "<Id>12</Id><ParentId><![CDATA[1]]></ParentId>",
            ("department", "12", None, {"present": True, "parent_id": 1}),
            id="create_party",
        ),
        pytest.param(
            "create_party",
            "<Id>9007199254740993</Id><Name>x</Name><ParentId>9223372036854775807</ParentId><Order>1</Order>",
            ("department", "9007199254740993", None, {"present": True, "parent_id": 9223372036854775807}),
            id="long create_party with 64-bit ids",
        ),
        pytest.param(
            "update_party", "<Id>12</Id><ParentId>3</ParentId>", ("department", "12", None, {"parent_id": 3}), id="move"
        ),
        pytest.param(
            "update_party", "<Id>12</Id><Name>新</Name>", ("department", "12", None, {}), id="rename of a department"
        ),
        pytest.param(
            "update_party", "<Id>12</Id><ParentId>0</ParentId>", ("department", "12", None, {}), id="no parent"
        ),
        pytest.param("delete_party", "<Id>12</Id>", ("department", "12", None, {"absent": True}), id="delete_party"),
        pytest.param(
            "update_tag",
            "<TagId>1</TagId><AddUserItems>zhangsan,lisi</AddUserItems><DelPartyItems>3,4</DelPartyItems>",
            ("tag", "1", None, {"users": ["zhangsan", "lisi"], "departments": [3, 4]}),
            id="update_tag",
        ),
    ],
)
def test_a_change_of_contacts(change: str, content: str, expected: tuple[Any, ...]) -> None:
    assert told(contact(change, content)) == (change, *expected)


@pytest.mark.parametrize(("name", "expects"), [("subscribe", {"present": True}), ("unsubscribe", {})])
def test_a_member_enters_or_leaves_the_range(name: str, expects: dict[str, Any]) -> None:
    xml = (
        "<xml><ToUserName>ww1</ToUserName><FromUserName><![CDATA[ZhangSan]]></FromUserName><CreateTime>1348831860"
        f"</CreateTime><MsgType>event</MsgType><Event><![CDATA[{name}]]></Event><AgentID>1000002</AgentID></xml>"
    )
    assert told(read_event(xml.encode())) == (name, "user", "ZhangSan", None, expects)


@pytest.mark.parametrize(
    ("job_type", "kind"),
    [
        ("sync_user", "everything"),
        ("replace_user", "everything"),
        ("invite_user", "everything"),
        ("replace_party", "everything"),
        ("export_user", "none"),
        ("export_simple_user", "none"),
        ("export_department", "none"),
        ("export_tag", "none"),
        ("export_taguser", "none"),
        ("", "none"),
    ],
)
def test_the_end_of_a_job(job_type: str, kind: str) -> None:
    job = f"<BatchJob><JobId>j</JobId><JobType><![CDATA[{job_type}]]></JobType><ErrCode>0</ErrCode></BatchJob>"
    assert told(event(f"<Event>batch_job_result</Event>{job}")) == ("batch_job_result", kind, "", None, {})


@pytest.mark.parametrize("job", ["", "<BatchJob/>", "<BatchJob>text</BatchJob>"])
def test_the_end_of_a_job_without_its_type(job: str) -> None:
    assert told(event(f"<Event>batch_job_result</Event>{job}")) == ("batch_job_result", "none", "", None, {})


@pytest.mark.parametrize(
    ("xml", "change_type"),
    [
        ("<xml><MsgType>text</MsgType><Content>hello</Content></xml>", "text"),
        ("<xml><MsgType>event</MsgType><Event>enter_agent</Event></xml>", "event:enter_agent"),
        (
            "<xml><MsgType>EVENT</MsgType><Event>Change_Contact</Event><ChangeType>foo</ChangeType></xml>",
            "change_contact:foo",
        ),
        ("<xml><MsgType>event</MsgType><Event>change_contact</Event></xml>", "change_contact:unknown"),
        ("<xml><MsgType>event</MsgType></xml>", "event:unknown"),
        ("<xml><InfoType>change_auth</InfoType></xml>", "unknown"),
        ("<xml><MsgType><a/></MsgType></xml>", "unknown"),
        ("<xml><MsgType>text</MsgType><MsgType>text</MsgType></xml>", "unknown"),
        (f"<xml><MsgType>event</MsgType><Event>{'x' * 100}</Event></xml>", f"event:{'x' * 58}"),
        ("<xml><MsgType>a\u200bb</MsgType></xml>", "unknown"),
    ],
)
def test_what_is_unknown_is_kept_under_its_name(xml: str, change_type: str) -> None:
    assert told(read_event(xml.encode())) == (change_type, "none", "", None, {})


@pytest.mark.parametrize(
    ("change", "content"),
    [
        ("create_user", ""),
        ("create_user", "<UserID/>"),
        ("create_user", f"<UserID>{'x' * 129}</UserID>"),
        ("create_user", "<UserID>a</UserID><UserID>b</UserID>"),
        ("create_user", "<UserID>a</UserID><userid>b</userid>"),
        ("create_user", "<UserID><b/></UserID>"),
        ("create_user", "<UserID>a\u202eb</UserID>"),
        ("update_user", f"<UserID>a</UserID><NewUserID>{'x' * 129}</NewUserID>"),
        ("update_user", "<UserID>a</UserID><NewUserID>b</NewUserID><NewUserID>c</NewUserID>"),
        ("delete_user", ""),
        ("create_party", "<Id/>"),
        ("update_party", "<Id>-1</Id>"),
        ("update_party", "<Id>0</Id>"),
        ("delete_party", "<Id>9223372036854775808</Id>"),
        ("delete_party", "<Id>²</Id>"),
        ("update_tag", "<TagId>x</TagId>"),
    ],
)
def test_an_event_without_a_usable_id_is_kept(change: str, content: str) -> None:
    assert told(contact(change, content)) == (change, "none", "", None, {})


def test_a_sender_that_cannot_be_a_member() -> None:
    assert told(read_event(b"<xml><MsgType>event</MsgType><Event>subscribe</Event></xml>"))[:3] == (
        "subscribe",
        "none",
        "",
    )


@pytest.mark.parametrize("departments", ["1,x", "1,,2", "0", "-1", "1;2", "9223372036854775808"])
def test_departments_that_cannot_be_read_announce_nothing(departments: str) -> None:
    read = contact("update_user", f"<UserID>a</UserID><Department>{departments}</Department>")
    assert told(read) == ("update_user", "user", "a", None, {})


@pytest.mark.parametrize(
    ("text", "created"), [("1660550400", 1660550400), ("0", 0), ("", 0), ("x", 0), ("-5", 0), ("253402300800", 0)]
)
def test_the_time_of_an_event_is_a_time(text: str, created: int) -> None:
    assert read_event(f"<xml><MsgType>text</MsgType><CreateTime>{text}</CreateTime></xml>".encode()).created == created


def test_the_digest_is_of_the_decrypted_bytes() -> None:
    xml = "<xml><MsgType>text</MsgType><Content>你好</Content></xml>".encode()
    read = read_event(xml)
    assert read.digest == hashlib.sha256(xml).hexdigest()
    assert read.payload == xml.decode()
    assert read_event(xml + b"\n").digest != read.digest


def test_attributes_do_not_hide_a_text() -> None:
    assert told(contact("delete_user", '<UserID type="s">lisi</UserID>'))[1:3] == ("user", "lisi")


@pytest.mark.parametrize("form", ["ids", "long"])
def test_what_a_living_company_says(form: str) -> None:
    """The simulated WeCom renders its events by its own code."""
    company = Company()
    company.create_department("研发", id=2)
    company.create_department("测试", id=3)
    events = [
        *company.join("ZhangSan", "张三", (2,)),
        *company.move("zhangsan", [2, 3]),
        *company.rename_userid("zhangsan", "zhangsan001"),
        *company.move_department(3, 2),
        *company.leave("zhangsan001"),
        *company.delete_department(3),
    ]
    heard = [read_event(render(one, company.corp_id, form).encode()) for one in events if one.raised_in(form)]
    assert [told(one) for one in heard] == [
        ("create_user", "user", "ZhangSan", None, {"present": True, "departments": [2]}),
        ("subscribe", "user", "ZhangSan", None, {"present": True}),
        ("update_user", "user", "ZhangSan", None, {"departments": [2, 3]}),
        ("update_user", "user", "ZhangSan", "zhangsan001", {}),
        ("update_party", "department", "3", None, {"parent_id": 2}),
        ("delete_user", "user", "zhangsan001", None, {"absent": True}),
        ("unsubscribe", "user", "zhangsan001", None, {}),
        ("delete_party", "department", "3", None, {"absent": True}),
    ]


names = st.sampled_from(
    [
        "MsgType",
        "Event",
        "ChangeType",
        "UserID",
        "NewUserID",
        "Id",
        "ParentId",
        "TagId",
        "Department",
        "BatchJob",
        "JobType",
    ]
)
values = st.sampled_from(
    ["event", "change_contact", "create_user", "update_party", "subscribe", "batch_job_result", "1", ""]
)
trees = st.recursive(
    values
    | st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8).map(
        lambda t: t.replace("<", "").replace("&", "")
    ),
    lambda inner: st.lists(st.tuples(names, inner), max_size=4).map(
        lambda children: "".join(f"<{name}>{content}</{name}>" for name, content in children)
    ),
    max_leaves=8,
)


@given(content=trees)
def test_any_authentic_xml_is_an_event_that_can_be_stored(content: str) -> None:
    try:
        read = read_event(f"<xml><MsgType>event</MsgType>{content}<a/></xml>".encode())
    except CallbackRefused as refused:
        assert refused.status == 400  # noqa: PT017 - a character that XML does not have
        return
    assert read.kind in ("user", "department", "tag", "everything", "none")
    assert (read.key == "") == (read.kind in ("everything", "none"))
    assert 0 < len(read.change_type) <= 64
    assert (read.change_type + read.key + (read.new_key or "")).isprintable()
