"""Callbacks as WeCom sends them: the check, the envelope, repetitions and everything that may go wrong."""

import asyncio
import re

import httpx
import pytest

from app.simulator import Simulator, crypto, running

from .receiver import AES_KEY, TOKEN, Inbox


class Raw(Inbox):
    """Takes anything."""

    async def _take(self, query, body):
        return b"success"


URL = "http://service/callbacks/key"


async def save(simulator, **more):
    return await simulator.callbacks.save(simulator.company.contacts, URL, TOKEN, AES_KEY, **more)


def types(inbox):
    return [re.search(r"<(?:ChangeType|Event)><!\[CDATA\[(?!change_contact)(\w+)", xml)[1] for xml in inbox.messages]


async def test_saving_checks_the_url_with_the_exact_bytes(simulator, inbox):
    assert (await save(simulator)).ok
    [(method, query, _)] = inbox.requests
    assert method == "GET"
    assert re.fullmatch(r"msg_signature=[0-9a-f]{40}&timestamp=\d+&nonce=\d+&echostr=[A-Za-z0-9%]+", query)


async def test_a_newline_too_many_is_refused_and_nothing_is_saved(simulator, inbox):
    inbox.suffix = b"\n"
    saved = await save(simulator)
    assert (saved.ok, saved.message) == (False, "openapi回调地址请求不通过")
    assert saved.reason == "another body than the decrypted echostr"
    assert simulator.callbacks.receivers == {}


async def test_a_refused_or_slow_or_impossible_url_is_not_saved(simulator, company):
    async def never(scope, receive, send):
        await asyncio.Event().wait()

    inbox = Inbox(answers=[403])
    simulator = Simulator(company, callback_transport=httpx.ASGITransport(inbox))
    assert (await save(simulator)).reason == "HTTP 403"
    simulator = Simulator(company, callback_transport=httpx.ASGITransport(never))
    simulator.settings.delivery.verify_timeout = 0.01
    assert (await save(simulator)).reason == "TimeoutError"
    simulator = Simulator(company)
    assert (await simulator.callbacks.save(company.app, "nowhere", TOKEN, AES_KEY)).reason == "UnsupportedProtocol"
    assert "43" in (await simulator.callbacks.save(company.app, URL, TOKEN, "short")).reason
    assert "32" in (await simulator.callbacks.save(company.app, URL, "-", AES_KEY)).reason


async def test_plus_signs_may_come_unescaped(simulator, inbox):
    simulator.settings.delivery.escape_plus = False
    for _ in range(20):
        assert (await save(simulator)).ok
    queries = [query for _, query, _ in inbox.requests]
    assert any("+" in query.split("echostr=")[1] for query in queries)
    assert not any("%2B" in query for query in queries)


async def test_a_url_with_a_query_of_its_own(simulator, company, inbox):
    assert (await simulator.callbacks.save(company.contacts, URL + "?a=1", TOKEN, AES_KEY)).ok
    assert inbox.requests[0][1].startswith("a=1&msg_signature=")


async def test_events_arrive_in_the_assistants_envelope(simulator, company, inbox):
    await save(simulator)
    company.leave("lisi")
    company.rename("wangwu", "没人知道")
    [delivery] = await simulator.callbacks.flush()
    assert (delivery.outcome, delivery.answers) == ("delivered", [200])
    assert types(inbox) == ["delete_user"]
    body = inbox.requests[-1][2].decode()
    start = (
        "<xml><ToUserName><![CDATA[ww0123456789abcdef]]></ToUserName><AgentID><![CDATA[]]></AgentID><Encrypt><![CDATA["
    )
    assert body.startswith(start)
    encrypted = re.search(r"<Encrypt><!\[CDATA\[(.*)]]></Encrypt></xml>", body)[1]
    assert crypto.decrypt(AES_KEY, encrypted)[1] == company.corp_id


async def test_long_urls_hear_more(simulator, company, inbox):
    await save(simulator, form="long")
    company.rename("wangwu", "老王")
    await simulator.callbacks.flush()
    assert "<Name><![CDATA[老王]]></Name>" in inbox.messages[0]


async def test_an_app_hears_its_own_events_and_contacts_only_when_switched_on(simulator, company, narrow, inbox):
    await simulator.callbacks.save(narrow, URL, TOKEN, AES_KEY)
    company.move("wangwu", [2])
    company.leave("lisi")
    await simulator.callbacks.flush()
    assert types(inbox) == ["unsubscribe"]
    assert "<AgentID><![CDATA[1000003]]></AgentID>" in inbox.requests[-1][2].decode()
    narrow.hears_contacts = True
    company.move("ZhangSan", [3])
    company.rename_userid("ZhangSan", "outside")
    company.create_department("外", 3)
    company.create_department("内", 4)
    inbox.messages.clear()
    await simulator.callbacks.flush()
    assert types(inbox) == ["update_user", "unsubscribe", "create_party"]
    assert "<Department><![CDATA[]]></Department>" in inbox.messages[0]


async def test_three_attempts_encrypted_anew_each_time(simulator, company, inbox):
    await save(simulator)
    inbox.answers = [500, 503]
    company.leave("lisi")
    [delivery] = await simulator.callbacks.flush()
    assert (delivery.outcome, delivery.answers) == ("delivered", [500, 503, 200])
    assert len(set(inbox.messages)) == 1
    assert len({body for _, _, body in inbox.requests[1:]}) == 3


async def test_given_up_after_three(simulator, company, inbox):
    await save(simulator)
    simulator.settings.delivery.reencrypt = False
    inbox.answers = [500] * 3
    company.leave("lisi")
    [delivery] = await simulator.callbacks.flush()
    assert (delivery.outcome, delivery.answers) == ("failed", [500] * 3)
    assert len({(query, body) for _, query, body in inbox.requests[1:]}) == 1


async def test_refusals_need_not_be_repeated(simulator, company, inbox):
    await save(simulator)
    simulator.settings.delivery.retry_refusals = False
    inbox.answers = [403]
    company.leave("lisi")
    [delivery] = await simulator.callbacks.flush()
    assert (delivery.outcome, delivery.answers) == ("failed", [403])


async def test_a_receiver_that_takes_too_long_gets_it_again(simulator, company, inbox):
    await save(simulator)
    simulator.settings.delivery.timeout = 0.01
    hung = asyncio.Event()

    async def stuck(scope, receive, send):
        hung.set()
        await asyncio.Event().wait()

    simulator.callbacks.transport = httpx.ASGITransport(stuck)
    company.leave("lisi")
    [delivery] = await simulator.callbacks.flush()
    assert hung.is_set()
    assert (delivery.outcome, delivery.answers) == ("failed", ["TimeoutError"] * 3)


async def test_only_so_many_are_on_their_way_at_a_time(simulator, company, inbox):
    await save(simulator)
    simulator.settings.delivery.concurrency = 3
    inside, peak = 0, 0

    async def counting(scope, receive, send):
        nonlocal inside, peak
        inside += 1
        peak = max(peak, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1
        await inbox(scope, receive, send)

    simulator.callbacks.transport = httpx.ASGITransport(counting)
    for number in range(10):
        company.join(f"user{number}", "人")
    await simulator.callbacks.flush()
    assert (peak, len(inbox.messages)) == (3, 10)


async def test_losses_duplicates_and_disorder(simulator, company, inbox):
    await save(simulator)
    simulator.settings.delivery.loss = 1.0
    company.leave("lisi")
    assert await simulator.callbacks.flush() == []
    simulator.settings.delivery.loss = 0.0
    simulator.settings.delivery.duplicate = 1.0
    simulator.settings.delivery.reorder = True
    for number in range(10):
        company.join(f"user{number}", "人")
    await simulator.callbacks.flush()
    ids = [re.search(r"user\d", xml)[0] for xml in inbox.messages]
    in_order = [f"user{number}" for number in range(10) for _ in range(2)]
    assert sorted(ids) == in_order
    assert ids != in_order
    assert simulator.callbacks.counts() == {"waiting": 0, "delivered": 20, "failed": 0, "lost": 1}


@pytest.mark.parametrize("spoil", ["bad_signature", "foreign_receiver", "garbage"])
async def test_requests_that_a_receiver_has_to_refuse(simulator, inbox, spoil):
    await save(simulator)
    raw = Raw()
    simulator.callbacks.transport = httpx.ASGITransport(raw)
    simulator.callbacks.push("<xml>any</xml>", spoil=spoil)
    await simulator.callbacks.flush()
    [(_, query, body)] = raw.requests
    found = re.search(rb"<Encrypt><!\[CDATA\[(.*)]]></Encrypt>", body)
    if spoil == "garbage":
        assert found is None
        return
    sent = dict(pair.split("=") for pair in query.split("&"))
    encrypted = found[1].decode()
    good = sent["msg_signature"] == crypto.sign(TOKEN, sent["timestamp"], sent["nonce"], encrypted)
    assert good is (spoil == "foreign_receiver")
    message, receiver = crypto.decrypt(AES_KEY, encrypted)
    assert message == b"<xml>any</xml>"
    assert (receiver == simulator.company.corp_id) is (spoil == "bad_signature")


async def test_spoilt_events_by_chance(simulator, company):
    await save(simulator)
    simulator.settings.delivery.garbage = 1.0
    company.leave("lisi")
    assert [delivery.spoil for delivery in simulator.callbacks.waiting] == ["garbage"]


async def test_pushing_needs_a_receiver(simulator):
    with pytest.raises(ValueError, match="no callback URL"):
        simulator.callbacks.push("<xml/>")


async def test_served_events_go_by_themselves_over_http(company):
    inbox = Inbox()
    simulator = Simulator(company, callback_transport=httpx.ASGITransport(inbox))
    async with running(simulator):
        await save(simulator)
        company.leave("lisi")
        await inbox.holds(1)
        await simulator.live.start(500)
        await inbox.holds(10)
        await simulator.live.stop()
    assert types(inbox)[0] == "delete_user"
