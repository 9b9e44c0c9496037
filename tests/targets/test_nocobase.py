"""The writer of a NocoBase target against what a running NocoBase was seen to do."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.responses import JSONResponse, PlainTextResponse

from app.core.outgoing import Link, Outgoing
from app.errors import AskAdmin, TryLater
from app.targets.nocobase.check import check
from app.targets.nocobase.config import NocoBaseConfig, channel
from app.targets.nocobase.writer import NocoBaseWriter
from tests.api.harness import served
from tests.targets.nocobase_fake import KEY, NocoBase

AT = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.fixture
def nocobase() -> NocoBase:
    return NocoBase()


@pytest.fixture
def url(nocobase: NocoBase) -> Iterator[str]:
    with served(nocobase.app) as address:
        yield address


@pytest.fixture
async def writer(url: str) -> AsyncIterator[NocoBaseWriter]:
    made = NocoBaseWriter(config(url), "corp")
    yield made
    await made.aclose()


def config(url: str, **given: Any) -> NocoBaseConfig:
    return NocoBaseConfig.model_validate({"url": url, "api_key": KEY} | given)


def person(name: str, *seats: str, link: Link | None = None, active: bool = True, **values: Any) -> Outgoing:
    own = {"userid": name, "name": f"{name} 名", "alias": "", "mobile": None, "email": None, "biz_mail": None}
    places = [{"id": seat, "is_main": n == 0, "is_leader": False} for n, seat in enumerate(seats)]
    value = own | {"active": active, "departments": places} | values
    return Outgoing(f"dlv_{name}", "user", f"usr_{name}", name, 1, AT, value, link=link)


def place(name: str, parent: str | None = None, active: bool = True, link: Link | None = None) -> Outgoing:
    value = {"name": name, "department_id": 1, "order": 100, "active": active, "parent": parent, "depth": 0}
    return Outgoing(f"dlv_{name}", "department", f"dep_{name}", name, 1, AT, value, link=link)


HELD = Link(None, "digest", True)


async def test_a_tree_and_its_people(nocobase: NocoBase, writer: NocoBaseWriter) -> None:
    outcomes = await writer.write([place("总部"), place("研发", "dep_总部")])
    outcomes += await writer.write(
        [person("ZhangSan", "dep_研发", mobile="138"), person("lisi", "dep_总部", "dep_研发")]
    )
    assert [outcome.state for outcome in outcomes] == ["delivered"] * 4
    assert nocobase.titles("zhangsan") == ["研发"]
    assert nocobase.titles("lisi") == ["总部", "研发"]
    assert nocobase.user("zhangsan")["phone"] == "138"
    assert {push["sourceName"] for push in nocobase.pushes} == {"wecom-corp"}
    names = {name for push in nocobase.pushes for record in push["records"] for name in record}
    assert names <= {"uid", "title", "parentUid", "sort", "username", "nickname", "email", "phone", "departments"}


async def test_a_record_that_is_not_taken_is_named_and_the_others_go_on(
    nocobase: NocoBase, writer: NocoBaseWriter
) -> None:
    nocobase.add_user(username="lisi")
    outcomes = await writer.write([person("zhangsan"), person("lisi"), person("wangwu")])
    assert [(one.state, one.code) for one in outcomes] == [
        ("delivered", None),
        ("retrying", "nocobase.unique_conflict"),
        ("delivered", None),
    ]
    assert "lisi" not in outcomes[1].message


async def test_deleting_twice_makes_nobody(nocobase: NocoBase, url: str) -> None:
    writer = NocoBaseWriter(config(url, leavers="delete"), "corp")
    await writer.write([person("zhangsan")])
    gone = person("zhangsan", active=False, link=HELD)
    assert gone.removal
    assert writer.record(gone) is None
    before = len(nocobase.users)
    for _ in range(3):
        [outcome] = await writer.write([gone])
        assert outcome.state == "delivered"
        assert len(nocobase.users) == before - 1
    [never] = await writer.write([person("nobody", active=False, link=HELD)])
    assert never.state == "delivered"
    assert len(nocobase.users) == before - 1
    await writer.aclose()


async def test_an_account_that_was_there_before_is_never_deleted(nocobase: NocoBase, url: str) -> None:
    nocobase.add_user(username="zhangsan", nickname="old")
    writer = NocoBaseWriter(config(url, leavers="delete", match_key="username"), "corp")
    await writer.write([place("总部")])
    taken_over, made = await writer.write([person("zhangsan", "dep_总部"), person("lisi", "dep_总部")])
    assert (taken_over.remote_id, made.remote_id) == (str(nocobase.user("zhangsan")["id"]), None)
    links = [Link(one.remote_id, "digest", True) for one in (taken_over, made)]
    gone = [person(name, active=False, link=link) for name, link in zip(("zhangsan", "lisi"), links, strict=True)]
    outcomes = await writer.write(gone)
    await writer.aclose()
    assert [one.state for one in outcomes] == ["delivered"] * 2
    assert nocobase.titles("zhangsan") == []
    assert "lisi" not in [row["username"] for row in nocobase.users.values()]


async def test_a_department_deleted_twice_leaves_no_ghost(nocobase: NocoBase, writer: NocoBaseWriter) -> None:
    await writer.write([place("总部"), place("研发", "dep_总部")])
    for _ in range(3):
        [outcome] = await writer.write([place("研发", active=False, link=HELD)])
        assert outcome.state == "delivered"
        assert [row["title"] for row in nocobase.departments.values()] == ["总部"]


async def test_a_leaver_loses_his_departments_and_nobody_is_made_for_one(
    nocobase: NocoBase, writer: NocoBaseWriter
) -> None:
    await writer.write([place("总部")])
    await writer.write([person("zhangsan", "dep_总部")])
    await writer.write([person("zhangsan", "dep_总部", active=False, link=HELD)])
    assert nocobase.titles("zhangsan") == []
    assert writer.record(person("lisi", active=False)) is None


@pytest.mark.parametrize("key", ["phone", "email", "username"])
async def test_nobody_is_matched_by_nothing(nocobase: NocoBase, url: str, key: str) -> None:
    """A null in the field to match by would take over any account that lacks it, the administrator's first."""
    writer = NocoBaseWriter(config(url, match_key=key), "corp")
    outcomes = await writer.write([person("zhangsan"), person("lisi", mobile="139", email="l@example.com")])
    assert [one.state for one in outcomes] == ["delivered"] * 2
    assert nocobase.user("nocobase")["nickname"] == "Super Admin"
    for push in nocobase.pushes:
        if push.get("matchKey"):
            assert all(record[push["matchKey"]] for record in push["records"])
    await writer.aclose()


async def test_an_existing_account_is_taken_over_and_an_administrators_never(nocobase: NocoBase, url: str) -> None:
    mine = nocobase.add_user(username="old", phone="139")
    nocobase.users[mine]["roles"] = ["member"]
    nocobase.add_user(username="boss", phone="137", roles=["admin"])
    writer = NocoBaseWriter(config(url, match_key="phone"), "corp")
    people = [person("lisi", mobile="139"), person("wangwu", mobile="137"), person("zhaoliu", mobile="136")]
    pairings = await writer.pair(people)
    assert [pairings[one.object_id].state for one in people] == ["matched", "conflict", "create"]
    assert pairings["usr_lisi"].remote_id == str(mine)
    outcomes = await writer.write(people)
    assert [one.state for one in outcomes] == ["delivered", "dead", "delivered"]
    assert nocobase.users[mine]["username"] == "lisi"
    assert nocobase.user("boss")["phone"] == "137"
    two = [person("a", mobile="135"), person("b", mobile="135")]
    assert {pairing.state for pairing in (await writer.pair(two)).values()} == {"conflict"}
    await writer.aclose()


async def test_one_record_that_spoils_a_push_is_found(nocobase: NocoBase, writer: NocoBaseWriter) -> None:
    people = [person(f"p{number}") for number in range(7)]
    bad = Outgoing("dlv", "user", "u" * 300, "bad", 1, AT, people[0].value | {"userid": "bad"})
    outcomes = await writer.write([*people[:3], bad, *people[3:]])
    assert [one.state for one in outcomes] == ["delivered"] * 3 + ["retrying"] + ["delivered"] * 4
    assert outcomes[3].code == "nocobase.refused"


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (JSONResponse({"errors": [{"message": "x", "code": "BLOCKED_TOKEN"}]}, 401), AskAdmin, "nocobase.key_refused"),
        (JSONResponse({"errors": [{"message": "No permissions"}]}, 403), AskAdmin, "nocobase.not_permitted"),
        (PlainTextResponse("Not Found", 404), AskAdmin, "nocobase.not_nocobase"),
        (PlainTextResponse("<html>hello</html>"), AskAdmin, "nocobase.not_nocobase"),
        (JSONResponse({"data": {"nothing": 1}}), AskAdmin, "nocobase.not_nocobase"),
        (PlainTextResponse("bad gateway", 502), TryLater, "nocobase.unavailable"),
        (JSONResponse({}, 503), TryLater, "nocobase.unavailable"),
        (
            JSONResponse({"data": {"code": 500, "message": "dataType department is not supported"}}, 500),
            AskAdmin,
            "nocobase.no_departments",
        ),
    ],
)
async def test_who_acts_next(
    nocobase: NocoBase, writer: NocoBaseWriter, answer: Any, error: type[Exception], code: str
) -> None:
    nocobase.refuse = lambda _request: answer
    with pytest.raises(error) as raised:
        await writer.write([place("总部")])
    assert raised.value.code == code  # type: ignore[attr-defined]
    assert KEY not in str(raised.value)


async def test_too_large_a_push_is_halved(nocobase: NocoBase, writer: NocoBaseWriter) -> None:
    def too_large(request: Any) -> Any:
        large = int(request.headers.get("content-length", 0)) > 700
        return JSONResponse({"errors": [{"message": "request entity too large"}]}, 413) if large else None

    nocobase.refuse = too_large
    outcomes = await writer.write([person(f"p{number}") for number in range(16)])
    assert {one.state for one in outcomes} == {"delivered"}


async def test_after_a_time_out_nothing_is_sent_before_it_is_quiet(nocobase: NocoBase, url: str) -> None:
    """NocoBase goes on with what it was sent: a second push beside it would make copies."""
    calls: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        if request.url.path.endswith("push"):
            raise httpx.ReadTimeout("", request=request)
        return httpx.Response(200, json={"data": [], "meta": {"count": len(calls) if len(calls) < 6 else 6}})

    async def sleep(_seconds: float) -> None:
        clock[0] += 6

    clock = [0.0]
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://nocobase/api/")
    writer = NocoBaseWriter(config(url), "corp", client, sleep, lambda: clock[0])
    batch = writer.batch
    with pytest.raises(TryLater) as raised:
        await writer.write([person("zhangsan")])
    assert raised.value.code == "nocobase.timeout"
    assert calls[0].endswith("userData:push")
    assert len(calls) > 6
    assert not any(path.endswith("push") for path in calls[1:])
    assert writer.batch < batch
    await writer.aclose()


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        ({}, set()),
        ({"may_push": False}, {"nocobase.not_permitted"}),
        ({"departments_plugin": False}, {"nocobase.no_departments"}),
    ],
)
async def test_the_check_says_what_is_missing_and_writes_nothing(
    nocobase: NocoBase, url: str, spoil: dict[str, Any], failed: set[str]
) -> None:
    for name, value in spoil.items():
        setattr(nocobase, name, value)
    checks = await check(config(url))
    assert {check.code for check in checks if check.status == "failed"} == failed
    assert {"nocobase.leavers_sign_in", "nocobase.memberships_replaced"} <= {check.code for check in checks}
    assert nocobase.pushes == []


async def test_the_check_of_a_wrong_key_an_unreadable_one_and_of_nothing(nocobase: NocoBase, url: str) -> None:
    wrong = await check(config(url, api_key="wrong"))
    assert [check.code for check in wrong if check.status == "failed"] == ["nocobase.key_refused"]
    nocobase.may_read = False
    blind = await check(config(url))
    assert "nocobase.no_reading" in {check.code for check in blind if check.status == "warning"}
    nowhere = await check(config("http://127.0.0.1:1"))
    assert [check.code for check in nowhere if check.status == "failed"] == ["nocobase.unavailable"]


@pytest.mark.parametrize("given", ["http://n:13000/", "http://N:13000/api", "http://n:13000/api/"])
def test_one_place_is_one_channel(given: str) -> None:
    assert channel(config(given)) == channel(config("http://n:13000"))


@pytest.mark.parametrize("given", ["ftp://n", "n", "http://u:p@n", "http://n/?a=b", "http://", "http://n /"])
def test_addresses_that_are_none(given: str) -> None:
    with pytest.raises(ValidationError):
        config(given)
