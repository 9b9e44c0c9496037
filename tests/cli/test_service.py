"""`serve`, `worker` and `migrate`."""

import json
import stat

import httpx
import pytest

from app.simulator import Simulator

from .conftest import Program, free_port


def admin(program: Program, url: str) -> httpx.AsyncClient:
    token = (program.data / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, trust_env=False, timeout=30)


async def test_a_first_start_makes_private_files_and_says_where(program: Program) -> None:
    serving, url = await program.serve(WECOM_SYNC_LOG_LEVEL="debug")
    kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in program.data.iterdir()}
    assert kept.keys() >= {"admin-token", "encryption-keys", "wecom-sync.db"}
    assert set(kept.values()) == {0o600}
    assert stat.S_IMODE(program.data.stat().st_mode) == 0o700
    assert str(program.data / "admin-token") in serving.err
    assert str(program.data / "encryption-keys") in serving.err
    async with admin(program, url) as api:
        answer = await api.get("/users", params={"q": "QueryCanary"})
        assert answer.status_code == 200
        key = {"msg_signature": "SignatureCanary", "timestamp": "1", "nonce": "2", "echostr": "EchoCanary"}
        assert (await api.get(f"{url}/callbacks/UnknownKeyCanary", params=key)).status_code == 404
    assert await serving.stop() == 0
    assert "list_users" in serving.err
    assert "Canary" not in serving.err
    assert serving.out == ""

    again, _ = await program.serve()
    assert "Made" not in again.err
    assert await again.stop() == 0


async def test_only_one_service_works_on_a_folder(program: Program) -> None:
    serving, url = await program.serve()
    done = await program.run("serve", "--port", url.rpartition(":")[2], code=6)
    assert "another process works on the database" in done.err
    assert (await program.run("worker", code=6)).out == ""
    assert await serving.stop() == 0


async def test_a_taken_port_is_told(program: Program, taken_port: int) -> None:
    done = await program.run("serve", code=2, WECOM_SYNC_PORT=str(taken_port))
    problem = f"Port {taken_port} on 127.0.0.1 cannot be used:\n  another program listens there.\n"
    assert problem in done.err
    assert "--port" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WECOM_SYNC_PORT", "eighty", "integer"),
        ("WECOM_SYNC_PRT", "8000", "there is no such setting"),
        ("WECOM_SYNC_ENCRYPTION_KEYS", "KeyCanary", "44 characters"),
        ("WECOM_SYNC_ADMIN_TOKEN", "two words", "without spaces"),
    ],
)
async def test_a_bad_setting_is_three_lines(program: Program, name: str, value: str, said: str) -> None:
    done = await program.run("serve", code=2, **{name: value})
    lines = [line for line in done.err.splitlines() if not line.startswith("Made ")]
    assert len(lines) == 3
    assert lines[0] == f"The setting {name} cannot be used:"
    assert said in lines[1]
    assert "Canary" not in done.err


async def test_an_unreachable_database_is_one_line(program: Program) -> None:
    url = "postgresql://somebody:PasswordCanary@127.0.0.1:1/nothing"
    done = await program.run("serve", code=1, WECOM_SYNC_DATABASE_URL=url)
    assert "[database.unavailable]" in done.err
    assert "Canary" not in done.err


async def test_logs_are_json_where_asked_for(program: Program) -> None:
    serving, _ = await program.serve(WECOM_SYNC_LOG_FORMAT="json")
    assert await serving.stop() == 0
    events = [json.loads(line) for line in serving.err.splitlines()]
    assert any(str(program.data / "admin-token") in event["event"] for event in events)
    assert [event["event"] for event in events if event["logger"] == "app.cli.serve"][-2:] == ["serving", "stopping"]


async def test_a_service_without_a_worker_leaves_the_work_to_one(
    either_program: Program, wecom: tuple[Simulator, str]
) -> None:
    program = either_program
    serving, url = await program.serve(WECOM_SYNC_WORKER="none")
    working = await program.start("worker")
    await working.says("working")
    source = await program.prepare(*wecom, synced=False)
    async with admin(program, url) as api:
        run = (await api.post(f"/sources/{source}/runs", json={})).json()["id"]
        while (state := (await api.get(f"/runs/{run}")).json()["state"]) in ("queued", "running"):
            pass
        assert state == "succeeded"
        assert (await api.get("/users", params={"limit": 1})).json()["items"]
    assert await working.stop() == 0
    assert await serving.stop() == 0


async def test_migrate_makes_the_tables_and_says_nothing_on_stdout(either_program: Program) -> None:
    done = await either_program.run("migrate")
    assert done.out == ""
    again = await either_program.run("doctor", "--json")
    states = {check["name"]: check["status"] for check in again.json["checks"]}
    assert (states["database"], states["schema"]) == ("ok", "ok")


async def test_the_simulator_tells_how_to_reach_it(program: Program) -> None:
    port = free_port()
    simulator = await program.start(
        "simulator", "--port", str(port), "--users", "20", "--departments", "3", "--seed", "7"
    )
    await simulator.says("Ctrl-C")
    told = dict(line.split() for line in simulator.out.splitlines())
    assert told.keys() == {"base_url", "corp_id", "agent_id", "app_secret", "contacts_secret"}
    query = {"corpid": told["corp_id"], "corpsecret": told["app_secret"]}
    async with httpx.AsyncClient(base_url=told["base_url"], trust_env=False) as client:
        assert (await client.get("/cgi-bin/gettoken", params=query)).json()["errcode"] == 0
    done = await program.run("simulator", "--port", str(port), code=2)
    assert "another program listens there" in done.err
    assert await simulator.stop() in (0, -15)


async def test_more_people_than_departments_can_hold_are_refused(program: Program) -> None:
    done = await program.run("simulator", "--users", "50000", "--departments", "2", code=2)
    assert len(done.err.splitlines()) == 3
