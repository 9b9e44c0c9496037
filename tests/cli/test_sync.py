"""`sync` and `run …`: with a service and without, within the guard and beyond."""

import json
import re
import signal

import pytest

from app.simulator import Company, Simulator

from .conftest import Program

HERE = "doing it here"


def lose_sellers(company: Company, count: int) -> None:
    for number in range(count):
        company.leave(f"seller{number}")


async def test_without_a_service_it_is_done_here(either_program: Program, wecom: tuple[Simulator, str]) -> None:
    program = either_program
    await program.prepare(*wecom, synced=False)
    done = await program.run("sync", "HQ", "--wait", "--json")
    run = done.json
    assert HERE in done.err
    assert (run["state"], run["trigger"], run["kind"]) == ("succeeded", "cli", "full")
    assert [run["counts"][kind]["created"] for kind in ("departments", "users", "memberships")] == [4, 32, 32]
    again = await program.run("sync", "HQ")
    assert re.search(r"users +32\n", again.out)
    assert (await program.run("run", "show", run["id"], "--json")).json == run
    listed = (await program.run("run", "list", "--limit", "1", "--json")).json
    assert len(listed["items"]) == 1
    older = (await program.run("run", "list", "--cursor", listed["next_cursor"], "--json")).json
    assert [item["id"] for item in older["items"]] == [run["id"]]


async def test_with_a_service_its_run_is_followed(program: Program, wecom: tuple[Simulator, str]) -> None:
    simulator, _ = wecom
    await program.prepare(*wecom, synced=False)
    serving, _ = await program.serve()
    done = await program.run("sync", "HQ", "--wait", "--json")
    assert HERE not in done.err
    assert done.json["state"] == "succeeded"
    assert f"run={done.json['id']}" in serving.err

    barrier = simulator.hold("user/list")
    ordered = await program.run("sync", "HQ")
    run_id = ordered.out.strip()
    await barrier.reached()
    refused = await program.run("sync", "HQ", "--json", code=6)
    assert "run.already_active" in refused.err
    assert run_id in refused.err
    assert refused.out == ""
    cancelling = await program.start("run", "cancel", run_id, "--json")
    await cancelling.says("People")  # it has asked, and follows the run now
    barrier.release()
    assert await cancelling.ended() == 0
    assert json.loads(cancelling.out)["state"] == "cancelled"
    assert "run.finished" in (await program.run("run", "cancel", run_id, code=2)).err
    assert await serving.stop() == 0


async def test_a_run_that_was_left_unfinished_is_carried_on(program: Program, wecom: tuple[Simulator, str]) -> None:
    simulator, _ = wecom
    await program.prepare(*wecom, synced=False)
    barrier = simulator.hold("user/list", nth=3)
    killed = await program.start("sync", "HQ", "--wait")
    await barrier.reached()
    await killed.stop(signal.SIGKILL)
    barrier.release()
    done = await program.run("sync", "HQ", "--wait", "--json")
    assert f"Run {done.json['id']} was left unfinished" in done.err
    assert done.json["counts"]["users"]["created"] == 32
    assert len((await program.run("run", "list", "--json")).json["items"]) == 1


async def test_ctrl_c_leaves_a_run_that_can_be_carried_on(program: Program, wecom: tuple[Simulator, str]) -> None:
    simulator, _ = wecom
    await program.prepare(*wecom, synced=False)
    barrier = simulator.hold("user/list")
    interrupted = await program.start("sync", "HQ")
    await barrier.reached()
    assert await interrupted.stop(signal.SIGINT) == 130
    assert "Interrupted. Run run_" in interrupted.err
    barrier.release()
    assert (await program.run("sync", "HQ", "--json")).json["state"] == "succeeded"


async def test_a_dry_run_shows_its_plan_and_its_digest_carries_it_out(
    program: Program, wecom: tuple[Simulator, str], company: Company
) -> None:
    await program.prepare(*wecom)
    company.edit("WangFang", position="顾问")
    company.move("lisi", [3])
    company.join("zhaoliu", "赵六\x1b[31m", [2])
    dry = await program.run("sync", "HQ", "--dry-run")
    assert "~ user WangFang" in dry.out
    assert 'position: "总监" → "顾问"' in dry.out
    assert "+ user zhaoliu 赵六" in dry.out
    assert "- membership lisi:4" in dry.out
    assert "\x1b" not in dry.out
    (run_id,) = re.findall(r"^Run (run_\w+): succeeded \(dry run", dry.out, re.MULTILINE)
    (digest,) = re.findall(r"^Digest: ([0-9a-f]{64})$", dry.out, re.MULTILINE)
    found = (await program.run("directory", "find", "zhaoliu", "--json")).json
    assert found == {"users": [], "departments": []}
    approved = await program.run("run", "approve", run_id, "--digest", digest, "--wait", "--json")
    assert approved.json["state"] == "succeeded"
    assert (await program.run("directory", "find", "zhaoliu", "--json")).json["users"][0]["active"]


async def test_the_guard_ends_with_4_until_the_digest_is_approved(
    program: Program, wecom: tuple[Simulator, str], company: Company
) -> None:
    await program.prepare(*wecom)
    lose_sellers(company, 12)
    stopped = await program.run("sync", "HQ", "--wait", code=4)
    assert "[guard.tripped]" in stopped.err
    assert "- user seller0" in stopped.out
    (run_id, digest) = re.findall(r"run approve (run_\w+) --digest ([0-9a-f]{64})", stopped.err)[0]
    shown = (await program.run("run", "show", run_id, "--changes", "100", "--json")).json
    assert shown["state"] == "awaiting_approval"
    assert {change["state"] for change in shown["changes"]} == {"withheld"}
    unsaid = await program.run("run", "approve", run_id, code=2)
    assert "--digest" in unsaid.err
    wrong = await program.run("run", "approve", run_id, "--digest", "0" * 64, code=2)
    assert "[run.digest_mismatch]" in wrong.err
    done = await program.run("run", "approve", run_id, "--digest", digest, "--reason", "a branch closed", "--json")
    assert (done.json["state"], done.json["approval"]["by"]) == ("succeeded", "cli")
    assert done.json["counts"]["users"]["deactivated"] == 12


async def test_what_the_guard_stopped_may_be_refused(
    program: Program, wecom: tuple[Simulator, str], company: Company
) -> None:
    await program.prepare(*wecom)
    lose_sellers(company, 12)
    run_id = (await program.run("sync", "HQ", "--json", code=4)).json["id"]
    rejected = (await program.run("run", "reject", run_id, "--reason", "a mistake", "--json")).json
    assert (rejected["state"], rejected["error"]["message"]) == ("rejected", "a mistake")
    assert (await program.run("directory", "find", "seller0", "--json")).json["users"][0]["active"]
    assert "[run.not_awaiting_approval]" in (await program.run("run", "approve", run_id, "--yes", code=2)).err


async def test_a_bad_record_ends_with_3(program: Program, wecom: tuple[Simulator, str], company: Company) -> None:
    await program.prepare(*wecom, synced=False)
    company.edit("lisi", name=["not", "a", "name"])
    done = await program.run("sync", "HQ", "--wait", code=3)
    assert "partial" in done.out
    assert (await program.run("run", "show", done.out.split()[1].rstrip(":"))).out.count("[failed") == 1


async def test_only_named_objects_are_synced(program: Program, wecom: tuple[Simulator, str], company: Company) -> None:
    simulator, _ = wecom
    await program.prepare(*wecom)
    company.edit("lisi", position="组长")
    company.edit("WangFang", position="顾问")
    simulator.calls.clear()
    run = (await program.run("sync", "HQ", "--user", "lisi", "--json")).json
    assert (run["kind"], run["scope"]["userids"]) == ("scope", ["lisi"])
    found = (await program.run("directory", "find", "@", "--json")).json
    assert found["users"] == []
    positions = {
        name: (await program.run("directory", "find", name, "--json")).json["users"][0]["position"]
        for name in ("lisi", "WangFang")
    }
    assert positions == {"lisi": "组长", "WangFang": "总监"}


@pytest.mark.slow
async def test_a_run_whose_service_is_gone_is_taken_over(program: Program, wecom: tuple[Simulator, str]) -> None:
    simulator, _ = wecom
    await program.prepare(*wecom, synced=False)
    serving, _ = await program.serve()
    barrier = simulator.hold("user/list")
    following = await program.start("sync", "HQ", "--wait", "--json")
    await barrier.reached()
    await serving.stop()
    barrier.release()
    assert await following.ended() == 0
    assert json.loads(following.out)["counts"]["users"]["created"] == 32
