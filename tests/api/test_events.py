"""The inbox over the API."""

from typing import Any

from sqlalchemy import select, update

from app.store.bulk import table_of
from app.store.tables import AuditRow, InboxRow
from tests.api.harness import Api

SECRET_XML = "<xml><UserID>zhangsan</UserID><Mobile>13800000000</Mobile></xml>"


async def audited(api: Api) -> list[tuple[str, str, str | None]]:
    table = table_of(AuditRow)
    async with api.db.read() as conn:
        rows = await conn.execute(select(table.c.actor, table.c.action, table.c.object_id).order_by(table.c.id))
        return [tuple(row) for row in rows]


async def test_an_event_is_answered_as_agreed_and_its_message_only_when_asked_for(api: Api) -> None:
    source = await api.source()
    event_id = await api.store_event(source["id"], payload=SECRET_XML, new_key="zhang.san")
    event = await api.get(f"/events/{event_id}")
    assert event.pop("received_at").endswith("Z")
    assert event == {
        "id": event_id,
        "source_id": source["id"],
        "change_type": "update_user",
        "object": {"kind": "user", "key": "zhangsan", "new_key": "zhang.san"},
        "state": "pending",
        "reason": None,
        "attempts": 0,
        "next_attempt_at": None,
        "error": None,
        "run_id": None,
        "applied_at": None,
        "duplicates": 0,
        "xml": None,
    }
    assert "13800000000" not in (await api.client.get("/api/v1/events")).text
    assert [action for _, action, _ in await audited(api)] == ["source.create"]
    assert (await api.get(f"/events/{event_id}?include=xml"))["xml"] == SECRET_XML
    assert (await audited(api))[-1] == ("admin", "event.read_xml", event_id)
    answer = await api.client.get(f"/api/v1/events/{event_id}?include=everything")
    assert answer.status_code == 422


async def test_events_are_listed_newest_first_and_filtered(api: Api) -> None:
    source, other = await api.source(), await api.source()
    made = [await api.store_event(source["id"]) for _ in range(3)] + [await api.store_event(other["id"])]
    await set_state(api, made[1], state="failed", error={"code": "wecom.unknown_user", "message": "gone", "hint": ""})
    assert [item["id"] for item in (await api.get("/events"))["items"]] == made[::-1]
    page = await api.get("/events", params={"source_id": source["id"], "limit": 2})
    assert [item["id"] for item in page["items"]] == made[2:0:-1]
    page = await api.get("/events", params={"source_id": source["id"], "cursor": page["next_cursor"]})
    assert [item["id"] for item in page["items"]] == made[:1]
    (failed,) = (await api.get("/events?state=failed"))["items"]
    assert failed["error"] == {"code": "wecom.unknown_user", "message": "gone", "hint": "", "upstream": None}


async def test_a_replay_makes_an_event_wait_again(api: Api) -> None:
    source = await api.source()
    event_id = await api.store_event(source["id"])
    await set_state(api, event_id, state="ignored", reason="out of range", attempts=3)
    answer = await api.client.post(f"/api/v1/events/{event_id}/replay")
    assert answer.status_code == 202
    found = {name: answer.json()[name] for name in ("id", "state", "attempts")}
    assert found == {"id": event_id, "state": "pending", "attempts": 0}
    for method, path in (("GET", ""), ("GET", "?include=xml"), ("POST", "/replay")):
        answer = await api.client.request(method, f"/api/v1/events/evt_x{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "event.not_found")


async def set_state(api: Api, event_id: str, **values: Any) -> None:
    table = table_of(InboxRow)
    async with api.db.write() as conn:
        await conn.execute(update(table).where(table.c.id == event_id).values(**values))
