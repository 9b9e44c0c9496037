"""The product from outside: a source is added, checked, synced, called back and read, all over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator import Simulator, generate_company
from tests.api.harness import Api, serving, settings


@pytest.fixture
def company() -> Simulator:
    return Simulator(generate_company(users=30, departments=5, seed=3))


@pytest.fixture
async def working(database_url: str, tmp_path: Path, company: Simulator) -> AsyncIterator[Api]:
    """The whole service with its embedded worker; its calls to WeCom end in the simulated one."""

    def client(_config: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(company.app), base_url="http://wecom")

    async with serving(settings(database_url, tmp_path, worker="embedded"), client_factory=client) as running:
        company.callbacks.transport = httpx.ASGITransport(running.app)
        yield running


async def add(api: Api, company: Simulator, **config: Any) -> dict[str, Any]:
    simulated = company.company
    secrets = {"app_secret": simulated.app.secret, "contacts_secret": simulated.contacts.secret}
    own = {"corp_id": simulated.corp_id, "agent_id": simulated.app.agent_id, "base_url": "http://wecom"}
    return await api.source(config=own | secrets | config)


async def followed(api: Api, run: dict[str, Any]) -> dict[str, Any]:
    """The run at its end, read from its stream."""
    answer = await api.client.get(f"/api/v1/runs/{run['id']}/stream", timeout=60)
    last = answer.text.strip().split("\n\n")[-1]
    return json.loads(next(line for line in last.splitlines() if line.startswith("data: "))[6:])


async def test_from_nothing_to_a_directory(working: Api, company: Simulator) -> None:
    source = await add(working, company)
    checks = (await working.client.post(f"/api/v1/sources/{source['id']}/check")).json()
    assert checks["ok"] is True, checks
    assert {check["status"] for check in checks["checks"]} <= {"ok", "warning", "skipped"}
    answer = await working.client.post(f"/api/v1/sources/{source['id']}/runs", json={"dry_run": True})
    dry = await followed(working, answer.json())
    assert (dry["state"], dry["counts"]["users"]["created"]) == ("succeeded", 30), dry
    assert (await working.get("/users"))["items"] == []
    answer = await working.client.post(
        f"/api/v1/runs/{dry['id']}/approval", json={"decision": "approve", "digest": dry["digest"]}
    )
    assert answer.status_code == 200, answer.text
    done = await followed(working, dry)
    assert done["state"] == "succeeded"
    every = (await working.get("/users?limit=500"))["items"]
    truth = {user["userid"]: user for user in company.company.truth(company.company.app)["users"]}
    assert {user["userid"] for user in every} == set(truth)
    for user in every:
        for name in ("name", "position", "status", "main_department_id"):
            assert user[name] == truth[user["userid"]][name], (user, name)
    feed = await working.get("/changes", params={"source_id": source["id"], "limit": 500})
    assert [change["seq"] for change in feed["items"]] == list(range(1, len(feed["items"]) + 1))
    assert {change["run_id"] for change in feed["items"]} == {done["id"]}
    changes = await working.get(f"/runs/{done['id']}/changes?kind=user&state=applied&limit=500")
    assert len(changes["items"]) == 30


async def test_a_wrong_secret_is_explained(working: Api, company: Simulator) -> None:
    source = await add(working, company, app_secret="wrong-canary-secret", contacts_secret=None)
    answer = await working.client.post(f"/api/v1/sources/{source['id']}/check", headers={"Accept-Language": "fr"})
    assert answer.status_code == 200
    failed = [check for check in answer.json()["checks"] if check["status"] == "failed"]
    assert failed
    assert all(check["message"] and check["hint"] and check["code"] for check in failed)
    assert "canary" not in answer.text
    answer = await working.client.post(f"/api/v1/sources/{source['id']}/runs")
    run = await followed(working, answer.json())
    assert (run["state"], run["error"]["upstream"]["errcode"]) == ("failed", 40001)
    assert "canary" not in json.dumps(run)


async def test_a_change_in_wecom_arrives_by_callback(working: Api, company: Simulator) -> None:
    source = await add(working, company)
    answer = await working.client.post(f"/api/v1/sources/{source['id']}/runs")
    await followed(working, answer.json())
    pair = (await working.client.post(f"/api/v1/sources/{source['id']}/callback-credentials")).json()
    saved = await company.callbacks.save(
        company.company.contacts, pair["callback_url"], pair["token"], pair["encoding_aes_key"]
    )
    assert saved.ok, saved
    company.company.join("newcomer", "新人")
    await company.callbacks.flush()
    await working.service.engine.settled()
    (user,) = (await working.get("/users?userid=Newcomer"))["items"]
    history = (await working.get(f"/users/{user['id']}/history"))["items"]
    event = await working.get(f"/events/{history[-1]['event_id']}")
    assert (event["change_type"], event["state"]) == ("create_user", "applied")
    fresh = await working.get(f"/sources/{source['id']}")
    assert fresh["callback"]["verified_at"]
    assert fresh["callback"]["last_event_at"]
