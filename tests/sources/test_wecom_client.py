"""Tokens, budgets, retries and answers that are not what was asked for."""

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from app.errors import AskAdmin, ServiceError, TryLater
from app.simulator import Fault, SimulatorSettings, running
from app.sources.wecom import client as client_module
from app.sources.wecom.auth import credential_key
from app.sources.wecom.client import RETRIES, Absent, Client, connect
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.records import rows
from app.store.tokens import Tokens
from tests.sources.world import CONFIG, SECRET, TOKEN, Http, MemoryTokens, Scripted, World

USERS = {"errcode": 0, "errmsg": "ok", "userlist": [{"userid": "a"}]}


def refusal(errcode: int, **more: Any) -> dict[str, Any]:
    return {"errcode": errcode, "errmsg": "no, hint: [1], from ip: 203.0.113.7, more", "userlist": [], **more}


async def ask(client: Client, **params: int) -> Any:
    answer = await client.get("user/list", client.app, rows("userlist"), **params)
    return answer.observed, answer.value


async def failure(client: Client) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await ask(client)
    return raised.value


# The token


async def test_the_token_travels_in_the_query_only() -> None:
    wecom = Scripted(user__list=[USERS])
    assert await ask(wecom.client(), department_id=7) == (2, [{"userid": "a"}])
    first, second = wecom.requests
    assert dict(first.url.params) == {"corpid": "ww1", "corpsecret": SECRET}
    assert dict(second.url.params) == {"department_id": "7", "access_token": "canary-token"}
    assert "canary" not in str(second.headers)
    assert second.url.host == "qyapi.weixin.qq.com"


async def test_a_token_is_fetched_once_and_found_by_others() -> None:
    wecom = Scripted(user__list=[USERS])
    await ask(wecom.client())
    await ask(wecom.client())
    assert wecom.asked() == ["gettoken", "user/list", "user/list"]


async def test_concurrent_calls_fetch_one_token() -> None:
    wecom = Scripted(user__list=[USERS])
    client, other = wecom.client(), wecom.client()
    await asyncio.gather(*(ask(one) for one in [client, other] * 4))
    assert wecom.asked().count("gettoken") == 1


async def test_a_token_that_ends_is_renewed_in_time() -> None:
    wecom = Scripted(gettoken=[TOKEN | {"expires_in": 1}], user__list=[USERS])
    await ask(wecom.client())
    stored = next(iter(wecom.tokens.tokens.values()))
    assert stored.expires_at < datetime.now(UTC) + timedelta(seconds=1)
    assert repr(stored).count("canary") == 0
    await asyncio.sleep(max(0.0, (stored.expires_at - datetime.now(UTC)).total_seconds()))
    await ask(wecom.client())
    assert wecom.asked().count("gettoken") == 2


@pytest.mark.parametrize("errcode", [40014, 42001, 40001])
async def test_a_stale_token_is_renewed_once(errcode: int) -> None:
    wecom = Scripted(gettoken=[TOKEN, TOKEN | {"access_token": "fresh"}], user__list=[refusal(errcode), USERS])
    assert await ask(wecom.client()) == (4, [{"userid": "a"}])
    assert wecom.signed_by == [None, "canary-token", None, "fresh"]


@pytest.mark.parametrize(
    ("errcode", "code", "who"),
    [
        (40014, "wecom.token_rejected", TryLater),
        (42001, "wecom.token_rejected", TryLater),
        (40001, "wecom.wrong_secret", AskAdmin),
    ],
)
async def test_a_token_that_stays_stale_is_not_renewed_again(errcode: int, code: str, who: type[ServiceError]) -> None:
    wecom = Scripted(user__list=[refusal(errcode)])
    error = await failure(wecom.client())
    assert (error.code, type(error)) == (code, who)
    assert wecom.asked() == ["gettoken", "user/list"] * 2
    assert not wecom.tokens.breaks


async def test_a_token_that_another_worker_renewed_is_taken() -> None:
    wecom = Scripted(user__list=[USERS, refusal(40014), USERS])
    client = wecom.client()
    await ask(client)
    key = credential_key(CONFIG.base_url, "ww1", SECRET)
    await wecom.tokens.put(key, type(wecom.tokens.tokens[key])("theirs", datetime.now(UTC) + timedelta(hours=1)))
    await ask(client)
    assert wecom.asked() == ["gettoken", "user/list", "user/list", "user/list"]
    assert wecom.requests[-1].url.params["access_token"] == "theirs"


@pytest.mark.parametrize("errcode", [40001, 40013, 40091, 41002, 41004, 41024, 45031])
async def test_a_wrong_secret_is_asked_once_by_everybody(errcode: int) -> None:
    wecom = Scripted(gettoken=[refusal(errcode)])
    client = wecom.client()
    errors = [await failure(client), await failure(client), await failure(wecom.client())]
    assert wecom.asked() == ["gettoken"]
    assert {error.code for error in errors} == {errors[0].code}
    assert all(isinstance(error, AskAdmin) for error in errors)
    assert errors[2].record() == errors[0].record()
    assert errors[2].upstream is not None
    assert errors[2].upstream.errcode == errcode


@pytest.mark.parametrize("errcode", [60020, 301007, 50003, -1, 45009])
async def test_other_refusals_of_a_token_do_not_break_the_credential(errcode: int) -> None:
    wecom = Scripted(
        gettoken=[refusal(errcode), refusal(errcode), refusal(errcode), refusal(errcode), TOKEN], user__list=[USERS]
    )
    wecom.answers["gettoken"] = [refusal(errcode)] * (4 if errcode == -1 else 1) + [TOKEN]
    client = wecom.client()
    await failure(client)
    assert not wecom.tokens.breaks
    assert await ask(client)


async def test_another_secret_or_address_is_another_credential() -> None:
    wecom = Scripted(gettoken=[refusal(40001), TOKEN], user__list=[USERS])
    await failure(wecom.client())
    assert await ask(wecom.client(WeComConfig(corp_id="ww1", app_secret="another")))
    keys = {
        credential_key(base, corp, secret)
        for base in ("https://a", "https://b")
        for corp in ("ww1", "ww2")
        for secret in ("s", "t")
    }
    assert len(keys) == 8
    assert not any("ww1" in key or "https" in key for key in keys)


async def test_proving_asks_again_whatever_is_known() -> None:
    wecom = Scripted(gettoken=[refusal(40001), TOKEN], user__list=[USERS])
    client = wecom.client()
    await failure(client)
    assert client.app is not None
    await client.app.prove()
    await client.app.prove()
    assert wecom.asked() == ["gettoken"] * 3
    assert not wecom.tokens.breaks


@pytest.mark.parametrize(
    "answer", [{}, TOKEN | {"access_token": ""}, TOKEN | {"expires_in": "x"}, TOKEN | {"expires_in": 0}]
)
async def test_a_token_that_is_none(answer: dict[str, Any]) -> None:
    wecom = Scripted(gettoken=[answer])
    assert (await failure(wecom.client())).code == "wecom.bad_answer"


async def test_the_store_of_the_service_keeps_tokens_and_breakers(database: Any) -> None:
    """The same with the real token store: one fetch for two workers, and a breaker that outlives the process."""
    from cryptography.fernet import Fernet

    from app.store.keys import Sealer

    sealer = Sealer([Fernet.generate_key().decode()])
    wecom = Scripted(gettoken=[TOKEN, refusal(40001)], user__list=[USERS, USERS, refusal(40014)])
    first, second, third = (Tokens(database, sealer, owner) for owner in ("one", "two", "three"))
    clients = []
    for tokens in (first, second, third):
        wecom.tokens = tokens
        clients.append(wecom.client())
    await ask(clients[0])
    await ask(clients[1])
    assert wecom.asked().count("gettoken") == 1
    assert (await failure(clients[1])).code == "wecom.wrong_secret"
    sent = len(wecom.requests)
    assert (await failure(clients[2])).code == "wecom.wrong_secret"
    assert len(wecom.requests) == sent


# Budgets and limits


async def test_every_request_is_paid_for_before_it_is_numbered() -> None:
    wecom = Scripted(user__list=[refusal(42001), refusal(-1), USERS])
    assert await ask(wecom.client()) == (5, [{"userid": "a"}])
    apis = ["gettoken", "user/list", "gettoken", "user/list", "user/list"]
    assert wecom.tokens.spent == [("ww1", api) for api in apis]
    assert wecom.observed == 5


async def test_a_used_up_budget_is_waited_for() -> None:
    wecom = Scripted(user__list=[USERS])
    wecom.tokens.waits = [0.0, 30.0, 12.5]
    assert await ask(wecom.client())
    assert wecom.pauses == [30.0, 12.5]


async def test_the_impatient_do_not_wait() -> None:
    wecom = Scripted(user__list=[USERS])
    wecom.tokens.waits = [3.0, 0.0, 30.0]
    error = await failure(wecom.client(patience=5))
    assert isinstance(error, TryLater)
    assert (error.code, error.after) == ("wecom.frequency_limit", 30.0)
    assert wecom.pauses == [3.0]


async def test_a_wait_can_be_cancelled() -> None:
    wecom = Scripted(user__list=[USERS])
    wecom.tokens.waits = [0.0, 3600.0]
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.sleep(seconds)

    task = asyncio.create_task(ask(wecom.client(sleep=sleep)))
    await asleep.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wecom.asked() == ["gettoken"]


@pytest.mark.parametrize("errcode", [45009, 45036])
async def test_a_limit_blocks_this_api_for_everybody(errcode: int) -> None:
    wecom = Scripted(user__list=[refusal(errcode)])
    error = await failure(wecom.client())
    assert isinstance(error, TryLater)
    assert error.after == 60
    assert wecom.tokens.blocked == [("ww1", "user/list", 60.0)]
    assert wecom.asked() == ["gettoken", "user/list"]


# Faults that pass


@pytest.mark.parametrize("errcode", [-1, 45033, 6000, 45035])
async def test_a_passing_refusal_is_asked_again(errcode: int) -> None:
    wecom = Scripted(user__list=[refusal(errcode)] * 3 + [USERS])
    assert await ask(wecom.client()) == (5, [{"userid": "a"}])
    assert wecom.pauses == [0.5, 1.0, 2.0]


PASSING = [
    pytest.param(refusal(-1), "wecom.busy", id="-1"),
    pytest.param(Http(500), "wecom.server_error", id="500"),
    pytest.param(Http(502, b"<html>"), "wecom.server_error", id="502"),
    pytest.param(Http(429), "wecom.server_error", id="429"),
    pytest.param(httpx.ConnectError("canary"), "wecom.unreachable", id="refused"),
    pytest.param(httpx.ReadTimeout("canary"), "wecom.unreachable", id="slow"),
    pytest.param(httpx.RemoteProtocolError("canary"), "wecom.unreachable", id="cut"),
    pytest.param(httpx.ProxyError("canary"), "wecom.proxy_failed", id="proxy"),
    pytest.param(Http(), "wecom.bad_answer", id="empty"),
    pytest.param(Http(body=b"<html>login</html>"), "wecom.bad_answer", id="garbage"),
    pytest.param(Http(body=b'{"errcode":0,"userlist":['), "wecom.bad_answer", id="truncated"),
    pytest.param(Http(body=b"\xff\xfe\x00"), "wecom.bad_answer", id="bytes"),
    pytest.param(Http(body=b"[]"), "wecom.bad_answer", id="list"),
    pytest.param(Http(body=b"null"), "wecom.bad_answer", id="null"),
    pytest.param(Http(body=b"[" * 100_000), "wecom.bad_answer", id="nesting"),
    pytest.param({"errcode": 0}, "wecom.bad_answer", id="no list"),
    pytest.param({"errcode": 0, "userlist": {}}, "wecom.bad_answer", id="no list but an object"),
    pytest.param({"errcode": "x", "userlist": []}, "wecom.bad_answer", id="errcode text"),
    pytest.param({"errcode": None, "userlist": []}, "wecom.bad_answer", id="errcode null"),
    pytest.param({"errcode": True, "userlist": []}, "wecom.bad_answer", id="errcode true"),
    pytest.param(
        Http(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
        "wecom.unreachable",
        id="no gzip",
    ),
]


@pytest.mark.parametrize(("answer", "code"), PASSING)
async def test_a_fault_that_stays_is_for_later(answer: Any, code: str) -> None:
    wecom = Scripted(user__list=[answer])
    error = await failure(wecom.client())
    assert (type(error), error.code) == (TryLater, code)
    assert wecom.asked().count("user/list") == 1 + RETRIES
    assert wecom.observed == 2 + RETRIES
    assert "canary" not in str(error) + error.hint
    assert "{" not in str(error) + error.hint


@pytest.mark.parametrize(("answer", "code"), PASSING)
async def test_a_fault_that_passes_is_not_noticed(answer: Any, code: str) -> None:
    wecom = Scripted(user__list=[answer, USERS])
    assert await ask(wecom.client()) == (3, [{"userid": "a"}]), code


async def test_a_list_of_ids_is_asked_again_too() -> None:
    """user/list_id is a POST, but it reads."""
    wecom = Scripted(user__list_id=[Http(body=b"x"), {"errcode": 0, "dept_user": []}])
    client = wecom.client(WeComConfig(corp_id="ww1", contacts_secret="s"))
    answer = await client.post("user/list_id", client.contacts, rows("dept_user"), {"limit": 10})
    assert (answer.observed, answer.value) == (3, [])
    assert json.loads(wecom.requests[-1].content) == {"limit": 10}


async def test_pauses_are_spread() -> None:
    for spread, pauses in ((0.0, [0.25, 0.5, 1.0]), (1.0, [0.75, 1.5, 3.0])):
        wecom = Scripted(user__list=[refusal(-1)])
        await failure(wecom.client(spread=lambda spread=spread: spread))
        assert wecom.pauses == pauses


# Faults that stay


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 407, 204])
async def test_a_status_that_wecom_does_not_use(status: int) -> None:
    wecom = Scripted(user__list=[Http(status, headers={"Location": "https://elsewhere.example.com/"})])
    error = await failure(wecom.client())
    assert (type(error), error.code) == (AskAdmin, "wecom.http_refused")
    assert error.params["status"] == status
    assert wecom.asked() == ["gettoken", "user/list"]


async def test_an_expected_errcode_is_not_an_error() -> None:
    wecom = Scripted(user__list=[refusal(60003)])
    client = wecom.client()
    with pytest.raises(Absent) as absent:
        await client.get("user/list", client.app, rows("userlist"), absent=frozenset({60003}))
    assert (absent.value.observed, absent.value.errcode) == (2, 60003)


async def test_errcodes_as_text_and_answers_without_one() -> None:
    assert await ask(Scripted(user__list=[{"errcode": "0", "userlist": []}]).client()) == (2, [])
    assert await ask(Scripted(user__list=[{"userlist": []}]).client()) == (2, [])
    assert (
        await failure(Scripted(user__list=[refusal(0) | {"errcode": "60020"}]).client())
    ).code == "wecom.ip_not_trusted"


async def test_an_error_tells_what_wecom_said() -> None:
    error = await failure(Scripted(user__list=[refusal(60020)]).client())
    assert error.upstream is not None
    assert error.upstream.errcode == 60020
    assert error.params == {"errcode": 60020, "api": "user/list", "ip": "203.0.113.7"}


# Size


async def test_compressed_answers_are_read() -> None:
    body = gzip.compress(json.dumps(USERS).encode())
    wecom = Scripted(user__list=[Http(body=body, headers={"Content-Encoding": "gzip"})])
    assert await ask(wecom.client()) == (2, [{"userid": "a"}])
    assert wecom.requests[-1].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_answer_that_never_ends_is_cut_off(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1 << 20)
    plain = b" " * (8 << 20)
    body = gzip.compress(plain) if encoding == "gzip" else plain
    wecom = Scripted(user__list=[Http(body=body, headers={"Content-Encoding": encoding})])
    error = await failure(wecom.client())
    assert (type(error), error.code) == (AskAdmin, "wecom.answer_too_large")


# Clock, logs, connections


async def test_the_clocks_are_compared() -> None:
    for headers, seconds in (
        ({"Date": format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)}, 300),
        ({}, None),
        ({"Date": "x"}, None),
    ):
        wecom = Scripted(gettoken=[Http(body=json.dumps(TOKEN).encode(), headers=headers)], user__list=[USERS])
        client = wecom.client()
        await ask(client)
        assert (client.skew and round(client.skew.total_seconds(), -1)) == seconds


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Everything that anybody logs at any level."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name}: {record.getMessage()}")

    handler, root = Collect(level=0), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


async def test_no_log_holds_a_secret_or_a_token(logged: list[str], world: World) -> None:
    world.company.app.secret = SECRET
    world.sim.faults.append(Fault("cut", path="user/list", times=1))
    async with running(world.sim) as base_url:
        config = WeComConfig(corp_id=world.company.corp_id, app_secret=SECRET, base_url=base_url)
        tokens = MemoryTokens()
        client = Client(config, tokens=tokens, observe=world.observe, sleep=world.pause)
        await client.get("user/list", client.app, rows("userlist"), department_id=1)
        await client.aclose()
    token = next(iter(tokens.tokens.values())).value
    assert [line for line in logged if SECRET in line or token in line] == []
    assert any("/cgi-bin/user/list" in line for line in logged if line.startswith("httpx: "))


async def test_faults_of_a_real_connection_are_met(world: World) -> None:
    async with running(world.sim) as base_url:
        client = Client(world.config(base_url=base_url), tokens=world.tokens, observe=world.observe, sleep=world.pause)
        for kind in ("cut", "garbage", "truncated", "empty"):
            world.sim.faults.append(Fault(kind, path="user/list", times=RETRIES))
            answer = await client.get("user/list", client.app, rows("userlist"), department_id=4)
            assert [user["userid"] for user in answer.value] == ["wangwu"]
            world.sim.faults.append(Fault(kind, path="user/list", times=RETRIES + 1))
            with pytest.raises(TryLater):
                await client.get("user/list", client.app, rows("userlist"), department_id=4)
        await client.aclose()
    unreachable = Client(
        world.config(base_url=base_url), tokens=MemoryTokens(), observe=world.observe, sleep=world.pause
    )
    with pytest.raises(TryLater, match=r"wecom\.unreachable"):
        await unreachable.get("user/list", unreachable.app, rows("userlist"), department_id=4)
    await unreachable.aclose()


async def test_no_more_than_ten_connections(world: World) -> None:
    world.sim.settings = SimulatorSettings(latency=0.02)
    async with running(world.sim) as base_url:
        client = Client(world.config(base_url=base_url), tokens=world.tokens, observe=world.observe)
        calls = [client.get("user/list", client.app, rows("userlist"), department_id=4) for _ in range(40)]
        await asyncio.gather(*calls)
        await client.aclose()
    assert 1 < world.sim.limits.peak["user/list"] <= 10


async def _proxy(seen: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_proxy_of_the_source_carries_its_calls() -> None:
    seen: list[bytes] = []
    server = await asyncio.start_server(lambda r, w: _proxy(seen, r, w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = WeComConfig(corp_id="ww1", base_url="http://127.0.0.1:9", proxy=f"http://user:canary@127.0.0.1:{port}")
    async with server, connect(config) as http:
        answer = await http.get("http://127.0.0.1:9/cgi-bin/gettoken")
    assert answer.json() == {}
    assert seen[0].startswith(b"GET http://127.0.0.1:9/cgi-bin/gettoken ")
    assert b"Proxy-Authorization: Basic " in seen[0]


async def test_the_environments_proxy_never_serves_loopback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with running(world.sim) as base_url, connect(world.config(base_url=base_url)) as http:
        assert (await http.get(f"{base_url}/cgi-bin/gettoken")).json()["errcode"] == 41004


async def test_certificates_are_loaded_once() -> None:
    """Not for every drain of events: it takes tens of milliseconds."""
    for _ in range(3):
        await connect(CONFIG).aclose()
    assert client_module._certificates.cache_info().misses == 1
