"""`source …`: adding, showing, checking; no output holds a secret (the fixture looks)."""

import json

from app.simulator import Company, Simulator

from .conftest import CANARIES, Program, free_port


async def test_a_source_is_added_shown_and_checked(program: Program, wecom: tuple[Simulator, str]) -> None:
    for name, secret in zip(("token", "key"), CANARIES[2:], strict=True):
        (program.folder / name).write_text(secret)
    pair = ["--token", "@token", "--encoding-aes-key", "@key", "--proxy", "http://me:ProxyCanary@127.0.0.1:1"]
    added = (await program.add("HQ", *wecom, *pair, "--disabled", "--json")).json
    assert added["config"]["app_secret"] == added["config"]["token"] == {"set": True}
    assert added["config"]["proxy"] == "http://me:***@127.0.0.1:1"
    assert (added["enabled"], added["schedule"], added["config"]["agent_id"]) == (False, None, None)
    assert (await program.run("source", "list", "--json")).json == {"items": [added], "next_cursor": None}
    assert (await program.run("source", "show", "HQ", "--json")).json == added

    for text in ((await program.run("source", "list")).out, (await program.run("source", "show", added["id"])).out):
        assert added["id"] in text
        assert "ProxyCanary" not in text
        assert "\x1b" not in text
    await program.prepare(*wecom, synced=False)
    twice = await program.run("source", "show", "HQ", code=2)
    assert "several sources have this name" in twice.err
    assert twice.out == ""


async def test_secrets_may_come_from_stdin(program: Program, wecom: tuple[Simulator, str]) -> None:
    simulator, base_url = wecom
    config = {"corp_id": simulator.company.corp_id, "base_url": base_url, "app_secret": CANARIES[0]}
    await program.run("source", "add", "One", "--config", "-", stdin=json.dumps(config))
    options = ("--corp-id", simulator.company.corp_id, "--base-url", base_url, "--app-secret", "-")
    await program.run("source", "add", "Two", *options, stdin=CANARIES[0] + "\n")
    for name in ("One", "Two"):
        checks = (await program.run("source", "check", name, "--json")).json["checks"]
        assert next(check["status"] for check in checks if check["name"] == "credentials.app") == "ok"


async def test_what_cannot_be_used_is_named_and_ends_with_2(program: Program) -> None:
    key = ("--token", "x", "--encoding-aes-key", CANARIES[3] + "!")
    wrong = await program.run("source", "add", "HQ", "--corp-id", "ww1", *key, "--base-url", "ftp://x", code=2)
    assert "/config/encoding_aes_key" in wrong.err
    assert "/config/base_url" in wrong.err
    missing = await program.run("source", "add", "HQ", "--app-secret", "@nowhere", code=2)
    assert "--app-secret" in missing.err
    cron = await program.run("source", "add", "HQ", "--corp-id", "ww1", "--schedule", "daily", code=2)
    assert "/schedule/cron" in cron.err
    unknown = await program.run("source", "check", "Nowhere", "--json", code=2)
    assert "Nowhere" in unknown.err
    assert unknown.out == ""
    assert (await program.run("source", "list", "--json")).json["items"] == []


async def test_a_refusal_of_wecom_ends_with_5_and_says_what_to_do(
    program: Program, wecom: tuple[Simulator, str], company: Company
) -> None:
    await program.prepare(*wecom, synced=False)
    assert (await program.run("source", "check", "HQ")).out
    company.app.trusted_ips = frozenset({"10.9.8.7"})
    checked = (await program.run("source", "check", "HQ", "--json", code=5)).json
    assert not checked["ok"]
    (failed,) = [check for check in checked["checks"] if check["status"] == "failed"]
    assert failed["code"] == "wecom.ip_not_trusted"
    assert "127.0.0.1" in failed["message"] + failed["hint"]
    ran = await program.run("sync", "HQ", "--wait", code=5)
    assert "WeCom said: 60020" in ran.err
    assert "Hint: " in ran.err
    doctor = await program.run("doctor", code=5, LC_ALL="zh_CN.UTF-8")
    assert "企业可信IP" in doctor.out
    assert "✗ failed" in doctor.out


async def test_nobody_at_the_address_ends_with_5(program: Program, company: Company) -> None:
    await program.prepare(Simulator(company), f"http://127.0.0.1:{free_port()}", synced=False)
    checked = (await program.run("source", "check", "HQ", "--json", code=5)).json
    assert {check["code"] for check in checked["checks"] if check["status"] == "failed"} == {"wecom.unreachable"}
