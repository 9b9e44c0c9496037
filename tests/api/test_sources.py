"""Sources over the API: what may be configured, what is shown of it, what a change may and may not do."""

import asyncio
import json
from typing import Any

import pytest

from app.store.tables import UserRow
from tests.api.harness import AES_KEY, CALLBACK_TOKEN, CONFIG, CORP, Api, person

SECRETS = {"app_secret": "app-canary-secret", "contacts_secret": "contacts-canary-secret"}


async def test_a_new_source_is_answered_with_its_place_and_without_its_secrets(api: Api) -> None:
    body = {"name": "总部", "kind": "wecom", "config": CONFIG | SECRETS}
    answer = await api.client.post("/api/v1/sources", json=body)
    source = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/sources/{source['id']}"
    assert answer.headers["etag"] == '"1"'
    assert source["config"] == {
        "corp_id": CORP,
        "agent_id": None,
        "base_url": "https://qyapi.weixin.qq.com",
        "app_secret": {"set": True},
        "contacts_secret": {"set": True},
        "token": {"set": True},
        "encoding_aes_key": {"set": True},
        "extra_callback_pairs": None,
        "proxy": None,
    }
    assert source["guard"] == {"max_percent": 10, "max_count": 500, "floor": 20, "kinds": {}}
    assert source["callback"] == {"verified_at": None, "last_event_at": None}
    assert source["callback_url"].startswith("https://sync.example.com/callbacks/")
    assert len(source["callback_url"].rpartition("/")[2]) >= 32
    assert (source["enabled"], source["last_run"], source["open_approval"]) == (True, None, None)
    assert source["schedule"]["timezone"] == "Asia/Shanghai"
    assert source["next_run_at"] > source["created_at"]
    again = await api.client.get(answer.headers["location"])
    assert (again.json(), again.headers["etag"]) == (source, '"1"')
    assert (await api.get("/sources"))["items"] == [source]


async def test_without_a_schedule_nothing_is_due(api: Api) -> None:
    source = await api.source(schedule=None)
    assert (source["schedule"], source["next_run_at"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"config": CONFIG | {"encoding_aes_key": AES_KEY[:42]}}, "/config/encoding_aes_key"),
        ({"config": CONFIG | {"encoding_aes_key": AES_KEY[:42] + "="}}, "/config/encoding_aes_key"),
        ({"config": CONFIG | {"app_secret": ""}}, "/config/app_secret"),
        ({"config": CONFIG | {"app_secret": {"set": True}}}, "/config/app_secret"),
        ({"config": CONFIG | {"token": ""}}, "/config/token"),
        ({"config": CONFIG | {"base_url": "ftp://example.com"}}, "/config/base_url"),
        ({"config": CONFIG | {"proxy": "not a url"}}, "/config/proxy"),
        ({"config": CONFIG | {"extra_callback_pairs": [{"token": "a", "encoding_aes_key": AES_KEY}] * 5}}, "/config"),
        ({"config": CONFIG | {"agent_id": "1000002"}}, "/config/agent_id"),
        ({"config": CONFIG | {"surprise": 1}}, "/config/surprise"),
        ({"config": CONFIG | {"corp_id": "ww\x00"}}, "/config/corp_id"),
        ({"config": {}}, "/config/corp_id"),
        ({}, "/config"),
        ({"config": CONFIG, "kind": "dingtalk"}, "/kind"),
        ({"config": CONFIG, "name": ""}, "/name"),
        ({"config": CONFIG, "name": "\ud800"}, "/name"),
        ({"config": CONFIG, "name": "a\x00b"}, "/name"),
        ({"config": CONFIG, "surprise": 1}, "/surprise"),
        ({"config": CONFIG, "enabled": "yes"}, "/enabled"),
        ({"config": CONFIG, "schedule": {"cron": "61 * * * *"}}, "/schedule"),
        ({"config": CONFIG, "schedule": {"cron": "0 0 30 2 *"}}, "/schedule"),
        ({"config": CONFIG, "schedule": {"cron": "0 0 * * * *"}}, "/schedule/cron"),
        ({"config": CONFIG, "schedule": {"cron": "R * * * *"}}, "/schedule"),
        ({"config": CONFIG, "schedule": {"cron": "@daily"}}, "/schedule/cron"),
        ({"config": CONFIG, "schedule": {"cron": "0 3 * * *", "timezone": "Mars/Olympus"}}, "/schedule/timezone"),
        ({"config": CONFIG, "schedule": {"cron": "0 3 * * *", "timezone": "../../etc/passwd"}}, "/schedule/timezone"),
        ({"config": CONFIG, "guard": {"max_percent": 101}}, "/guard/max_percent"),
        ({"config": CONFIG, "guard": {"kinds": {"everything": {}}}}, "/guard/kinds/everything"),
    ],
)
async def test_bad_input_is_pointed_at(light: Api, body: dict[str, Any], pointer: str) -> None:
    # httpx cannot send half a surrogate pair as such; JSON's own escape can.
    content, headers = json.dumps({"name": "Headquarters"} | body), {"Content-Type": "application/json"}
    answer = await light.client.post("/api/v1/sources", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "request.invalid"
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem
    assert (await light.get("/sources"))["items"] == []


async def test_a_wrong_secret_is_not_repeated(light: Api) -> None:
    for name in ("app_secret", "token", "encoding_aes_key", "proxy", "base_url"):
        body = {"name": "Headquarters", "config": CONFIG | {name: "canary with spaces 5f3"}}
        answer = await light.client.post("/api/v1/sources", json=body)
        assert answer.status_code == 422
        assert "canary" not in answer.text


async def test_a_secret_left_out_or_sent_as_set_stays_and_null_removes_it(api: Api) -> None:
    source = await api.source(config=CONFIG | SECRETS)
    path = f"/api/v1/sources/{source['id']}"
    kept = {"app_secret": {"set": True}, "agent_id": 1000002}
    answer = await api.client.patch(path, json={"config": kept})
    assert answer.status_code == 200, answer.text
    assert answer.json()["config"]["agent_id"] == 1000002
    assert await revealed(api, source) == SECRETS
    answer = await api.client.patch(path, json={"config": {"contacts_secret": None}})
    assert answer.json()["config"]["contacts_secret"] is None
    assert await revealed(api, source) == {"app_secret": SECRETS["app_secret"], "contacts_secret": None}
    answer = await api.client.patch(path, json={"config": {"app_secret": "another-canary"}})
    assert await revealed(api, source) == {"app_secret": "another-canary", "contacts_secret": None}


async def test_what_was_answered_may_be_sent_back(api: Api) -> None:
    proxy = "http://sync:proxy-canary@proxy.example.com:3128"
    source = await api.source(config=CONFIG | SECRETS | {"proxy": proxy})
    assert source["config"]["proxy"] == "http://sync:***@proxy.example.com:3128"
    path = f"/api/v1/sources/{source['id']}"
    fields = {name: source[name] for name in ("name", "kind", "config", "enabled", "schedule", "guard")}
    answer = await api.client.patch(path, json=fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["config"] == source["config"]
    assert await revealed(api, source, "proxy", "token") == {"proxy": proxy, "token": CALLBACK_TOKEN}


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "https://elsewhere.example.com"},
        {"proxy": "http://elsewhere.example.com:3128"},
        {"proxy": None},
        {"base_url": "https://elsewhere.example.com", "app_secret": {"set": True}},
    ],
)
async def test_a_new_address_demands_the_secrets_again(light: Api, change: dict[str, Any]) -> None:
    source = await light.source(config=CONFIG | SECRETS | {"proxy": "http://proxy.example.com:3128"})
    path = f"/api/v1/sources/{source['id']}"
    answer = await light.client.patch(path, json={"config": change})
    assert answer.status_code == 422
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/config/app_secret", "/config/contacts_secret"}
    assert (await light.client.get(path)).json()["config"] == source["config"]
    answer = await light.client.patch(path, json={"config": change | {"app_secret": "new", "contacts_secret": None}})
    assert answer.status_code == 200, answer.text
    assert await revealed(light, source) == {"app_secret": "new", "contacts_secret": None}


async def test_the_same_address_demands_nothing(light: Api) -> None:
    source = await light.source(config=CONFIG | SECRETS)
    change = {"base_url": "https://qyapi.weixin.qq.com", "proxy": None}
    answer = await light.client.patch(f"/api/v1/sources/{source['id']}", json={"config": change})
    assert answer.status_code == 200, answer.text


async def test_if_match_is_honoured_and_may_be_missing(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}"
    answer = await api.client.patch(path, json={"name": "Second"}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    answer = await api.client.patch(path, json={"name": "Third"}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "source.version_mismatch")
    for header, status in (("*", 200), ('"1", "3"', 200), ('W/"4"', 412), ('"3"', 412), ("4", 412)):
        answer = await api.client.patch(path, json={"guard": {"max_count": 7}}, headers={"If-Match": header})
        assert answer.status_code == status, header
    answer = await api.client.patch(path, json={"name": "Third"})
    assert (answer.status_code, answer.json()["name"]) == (200, "Third")


async def test_other_fields_change_one_by_one(api: Api) -> None:
    source = await api.source(guard={"max_percent": 5, "kinds": {"blank": {"max_count": 3}}})
    path = f"/api/v1/sources/{source['id']}"
    assert source["guard"] == {"max_percent": 5, "max_count": 500, "floor": 20, "kinds": {"blank": {"max_count": 3}}}
    answer = await api.client.patch(path, json={"guard": {"max_count": 7}, "enabled": False})
    changed = answer.json()
    assert changed["guard"] == {"max_percent": 5, "max_count": 7, "floor": 20, "kinds": {"blank": {"max_count": 3}}}
    assert changed["enabled"] is False
    answer = await api.client.patch(path, json={"schedule": {"cron": "*/5 * * * *", "timezone": "Europe/Paris"}})
    assert answer.json()["next_run_at"] is None
    answer = await api.client.patch(path, json={"enabled": True, "guard": None})
    assert answer.json()["next_run_at"] is not None
    assert answer.json()["guard"]["max_percent"] == 10
    for name in ("name", "config", "enabled", "kind"):
        answer = await api.client.patch(path, json={name: None})
        assert answer.status_code == 422
    answer = await api.client.patch(path, json={"kind": "dingtalk"})
    assert answer.json()["errors"][0]["pointer"] == "/kind"


async def test_the_company_is_fixed_once_it_has_people(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}"
    answer = await api.client.patch(path, json={"config": {"corp_id": "ww0000000000000001"}})
    assert (answer.status_code, answer.json()["config"]["corp_id"]) == (200, "ww0000000000000001")
    await api.insert(UserRow, [person(source["id"], "zhangsan")])
    answer = await api.client.patch(path, json={"config": {"corp_id": CORP}})
    assert (answer.status_code, answer.json()["code"]) == (409, "source.corp_id_fixed")
    answer = await api.client.patch(path, json={"config": {"corp_id": None}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/config/corp_id")


async def test_changes_at_the_same_moment_are_both_kept(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}"
    changes = [{"config": {"agent_id": 7}}, {"config": {"app_secret": "canary"}}, {"name": "Second"}]
    answers = await asyncio.gather(*(api.client.patch(path, json=change) for change in changes))
    assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
    changed = (await api.client.get(path)).json()
    assert (changed["config"]["agent_id"], changed["config"]["app_secret"], changed["name"]) == (
        7,
        {"set": True},
        "Second",
    )


async def test_a_deleted_source_stays_readable_and_takes_nothing_more(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}"
    run = (await api.client.post(f"{path}/runs")).json()
    answer = await api.client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    gone = (await api.client.get(path)).json()
    assert gone["deleted_at"] is not None
    assert gone["enabled"] is False
    assert (await api.get("/sources"))["items"] == []
    assert [item["id"] for item in (await api.get("/sources?deleted=true"))["items"]] == [source["id"]]
    assert (await api.get(f"/runs/{run['id']}"))["state"] == "cancelled"
    for method, rest in (("PATCH", ""), ("POST", "/runs"), ("POST", "/check"), ("POST", "/callback-credentials")):
        answer = await api.client.request(method, path + rest, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "source.not_found"), rest
    assert (await api.client.delete(path)).status_code == 404


async def test_erasing_is_a_run_and_asks_for_the_name(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}"
    answer = await api.client.delete(path, params={"purge": "true", "confirm": "Head"})
    assert answer.json()["errors"][0]["pointer"] == "/query/confirm"
    assert (await api.get(f"/sources/{source['id']}"))["deleted_at"] is None
    answer = await api.client.delete(path, params={"purge": "true", "confirm": "Headquarters"})
    assert (answer.status_code, answer.json()["kind"]) == (202, "purge")
    assert answer.headers["Location"] == f"/api/v1/runs/{answer.json()['id']}"
    assert (await api.get(f"/sources/{source['id']}"))["deleted_at"]
    again = await api.client.delete(path, params={"purge": "true", "confirm": "Headquarters"})
    assert again.json()["id"] == answer.json()["id"]


async def test_new_callback_credentials_are_shown_this_once(api: Api) -> None:
    source = await api.source(config={"corp_id": CORP})
    path = f"/api/v1/sources/{source['id']}"
    answer = await api.client.post(f"{path}/callback-credentials", json={"overlap_seconds": 60})
    made = answer.json()
    assert answer.status_code == 200
    assert made["callback_url"] == source["callback_url"]
    assert len(made["encoding_aes_key"]) == 43
    assert await revealed(api, source, "token") == {"token": made["token"]}
    shown = (await api.client.get(path)).text
    assert made["token"] not in shown
    assert made["encoding_aes_key"] not in shown
    answer = await api.client.post(f"{path}/callback-credentials")
    assert answer.json()["token"] != made["token"]
    answer = await api.client.post(f"{path}/callback-credentials", json={"overlap_seconds": -1})
    assert answer.status_code == 422


async def test_sources_come_in_pages(api: Api) -> None:
    made = [(await api.source(name=f"Source {number}"))["id"] for number in range(5)]
    found, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = await api.client.get("/api/v1/sources", params=query)
        page = answer.json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        assert ("link" in answer.headers) == (cursor is not None)
        if cursor is None:
            break
        follow = answer.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
        assert (await api.client.get(follow)).json()["items"][0]["id"] not in found
    assert found == made


async def revealed(api: Api, source: dict[str, Any], *names: str) -> dict[str, Any]:
    async with api.db.read() as conn:
        secrets = await api.service.sources.secrets(conn, source["id"])
    return {name: secrets.get(name) for name in names or ("app_secret", "contacts_secret")}
