"""Targets through the API: a fake NocoBase receives what the directory holds."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.store.bulk import table_of
from app.store.tables import DepartmentRow, MembershipRow, UserRow
from tests.api.harness import Api, person, place, served, serving, settings
from tests.sync.harness import until
from tests.targets.nocobase_fake import KEY, NocoBase


@pytest.fixture
def nocobase() -> NocoBase:
    return NocoBase()


@pytest.fixture
def url(nocobase: NocoBase) -> Iterator[str]:
    with served(nocobase.app) as address:
        yield address


@pytest.fixture
async def working(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The service with its worker, on each database."""
    async with serving(settings(database_url, tmp_path, worker="embedded")) as running:
        yield running


async def company(api: Api, people: int = 3) -> str:
    """A source whose directory holds one department and its people."""
    source_id: str = (await api.source())["id"]
    await api.insert(DepartmentRow, [place(source_id, 1, name="总部", order=1)])
    rows = [person(source_id, f"User{n}", name=f"员工{n}", main_department_id=1) for n in range(people)]
    await api.insert(UserRow, rows)
    seats = [{"user_id": row["id"], "department_id": 1, "source_id": source_id} for row in rows]
    await api.insert(MembershipRow, seats)
    return source_id


async def target(api: Api, source_id: str, url: str, **given: Any) -> dict[str, Any]:
    body = {"name": "NocoBase", "kind": "nocobase", "source_id": source_id, "config": {"url": url, "api_key": KEY}}
    answer = await api.client.post("/api/v1/targets", json=body | given)
    assert answer.status_code == 201, answer.text
    assert KEY not in answer.text
    made: dict[str, Any] = answer.json()
    return made


async def settled(api: Api, target_id: str) -> dict[str, Any]:
    async def done() -> bool:
        runs = (await api.get("/runs"))["items"]
        now = await api.get(f"/targets/{target_id}")
        return now["backlog"] == 0 and all(run["state"] not in ("queued", "running") for run in runs)

    await until(done)
    found: dict[str, Any] = await api.get(f"/targets/{target_id}")
    return found


async def test_a_new_target_is_filled_and_tells_how_it_is(working: Api, nocobase: NocoBase, url: str) -> None:
    source_id = await company(working)
    made = await target(working, source_id, url)
    assert made["config"]["api_key"] == {"set": True}
    found = await settled(working, made["id"])
    assert (found["state"], found["backlog"], found["last_error"]) == ("ok", 0, None)
    assert found["last_delivered_at"]
    assert nocobase.titles("user1") == ["总部"]
    deliveries = (await working.get(f"/targets/{made['id']}/deliveries"))["items"]
    assert {one["state"] for one in deliveries} == {"delivered"}
    one = await working.get(f"/deliveries/{deliveries[0]['id']}")
    assert one["objects"][0]["kind"] == "user"
    assert one["attempts"][0]["status"] == 200
    [run] = [run for run in (await working.get("/runs"))["items"] if run["kind"] == "resync"]
    assert (run["target_id"], run["state"], run["counts"]["users"]["created"]) == (made["id"], "succeeded", 3)
    assert [item["id"] for item in (await working.get(f"/targets?source_id={source_id}"))["items"]] == [made["id"]]


async def test_a_dry_run_first_then_the_switch(working: Api, nocobase: NocoBase, url: str) -> None:
    nocobase.add_user(username="user1", nickname="old")
    config = {"url": url, "api_key": KEY, "match_key": "username"}
    made = await target(working, await company(working), url, enabled=False, config=config)
    assert made["state"] == "paused"
    answer = await working.client.post(f"/api/v1/targets/{made['id']}/resync", json={"dry_run": True})
    assert answer.status_code == 202
    run_id = answer.json()["id"]
    assert answer.headers["location"].endswith(f"/runs/{run_id}")

    async def ended() -> bool:
        return (await working.get(f"/runs/{run_id}"))["state"] == "succeeded"

    await until(ended)
    changes = (await working.get(f"/runs/{run_id}/changes?kind=user"))["items"]
    assert [change["reason"] for change in changes if change["key"] == "User1"] == [
        "matched: account 3 has the same username"
    ]
    assert nocobase.pushes == []
    await working.client.patch(f"/api/v1/targets/{made['id']}", json={"enabled": True})
    await settled(working, made["id"])
    assert nocobase.user("user1")["id"] == 3
    assert nocobase.user("user1")["nickname"] == "员工1"


async def test_a_wrong_key_is_told_and_a_right_one_mends_it(working: Api, nocobase: NocoBase, url: str) -> None:
    made = await target(working, await company(working), url, config={"url": url, "api_key": "wrong-canary"})

    async def told() -> bool:
        return bool((await working.get(f"/targets/{made['id']}"))["last_error"])

    await until(told)
    found = await working.get(f"/targets/{made['id']}")
    assert (found["state"], found["last_error"]["code"]) == ("retrying", "nocobase.key_refused")
    assert "wrong-canary" not in str(found)
    checks = (await working.client.post(f"/api/v1/targets/{made['id']}/check")).json()
    assert not checks["ok"]
    await working.client.patch(f"/api/v1/targets/{made['id']}", json={"config": {"api_key": KEY}})
    assert (await settled(working, made["id"]))["state"] == "ok"
    assert nocobase.titles("user0") == ["总部"]
    assert (await working.client.post(f"/api/v1/targets/{made['id']}/check")).json()["ok"]


async def test_one_dead_delivery_is_sent_again_when_asked(working: Api, nocobase: NocoBase, url: str) -> None:
    nocobase.add_user(username="boss", phone="1", roles=["admin"])
    source_id = await company(working)
    async with working.db.write() as conn:
        users = table_of(UserRow)
        await conn.execute(update(users).where(users.c.user_key == "user0").values(mobile="1"))
    config = {"url": url, "api_key": KEY, "match_key": "phone"}
    made = await target(working, source_id, url, config=config)
    await settled(working, made["id"])
    [dead] = (await working.get(f"/targets/{made['id']}/deliveries?state=dead"))["items"]
    assert dead["attempts"][0]["error"]["code"] == "nocobase.pairing_conflict"
    delivered = (await working.get(f"/targets/{made['id']}/deliveries?state=delivered"))["items"][0]
    again = await working.client.post(f"/api/v1/deliveries/{delivered['id']}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "delivery.not_waiting")
    nocobase.user("boss")["roles"] = ["member"]
    again = await working.client.post(f"/api/v1/deliveries/{dead['id']}/retry")
    assert again.status_code == 202
    await settled(working, made["id"])
    assert nocobase.user("user0")["phone"] == "1"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"kind": "scim"}, "/kind"),
        ({"kind": "nothing"}, "/kind"),
        ({"config": {"url": "ftp://x", "api_key": "k"}}, "/config/url"),
        ({"config": {"url": "http://x"}}, "/config/api_key"),
        ({"config": {"url": "http://x", "api_key": "k", "more": 1}}, "/config/more"),
        ({"guard": {"max_percent": 101}}, "/guard/max_percent"),
        ({"name": ""}, "/name"),
    ],
)
async def test_bad_input_is_named(light: Api, change: dict[str, Any], pointer: str) -> None:
    source = await light.source()
    body = {"name": "N", "kind": "nocobase", "source_id": source["id"], "config": {"url": "http://x", "api_key": "k"}}
    answer = await light.client.post("/api/v1/targets", json=body | change)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


async def test_a_stored_key_never_goes_to_a_new_address(light: Api) -> None:
    made = await target(light, (await light.source())["id"], "http://127.0.0.1:1", enabled=False)
    path = f"/api/v1/targets/{made['id']}"
    moved = {"config": {"url": "http://127.0.0.1:2"}}
    answer = await light.client.patch(path, json=moved)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/config/api_key")
    moved["config"]["api_key"] = "another"
    changed = await light.client.patch(path, json=moved)
    assert changed.status_code == 200
    same = {"config": {"url": "http://127.0.0.1:2", "api_key": {"set": True}, "leavers": "delete"}}
    changed = await light.client.patch(path, json=same)
    assert changed.json()["config"]["leavers"] == "delete"
    stale = await light.client.patch(path, json={"name": "X"}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "target.version_mismatch")


async def test_a_deleted_target_is_gone(light: Api) -> None:
    made = await target(light, (await light.source())["id"], "http://127.0.0.1:1", enabled=False)
    path = f"/api/v1/targets/{made['id']}"
    assert (await light.client.delete(path)).status_code == 204
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/check"), ("POST", f"{path}/resync")):
        answer = await light.client.request(method, where)
        assert (answer.status_code, answer.json()["code"]) == (404, "target.not_found")
    nowhere = {"name": "N", "kind": "nocobase", "source_id": "src_x", "config": {"url": "http://x", "api_key": "k"}}
    answer = await light.client.post("/api/v1/targets", json=nowhere)
    assert (answer.status_code, answer.json()["code"]) == (404, "source.not_found")
