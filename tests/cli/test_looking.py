"""`event …`, `directory …`, `doctor`, `openapi`, and what every command has in common."""

import asyncio
import csv
import io
import json
import os
import pty
import re
from collections.abc import Mapping

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from app.simulator import Company, Simulator

from .conftest import CANARIES, PATIENCE, Program, command, until

COMMANDS = {"serve", "worker", "migrate", "demo", "simulator", "source", "sync", "run", "event", "directory", "target"}
COMMANDS |= {"doctor", "openapi"}


async def test_the_directory_is_shown_and_exported(program: Program, wecom: tuple[Simulator, str]) -> None:
    await program.prepare(*wecom)
    tree = await program.run("directory", "tree")
    assert re.search(r"研发部 +1 +#2\n.*└── 前端组 +1 +#4\n", tree.out)
    (root,) = (await program.run("directory", "tree", "HQ", "--json")).json
    assert [child["name"] for child in root["children"]] == ["研发部", "销售部"]
    found = await program.run("directory", "find", "王")
    assert re.search(r"WangFang +王芳 +研发部 +总监", found.out)
    both = (await program.run("directory", "find", "销售", "--limit", "5", "--json")).json
    assert (len(both["users"]), [d["department_id"] for d in both["departments"]]) == (5, [3])
    rows = list(csv.DictReader(io.StringIO((await program.run("directory", "export")).out.removeprefix("\ufeff"))))
    everybody = (await program.run("directory", "export", "HQ", "--format", "json")).json
    assert sorted(row["userid"] for row in rows) == sorted(user["userid"] for user in everybody)
    assert len(everybody) == 32


async def test_events_are_listed_and_replayed(program: Program, wecom: tuple[Simulator, str], company: Company) -> None:
    simulator, _ = wecom
    source = await program.prepare(*wecom)
    serving, url = await program.serve()
    token = (program.data / "admin-token").read_text().strip()
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False) as api:
        api.headers["Authorization"] = f"Bearer {token}"
        pair = (await api.post(f"/sources/{source}/callback-credentials")).json()
        address = pair["callback_url"].replace("http://localhost:8000", url)
        saved = await simulator.callbacks.save(company.contacts, address, pair["token"], pair["encoding_aes_key"])
        assert saved.ok, saved.reason
        company.move("lisi", [2])
        items: list[dict[str, object]] = []

        async def applied() -> bool:
            items[:] = (await api.get("/events", params={"state": "applied"})).json()["items"]
            return bool(items)

        await until(applied)
    assert await serving.stop() == 0
    listed = (await program.run("event", "list", "--source", "HQ", "--json")).json
    assert [event["id"] for event in listed["items"]] == [items[0]["id"]]
    assert "user lisi" in (await program.run("event", "list")).out

    company.edit("lisi", position="组长")
    replayed = await program.run("event", "replay", items[0]["id"], "--json")
    assert "doing it here" in replayed.err
    assert replayed.json["state"] == "applied"
    found = (await program.run("directory", "find", "lisi", "--json")).json["users"]
    assert (found[0]["position"], found[0]["main_department_id"]) == ("组长", 2)
    assert "[event.not_found]" in (await program.run("event", "replay", "evt_none", code=2)).err


async def test_the_doctor_looks_and_changes_nothing(program: Program) -> None:
    fresh = await program.run("doctor", "--json")
    assert fresh.json["ok"]
    assert not program.data.exists()
    url = "postgresql://u:PasswordCanary@127.0.0.1:1/nothing"
    away = await program.run("doctor", "--json", code=1, WECOM_SYNC_DATABASE_URL=url)
    assert {"database"} == {check["name"] for check in away.json["checks"] if check["status"] == "failed"}
    assert "Canary" not in away.out + away.err


async def test_openapi_is_the_document_of_the_service(program: Program) -> None:
    done = await program.run("openapi", WECOM_SYNC_PORT="is of no interest here")
    assert done.json == json.loads(json.dumps(create_app(Settings.model_construct()).openapi()))


async def test_the_commands_are_the_promised_ones(program: Program) -> None:
    done = await program.run("--help")
    assert set(re.findall(r"^  ([a-z]+)  ", done.out.partition("Commands:")[2], re.MULTILINE)) == COMMANDS
    assert "\x1b" not in done.out
    wrong = await program.run("sync", code=2)
    assert (wrong.out, "SOURCE" in wrong.err) == ("", True)


BUG = """
import app.cli.program as cli

@cli.program.command()
def bug() -> None:
    secret = {"VariableCanary": 1}
    raise KeyError("MessageCanary 13800138000")

cli.run()
"""


async def test_a_mistake_of_ours_is_one_line_without_values(program: Program) -> None:
    process = await asyncio.create_subprocess_exec(
        *(command(())[0], "-c", BUG, "bug"), cwd=program.folder, env=program.env, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    first, hint = err.decode().splitlines()
    assert first.startswith("Error: unexpected KeyError, <string>:7 in bug")
    assert hint.startswith("Hint: ")
    assert b"Canary" not in err


async def on_terminal(
    program: Program, *args: str, prompt: str = "", typed: str = "", **settings: str
) -> tuple[int, str]:
    """What a command writes to a terminal of 200 columns, where `typed` is entered once `prompt` is there."""
    ours, theirs = pty.openpty()
    env = program.env | {"TERM": "xterm-256color", "COLUMNS": "200"} | settings
    process = await asyncio.create_subprocess_exec(
        *command(args), cwd=program.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        waiting = bool(typed)
        while True:
            try:
                shown.extend(os.read(ours, 4096))
            except OSError:  # the other side is closed
                return
            if waiting and prompt.encode() in shown:
                os.write(ours, typed.encode() + b"\n")
                waiting = False

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        async with asyncio.timeout(PATIENCE):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await reading
        os.close(ours)
    return code, shown.decode()


@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_colour_is_for_terminals_that_want_it(
    program: Program, wecom: tuple[Simulator, str], company: Company, settings: Mapping[str, str], coloured: bool
) -> None:
    await program.prepare(*wecom)
    company.join("zhaoliu", "赵六", [2])
    code, shown = await on_terminal(program, "sync", "HQ", "--dry-run", **settings)
    assert code == 0
    assert "zhaoliu" in shown
    assert bool(re.search(r"\x1b\[[0-9;]*3[1-7]m", shown)) == coloured


async def test_an_approval_is_asked_for_at_a_terminal(
    program: Program, wecom: tuple[Simulator, str], company: Company
) -> None:
    await program.prepare(*wecom)
    for number in range(12):
        company.leave(f"seller{number}")
    run_id = (await program.run("sync", "HQ", "--json", code=4)).json["id"]
    code, shown = await on_terminal(program, "run", "approve", run_id, prompt="[y/N]", typed="n", NO_COLOR="1")
    assert (code, "- user seller0" in shown) == (1, True)
    assert (await program.run("run", "show", run_id, "--json")).json["state"] == "awaiting_approval"
    code, shown = await on_terminal(program, "run", "approve", run_id, prompt="[y/N]", typed="y", NO_COLOR="1")
    assert code == 0, shown
    assert "succeeded" in shown


async def test_a_secret_is_typed_unseen(program: Program) -> None:
    args = ("source", "add", "HQ", "--corp-id", "ww1", "--app-secret", "-")
    code, shown = await on_terminal(program, *args, prompt="app_secret: ", typed=CANARIES[0])
    assert code == 0, shown
    assert CANARIES[0] not in shown
    assert (await program.run("source", "show", "HQ", "--json")).json["config"]["app_secret"] == {"set": True}
