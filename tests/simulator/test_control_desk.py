"""The control API: everything that a program in another process may see and change."""

import httpx
import pytest

from app.simulator import Simulator

from .receiver import AES_KEY, TOKEN


@pytest.fixture
def ask(client):
    async def ask(method, path, body=None, **query):
        response = await client.request(method, f"/control/{path}", json=body, params=query)
        return response.status_code, response.json()

    return ask


async def test_the_company_and_its_credentials(ask, company):
    _, shown = await ask("GET", "company")
    assert (shown["corp_id"], shown["counts"]) == (company.corp_id, {"users": 3, "departments": 4, "tags": 1})
    assert shown["credentials"]["app"]["secret"] == company.app.secret
    assert shown["credentials"]["app"]["visible"] == {"users": [], "departments": [1], "tags": []}
    assert (await ask("GET", "users", limit=2))[1] == {"items": ["ZhangSan", "lisi"]}
    assert (await ask("GET", "truth"))[1] == company.truth(company.app)


async def test_changes_and_their_events(ask, company):
    places = [2, {"department": 3, "order": 5, "leader": True}]
    _, answer = await ask("POST", "mutations", {"action": "move", "userid": "lisi", "departments": places})
    assert [event["change_type"] for event in answer["events"]] == ["update_user"]
    assert [(place.department, place.order, place.leader) for place in company.user("lisi").memberships] == [
        (2, 0, False),
        (3, 5, True),
    ]
    assert (await ask("POST", "mutations", {"action": "create_tag", "name": "新"}))[1] == {"id": 2}
    assert (await ask("POST", "mutations", {"action": "delete_tag", "id": 2}))[1] == {"events": []}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("mutations", {"action": "leave", "userid": "nobody"}),
        ("mutations", {"action": "_raise", "events": []}),
        ("mutations", {"action": "leave"}),
        ("mutations", {}),
        ("faults", {"kind": "magic"}),
        ("faults", {"kind": "cut", "color": 1}),
        ("clock", {}),
        ("tokens", {"action": "melt"}),
        ("callback", {"url": "http://x", "token": "t", "encoding_aes_key": "k", "receiver": "nobody"}),
        ("events", {"xml": "<xml/>"}),
    ],
)
async def test_bad_requests_are_told_so(ask, path, body):
    status, answer = await ask("POST", path, body)
    assert status == 400
    assert answer["error"]


async def test_broken_json_is_told_so(client):
    assert (await client.post("/control/mutations", content=b"{")).status_code == 400


async def test_faults_counters_and_calls(ask, call):
    await ask("POST", "faults", {"kind": "errcode", "errcode": 45033, "path": "tag/list", "times": 1})
    assert [await call.code("tag/list"), await call.code("tag/list")] == [45033, 0]
    _, shown = await ask("GET", "faults")
    assert [(fault["kind"], fault["struck"]) for fault in shown["items"]] == [("errcode", 1)]
    _, counters = await ask("GET", "counters")
    assert counters["calls"] == {"total": 4, "paths": {"gettoken": 2, "tag/list": 2}}
    assert (counters["peak"], counters["violations"]) == ({"gettoken": 1, "tag/list": 1}, [])
    _, calls = await ask("GET", "calls", limit=1)
    assert [(one["number"], one["path"], one["answer"]) for one in calls["items"]] == [(4, "tag/list", 0)]
    assert (await ask("DELETE", "faults"))[1] == {"items": []}
    assert (await ask("POST", "reset"))[1]["calls"]["total"] == 0


async def test_settings(ask, simulator):
    change = {
        "withheld_as": "empty",
        "latency": 0,
        "callback_ips": ["1.2.3.4"],
        "delivery": {"loss": 0.5, "delay": [0, 1]},
    }
    status, shown = await ask("PATCH", "settings", change)
    assert (status, shown["withheld_as"], shown["delivery"]["loss"]) == (200, "empty", 0.5)
    assert (simulator.settings.callback_ips, simulator.settings.delivery.delay) == (("1.2.3.4",), (0, 1))
    assert (await ask("PATCH", "settings", {"color": 1}))[0] == 400
    assert (await ask("PATCH", "settings", {"minute_limit": "many"}))[0] == 400
    simulator.lag(float("inf"))
    assert (await ask("GET", "settings"))[1]["lag"] > 1e300
    await ask("PATCH", "settings", {"lag": 0})
    assert simulator.settings.lag == 0


async def test_clock_and_tokens(ask, call, company, client):
    query = {"access_token": await call.token(company.app)}
    await ask("POST", "tokens", {"action": "invalidate", "credential": "app"})
    assert (await client.get("/cgi-bin/tag/list", params=query)).json()["errcode"] == 40014
    query = {"access_token": await call.token(company.app)}
    await ask("POST", "clock", {"advance": 7201})
    assert (await client.get("/cgi-bin/tag/list", params=query)).json()["errcode"] == 42001


async def test_rights(ask, company):
    rights = {"credential": "app", "trusted_ips": ["1.2.3.4"], "visible": {"users": ["LiSi"]}, "enabled": False}
    _, shown = await ask("PATCH", "credentials", rights)
    assert (shown["trusted_ips"], shown["visible"]["users"], shown["enabled"]) == (["1.2.3.4"], ["lisi"], False)
    assert not company.app.enabled
    assert (await ask("PATCH", "credentials", {"credential": "app", "agent_id": 5}))[0] == 400


async def test_saving_a_callback_and_pushing_an_event(ask, simulator, inbox):
    callback = {"url": "http://service/cb", "token": TOKEN, "encoding_aes_key": AES_KEY}
    assert (await ask("POST", "callback", callback))[1] == {"ok": True, "message": "ok", "reason": ""}
    assert (await ask("GET", "callback"))[1] == {"contacts": {"url": "http://service/cb", "form": "ids"}}
    await ask("POST", "events", {"xml": "<xml>raw</xml>"})
    await simulator.callbacks.flush()
    assert inbox.messages == ["<xml>raw</xml>"]
    _, shown = await ask("GET", "deliveries")
    assert shown["items"] == [{"xml": "<xml>raw</xml>", "spoil": None, "outcome": "delivered", "answers": [200]}]
    inbox.answers = [500]
    _, answer = await ask("POST", "callback", callback | {"receiver": "app"})
    assert answer == {"ok": False, "message": "openapi回调地址请求不通过", "reason": "HTTP 500"}
    assert (await ask("DELETE", "callback"))[1] == {}


async def test_a_living_company(ask, simulator):
    assert (await ask("POST", "live", {"rate": 100}))[1] == {"rate": 100.0}
    assert (await ask("DELETE", "live"))[1] == {"rate": 0.0}
    assert (await ask("POST", "live", {"rate": 0}))[0] == 400


async def test_the_application_alone():
    from app.simulator import Company, create_simulator

    app = create_simulator(Company())
    assert isinstance(app.state.simulator, Simulator)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://wecom") as client:
        assert (await client.get("/control/company")).json()["counts"]["departments"] == 1
