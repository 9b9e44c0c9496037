"""`target …`: how targets are, checking them, bringing them up to date; no output holds a key."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.simulator import Company, Simulator
from tests.api.harness import served
from tests.targets.nocobase_fake import KEY, NocoBase

from .conftest import Program, until


@pytest.fixture
def nocobase() -> NocoBase:
    return NocoBase()


@pytest.fixture
def url(nocobase: NocoBase) -> Iterator[str]:
    with served(nocobase.app) as address:
        yield address


async def add(program: Program, source: str, url: str, **given: Any) -> str:
    """A target made by REST, as there is no command for it; the service is stopped again. Its id."""
    serving, at = await program.serve(WECOM_SYNC_WORKER="none")
    token = (program.data / "admin-token").read_text().strip()
    config = {"url": url, "api_key": KEY} | given.pop("config", {})
    body = {"name": "NocoBase", "kind": "nocobase", "source_id": source, "config": config, "enabled": False} | given
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
        answer = await client.post(f"{at}/api/v1/targets", json=body)
    assert answer.status_code == 201, answer.text
    assert await serving.stop() == 0
    target_id: str = answer.json()["id"]
    return target_id


async def test_a_target_is_listed_checked_and_filled(
    program: Program, wecom: tuple[Simulator, str], nocobase: NocoBase, url: str
) -> None:
    target_id = await add(program, await program.prepare(*wecom), url, enabled=True)
    listed = await program.run("target", "list")
    assert target_id in listed.out
    [one] = (await program.run("target", "list", "--json")).json["items"]
    assert (one["id"], one["config"]["api_key"]) == (target_id, {"set": True})
    checked = await program.run("target", "check", "NocoBase")
    assert "departments" in checked.out
    assert (await program.run("target", "check", target_id, "--json")).json["ok"] is True

    active = await program.run("target", "resync", "NocoBase", "--dry-run", code=6)
    assert "already" in active.err
    serving, at = await program.serve()
    token = (program.data / "admin-token").read_text().strip()
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:

        async def filled() -> bool:
            runs = (await client.get(f"{at}/api/v1/runs")).json()["items"]
            return [run["state"] for run in runs if run["kind"] == "resync"] == ["succeeded"]

        await until(filled)
    assert await serving.stop() == 0
    done = (await program.run("target", "resync", "NocoBase", "--json")).json
    assert (done["state"], done["kind"]) == ("succeeded", "resync")
    assert len(nocobase.users) == 33
    assert (await program.run("target", "resync", "NocoBase", "--json")).json["counts"]["users"]["created"] == 0
    for done in (listed, checked):
        assert KEY not in str(done)


async def test_what_stands_in_the_way_is_told_by_the_exit_code(
    program: Program, wecom: tuple[Simulator, str], company: Company, nocobase: NocoBase, url: str
) -> None:
    nocobase.may_push = False
    await add(program, await program.prepare(*wecom), url)
    refused = await program.run("target", "check", "NocoBase", code=5)
    assert "pm.user-data-sync" in refused.out
    unknown = await program.run("target", "resync", "nowhere", code=2)
    assert "nowhere" in unknown.err
