"""Health, readiness, figures, headers, and what the log tells of requests."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app import logs
from app.settings import Settings
from app.store import workers
from app.store.db import now
from app.store.tables import DeliveryRow, DepartmentRow, RunRow, TargetRow, UserRow
from tests.api.harness import (
    AES_KEY,
    CALLBACK_TOKEN,
    CONFIG,
    TOKEN,
    Api,
    client_of,
    envelope,
    person,
    place,
    sealed,
    serving,
    settings,
    signed,
)


async def test_alive_needs_nothing(light: Api) -> None:
    async with client_of(light.app) as stranger:
        stranger.headers.pop("authorization")
        answer = await stranger.get("/healthz?anything=1")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_when_the_database_answers_with_this_schema(api: Api) -> None:
    answer = await api.client.get("/readyz", headers={"Authorization": ""})
    assert answer.status_code == 200
    checks = answer.json()["checks"]
    assert checks["database"] == {"status": "ok", "detail": "current"}
    assert checks["worker"] == {"status": "warning", "detail": "never"}
    beat = now()
    async with api.db.write() as conn:
        await workers.beat(conn, "worker-1", beat)
    worker = (await api.client.get("/readyz")).json()["checks"]["worker"]
    assert worker == {"status": "ok", "detail": beat.isoformat(timespec="seconds").replace("+00:00", "Z")}


async def test_an_older_schema_is_not_ready_and_a_newer_one_is(api: Api) -> None:
    async with api.db.write() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert (await api.client.get("/readyz")).json()["checks"]["database"] == {"status": "ok", "detail": "newer"}
    async with api.db.write() as conn:
        await conn.execute(text("DELETE FROM alembic_version"))
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "server.not_ready")
    assert answer.json()["checks"]["database"] == {"status": "failed", "detail": "behind"}


async def test_a_database_that_is_gone_is_not_ready(sqlite_url: str, tmp_path: Path) -> None:
    async with threads_ended(), serving(settings(sqlite_url, tmp_path)) as light:
        await light.db.close()
        spoil(Path(sqlite_url.removeprefix("sqlite:///")))
        answer = await light.client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["database"]["status"]) == (503, "failed")
        answer = await light.client.get("/api/v1/sources")
        assert (answer.status_code, answer.json()["code"]) == (503, "database.unavailable")
        assert answer.headers["retry-after"]
        answer = await light.client.get("/callbacks/x")
        assert (answer.status_code, answer.text) == (503, "not stored, send again")
        assert (await light.client.get("/healthz")).status_code == 200


@asynccontextmanager
async def threads_ended() -> AsyncIterator[None]:
    """A connection that did not open leaves a thread, which must tell this loop of its end while there is one."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.endswith("(_connection_worker_thread)"):
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()


def spoil(database: Path) -> None:
    database.unlink()
    database.mkdir()


async def test_the_embedded_worker_is_critical(sqlite_url: str, tmp_path: Path) -> None:
    async with serving(settings(sqlite_url, tmp_path, worker="embedded")) as running:
        assert (await running.client.get("/readyz")).json()["checks"]["worker"]["status"] == "ok"
        async with running.db.write() as conn:
            await conn.execute(text("DELETE FROM worker"))
            await workers.beat(conn, "another", now() - timedelta(minutes=5))
        answer = await running.client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["worker"]["status"]) == (503, "failed")


async def test_an_event_wakes_the_embedded_worker(sqlite_url: str, tmp_path: Path) -> None:
    """The whole way: the callback is stored, the drain begins, and without credentials the event keeps waiting."""
    async with serving(settings(sqlite_url, tmp_path, worker="embedded")) as running:
        source = await running.source()
        woken = []
        wake = type(running.service.engine).wake
        type(running.service.engine).wake = lambda self, *what: (woken.append(what), wake(self, *what))[1]
        try:
            encrypted = sealed(b"<xml><MsgType>event</MsgType><Event>subscribe</Event></xml>")
            path = source["callback_url"].removeprefix("https://sync.example.com")
            answer = await running.client.post(path, params=signed(encrypted), content=envelope(encrypted))
        finally:
            type(running.service.engine).wake = wake
    assert answer.text == "success"
    assert ("events", source["id"]) in woken


def samples(body: str) -> dict[tuple[str, frozenset[str]], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name.removeprefix("wecom_sync_"), frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def test_figures_come_from_the_tables_and_from_this_process(api: Api) -> None:
    source = await api.source()
    id_, at = source["id"], now()
    await api.insert(UserRow, [person(id_, "a"), person(id_, "b", active=False), person(id_, "c", unmanaged_since=at)])
    await api.insert(DepartmentRow, [place(id_, 1)])
    states = (("run_1", "succeeded"), ("run_2", "failed"), ("run_3", "running"))
    await api.insert(
        RunRow, [{"id": r, "source_id": id_, "state": s, "created_at": at, "finished_at": at} for r, s in states]
    )
    await api.set_source(id_, next_seq=42, open_approval="run_1")
    await api.store_event(id_)
    await api.client.get("/callbacks/unknown")
    own = {"source_id": id_, "kind": "memory", "secrets": b"", "channel": "c", "created_at": at, "updated_at": at}
    await api.insert(
        TargetRow,
        [
            own | {"id": "tgt_1", "name": "A", "position": 40, "state": "retrying", "last_delivered_at": at},
            own | {"id": "tgt_2", "name": "B", "enabled": False},
            own | {"id": "tgt_3", "name": "C", "deleted_at": at},
        ],
    )
    waiting = {"target_id": "tgt_1", "kind": "user", "rank": 1000, "created_at": at, "changed_at": at}
    await api.insert(
        DeliveryRow,
        [
            waiting | {"id": f"dlv_{n}", "object_id": f"usr_{n}", "key": "k", "state": state}
            for n, state in enumerate(("pending", "retrying", "dead"))
        ],
    )
    answer = await api.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    expected = {
        ("objects", (id_, "user", "active")): 1,
        ("objects", (id_, "user", "inactive")): 1,
        ("objects", (id_, "user", "unmanaged")): 1,
        ("objects", (id_, "department", "active")): 1,
        ("sync_runs_total", (id_, "full", "failed")): 1,
        ("sync_in_progress", (id_,)): 1,
        ("sync_last_success_timestamp_seconds", (id_,)): pytest.approx(at.timestamp()),
        ("object_changes_total", (id_,)): 41,
        ("approval_open", (id_,)): 1,
        ("callback_events", (id_, "pending")): 1,
        ("target_state", ("tgt_1", "retrying")): 1,
        ("target_state", ("tgt_2", "paused")): 1,
        ("target_state", ("tgt_3", "ok")): None,
        ("deliveries", ("tgt_1", "dead")): 1,
        ("delivery_backlog", ("tgt_1",)): 1,
        ("delivery_oldest_pending_timestamp_seconds", ("tgt_1",)): pytest.approx(at.timestamp()),
        ("delivery_last_success_timestamp_seconds", ("tgt_1",)): pytest.approx(at.timestamp()),
        ("callback_requests_total", ("callback.unknown_key",)): 1,
        ("http_request_duration_seconds_count", ("POST", "create_source", "201")): 1,
    }
    wanted = {(name, frozenset(labels)): value for (name, labels), value in expected.items()}
    assert {key: found.get(key) for key in wanted} == wanted
    assert any(name == "build_info" for name, _ in found)


async def test_figures_may_be_public(sqlite_url: str, tmp_path: Path) -> None:
    async with serving(settings(sqlite_url, tmp_path, metrics_public=True)) as running:
        answer = await running.client.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/api/v1/sources", "/nothing", "/callbacks/x"])
async def test_every_answer_is_guarded(light: Api, path: str) -> None:
    headers = (await light.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert len(headers.get_list("content-security-policy")) == 1


async def test_the_root_leads_to_the_documents(light: Api) -> None:
    answer = await light.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_the_log_names_operations_and_neither_paths_nor_queries_nor_secrets(
    light: Api, capsys: pytest.CaptureFixture[str], logging_untouched: None
) -> None:
    logs.configure("debug", "json")
    secrets = {"app_secret": "canary-app", "proxy": "http://canary-user:canary-password@127.0.0.1:9"}
    source = await light.source(config=CONFIG | secrets)
    encrypted = sealed(b"<xml><UserID>canary-person</UserID></xml>")
    path = source["callback_url"].removeprefix("https://sync.example.com")
    await light.client.post(f"{path}?{urlencode(signed(encrypted))}", content=envelope(encrypted))
    await light.client.get(f"{path}?{urlencode(signed(encrypted) | {'echostr': encrypted})}")
    await light.client.get(f"/api/v1/users?source_id={source['id']}&q=canary-search")
    await light.client.get("/api/v1/users/canary-path")
    await light.client.get(f"/api/v1/sources/{source['id']}")
    await light.client.get("/canary-page", headers={"X-Request-ID": "known-id"})
    written = capsys.readouterr().err
    entries = [json.loads(line) for line in written.splitlines()]
    requests = [entry for entry in entries if entry["event"] == "request"]
    operations = [entry["operation"] for entry in requests]
    assert operations == ["create_source", "callback", "callback", "list_users", "get_user", "get_source", "unmatched"]
    assert requests[5]["source_id"] == source["id"]
    assert requests[6]["request_id"] == "known-id"
    key = path.rpartition("/")[2]
    for hidden in ("canary", key, TOKEN, CALLBACK_TOKEN, AES_KEY, "msg_signature", encrypted):
        assert hidden not in written, hidden


async def test_parts_are_closed_when_the_service_stops(sqlite_url: str, tmp_path: Path) -> None:
    chosen: Settings = settings(sqlite_url, tmp_path, worker="embedded")
    async with serving(chosen) as running:
        service = running.service
        await running.source()
    async with serving(chosen) as again:
        assert len((await again.get("/sources"))["items"]) == 1
        assert again.service is not service
        async with again.db.read() as conn:
            assert len(await workers.living(conn, now() - timedelta(minutes=1))) == 1
