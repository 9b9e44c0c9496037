"""The writer of a webhook target against a receiver that verifies every signature."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook
from starlette.responses import Response

from app.core.outgoing import Link, Origin, Outgoing
from app.errors import AskAdmin, TryLater
from app.targets.webhook import check, events
from app.targets.webhook.client import Sender
from app.targets.webhook.config import WebhookConfig, channel, completed, fresh_secret, revealed, rotated
from app.targets.webhook.reach import reachable
from app.targets.webhook.writer import WebhookWriter
from tests.api.harness import served
from tests.targets.receiver import SECRET, Receiver

AT = datetime(2026, 5, 4, 3, 17, tzinfo=UTC)
ORIGIN = Origin("src_1", "ww1436e0e65a779aee")
HELD = Link(None, "digest", True)
GONE = Link(None, None, False)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with served(receiver.app) as address:
        yield f"{address}/hook"


@pytest.fixture
async def writer(url: str) -> AsyncIterator[WebhookWriter]:
    made = writing(url)
    yield made
    await made.aclose()


def config(url: str, **given: Any) -> WebhookConfig:
    return WebhookConfig.model_validate({"url": url, "secret": SECRET} | given)


def writing(url: str, allowed: Sequence[str] = ("127.0.0.0/8",), **given: Any) -> WebhookWriter:
    made = config(url, **given)
    return WebhookWriter(made, ORIGIN, Sender(made, allowed))


def person(name: str, link: Link | None = None, active: bool = True, seq: int = 7, **values: Any) -> Outgoing:
    seat = {"id": "dep_1", "department_id": 1, "order": 0, "is_leader": False, "is_main": True}
    value = {"id": f"usr_{name}", "userid": name, "name": f"{name} 名", "active": active, "departments": [seat]}
    return Outgoing(f"dlv_{name}", "user", f"usr_{name}", name, seq, AT, value | values, link=link)


def place(name: str, link: Link | None = None, active: bool = True, **previous: Any) -> Outgoing:
    value = {"id": f"dep_{name}", "name": name, "active": active, "parent": "dep_0", "depth": 1, "member_count": 3}
    return Outgoing(f"dlv_{name}", "department", f"dep_{name}", name, 7, AT, value, previous=previous, link=link)


def run(state: str) -> Outgoing:
    return Outgoing("dlv_r", "run", "run_1", "run_1", 7, AT, {"id": "run_1", "state": state})


async def test_an_event_holds_the_object_what_it_was_before_and_where_it_is_from(
    receiver: Receiver, writer: WebhookWriter
) -> None:
    moved = Outgoing(
        **{name: getattr(person("a", HELD), name) for name in Outgoing.__slots__} | {"previous": {"name": "x"}}
    )
    [outcome] = await writer.write([moved])
    assert (outcome.state, outcome.status) == ("delivered", 204)
    [event] = receiver.taken
    assert event["type"] == "user.updated"
    assert event["timestamp"] == "2026-05-04T03:17:00Z"
    assert event["data"]["previous"] == {"name": "x"}
    assert event["data"]["sequence"] == 7
    assert event["data"]["source"] == {"id": "src_1", "corp_id": "ww1436e0e65a779aee"}
    assert event["data"]["object"] == {
        **moved.value,
        "departments": [{"department_id": 1, "order": 0, "is_leader": False, "is_main": True}],
    }
    assert receiver.headers[0]["webhook-id"] == event["id"]
    assert receiver.headers[0]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (person("a"), "user.created"),
        (person("a", HELD), "user.updated"),
        (person("a", GONE), "user.reactivated"),
        (person("a", HELD, active=False), "user.deactivated"),
        (Outgoing("dlv", "user", "usr_a", "a", 1, AT, {"id": "usr_a", "active": False}, link=HELD), "user.deleted"),
        (place("d"), "department.created"),
        (place("d", GONE), "department.created"),
        (place("d", HELD, order=3), "department.updated"),
        (place("d", HELD, parent_id=4), "department.moved"),
        (place("d", HELD, active=False), "department.deleted"),
        (run("succeeded"), "run.completed"),
        (run("partial"), "run.completed"),
        (run("failed"), "run.failed"),
        (run("cancelled"), "run.cancelled"),
        (run("rejected"), "run.rejected"),
        (run("awaiting_approval"), "run.awaiting_approval"),
        (Outgoing("dlv", "target", "tgt_1", "t", 1, AT, {"id": "tgt_1", "state": "suspended"}), "target.suspended"),
    ],
)
def test_what_happened_has_its_type(item: Outgoing, kind: str) -> None:
    assert events.type_of(item) == kind


def test_what_is_sent_again_has_its_id_and_a_later_state_another() -> None:
    first = events.event_of(person("a"), ORIGIN)["id"]
    assert events.event_of(person("a"), ORIGIN)["id"] == first
    later = [person("a", seq=8), person("a", alias="new"), person("b"), person("a", HELD)]
    assert len({first, *(events.event_of(item, ORIGIN)["id"] for item in later)}) == 5


def test_what_says_nothing_new_is_not_in_the_record() -> None:
    read = events.record_of(person("a", observed_at="2026-05-04T00:00:00Z", updated_at="x"))
    assert read == events.record_of(person("a", observed_at="2026-05-05T00:00:00Z", updated_at="y"))
    assert read != events.record_of(person("a", alias="new"))
    assert events.record_of(person("a", HELD, active=False)) is None


async def test_only_what_was_asked_for_is_sent(receiver: Receiver, url: str) -> None:
    writer = writing(url, events=["department.*", "user.deactivated"])
    items = [person("a"), person("b", HELD, active=False), person("c", HELD)]
    outcomes = await writer.write(items)
    outcomes += await writer.write([place("d"), place("e", HELD)])
    await writer.aclose()
    assert [one.state for one in outcomes] == ["delivered"] * 5
    assert receiver.types == ["user.deactivated", "department.created", "department.updated"]


async def test_batches_hold_events_in_their_order(receiver: Receiver, url: str) -> None:
    writer = writing(url, batch_size=3)
    await writer.write([person(str(n)) for n in range(7)])
    await writer.aclose()
    assert [batch["type"] for batch in receiver.seen] == ["batch"] * 3
    assert [len(batch["data"]) for batch in receiver.seen] == [3, 3, 1]
    assert [event["data"]["object"]["userid"] for event in receiver.taken] == [str(n) for n in range(7)]
    assert [head["webhook-id"] for head in receiver.headers] == [batch["id"] for batch in receiver.seen]


async def test_cloudevents_one_by_one_and_in_batches(receiver: Receiver, url: str) -> None:
    for size in (1, 2):
        writer = writing(url, batch_size=size, format="cloudevents")
        await writer.write([person("a", HELD)])
        await writer.aclose()
    single, batch = receiver.seen
    assert [single] == batch
    assert single["specversion"] == "1.0"
    assert (single["type"], single["subject"], single["source"]) == ("user.updated", "usr_a", "/api/v1/sources/src_1")
    assert single["time"] == "2026-05-04T03:17:00Z"
    assert single["data"]["object"]["userid"] == "a"
    assert [head["content-type"] for head in receiver.headers] == [
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    ]


async def test_while_a_secret_is_changed_both_are_understood(receiver: Receiver, url: str) -> None:
    changes = rotated(revealed(config(url)), datetime.now(UTC) + timedelta(hours=1))
    for secret in (SECRET, changes["secret"]):
        receiver.secret = secret
        writer = writing(url, **changes)
        [outcome] = await writer.write([person("a")])
        await writer.aclose()
        assert outcome.state == "delivered"
    receiver.secret = SECRET
    writer = writing(url, **changes | {"old_secret_until": datetime.now(UTC) - timedelta(seconds=1)})
    with pytest.raises(TryLater, match=r"webhook\.unwell"):
        await writer.write([person("a")])
    await writer.aclose()


async def test_one_refused_event_waits_alone(receiver: Receiver, writer: WebhookWriter) -> None:
    receiver.answer = lambda event: 422 if event["data"].get("object", {}).get("userid") == "b" else None
    outcomes = await writer.write([person("b"), person("a"), person("c")])
    assert [one.state for one in outcomes] == ["retrying", "delivered", "delivered"]
    assert (outcomes[0].code, outcomes[0].status) == ("webhook.event_refused", 422)
    assert receiver.types == ["ping", "user.created", "user.created"]


async def test_one_event_that_spoils_a_batch_waits_alone(receiver: Receiver, url: str) -> None:
    def answer(batch: Any) -> int | None:
        return 500 if any(event["data"].get("object", {}).get("userid") == "b" for event in batch["data"]) else None

    receiver.answer = answer
    writer = writing(url, batch_size=10)
    outcomes = await writer.write([person(name) for name in "abcd"])
    await writer.aclose()
    assert [one.state for one in outcomes] == ["delivered", "retrying", "delivered", "delivered"]


@pytest.mark.parametrize("status", [400, 422, 500, 501])
async def test_a_receiver_that_takes_nothing_holds_everything_up(
    receiver: Receiver, writer: WebhookWriter, status: int
) -> None:
    receiver.answer = lambda event: status
    with pytest.raises(TryLater) as raised:
        await writer.write([person("a"), person("b")])
    assert raised.value.code == "webhook.unwell"
    assert [event["type"] for event in receiver.seen] == ["user.created", "ping"]


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405])
async def test_a_wrong_address_needs_a_person(receiver: Receiver, writer: WebhookWriter, status: int) -> None:
    receiver.answer = lambda event: Response(status_code=status, headers={"Location": "http://127.0.0.1:1/"})
    with pytest.raises(AskAdmin) as raised:
        await writer.write([person("a")])
    assert (raised.value.code, raised.value.params) == ("webhook.refused", {"status": status})
    assert len(receiver.seen) == 1


async def test_gone_says_stop(receiver: Receiver, writer: WebhookWriter) -> None:
    receiver.answer = lambda event: 410
    with pytest.raises(AskAdmin) as raised:
        await writer.write([person("a")])
    assert raised.value.code == "target.gone"


@pytest.mark.parametrize(
    ("header", "after"),
    [("120", 120.0), ("999999999999", 86400.0), ("soon", None), ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0), ("-5", None)],
)
async def test_a_busy_receiver_is_given_the_time_it_asks_for(
    receiver: Receiver, writer: WebhookWriter, header: str, after: float | None
) -> None:
    receiver.answer = lambda event: Response(status_code=429, headers={"Retry-After": header})
    with pytest.raises(TryLater) as raised:
        await writer.write([person("a")])
    assert (raised.value.code, raised.value.after) == ("webhook.busy", after)


async def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver, writer: WebhookWriter) -> None:
    receiver.answer = lambda event: Response(b"x" * 5_000_000, status_code=200)
    [outcome] = await writer.write([person("a")])
    assert outcome.state == "delivered"


async def test_nobody_there() -> None:
    writer = writing("http://127.0.0.1:1/hook")
    with pytest.raises(TryLater, match=r"webhook\.unavailable"):
        await writer.write([person("a")])
    await writer.aclose()


async def test_the_check_sends_a_test_event(receiver: Receiver, url: str) -> None:
    checks = await check.check(config(url), writing(url))
    assert [(one.name, one.status) for one in checks] == [("encryption", "ok"), ("delivery", "ok")]
    assert receiver.types == ["ping"]
    receiver.secret = fresh_secret()
    failed = (await check.check(config(url), writing(url)))[1]
    assert (failed.status, failed.code, failed.params) == ("failed", "webhook.unwell", {"status": 400})
    hidden = (await check.check(config(url), writing(url, allowed=())))[1]
    assert (hidden.status, hidden.code) == ("failed", "webhook.address_forbidden")
    assert "WECOM_SYNC_WEBHOOK_ALLOW" in hidden.hint
    plain = await check.check(config("http://203.0.113.9/x"), writing("http://127.0.0.1:1/"))
    assert plain[0].code == "webhook.plain_http"


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.1.2.3", "224.0.0.1"),
    *("255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1"),
    *("64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0"),
]


@pytest.mark.parametrize("address", PRIVATE)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    for found in ([address], ["93.184.216.34", address]):
        with pytest.raises(AskAdmin, match=r"webhook\.address_forbidden"):
            await reachable("hooks.example.com", 443, (), resolving(found))
    assert await reachable("hooks.lan", 443, ("Hooks.LAN",), resolving([address])) == [address]


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
async def test_a_public_address_is_taken(address: str) -> None:
    assert await reachable("hooks.example.com", 443, (), resolving([address])) == [address]


async def test_a_network_is_allowed_as_such() -> None:
    assert await reachable("a.lan", 80, ("10.0.0.0/8", "fd00::/8"), resolving(["10.9.9.9", "fd00::5"]))
    with pytest.raises(AskAdmin):
        await reachable("a.lan", 80, ("10.0.0.0/8",), resolving(["10.9.9.9", "192.168.0.1"]))


async def test_a_name_nobody_knows() -> None:
    async def none(host: str, port: int) -> Sequence[str]:
        raise OSError

    for resolve in (none, resolving([])):
        with pytest.raises(TryLater, match=r"webhook\.unknown_host"):
            await reachable("nowhere.example", 443, (), resolve)


async def test_the_connection_goes_to_the_address_that_was_checked(receiver: Receiver, url: str) -> None:
    """And not to what a second look at the name would find; the receiver still sees the name."""
    port = httpx.URL(url).port
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    named = config(f"http://hooks.example.com:{port}/hook")
    sender = Sender(named, ("127.0.0.1",), rebinding)
    assert await sender.post("msg_1", "application/json", '{"type":"ping","data":{}}') == 204
    assert receiver.headers[0]["host"] == f"hooks.example.com:{port}"
    with pytest.raises(AskAdmin):
        await sender.post("msg_2", "application/json", "{}")
    await sender.aclose()
    assert asked == ["hooks.example.com"] * 2


async def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver, url: str) -> None:
    named = config(f"http://hooks.example.com:{httpx.URL(url).port}/hook")
    sender = Sender(named, ("127.0.0.1", "::1"), resolving(["::1", "127.0.0.1"]))
    assert await sender.post("msg_1", "application/json", '{"type":"ping","data":{}}') == 204
    await sender.aclose()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.com/"},
        {"url": "https://user:pass@example.com/"},
        {"url": "https://example.com/#x"},
        {"url": "https:///x"},
        {"url": "https://exa mple.com/"},
        {"secret": "whsec_short"},
        {"secret": "d2VjYW5hcnktc2VjcmV0LW9mLWEtcmVjZWl2ZXIhIQ=="},
        {"secret": "whsec_" + "A" * 20},
        {"secret": "whsec_" + "A" * 200},
        {"batch_size": 0},
        {"batch_size": 101},
        {"events": []},
        {"events": ["user.born"]},
        {"format": "xml"},
        {"old_secret_until": "2026-05-04T00:00:00"},
        {"unknown": 1},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**{"url": "https://example.com/hook"} | wrong)
    assert "pass@" not in str(raised.value)


def test_a_secret_is_made_where_none_is_given() -> None:
    made = completed({"url": "x"})
    assert WebhookConfig.model_validate({"url": "https://example.com/", **made}).secret
    assert completed({"secret": SECRET}) == {}
    assert channel(config("https://example.com/a")) != channel(config("https://example.com/b"))


@given(name=st.text(max_size=50))
def test_any_name_is_signed_as_it_is_sent(name: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return  # a directory holds no halves of pairs
    event = events.event_of(person("a", alias=name), ORIGIN)
    _, _, body = events.enveloped([event], "standard", batched=False)
    sender = Sender(config("https://example.com/"), ())
    headers = sender.signed("msg_1", body, datetime.now(UTC))
    assert Webhook(SECRET).verify(body.encode(), headers)["data"]["object"]["alias"] == name


def resolving(addresses: Sequence[str]) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve
