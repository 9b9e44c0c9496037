"""What the checks of a source say in each situation an administrator can be in."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.core.ports import Check
from app.simulator import Fault
from app.simulator import Range as Visible
from app.sources.kinds import KINDS
from app.sources.wecom.check import CallbackFacts, check
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.errcodes import TEXTS
from tests.sources.golden import GOLDEN
from tests.sources.world import SECRET, TOKEN, Http, Scripted, World

KEY = "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
PAIR = {"token": "abc", "encoding_aes_key": KEY}
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
URL = "https://sync.example.com/callbacks/key"
FACTS = CallbackFacts(URL, NOW - timedelta(days=1), NOW - timedelta(hours=1))
NAMES = [
    "credentials.app",
    "credentials.contacts",
    "range",
    "departments",
    "users",
    "ids",
    "clock",
    "callback.url",
    "callback",
]


async def checked(world: World, config: WeComConfig | None = None, facts: CallbackFacts = FACTS) -> dict[str, Check]:
    found = await KINDS["wecom"].check(
        config or world.both(**PAIR), tokens=world.tokens, callback=facts, client_factory=world.connect
    )
    assert [one.name for one in found] == NAMES
    return {one.name: one for one in found}


def codes(found: Mapping[str, Check]) -> dict[str, str]:
    return {name: f"{one.status} {one.code}" for name, one in found.items()}


GOOD = {
    "credentials.app": "ok check.app_token",
    "credentials.contacts": "ok check.contacts_token",
    "range": "ok check.range_everything",
    "departments": "ok check.departments",
    "users": "ok check.user_fields_withheld",
    "ids": "ok check.ids",
    "clock": "skipped check.clock_unknown",
    "callback.url": "ok callback.url_ok",
    "callback": "ok callback.working",
}


@pytest.fixture
def facts() -> CallbackFacts:
    now = datetime.now(UTC)
    return CallbackFacts(URL, now - timedelta(days=1), now - timedelta(hours=1))


async def test_a_source_in_order(world: World, facts: CallbackFacts) -> None:
    found = await checked(world, facts=facts)
    assert codes(found) == GOOD
    assert found["departments"].message == "Departments visible: 4."
    assert found["range"].data == {"everything": True, "departments": 1, "users": 0, "tags": 0}
    assert found["users"].data["withheld"] == ["mobile", "email", "biz_mail", "gender", "avatar", "address"]
    assert found["users"].message.endswith("mobile, email, biz_mail, gender, avatar, address.")


async def test_the_clock_of_a_real_server(world: World) -> None:
    from app.simulator import running

    async with running(world.sim) as base_url:
        found = await check(world.config(base_url=base_url), tokens=world.tokens, callback=FACTS)
    assert f"{found[6].status} {found[6].code}" == "ok check.clock"
    assert abs(found[6].data["seconds"]) <= 5


async def test_an_old_app_reads_every_field(world: World, facts: CallbackFacts) -> None:
    world.company.app.withheld = frozenset()
    with world.company.quiet():
        fields = {
            "mobile": "1380",
            "email": "a@b.c",
            "biz_mail": "a@b.cn",
            "gender": "1",
            "avatar": "u",
            "address": "x",
        }
        world.company.edit("zhaoliu", **fields)
    found = await checked(world, facts=facts)
    assert codes(found) == GOOD | {"users": "ok check.user_details"}
    assert found["users"].data["withheld"] == []


async def test_only_a_callback(world: World, facts: CallbackFacts) -> None:
    found = await checked(world, WeComConfig(corp_id="ww1", **PAIR), facts)
    assert codes(found) == GOOD | {
        "credentials.app": "skipped check.no_app_secret",
        "credentials.contacts": "skipped check.no_contacts_secret",
        "range": "skipped check.not_tried",
        "departments": "skipped check.not_tried",
        "users": "skipped check.not_tried",
        "ids": "skipped check.no_contacts_secret",
    }
    assert world.sim.calls.total == 0


async def test_only_the_app(world: World, facts: CallbackFacts) -> None:
    assert codes(await checked(world, world.config(**PAIR), facts)) == GOOD | {
        "credentials.contacts": "skipped check.no_contacts_secret",
        "ids": "skipped check.no_contacts_secret",
    }


@pytest.mark.parametrize("known_ip", [True, False])
async def test_only_the_contacts_secret(world: World, facts: CallbackFacts, known_ip: bool) -> None:
    world.company.contacts.known_ip = known_ip
    found = await checked(world, world.contacts_only(**PAIR), facts)
    expected = GOOD | {"credentials.app": "skipped check.no_app_secret", "range": "ok check.range_contacts"}
    if not known_ip:
        expected |= {
            "departments": "warning check.departments_ids",
            "users": "warning wecom.contacts_secret_ids_only",
        }
    assert codes(found) == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (
            Visible(),
            {
                "range": "warning check.range_empty",
                "departments": "warning check.departments_none",
                "users": "warning check.no_user_seen",
            },
        ),
        (Visible.of(departments=[2]), {"range": "warning check.range_partial"}),
        (
            Visible.of(users=["lisi"]),
            {"range": "warning check.range_partial", "departments": "warning check.departments_none"},
        ),
    ],
)
async def test_a_narrow_range(world: World, facts: CallbackFacts, visible: Visible, expected: dict[str, str]) -> None:
    world.company.app.visible = visible
    found = await checked(world, facts=facts)
    assert codes(found) == GOOD | expected
    if visible.departments:
        assert "departments: 1, people: 0, tags: 0" in found["range"].message


async def test_an_address_that_is_not_trusted(world: World, facts: CallbackFacts) -> None:
    world.company.app.trusted_ips = frozenset({"198.51.100.1"})
    world.sim.settings.caller_ip = "203.0.113.7"
    found = await checked(world, facts=facts)
    assert codes(found) == GOOD | {
        "range": "failed wecom.ip_not_trusted",
        "departments": "skipped check.not_tried",
        "users": "skipped check.not_tried",
    }
    assert found["range"].message == "WeCom refused requests coming from 203.0.113.7."
    assert "企业可信IP" in found["range"].hint
    assert found["range"].params["ip"] == "203.0.113.7"
    assert found["range"].data["upstream"]["errcode"] == 60020


async def test_each_secret_has_its_own_list_of_addresses(world: World, facts: CallbackFacts) -> None:
    world.company.contacts.trusted_ips = frozenset({"198.51.100.1"})
    assert codes(await checked(world, facts=facts)) == GOOD | {"ids": "failed wecom.ip_not_trusted"}


async def test_a_wrong_app_secret_leaves_the_contacts_secret_to_be_checked(world: World, facts: CallbackFacts) -> None:
    found = await checked(world, world.both(app_secret="wrong", **PAIR), facts)
    assert codes(found) == GOOD | {
        "credentials.app": "failed wecom.wrong_secret",
        "range": "skipped check.not_tried",
        "departments": "skipped check.not_tried",
        "users": "skipped check.not_tried",
    }


async def test_a_wrong_contacts_secret_leaves_the_app_to_be_checked(world: World, facts: CallbackFacts) -> None:
    found = await checked(world, world.both(contacts_secret="wrong", **PAIR), facts)
    assert codes(found) == GOOD | {
        "credentials.contacts": "failed wecom.wrong_secret",
        "ids": "skipped check.not_tried",
    }


async def test_two_wrong_secrets(world: World, facts: CallbackFacts) -> None:
    found = await checked(world, world.both(app_secret="wrong", contacts_secret="wrong", **PAIR), facts)
    assert [one.status for one in found.values()][:6] == ["failed", "failed", *["skipped"] * 4]


async def test_interchanged_secrets(world: World, facts: CallbackFacts) -> None:
    company = world.company
    swapped = world.both(app_secret=company.contacts.secret, contacts_secret=company.app.secret, **PAIR)
    found = await checked(world, swapped, facts)
    assert codes(found)["range"] == codes(found)["ids"] == "failed wecom.api_forbidden"
    assert "interchanged" in found["range"].hint


async def test_the_contacts_secret_in_the_place_of_the_apps(world: World, facts: CallbackFacts) -> None:
    config = world.config(app_secret=world.company.contacts.secret, agent_id=1000002, **PAIR)
    world.sim.faults.append(Fault("errcode", errcode=48009, path="agent/get"))
    found = await checked(world, config, facts)
    assert codes(found)["range"] == "failed wecom.contacts_secret_ids_only"
    assert "the app secret must read the details" in found["range"].hint


async def test_a_corrected_setting_in_wecom_is_seen_at_once(world: World, facts: CallbackFacts) -> None:
    """A disabled app breaks its credential durably; the check asks again all the same, and mends it."""
    world.company.app.enabled = False
    assert codes(await checked(world, facts=facts))["credentials.app"] == "failed wecom.wrong_secret"
    assert len(world.tokens.breaks) == 1
    world.company.app.enabled = True
    assert codes(await checked(world, facts=facts)) == GOOD
    assert not world.tokens.breaks


async def test_a_secret_that_was_reset_is_seen_though_its_token_lives(world: World, facts: CallbackFacts) -> None:
    config = world.both(**PAIR)
    await checked(world, config, facts)
    world.company.app.secret = "reset"
    assert codes(await checked(world, config, facts))["credentials.app"] == "failed wecom.wrong_secret"


async def test_a_foreign_agent(world: World, facts: CallbackFacts) -> None:
    found = await checked(world, world.both(agent_id=7, **PAIR), facts)
    assert codes(found)["range"] == "failed wecom.not_this_agent"


async def test_an_unreachable_wecom(world: World, facts: CallbackFacts) -> None:
    found = await check(
        world.config(base_url="http://127.0.0.1:9", **PAIR),
        tokens=world.tokens,
        callback=facts,
        client_factory=lambda _: httpx.AsyncClient(transport=httpx.MockTransport(_refuse)),
        sleep=world.pause,
    )
    assert f"{found[0].status} {found[0].code}" == "failed wecom.unreachable"


def _refuse(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no route")


async def test_a_long_limit_is_not_waited_for(world: World, facts: CallbackFacts) -> None:
    world.tokens.waits = [3600.0]
    found = await asyncio.wait_for(checked(world, facts=facts), 5)
    assert codes(found)["credentials.app"] == "failed wecom.frequency_limit"


async def test_bad_records_are_counted() -> None:
    wecom = Scripted(
        agent__list=[{"errcode": 0, "agentlist": [{"agentid": 7}]}],
        agent__get=[{"errcode": 0, "allow_partys": {"partyid": [1]}}],
        department__list=[{"errcode": 0, "department": [{"id": 1}, {"id": 2, "name": []}]}],
        user__list=[{"errcode": 0, "userlist": []}],
    )
    found = await scripted(wecom)
    assert (found["departments"].code, found["departments"].params) == ("check.records_bad", {"count": 1})


async def scripted(wecom: Scripted) -> dict[str, Check]:
    config = WeComConfig(corp_id="ww1", app_secret=SECRET)
    found = await check(config, tokens=wecom.tokens, callback=FACTS, client_factory=wecom.connect, now=lambda: NOW)
    return {one.name: one for one in found}


@pytest.mark.parametrize(("minutes", "code"), [(-10, "check.clock_skew"), (0, "check.clock"), (10, "check.clock_skew")])
async def test_the_clock(minutes: int, code: str) -> None:
    date = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    wecom = Scripted(gettoken=[Http(body=b'{"errcode":40001}', headers={"Date": date})])
    clock = (await scripted(wecom))["clock"]
    assert clock.code == code
    if minutes:
        assert 595 <= int(clock.params["seconds"]) <= 605


@pytest.mark.parametrize(
    ("url", "code", "params"),
    [
        (URL, "callback.url_ok", {}),
        ("https://8.8.8.8/callbacks/key", "callback.url_ok", {}),
        ("http://localhost:8000/callbacks/key", "callback.url_private", {"host": "localhost"}),
        ("https://127.0.0.1/callbacks/key", "callback.url_private", {"host": "127.0.0.1"}),
        ("https://10.1.2.3/callbacks/key", "callback.url_private", {"host": "10.1.2.3"}),
        ("https://[fd00::1]/callbacks/key", "callback.url_private", {"host": "fd00::1"}),
        ("https://sync.lan/callbacks/key", "callback.url_private", {"host": "sync.lan"}),
        ("https://intranet/callbacks/key", "callback.url_private", {"host": "intranet"}),
        ("http://sync.example.com/callbacks/key", "callback.url_http", {}),
        ("https://sync.example.com:8443/callbacks/key", "callback.url_port", {"port": 8443}),
    ],
)
async def test_the_address_of_the_callback(world: World, url: str, code: str, params: dict[str, Any]) -> None:
    one = (await checked(world, WeComConfig(corp_id="ww1"), CallbackFacts(url)))["callback.url"]
    assert (one.code, one.params) == (code, params)
    assert one.status == ("ok" if code == "callback.url_ok" else "warning")


@pytest.mark.parametrize(
    ("pair", "verified", "heard", "code"),
    [
        ({}, 1, 1, "skipped callback.not_configured"),
        (PAIR, None, None, "warning callback.never_verified"),
        (PAIR, 1, None, "ok callback.working"),
        (PAIR, 30, 6, "ok callback.working"),
        (PAIR, None, 6, "ok callback.working"),
        (PAIR, 30, 8, "warning callback.silent"),
        (PAIR, 8, None, "warning callback.silent"),
    ],
)
async def test_the_callback(pair: dict[str, str], verified: int | None, heard: int | None, code: str) -> None:
    at = [None if days is None else NOW - timedelta(days=days) for days in (verified, heard)]
    wecom = Scripted()
    config = WeComConfig(corp_id="ww1", **pair)
    found = await check(
        config, tokens=wecom.tokens, callback=CallbackFacts(URL, *at), client_factory=wecom.connect, now=lambda: NOW
    )
    assert f"{found[-1].status} {found[-1].code}" == code
    assert found[-1].params == ({"days": 8} if code.endswith("silent") else {})


@pytest.mark.parametrize(("errcode", "code"), [*GOLDEN.items(), (99999, "wecom.unknown_errcode")])
async def test_each_refusal_is_diagnosed(errcode: int, code: str) -> None:
    """At the token, the range and the departments: a code with its words, never a bare errcode, never an exception."""
    refused = {"errcode": errcode, "errmsg": "not allowed, hint: [1], from ip: 203.0.113.7, more"}
    names = {"gettoken": "credentials.app", "agent__list": "range", "department__list": "departments"}
    for api, name in names.items():
        answers: dict[str, Any] = {
            "gettoken": [TOKEN],
            "agent__list": [{"errcode": 0, "agentlist": [{"agentid": 7}]}],
            "agent__get": [{"errcode": 0}],
            "department__simplelist": [refused],
        }
        one = (await checked_quickly(Scripted(**answers | {api: [refused]})))[name]
        assert (one.status, one.code) == ("failed", code)
        assert one.data["upstream"] == refused
        assert (one.message, one.hint) == (
            TEXTS[code]["en"].filled(one.params).title,
            TEXTS[code]["en"].filled(one.params).hint,
        )
        assert TEXTS[code]["zh-CN"].filled(one.params).title != one.message


async def checked_quickly(wecom: Scripted) -> dict[str, Check]:
    config = WeComConfig(corp_id="ww1", app_secret=SECRET)
    found = await check(
        config, tokens=wecom.tokens, callback=FACTS, client_factory=wecom.connect, now=lambda: NOW, sleep=wecom.pause
    )
    return {one.name: one for one in found}
