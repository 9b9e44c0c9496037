"""The directory over the API: what a person looks like, how he is found, what his history says."""

import asyncio
import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from app.api.sheets import BOM
from app.core.directory import USER_FIELDS
from app.store.db import now
from app.store.tables import ChangeRow, DepartmentRow, MembershipRow, RunRow, UserRow
from tests.api.harness import Api, person, place

WITHHELD = ["mobile", "email", "biz_mail", "gender", "avatar", "address"]


def seat(user: dict[str, Any], number: int, **fields: Any) -> dict[str, Any]:
    return {"user_id": user["id"], "department_id": number, "source_id": user["source_id"]} | fields


async def test_a_person_is_answered_as_agreed(api: Api) -> None:
    source = await api.source()
    swept = now()
    await api.set_source(source["id"], readable=["mobile"], swept_at=swept, swept=9)
    user = person(
        source["id"],
        "ZhangSan",
        name="张三",
        alias="",
        status=2,
        mobile="13800000000",
        email="old@example.com",
        direct_leaders=["lisi"],
        main_department_id=2**62,
        extattrs=[{"type": 0, "name": "工号", "text": {"value": "0042"}}],
        observed_at=swept - timedelta(hours=1),
    )
    await api.insert(UserRow, [user])
    seats = [seat(user, 2**62, order=2**32 - 1, is_leader=True), seat(user, 7, order=0)]
    await api.insert(MembershipRow, seats)
    answer = await api.get(f"/users/{user['id']}")
    times = {name: answer.pop(name) for name in ("observed_at", "created_at", "updated_at")}
    assert answer == {
        "id": user["id"],
        "source_id": source["id"],
        "userid": "ZhangSan",
        "name": "张三",
        "alias": "",
        "position": None,
        "status": 2,
        "active": True,
        "suspended": True,
        "unmanaged_since": None,
        "mobile": "13800000000",
        "email": "old@example.com",
        "biz_mail": None,
        "telephone": None,
        "gender": None,
        "avatar": None,
        "address": None,
        "direct_leaders": ["lisi"],
        "main_department_id": 2**62,
        "departments": [
            {"department_id": 7, "order": 0, "is_leader": False, "is_main": False},
            {"department_id": 2**62, "order": 2**32 - 1, "is_leader": True, "is_main": True},
        ],
        "extattrs": [{"type": 0, "name": "工号", "text": {"value": "0042"}}],
        "unreadable": [name for name in WITHHELD if name != "mobile"],
        "deactivated_at": None,
    }
    assert times["observed_at"] == swept.isoformat().replace("+00:00", "Z")


async def test_a_sweep_is_an_observation_of_those_who_are_managed_only(api: Api) -> None:
    source = await api.source()
    own, swept = now() - timedelta(days=3), now()
    await api.set_source(source["id"], swept_at=swept)
    rows = [
        person(source["id"], "managed", observed_at=own),
        person(source["id"], "fresh", observed_at=swept + timedelta(minutes=1)),
        person(source["id"], "unmanaged", observed_at=own, unmanaged_since=own),
        person(source["id"], "left", observed_at=own, active=False),
    ]
    await api.insert(UserRow, rows)
    seen = {item["userid"]: item["observed_at"] for item in (await api.get("/users"))["items"]}
    stamps = {name: time.isoformat().replace("+00:00", "Z") for name, time in (("own", own), ("swept", swept))}
    assert seen["managed"] == stamps["swept"]
    assert seen["fresh"] > stamps["swept"]
    assert seen["unmanaged"] == seen["left"] == stamps["own"]


async def test_where_only_ids_can_be_read_everything_else_is_unreadable(api: Api) -> None:
    source = await api.source()
    await api.set_source(source["id"], range={"details": False})
    await api.insert(UserRow, [person(source["id"], "zhangsan")])
    await api.insert(DepartmentRow, [place(source["id"], 1)])
    assert (await api.get("/users"))["items"][0]["unreadable"] == list(USER_FIELDS)
    assert (await api.get("/departments"))["items"][0]["unreadable"] == ["name", "name_en", "leaders"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"ZhangSan", "lisi", "wangwu", "zhaoliu"}),
        ({"userid": "zhangsan"}, {"ZhangSan"}),
        ({"userid": "ZHANGSAN"}, {"ZhangSan"}),
        ({"userid": "zhang"}, set()),
        ({"q": "张"}, {"ZhangSan"}),
        ({"q": "HANG"}, {"ZhangSan"}),
        ({"q": "100%"}, {"wangwu"}),
        ({"q": "_"}, set()),
        ({"q": "13900"}, {"lisi"}),
        ({"department_id": "7"}, {"ZhangSan", "lisi"}),
        ({"department_id": "9"}, set()),
        ({"status": "4"}, {"wangwu"}),
        ({"active": "false"}, {"zhaoliu"}),
        ({"active": "true", "department_id": "7", "q": "li"}, {"lisi"}),
        ({"unmanaged": "true"}, {"lisi"}),
        ({"unmanaged": "false", "active": "true"}, {"ZhangSan", "wangwu"}),
    ],
)
async def test_people_are_found(api: Api, query: dict[str, str], found: set[str]) -> None:
    source, other = await api.source(), await api.source()
    rows = [
        person(source["id"], "ZhangSan", name="张三"),
        person(source["id"], "lisi", name="李四", mobile="13900000000", unmanaged_since=now()),
        person(source["id"], "wangwu", alias="100% Wang", status=4),
        person(source["id"], "zhaoliu", active=False, status=5),
        person(other["id"], "stranger"),
    ]
    await api.insert(UserRow, rows)
    await api.insert(MembershipRow, [seat(rows[0], 7), seat(rows[1], 7), seat(rows[4], 9)])
    page = await api.get("/users", params={"source_id": source["id"]} | query)
    assert {item["userid"] for item in page["items"]} == found
    assert page["next_cursor"] is None


async def test_of_two_holders_of_a_userid_the_present_one_is_found(api: Api) -> None:
    source = await api.source()
    former = person(source["id"], "zhangsan", active=False, superseded_at=now())
    present = person(source["id"], "zhangsan")
    await api.insert(UserRow, [former, present])
    assert [item["id"] for item in (await api.get("/users?userid=ZhangSan"))["items"]] == [present["id"]]
    assert len((await api.get("/users"))["items"]) == 2


async def test_departments_are_found_and_counted(api: Api) -> None:
    source = await api.source()
    rows = [
        place(source["id"], 1, name="公司", name_en="Company", leaders=["boss"]),
        place(source["id"], 2, name="研发部", parent_id=1, order=2**31),
        place(source["id"], 3, name="旧部", parent_id=1, active=False),
    ]
    await api.insert(DepartmentRow, rows)
    people = [person(source["id"], "a"), person(source["id"], "b"), person(source["id"], "gone", active=False)]
    await api.insert(UserRow, people)
    await api.insert(MembershipRow, [seat(user, 2) for user in people])
    every = {item["department_id"]: item for item in (await api.get("/departments"))["items"]}
    assert {number: item["member_count"] for number, item in every.items()} == {1: 0, 2: 2, 3: 0}
    assert (every[1]["leaders"], every[2]["leaders"], every[2]["order"]) == (["boss"], None, 2**31)
    query = {"source_id": source["id"], "parent_id": "1"}
    assert [d["department_id"] for d in (await api.get("/departments", params=query))["items"]] == [2, 3]
    assert [d["department_id"] for d in (await api.get("/departments?q=COMP"))["items"]] == [1]
    assert [d["department_id"] for d in (await api.get("/departments?active=false"))["items"]] == [3]
    assert (await api.get(f"/departments/{rows[1]['id']}"))["parent_id"] == 1


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/users?department_id=1", "/query/department_id"),
        ("/departments?parent_id=1", "/query/parent_id"),
        ("/users?status=3", "/query/status"),
        ("/users?limit=0", "/query/limit"),
        ("/users?limit=501", "/query/limit"),
        ("/users?limit=many", "/query/limit"),
        ("/users?source_id=x&department_id=9223372036854775808", "/query/department_id"),
        ("/users?surprise=1", "/query/surprise"),
        ("/users?q=%00", "/query/q"),
        ("/users?userid=", "/query/userid"),
        ("/changes", "/query/source_id"),
        ("/export/users.csv?limit=3", "/query/limit"),
        ("/runs?state=asleep", "/query/state"),
        ("/events?state=asleep", "/query/state"),
        ("/sources/src_x?include=xml", "/query/include"),
    ],
)
async def test_queries_that_are_not_understood_are_refused(light: Api, path: str, pointer: str) -> None:
    answer = await light.client.get(f"/api/v1{path}")
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("kind", ["users", "departments", "runs", "events", "sources"])
@pytest.mark.parametrize("cursor", ["x", "!!", "W10", "WyJ1c2VycyIsIDFd", "bnVsbA", "é"])
async def test_a_cursor_of_somebody_else_is_400(light: Api, kind: str, cursor: str) -> None:
    answer = await light.client.get(f"/api/v1/{kind}", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor.invalid")


@pytest.mark.parametrize("id_", ["usr_x", "%00", "a%00b", "%F0%28", "张三", "x" * 3000, "%ED%A0%80"])
async def test_an_id_that_nobody_has_is_404(api: Api, id_: str) -> None:
    for rest in (
        "users/{}",
        "users/{}/history",
        "departments/{}",
        "runs/{}",
        "runs/{}/stream",
        "events/{}",
        "sources/{}",
    ):
        answer = await api.client.get(f"/api/v1/{rest.format(id_)}")
        assert answer.status_code == 404, rest
        assert answer.json()["code"].endswith("not_found")


async def test_pages_hold_everybody_once(api: Api) -> None:
    source = await api.source()
    await api.insert(UserRow, [person(source["id"], f"user{number}") for number in range(7)])
    found: list[str] = []
    path: str | None = f"/api/v1/users?limit=3&source_id={source['id']}"
    while path:
        answer = await api.client.get(path)
        found += [item["userid"] for item in answer.json()["items"]]
        link = answer.headers.get("link")
        path = link[1 : link.index(">")] if link else None
    assert found == [f"user{number}" for number in range(7)]


async def with_feed(api: Api, *, first: int = 1, count: int = 5) -> tuple[dict[str, Any], dict[str, Any]]:
    """A source whose feed holds `count` changes of one user from seq `first` on."""
    source = await api.source()
    user = person(source["id"], "zhangsan")
    await api.insert(UserRow, [user])
    run = {"id": f"run_{source['id'][4:]}", "source_id": source["id"], "created_at": now()}
    await api.insert(RunRow, [run])
    rows = [
        {
            "source_id": source["id"],
            "seq": first + number,
            "kind": "user",
            "action": "update" if number else "create",
            "object_id": user["id"],
            "key": "zhangsan",
            "before": {"position": str(number - 1)},
            "after": {"position": str(number)},
            "run_id": run["id"],
            "at": now(),
        }
        for number in range(count)
    ]
    await api.insert(ChangeRow, rows)
    await api.set_source(source["id"], next_seq=first + count)
    return source, user


async def test_history_is_newest_first_with_its_cause(api: Api) -> None:
    source, user = await with_feed(api)
    page = await api.get(f"/users/{user['id']}/history?limit=2")
    assert [item["seq"] for item in page["items"]] == [5, 4]
    assert page["items"][0]["run_id"] == f"run_{source['id'][4:]}"
    page = await api.get(f"/users/{user['id']}/history", params={"cursor": page["next_cursor"]})
    assert [item["seq"] for item in page["items"]] == [3, 2, 1]
    assert (await api.client.get("/api/v1/users/usr_x/history")).json()["code"] == "user.not_found"
    assert (await api.client.get("/api/v1/departments/dep_x/history")).json()["code"] == "department.not_found"


async def test_the_feed_is_read_in_commit_order(api: Api) -> None:
    source, user = await with_feed(api)
    answer = await api.client.get("/api/v1/changes", params={"source_id": source["id"], "limit": 3})
    feed = answer.json()
    assert ([item["seq"] for item in feed["items"]], feed["next_after"]) == ([1, 2, 3], 3)
    assert "after=3" in answer.headers["link"]
    assert feed["items"][1] | {"at": ""} == {
        "seq": 2,
        "kind": "user",
        "action": "update",
        "object_id": user["id"],
        "key": "zhangsan",
        "previous_key": None,
        "before": {"position": "0"},
        "after": {"position": "1"},
        "run_id": f"run_{source['id'][4:]}",
        "event_id": None,
        "reason": None,
        "source_id": source["id"],
        "at": "",
    }
    feed = await api.get("/changes", params={"source_id": source["id"], "after": 3})
    assert ([item["seq"] for item in feed["items"]], feed["next_after"]) == ([4, 5], 5)
    feed = await api.get("/changes", params={"source_id": source["id"], "after": 5})
    assert feed == {"items": [], "next_after": 5}
    answer = await api.client.get("/api/v1/changes?source_id=src_x")
    assert (answer.status_code, answer.json()["code"]) == (404, "source.not_found")


async def test_a_reader_who_waits_is_answered_with_the_first_change(api: Api) -> None:
    source, user = await with_feed(api)
    params = {"source_id": source["id"], "after": 5, "wait": 60}
    waiting = asyncio.create_task(api.get("/changes", params=params))
    done, _ = await asyncio.wait([waiting], timeout=0.6)
    assert not done
    row = {"source_id": source["id"], "kind": "user", "action": "update", "object_id": user["id"], "key": "zhangsan"}
    await api.insert(ChangeRow, [row | {"seq": 6, "at": now()}])
    await api.set_source(source["id"], next_seq=7)
    assert [item["seq"] for item in (await asyncio.wait_for(waiting, 20))["items"]] == [6]
    assert await api.get("/changes", params=params | {"after": 6, "wait": 1}) == {"items": [], "next_after": 6}
    answer = await api.client.get("/api/v1/changes", params=params | {"wait": 61})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/wait")


async def test_a_reader_below_the_purged_tail_is_told(api: Api) -> None:
    source, _ = await with_feed(api, first=11)
    for after, status in ((0, 410), (9, 410), (10, 200), (12, 200)):
        answer = await api.client.get("/api/v1/changes", params={"source_id": source["id"], "after": after})
        assert answer.status_code == status, after
    assert answer.json()["items"][0]["seq"] == 13
    emptied = await api.source()
    await api.set_source(emptied["id"], next_seq=40)
    for after, status in ((38, 410), (39, 200)):
        answer = await api.client.get("/api/v1/changes", params={"source_id": emptied["id"], "after": after})
        assert answer.status_code == status
    assert answer.json() == {"items": [], "next_after": 39}


async def test_exports_are_whole_and_safe_for_spreadsheets(api: Api) -> None:
    source = await api.source()
    formula = '=HYPERLINK("http://example.com","张")'
    rows = [
        person(source["id"], "first", name=formula, alias="+1", position='a,"b"\nc', direct_leaders=["x", "-y"]),
        *(person(source["id"], f"user{number}", name="-") for number in range(1100)),
    ]
    await api.insert(UserRow, rows)
    await api.insert(MembershipRow, [seat(rows[0], 7), seat(rows[0], 3)])
    answer = await api.client.get("/api/v1/export/users.csv", params={"source_id": source["id"]})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="users.csv"'
    text = answer.content.decode()
    assert text.startswith(BOM)
    read = list(csv.DictReader(io.StringIO(text.removeprefix(BOM))))
    assert [row["userid"] for row in read] == [row["userid"] for row in rows]
    assert (read[0]["name"], read[0]["alias"], read[1]["name"]) == (f"'{formula}", "'+1", "'-")
    assert (read[0]["position"], read[0]["direct_leaders"]) == ('a,"b"\nc', "x;-y")
    assert (read[0]["department_ids"], read[0]["active"], read[0]["mobile"]) == ("3;7", "true", "")
    answer = await api.client.get("/api/v1/export/users.json", params={"source_id": source["id"]})
    every = json.loads(answer.content)
    assert len(every) == 1101
    assert every[0]["name"] == formula
    assert every[0] == await api.get(f"/users/{rows[0]['id']}")
    answer = await api.client.get("/api/v1/export/users.json?q=nobody")
    assert answer.json() == []
