"""Webhooks through the API: the secret, its rotation, what is posted, and the document that describes it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.api.schemas.webhooks import DepartmentEvent, PingEvent, RunEvent, TargetEvent, UserEvent
from app.targets.webhook.config import fresh_secret
from tests.api.harness import Api, served, serving, settings
from tests.api.test_targets import company, settled
from tests.sync.harness import until
from tests.targets.receiver import SECRET, Receiver

EVENT = TypeAdapter[Any](UserEvent | DepartmentEvent | RunEvent | TargetEvent | PingEvent)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with served(receiver.app) as address:
        yield f"{address}/hook"


@pytest.fixture
async def working(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The service with its worker, on each database; a webhook may go to this machine."""
    chosen = settings(database_url, tmp_path, worker="embedded", webhook_allow="127.0.0.0/8")
    async with serving(chosen) as running:
        yield running


async def webhook(api: Api, source_id: str, url: str, **config: Any) -> dict[str, Any]:
    body = {"name": "Hook", "kind": "webhook", "source_id": source_id, "config": {"url": url} | config}
    answer = await api.client.post("/api/v1/targets", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_new_webhook_is_told_of_everybody_as_the_api_answers_them(
    working: Api, receiver: Receiver, url: str
) -> None:
    source_id = await company(working)
    made = await webhook(working, source_id, url, secret=SECRET)
    assert made["secret"] is None
    assert made["config"]["secret"] == {"set": True}
    await settled(working, made["id"])
    assert receiver.types == ["department.created", *["user.created"] * 3, "run.completed"]
    for event in receiver.taken:
        EVENT.validate_python(event, extra="forbid")
        object_ = event["data"]["object"]
        path = {"department.created": "departments", "user.created": "users"}.get(event["type"])
        if path:
            assert object_ == await working.get(f"/{path}/{object_['id']}")


async def test_a_secret_that_was_made_is_shown_once(light: Api) -> None:
    source_id = (await light.source())["id"]
    made = await webhook(light, source_id, "https://example.com/hook")
    assert made["secret"].startswith("whsec_")
    shown = await light.client.get(f"/api/v1/targets/{made['id']}")
    assert made["secret"] not in shown.text
    assert shown.json()["config"]["secret"] == {"set": True}
    assert "secret" not in shown.json()


async def test_a_rotated_secret_overlaps_with_the_old_one(working: Api, receiver: Receiver, url: str) -> None:
    made = await webhook(working, await company(working), url, secret=SECRET)
    await settled(working, made["id"])
    path = f"/api/v1/targets/{made['id']}"
    answer = await working.client.post(f"{path}/secret")
    assert answer.status_code == 200
    fresh = answer.json()["secret"]
    config = (await working.get(f"/targets/{made['id']}"))["config"]
    assert (config["secret"], config["old_secret"]) == ({"set": True}, {"set": True})
    assert config["old_secret_until"] == answer.json()["old_secret_until"]
    for secret in (SECRET, fresh):
        receiver.secret = secret
        assert (await working.client.post(f"{path}/check")).json()["ok"]
    receiver.secret = fresh_secret()
    failed = (await working.client.post(f"{path}/check")).json()
    assert failed["checks"][-1]["code"] == "webhook.unwell"


async def test_only_a_webhook_has_a_secret_of_ours(light: Api) -> None:
    body = {"name": "N", "kind": "nocobase", "source_id": (await light.source())["id"], "enabled": False}
    config = {"url": "http://127.0.0.1:1", "api_key": "k"}
    made = (await light.client.post("/api/v1/targets", json=body | {"config": config})).json()
    assert made["secret"] is None
    answer = await light.client.post(f"/api/v1/targets/{made['id']}/secret")
    assert (answer.status_code, answer.json()["code"]) == (409, "target.no_secret")


async def test_a_webhook_is_never_without_a_secret(light: Api) -> None:
    made = await webhook(light, (await light.source())["id"], "https://example.com/hook")
    path = f"/api/v1/targets/{made['id']}"
    for config, pointer in (
        ({"secret": None}, "/config/secret"),
        ({"url": "https://example.org/hook"}, "/config/secret"),
        ({"secret": "canary"}, "/config/secret"),
        ({"events": ["user.born"]}, "/config/events/0"),
    ):
        answer = await light.client.patch(path, json={"config": config})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert "canary" not in answer.text
    moved = {"url": "https://example.org/hook", "secret": SECRET, "events": ["user.*"], "batch_size": 50}
    answer = await light.client.patch(path, json={"config": moved})
    assert answer.json()["config"] | {"secret": SECRET} == moved | {
        "format": "standard",
        "old_secret": None,
        "old_secret_until": None,
    }


async def test_an_address_inside_needs_the_setting(light: Api, url: str, receiver: Receiver) -> None:
    made = await webhook(light, (await light.source())["id"], url)
    checked = (await light.client.post(f"/api/v1/targets/{made['id']}/check")).json()
    assert checked["checks"][-1]["code"] == "webhook.address_forbidden"
    assert receiver.seen == []


async def test_a_receiver_that_is_gone_suspends_and_others_are_told(working: Api, receiver: Receiver, url: str) -> None:
    source_id = await company(working)
    gone = Receiver(answer=lambda event: 410)
    with served(gone.app) as address:
        listening = await webhook(working, source_id, url, secret=SECRET, events=["target.*"])
        await settled(working, listening["id"])
        made = await webhook(working, source_id, f"{address}/hook", secret=SECRET)

        async def suspended() -> bool:
            return (await working.get(f"/targets/{made['id']}"))["state"] == "suspended"

        await until(suspended)
        assert len(gone.seen) == 1

    async def told() -> bool:
        return bool(receiver.types)

    await until(told)
    assert receiver.types == ["target.suspended"]
    news = receiver.taken[0]["data"]["object"]
    assert (news["id"], news["state"], news["last_error"]["code"]) == (made["id"], "suspended", "target.gone")
    EVENT.validate_python(receiver.taken[0], extra="forbid")


def test_every_event_is_in_the_document(light: Api) -> None:
    document = light.app.openapi()
    described = document["webhooks"]
    types = {"ping", "batch"} | {
        kind
        for model in (UserEvent, DepartmentEvent, RunEvent, TargetEvent)
        for kind in model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    }
    assert set(described) == types
    for kind, item in described.items():
        body = item["post"]["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rpartition("/")[2]
        assert kind in str(document["components"]["schemas"][name]["properties"]["type"])
        assert body["example"]["type"] == kind
