"""The callback route as WeCom sees it: verification and events that are stored before they are acknowledged."""

from typing import Any

from sqlalchemy import select

from app.store.bulk import table_of
from app.store.tables import InboxRow
from tests.api.harness import CONFIG, CORP, Api, client_of, envelope, sealed, signed

inbox = table_of(InboxRow)
OTHER_KEY = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaE"


def event(userid: str = "zhangsan", change: str = "update_user") -> bytes:
    return (
        f"<xml><ToUserName>{CORP}</ToUserName><FromUserName>sys</FromUserName><CreateTime>1403610513</CreateTime>"
        f"<MsgType>event</MsgType><Event>change_contact</Event><ChangeType>{change}</ChangeType>"
        f"<UserID>{userid}</UserID></xml>"
    ).encode()


async def rows(api: Api) -> list[dict[str, Any]]:
    async with api.db.read() as conn:
        return [dict(row) for row in (await conn.execute(select(inbox).order_by(inbox.c.id))).mappings()]


def path_of(source: dict[str, Any]) -> str:
    return source["callback_url"].removeprefix("https://sync.example.com")


async def test_verification_answers_exactly_the_decrypted_bytes_and_needs_no_api_credential(api: Api) -> None:
    source = await api.source()
    echo = bytes(range(256))
    encrypted = sealed(echo)
    async with client_of(api.app) as stranger:
        stranger.headers.pop("authorization")
        answer = await stranger.get(path_of(source), params=signed(encrypted) | {"echostr": encrypted})
    assert (answer.status_code, answer.content) == (200, echo)
    assert answer.headers["content-type"].startswith("text/plain")
    assert (await api.get(f"/sources/{source['id']}"))["callback"]["verified_at"] is not None


async def test_a_bare_plus_in_the_query_is_a_plus(light: Api) -> None:
    source = await light.source()
    echo = next(e for e in (sealed(b"%d" % n) for n in range(50)) if "+" in e)
    query = "&".join(f"{name}={value}" for name, value in (signed(echo) | {"echostr": echo}).items())
    answer = await light.client.get(f"{path_of(source)}?{query}")
    assert answer.status_code == 200


async def test_an_event_is_stored_before_success(api: Api) -> None:
    source = await api.source()
    encrypted = sealed(event())
    answer = await api.client.post(path_of(source), params=signed(encrypted), content=envelope(encrypted))
    assert (answer.status_code, answer.text) == (200, "success")
    (stored,) = await rows(api)
    found = {name: stored[name] for name in ("source_id", "change_type", "kind", "key", "state", "duplicates")}
    assert found == {
        "source_id": source["id"],
        "change_type": "update_user",
        "kind": "user",
        "key": "zhangsan",
        "state": "pending",
        "duplicates": 0,
    }


async def test_the_same_message_encrypted_anew_is_one_event(api: Api) -> None:
    source = await api.source()
    for _ in range(3):
        encrypted = sealed(event())
        answer = await api.client.post(path_of(source), params=signed(encrypted), content=envelope(encrypted))
        assert answer.text == "success"
    (stored,) = await rows(api)
    assert stored["duplicates"] == 2


async def test_a_disabled_source_records_and_a_deleted_one_is_unknown(api: Api) -> None:
    source = await api.source(enabled=False)
    encrypted = sealed(event())
    answer = await api.client.post(path_of(source), params=signed(encrypted), content=envelope(encrypted))
    assert answer.text == "success"
    assert len(await rows(api)) == 1
    await api.client.delete(f"/api/v1/sources/{source['id']}")
    answer = await api.client.post(path_of(source), params=signed(encrypted), content=envelope(encrypted))
    assert (answer.status_code, answer.text) == (404, "not found")


async def test_an_unknown_type_is_stored_too(api: Api) -> None:
    source = await api.source()
    encrypted = sealed(b"<xml><MsgType>event</MsgType><Event>brand_new</Event></xml>")
    answer = await api.client.post(path_of(source), params=signed(encrypted), content=envelope(encrypted))
    assert answer.text == "success"
    assert [row["kind"] for row in await rows(api)] == ["none"]


async def test_a_further_receiver_shares_the_address(api: Api) -> None:
    pair = {"token": "anotherToken", "encoding_aes_key": OTHER_KEY}
    source = await api.source(config=CONFIG | {"extra_callback_pairs": [pair]})
    encrypted = sealed(event(), key=OTHER_KEY)
    query = signed(encrypted, "anotherToken")
    answer = await api.client.post(path_of(source), params=query, content=envelope(encrypted))
    assert answer.text == "success"
    mixed = signed(sealed(event("lisi")), "anotherToken")
    answer = await api.client.post(path_of(source), params=mixed, content=envelope(sealed(event("lisi"))))
    assert answer.status_code == 403


async def test_after_a_rotation_both_pairs_work_until_the_new_one_has_verified(api: Api) -> None:
    source = await api.source()
    path = path_of(source)
    made = (
        await api.client.post(f"/api/v1/sources/{source['id']}/callback-credentials", json={"overlap_seconds": 0})
    ).json()
    old = sealed(event("before"))
    answer = await api.client.post(path, params=signed(old), content=envelope(old))
    assert answer.text == "success"
    echo = sealed(b"hello", key=made["encoding_aes_key"])
    answer = await api.client.get(path, params=signed(echo, made["token"]) | {"echostr": echo})
    assert answer.text == "hello"
    late = sealed(event("after"))
    answer = await api.client.post(path, params=signed(late), content=envelope(late))
    assert (answer.status_code, answer.text) == (403, "refused")


async def test_the_first_event_of_a_new_pair_counts_as_its_verification(api: Api) -> None:
    source = await api.source()
    path = path_of(source)
    made = (
        await api.client.post(f"/api/v1/sources/{source['id']}/callback-credentials", json={"overlap_seconds": 0})
    ).json()
    fresh = sealed(event("new"), key=made["encoding_aes_key"])
    answer = await api.client.post(path, params=signed(fresh, made["token"]), content=envelope(fresh))
    assert answer.text == "success"
    late = sealed(event("late"))
    assert (await api.client.post(path, params=signed(late), content=envelope(late))).status_code == 403


async def test_what_cannot_be_stored_is_to_be_sent_again(api: Api) -> None:
    source = await api.source()
    await api.service.inbox.close()
    encrypted = sealed(event())
    answer = await api.client.post(path_of(source), params=signed(encrypted), content=envelope(encrypted))
    assert (answer.status_code, answer.text) == (503, "not stored, send again")
    assert await rows(api) == []


async def test_other_methods_are_told_what_works(light: Api) -> None:
    source = await light.source()
    answer = await light.client.put(path_of(source))
    assert answer.status_code == 405
    assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}
