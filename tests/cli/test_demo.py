"""`demo`: all of it together, as a newcomer meets it."""

import asyncio
import json
import re
import shutil
import signal

import httpx
import pytest

from .conftest import Program, Running, free_port, until

SMALL = ("--users", "60", "--departments", "8", "--every", "0.3")
EFFECT = re.compile(r"^\d\d:\d\d:\d\d  .+ (joined|left|moved from) .+$", re.MULTILINE)


def lines_to_paste(demo: Running) -> list[str]:
    """The lines that a person is meant to paste."""
    return [line for line in demo.out.splitlines() if line.startswith("curl ")]


async def shell(line: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec("bash", "-c", line, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_it_ends_after_so_many_events(program: Program) -> None:
    port = free_port()
    done = await program.run("demo", "--port", str(port), "--events", "3", *SMALL)
    assert len(EFFECT.findall(done.out)) >= 3
    assert f"http://127.0.0.1:{port}/docs" in done.out
    assert "Full sync done: 60 people, 8 departments" in done.err
    assert "verified" in done.err
    assert not (program.data / "demo").exists()


async def test_what_it_prints_works_when_pasted(program: Program) -> None:
    if not shutil.which("curl"):
        pytest.skip("NOT RUN: curl is not installed")
    folder = program.folder / "a folder"
    folder.mkdir()
    demo = await program.start("demo", *SMALL, WECOM_SYNC_PORT=str(free_port()), WECOM_SYNC_DATA_DIR=str(folder))
    await demo.says("Ctrl-C ends it")
    lines = lines_to_paste(demo)
    assert len(lines) == 6
    for line in lines:
        code, out = await shell(line)
        assert code == 0, line
        answer = json.loads(out)
        assert "status" not in answer, (line, answer)
    (page,) = re.findall(r"http://\S+/docs$", demo.out, re.MULTILINE)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(page)).status_code == 200

    taken = await program.run("demo", "--port", page.rpartition(":")[2].removesuffix("/docs"), code=2)
    assert "another program listens there" in taken.err
    beside = await program.run("demo", "--port", str(free_port()), code=6, WECOM_SYNC_DATA_DIR=str(folder))
    assert "another process works on the database" in beside.err

    await until(lambda: bool(EFFECT.search(demo.out)))
    token = (folder / "demo" / "admin-token").read_text().strip()
    assert await demo.stop(signal.SIGINT) == 0
    assert token not in demo.out + demo.err
    assert not (folder / "demo").exists()
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient(trust_env=False).get(page)


async def test_it_leaves_other_installations_alone(program: Program) -> None:
    """Whatever the settings name, the demonstration has a folder, a database and keys of its own."""
    settings = {"WECOM_SYNC_DATABASE_URL": "postgresql://127.0.0.1:1/nothing", "WECOM_SYNC_ADMIN_TOKEN": "TheirOwn"}
    left = program.data / "demo"
    left.mkdir(parents=True)
    (left / "wecom-sync.db").write_text("left by one that was killed")
    (program.data / "wecom-sync.db").write_text("theirs")
    port = str(free_port())
    done = await program.run("demo", "--port", port, "--events", "1", *SMALL, **settings)
    assert EFFECT.search(done.out)
    assert [path.name for path in program.data.iterdir()] == ["wecom-sync.db"]
    assert (program.data / "wecom-sync.db").read_text() == "theirs"
