"""What strangers send to the callback: one of a few constant answers, nothing stored, no memory spent."""

import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.simulator.crypto import encrypt
from app.store.bulk import table_of
from app.store.tables import InboxRow
from tests.api.harness import AES_KEY, CORP, Api, envelope, sealed, signed
from tests.api.test_callbacks import OTHER_KEY, event, path_of

inbox = table_of(InboxRow)
MEBIBYTE = 1 << 20
CHUNK = b" " * 65_536
ANSWERS = {400: "not an envelope", 403: "refused", 404: "not found", 413: "too large", 503: "not stored, send again"}


@pytest.fixture
async def path(light: Api) -> AsyncIterator[str]:
    """The callback address of a source whose inbox must still be empty at the end."""
    yield path_of(await light.source())
    async with light.db.read() as conn:
        assert await conn.scalar(select(func.count()).select_from(inbox)) == 0


async def refused(api: Api, path: str, status: int, query: Any, body: bytes = b"") -> None:
    answer = await api.client.post(path, params=query, content=body)
    assert (answer.status_code, answer.text) == (status, ANSWERS[status])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("key", ["x", "%00", "x" * 5000, "..%2f", "%E5%BC%A0", "'%20OR%201=1--"])
async def test_an_unknown_key_is_404(light: Api, key: str) -> None:
    encrypted = sealed(event())
    await light.source()
    answer = await light.client.post(f"/callbacks/{key}", params=signed(encrypted), content=envelope(encrypted))
    assert answer.status_code == 404
    assert answer.text == "not found" or answer.json()["code"] == "request.not_found"


async def test_every_cryptographic_refusal_looks_the_same(light: Api, path: str) -> None:
    good, message = sealed(event()), event()
    tampered = good[:-8] + ("AAAAAAA=" if good[-8:] != "AAAAAAA=" else "BBBBBBB=")
    for query, encrypted in [
        (signed(good, "wrongToken"), good),
        (signed(good) | {"timestamp": "1409659814"}, good),
        (signed(good) | {"nonce": "x"}, good),
        (signed(good) | {"msg_signature": ""}, good),
        (signed(good) | {"msg_signature": "é" * 40}, good),
        (signed(good) | {"msg_signature": signed(good)["msg_signature"].upper() + "0"}, good),
        ({}, good),
        (signed(tampered), tampered),
        (signed(key := sealed(message, key=OTHER_KEY)), key),
        (signed(foreign := sealed(message, receiver="ww0000000000000000")), foreign),
        (signed(empty := sealed(message, receiver="")), empty),
        (signed(longer := sealed(message, receiver=CORP + "x")), longer),
        (signed("AAAA"), "AAAA"),
        (signed("!!!!"), "!!!!"),
        (signed(short := encrypt(AES_KEY, b"", "")[:24]), short),
    ]:
        await refused(light, path, 403, query, envelope(encrypted))


async def test_every_length_of_a_plain_text_up_to_200_is_taken_or_refused_exactly(light: Api) -> None:
    """Padding is to 32 bytes, so each length meets another padding; an echo is answered whole, garbage is refused."""
    path = path_of(await light.source())
    for length in range(201):
        text = bytes((length + position) % 256 for position in range(length))
        encrypted = sealed(text)
        answer = await light.client.get(path, params=signed(encrypted) | {"echostr": encrypted})
        assert (answer.status_code, answer.content) == (200, text)
        answer = await light.client.post(path, params=signed(encrypted), content=envelope(encrypted))
        assert (answer.status_code, answer.text) == (400, "not an envelope")
        body = event() + b" " * length
        encrypted = sealed(body)
        answer = await light.client.post(path, params=signed(encrypted), content=envelope(encrypted))
        assert (answer.status_code, answer.text) == (200, "success")


BOMB = (
    b'<!DOCTYPE xml [<!ENTITY a "'
    + b"a" * 1000
    + b'"><!ENTITY b "'
    + b"&a;" * 1000
    + b'">]><xml><Encrypt>&b;&b;&b;</Encrypt></xml>'
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"success",
        b"{}",
        b"<xml>",
        b"<xml></xml>",
        b"<xml><Encrypt/></xml>",
        b"<xml><Encrypt>a</Encrypt><Encrypt>b</Encrypt></xml>",
        b"<xml><Encrypt><b>a</b></Encrypt></xml>",
        b"<other><Encrypt>a</Encrypt></other>",
        b"\xff\xfe\x00",
        b"<xml><Encrypt>\xff</Encrypt></xml>",
        b"<xml><Encrypt>\x00</Encrypt></xml>",
        b'<?xml version="1.0" encoding="utf-7"?><xml>+ADw-</xml>',
        b'<!DOCTYPE xml SYSTEM "file:///etc/passwd"><xml><Encrypt>a</Encrypt></xml>',
        b'<!DOCTYPE xml [<!ENTITY x SYSTEM "http://127.0.0.1:1/">]><xml><Encrypt>&x;</Encrypt></xml>',
        BOMB,
        b"<a>" * 50_000,
        b"<xml>" + b"<a>" * 20 + b"</a>" * 20 + b"</xml>",
        b"<xml " + b" ".join(b'a%d="1"' % n for n in range(50_000)) + b"></xml>",
        b"<xml>" + b"&lt;" * 200_000 + b"</xml>",
    ],
    ids=range(20),
)
async def test_what_is_not_the_envelope_is_400(light: Api, path: str, body: bytes) -> None:
    await refused(light, path, 400, signed(sealed(event())), body)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"not xml",
        b"<xml>",
        b"\xff\xfe",
        b"<xml><a>\x00</a></xml>",
        b"<xml>\xff</xml>",
        b"<!DOCTYPE xml><xml><MsgType>event</MsgType></xml>",
        BOMB,
        b"<xml>" + b"<a>" * 100 + b"</a>" * 100 + b"</xml>",
        b"<xml>" + b"<a/>" * 30_000 + b"</xml>",
    ],
    ids=range(10),
)
async def test_an_authentic_message_that_is_none_is_400(light: Api, path: str, message: bytes) -> None:
    encrypted = sealed(message)
    await refused(light, path, 400, signed(encrypted), envelope(encrypted))


async def test_more_than_a_mebibyte_is_413_whether_announced_or_not(light: Api, path: str) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield CHUNK

    await refused(light, path, 413, {}, b" " * (MEBIBYTE + 1))
    await refused(light, path, 400, signed(sealed(event())), b" " * MEBIBYTE)
    answer = await light.client.post(path, content=chunks(17))
    assert (answer.status_code, answer.text) == (413, "too large")
    answer = await light.client.post(path, params=signed("x"), content=chunks(16))
    assert answer.status_code == 400
    for length in ("-1", "1e3", "9" * 30, "²"):
        headers = {"Content-Length": length.encode()}
        answer = await light.client.post(path, content=b"", headers=headers)
        assert (answer.status_code, answer.text) == (413, "too large"), length


async def test_a_stranger_costs_no_memory(light: Api, path: str) -> None:
    """A hundred megabytes of refused bodies and twenty bombs leave next to nothing behind and hold little at once."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield CHUNK

    async def attack(times: int) -> None:
        for _ in range(times):
            assert (await light.client.post(path, content=endless())).status_code == 413
            assert (await light.client.post(path, params=signed("x"), content=BOMB)).status_code == 400

    await attack(2)
    tracemalloc.start()
    await attack(20)
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MEBIBYTE
    assert after < MEBIBYTE // 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(query=st.binary(max_size=200), body=st.binary(max_size=400))
async def test_no_bytes_make_it_stumble(light: Api, query: bytes, body: bytes) -> None:
    path = path_of(await light.source())
    scope_query = query.replace(b"#", b"").replace(b"?", b"")
    answer = await light.client.post(f"{path}?{scope_query.hex()}", content=body)
    assert answer.status_code in (400, 403)
    encrypted = sealed(body)
    answer = await light.client.post(path, params=signed(encrypted), content=envelope(encrypted))
    assert answer.status_code in (200, 400)
    answer = await light.client.get(path, params={"echostr": body.decode("latin-1"), "msg_signature": "x"})
    assert (answer.status_code, answer.text) == (403, "refused")
