"""A plain reader of the API over real HTTP ends with the company's truth; and the simulator as a program of its own."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.simulator import Range, Simulator, SimulatorSettings, generate_company, running

ROOT = Path(__file__).parents[2]
SENSITIVE = ("mobile", "gender", "email", "biz_mail", "avatar", "address")


async def sweep(client, company, credential):
    """Read everything that the credential sees, in the simplest way, into the shape of `Company.truth`."""
    query = {"corpid": company.corp_id, "corpsecret": credential.secret}
    token = (await client.get("/cgi-bin/gettoken", params=query)).json()["access_token"]

    async def ask(path, **query):
        answer = (await client.get(f"/cgi-bin/{path}", params={"access_token": token} | query)).json()
        assert answer["errcode"] == 0, path
        return answer

    departments = (await ask("department/list"))["department"]
    pages = await asyncio.gather(*(ask("user/list", department_id=one["id"]) for one in departments))
    people = {user["userid"].lower(): user for page in pages for user in page["userlist"]}
    agent = await ask("agent/get", agentid=credential.agent_id)
    for granted in agent["allow_userinfos"]["user"]:
        people[granted["userid"].lower()] = await ask("user/get", userid=granted["userid"])
    return copied(departments, people)


def copied(departments, people):
    visible = {one["id"] for one in departments}
    return {
        "departments": [
            {
                "department_id": one["id"],
                "parent_id": one["parentid"] if one["parentid"] in visible else None,
                "order": one["order"],
                "name": one["name"],
                "name_en": one["name_en"],
                "leaders": sorted(one["department_leader"]),
            }
            for one in sorted(departments, key=lambda one: one["id"])
        ],
        "users": [copied_user(people[key]) for key in sorted(people)],
        "memberships": [place for key in sorted(people) for place in copied_places(people[key])],
    }


def copied_user(user):
    same = ("userid", "name", "status", "position", "telephone", "alias", *(name for name in SENSITIVE if name in user))
    return {name: user[name] for name in same} | {
        "direct_leaders": user["direct_leader"],
        "extattrs": user["extattr"]["attrs"],
        "main_department_id": user.get("main_department"),
    }


def copied_places(user):
    rows = zip(user["department"], user["order"], user["is_leader_in_dept"], strict=True)
    return [
        {
            "userid": user["userid"],
            "department_id": department,
            "order": order,
            "is_leader": bool(leader),
            "is_main": department == user.get("main_department"),
        }
        for department, order, leader in sorted(rows)
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_sweep_of_a_quiet_company_ends_with_its_truth(seed):
    company = generate_company(400, 50, seed)
    named = company.userids[::40]
    part = company.add_app("part", "p" * 43, 1000003, Range.of(users=named, departments=[3, 7]), withheld=frozenset())
    simulator = Simulator(company, SimulatorSettings(latency=0.001))
    async with running(simulator) as url, httpx.AsyncClient(base_url=url) as client:
        for _ in range(2):
            for credential in (company.app, part):
                assert await sweep(client, company, credential) == company.truth(credential)
            simulator.churn.steps(100)
    assert simulator.limits.peak["user/list"] > 1
    assert not simulator.limits.violations


PROGRAM = """
import json, sys
from app.simulator import run
def ready(simulator):
    print(json.dumps({"corp_id": simulator.company.corp_id}), flush=True)
run("127.0.0.1", int(sys.argv[1]), 20, 4, 9, ready=ready)
"""


def test_the_simulator_as_a_program(unused_tcp_port):
    program = [sys.executable, "-c", PROGRAM, str(unused_tcp_port)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert json.loads(process.stdout.readline())["corp_id"] == generate_company(20, 4, 9).corp_id
            shown = httpx.get(f"http://127.0.0.1:{unused_tcp_port}/control/company").json()
            assert shown["counts"] == {"users": 20, "departments": 4, "tags": 3}
        finally:
            process.terminate()
            rest, errors = process.communicate()
    assert (rest, errors) == (b"", b"")
