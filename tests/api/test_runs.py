"""Runs over the API: ordering, reading, deciding, following."""

import asyncio
import json
from typing import Any

import pytest

from app.store import runs
from app.store.db import new_id, now
from app.store.tables import PlannedChangeRow, RunRow
from tests.api.harness import Api

ZEROS = dict.fromkeys(
    ("created", "updated", "deactivated", "reactivated", "removed", "unchanged", "failed", "withheld", "unmanaged"), 0
)


async def save(api: Api, run_id: str, **values: Any) -> None:
    async with api.db.write() as conn:
        await runs.save(conn, run_id, **values)


async def test_an_ordered_run_is_answered_with_its_place(api: Api) -> None:
    source = await api.source()
    answer = await api.client.post(f"/api/v1/sources/{source['id']}/runs", json={"dry_run": True})
    run = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/runs/{run['id']}"
    assert run.pop("created_at").endswith("Z")
    assert run == {
        "id": run["id"],
        "source_id": source["id"],
        "target_id": None,
        "kind": "full",
        "trigger": "api",
        "state": "queued",
        "dry_run": True,
        "scope": None,
        "stage": None,
        "progress": {"done": 0, "total": 0, "eta_seconds": None},
        "counts": {"departments": ZEROS, "users": ZEROS, "memberships": ZEROS},
        "digest": None,
        "warnings": [],
        "error": None,
        "retry_of": None,
        "approval": None,
        "api_calls": 0,
        "started_at": None,
        "finished_at": None,
    }
    assert (await api.get(f"/sources/{source['id']}"))["last_run"]["id"] == run["id"]


async def test_one_full_run_at_a_time_but_any_number_of_narrow_ones(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}/runs"
    first = (await api.client.post(path)).json()
    answer = await api.client.post(path, headers={"Accept-Language": "fr"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["run_id"]) == (409, "run.already_active", first["id"])
    assert problem["title"] == "Une exécution est déjà active"
    for _ in range(2):
        answer = await api.client.post(path, json={"scope": {"userids": ["zhangsan"], "department_ids": [2**40]}})
        assert (answer.status_code, answer.json()["kind"]) == (202, "scope")
    assert answer.json()["scope"] == {"userids": ["zhangsan"], "department_ids": [2**40]}
    await save(api, first["id"], state="awaiting_approval")
    assert (await api.client.post(path)).status_code == 202


async def test_a_disabled_source_is_not_synced(api: Api) -> None:
    source = await api.source(enabled=False)
    answer = await api.client.post(f"/api/v1/sources/{source['id']}/runs")
    assert (answer.status_code, answer.json()["code"]) == (409, "source.disabled")


async def test_the_same_key_gets_the_same_run_however_often_it_comes_at_once(api: Api) -> None:
    source = await api.source()
    path = f"/api/v1/sources/{source['id']}/runs"
    headers = {"Idempotency-Key": "nightly-2026-05-04"}
    for body in ({}, {"scope": {"userids": ["zhangsan"]}}):
        keyed = headers | {"Idempotency-Key": json.dumps(body)}
        answers = await asyncio.gather(*(api.client.post(path, json=body, headers=keyed) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [202] * 4, [answer.text for answer in answers]
        assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await api.get("/runs"))["items"]) == 2
    answer = await api.client.post(path, json={"dry_run": True}, headers={"Idempotency-Key": "{}"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency.key_reused")
    answer = await api.client.post(path, headers={"Idempotency-Key": "another"})
    assert answer.json()["code"] == "run.already_active"


async def test_runs_are_listed_newest_first_and_filtered(api: Api) -> None:
    source, other = await api.source(), await api.source()
    rows = [
        {"id": new_id("run"), "source_id": chosen["id"], "state": state, "trigger": trigger, "created_at": now()}
        for chosen in (source, other)
        for state, trigger in (("succeeded", "schedule"), ("failed", "api"))
    ]
    await api.insert(RunRow, rows)
    ids = [row["id"] for row in rows]
    assert [item["id"] for item in (await api.get("/runs"))["items"]] == ids[::-1]
    for query, expected in (
        ({"source_id": source["id"]}, ids[1::-1]),
        ({"state": "failed"}, [ids[3], ids[1]]),
        ({"trigger": "schedule", "source_id": other["id"]}, [ids[2]]),
    ):
        assert [item["id"] for item in (await api.get("/runs", params=query))["items"]] == expected


async def test_an_error_is_told_in_the_language_of_the_reader(api: Api) -> None:
    source = await api.source()
    run = (await api.client.post(f"/api/v1/sources/{source['id']}/runs")).json()
    upstream = {"errcode": 60020, "errmsg": "not allow to access from your ip"}
    record = {"code": "wecom.ip_not_trusted", "message": "m", "hint": "h", "params": {"ip": "203.0.113.7"}}
    await save(api, run["id"], state="failed", error=record | {"upstream": upstream})
    told = {}
    for language in ("en", "zh-CN", "fr"):
        error = (await api.get(f"/runs/{run['id']}", headers={"Accept-Language": language}))["error"]
        assert error["upstream"] == upstream
        assert "203.0.113.7" in error["message"] + error["hint"]
        told[language] = error["message"]
    assert len(set(told.values())) == 3


async def test_the_plan_of_a_run_is_listed(api: Api) -> None:
    source = await api.source()
    run = (await api.client.post(f"/api/v1/sources/{source['id']}/runs")).json()
    rows = [
        {"run_id": run["id"], "kind": kind, "action": action, "key": key, "state": state, "after": {"name": key}}
        for kind, action, key, state in (
            ("department", "create", "7", "applied"),
            ("user", "create", "zhangsan", "applied"),
            ("user", "deactivate", "lisi", "withheld"),
            ("membership", "remove", "lisi:7", "withheld"),
        )
    ]
    async with api.db.write() as conn:
        for row in rows:
            model = PlannedChangeRow(**row).model_dump(exclude={"id"})
            await conn.execute(PlannedChangeRow.__table__.insert().values(**model))
    every = await api.get(f"/runs/{run['id']}/changes")
    assert [item["key"] for item in every["items"]] == ["7", "zhangsan", "lisi", "lisi:7"]
    assert every["items"][0] == {
        "kind": "department",
        "action": "create",
        "key": "7",
        "object_id": None,
        "previous_key": None,
        "before": {},
        "after": {"name": "7"},
        "state": "applied",
        "reason": None,
    }
    for query, keys in (
        ({"kind": "user"}, ["zhangsan", "lisi"]),
        ({"state": "withheld", "action": "remove"}, ["lisi:7"]),
        ({"limit": "3"}, ["7", "zhangsan", "lisi"]),
    ):
        page = await api.get(f"/runs/{run['id']}/changes", params=query)
        assert [item["key"] for item in page["items"]] == keys
    page = await api.get(f"/runs/{run['id']}/changes", params={"cursor": page["next_cursor"]})
    assert [item["key"] for item in page["items"]] == ["lisi:7"]


async def waiting(api: Api) -> tuple[dict[str, Any], dict[str, Any]]:
    """A source and its run that awaits an approval."""
    source = await api.source()
    run = (await api.client.post(f"/api/v1/sources/{source['id']}/runs")).json()
    await save(api, run["id"], state="awaiting_approval", digest="abc")
    await api.set_source(source["id"], open_approval=run["id"])
    return source, run


async def test_an_approval_needs_the_digest_of_what_was_looked_at(api: Api) -> None:
    source, run = await waiting(api)
    path = f"/api/v1/runs/{run['id']}/approval"
    answer = await api.client.post(path, json={"decision": "approve", "digest": "other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "run.digest_mismatch")
    answer = await api.client.post(path, json={"decision": "approve", "digest": "abc", "reason": "ok"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    approval = answer.json()["approval"]
    assert (approval["decision"], approval["by"], approval["reason"]) == ("approve", "admin", "ok")
    assert (await api.get(f"/sources/{source['id']}"))["open_approval"] is None
    answer = await api.client.post(path, json={"decision": "approve", "digest": "abc"})
    assert (answer.status_code, answer.json()["code"]) == (409, "run.not_awaiting_approval")
    for body in ({"digest": "abc"}, {"decision": "maybe", "digest": "abc"}, {"decision": "approve", "digest": ""}):
        assert (await api.client.post(path, json=body)).status_code == 422


async def test_a_rejected_run_says_why(api: Api) -> None:
    _, run = await waiting(api)
    path = f"/api/v1/runs/{run['id']}/approval"
    answer = await api.client.post(path, json={"decision": "reject", "digest": "abc", "reason": "不是现在"})
    rejected = answer.json()
    assert (rejected["state"], rejected["error"]["code"]) == ("rejected", "rejected")
    assert rejected["error"]["message"] == "不是现在"


async def test_a_run_is_cancelled_once_and_run_again_when_finished(api: Api) -> None:
    source = await api.source()
    run = (await api.client.post(f"/api/v1/sources/{source['id']}/runs")).json()
    path = f"/api/v1/runs/{run['id']}"
    answer = await api.client.post(f"{path}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "run.not_finished")
    answer = await api.client.post(f"{path}/cancellation")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    answer = await api.client.post(f"{path}/cancellation")
    assert (answer.status_code, answer.json()["code"]) == (409, "run.finished")
    answer = await api.client.post(f"{path}/retry")
    again = answer.json()
    assert (answer.status_code, again["retry_of"], again["trigger"]) == (202, run["id"], "retry")
    assert answer.headers["location"] == f"/api/v1/runs/{again['id']}"


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("GET", "/changes"), ("GET", "/stream"), ("POST", "/cancellation"), ("POST", "/retry")],
)
async def test_an_unknown_run_is_404(light: Api, method: str, rest: str) -> None:
    answer = await light.client.request(method, f"/api/v1/runs/run_x{rest}")
    assert (answer.status_code, answer.json()["code"]) == (404, "run.not_found")


def read_events(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


async def test_a_stream_tells_states_and_progress_and_ends_with_the_run(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.runs.GLANCE_SECONDS", 0.02)
    source = await api.source()
    run = (await api.client.post(f"/api/v1/sources/{source['id']}/runs")).json()

    async def live() -> None:
        for values in (
            {"state": "running", "stage": "users", "done": 0, "total": 40, "started_at": now()},
            {"done": 20},
            {"stage": "apply", "done": 3, "total": 3},
            {"state": "succeeded", "finished_at": now()},
        ):
            await asyncio.sleep(0.4)  # many glances, so that each of these is seen
            await save(api, run["id"], **values)

    following = api.client.get(f"/api/v1/runs/{run['id']}/stream")
    answer, _ = await asyncio.gather(following, live())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    events = read_events(answer.text)
    assert [event for event, _, _ in events] == ["state", "state", "progress", "progress", "state"]
    assert [data["state"] for _, _, data in events] == ["queued", "running", "running", "running", "succeeded"]
    half = events[2][2]
    assert (half["stage"], half["progress"]["done"], half["progress"]["total"]) == ("users", 20, 40)
    assert half["progress"]["eta_seconds"] >= 1
    assert events[-1][2] == await api.get(f"/runs/{run['id']}")

    path = f"/api/v1/runs/{run['id']}/stream"
    again = await api.client.get(path, headers={"Last-Event-ID": events[2][1]})
    assert [event for event, _, _ in read_events(again.text)] == ["state"]
    ended = await api.client.get(path, headers={"Last-Event-ID": events[-1][1]})
    assert (ended.status_code, ended.content) == (204, b"")


async def test_a_run_that_awaits_approval_ends_the_stream(light: Api) -> None:
    _, run = await waiting(light)
    answer = await light.client.get(f"/api/v1/runs/{run['id']}/stream")
    assert [data["state"] for _, _, data in read_events(answer.text)] == ["awaiting_approval"]
