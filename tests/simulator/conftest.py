"""A small company whose every detail a test knows, its simulator, and a caller of its API."""

import httpx
import pytest

from app.simulator import Company, Membership, Range, Simulator

from .receiver import Inbox


class Caller:
    """Calls the simulator's API in process with one credential's token."""

    def __init__(self, simulator, client):
        self.simulator, self.client = simulator, client

    async def token(self, credential):
        company = self.simulator.company
        query = {"corpid": company.corp_id, "corpsecret": credential.secret}
        return (await self.client.get("/cgi-bin/gettoken", params=query)).json()["access_token"]

    async def response(self, path, credential=None, *, body=None, **query):
        token = await self.token(credential or self.simulator.company.app)
        query = {"access_token": token} | query
        method = "GET" if body is None else "POST"
        return await self.client.request(method, f"/cgi-bin/{path}", params=query, json=body)

    async def __call__(self, path, credential=None, *, body=None, **query):
        return (await self.response(path, credential, body=body, **query)).json()

    async def code(self, path, credential=None, *, body=None, **query):
        return (await self(path, credential, body=body, **query))["errcode"]


@pytest.fixture
def company():
    """1 ─ 2 研发 ─ 4 前端, 1 ─ 3 销售; 张三 leads 2 and sits in 3 too, 李四 is in 4, Wang Wu in 3."""
    company = Company()
    with company.quiet():
        for name, parent in (("研发", 1), ("销售", 1), ("前端", 2)):
            company.create_department(name, parent)
        places = [Membership(2, 7, True), Membership(3, 2**32 - 1)]
        company.join("ZhangSan", "张三", places, mobile="13800000001", email="zs@example.com", gender="1")
        attrs = ({"type": 0, "name": "爱好", "text": {"value": "旅游"}},)
        company.join("lisi", "李四", [4], direct_leaders=("ZhangSan",), extattrs=attrs, avatar="https://x/0")
        company.join("wangwu", "王五", [3], status=4)
        company.create_tag("球队", ["LISI"], [3])
    return company


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def simulator(company, inbox):
    simulator = Simulator(company, callback_transport=httpx.ASGITransport(inbox))
    simulator.settings.delivery.retry_pause = 0.0
    return simulator


@pytest.fixture
async def client(simulator):
    transport = httpx.ASGITransport(simulator.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://wecom") as client:
        yield client


@pytest.fixture
def call(simulator, client):
    return Caller(simulator, client)


@pytest.fixture
def narrow(company):
    """An app that sees department 2 with what is below it, and Wang Wu by name."""
    return company.add_app("narrow", "n" * 43, 1000003, Range.of(users=["WangWu"], departments=[2]))
