"""The running service against its own document: whatever schemathesis thinks of, no answer is undocumented, none is a
server error, and no secret comes out."""

import asyncio
import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import schemathesis.engine
from schemathesis.engine import Status, events
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.main import create_app
from tests.api.harness import BEARER, CONFIG, TOKEN, served, settings

CANARIES = {
    "app_secret": "canaryAppSecret7Qz",
    "contacts_secret": "canaryContacts8Wx",
    "token": "canaryToken9Ev",
    "encoding_aes_key": "canaryAESKey0123456789abcdefghijklmnopqrstu",
}
PROXY_PASSWORD = "canaryProxyPassword1Rt"
SETTINGS = {
    "generation": {"max-examples": 8, "deterministic": True},
    "phases": {"stateful": {"generation": {"max-examples": 5}}},
    "checks": {
        # What is valid by its form may still be refused for its meaning: a cursor of somebody else (400), a version
        # that has passed (412), a cron expression that never comes due (422).
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "3xx", "400", "401", "403", "404", "409", "412", "422"]
        }
    },
}

pytestmark = pytest.mark.slow


class Overheard:
    """Passes everything on and notes which canaries were in the answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.hidden = [text.encode() for text in (*CANARIES.values(), PROXY_PASSWORD, TOKEN)]
        self.found: set[bytes] = set()
        self.answers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def overhear(message: Message) -> None:
            said = message.get("body", b"") + b"".join(value for _, value in message.get("headers", ()))
            self.found |= {canary for canary in self.hidden if canary in said}
            self.answers += message["type"] == "http.response.start"
            await send(message)

        await self.app(scope, receive, overhear)


def failures(document: dict[str, Any], base: str) -> list[str]:
    """What schemathesis has to say against the service."""
    own = copy.deepcopy(document)  # schemathesis writes its links into it
    feed = own["paths"]["/api/v1/changes"]["get"]
    feed["parameters"] = [each for each in feed["parameters"] if each["name"] != "wait"]  # nobody makes a change here
    schema = schemathesis.openapi.from_dict(own, config=schemathesis.Config.from_dict(SETTINGS))
    # One event of a stream is enough: a run that nobody works on is followed for ever.
    schema.config.update(base_url=base, headers=dict(BEARER))
    schema.config.max_stream_events = 1
    found: list[str] = []
    for event in schemathesis.engine.from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            found.append(repr(event))
        if isinstance(event, events.ScenarioFinished):
            checks = [check for every in event.recorder.checks.values() for check in every]
            found += [
                f"{event.label}: {check.name}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"
                for check in checks
                if check.status != Status.SUCCESS and check.failure_info
            ]
    return found


@pytest.fixture
def quiet_schemathesis() -> Iterator[None]:
    """Its own lines about the requests that it sends hold the token."""
    logger = logging.getLogger("urllib3")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def test_nothing_that_can_be_sent_makes_it_stumble_or_tell(
    database_url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    logging_untouched: None,
    quiet_schemathesis: None,
) -> None:
    logs.configure("debug", "json")
    app = create_app(settings(database_url, tmp_path))
    overheard = Overheard(app)

    async def add_source() -> int:
        config = CONFIG | CANARIES | {"proxy": f"http://sync:{PROXY_PASSWORD}@127.0.0.1:1"}
        async with httpx.AsyncClient(base_url=base, headers=BEARER) as client:
            answer = await client.post("/api/v1/sources", json={"name": "Canary", "config": config})
        return answer.status_code

    with served(overheard) as base:
        assert asyncio.run(add_source()) == 201
        found = failures(app.openapi(), base)
    assert found == [], "\n\n".join(found)
    assert overheard.answers > 1000
    assert overheard.found == set()
    written = capfd.readouterr()
    assert "list_sources" in written.err
    for canary in (*CANARIES.values(), PROXY_PASSWORD, TOKEN):
        assert canary not in written.err + written.out, canary
